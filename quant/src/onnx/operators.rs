//! The registry: which operators of a file are known, their attributes, and what becomes of them.

use super::fold::{self, Fold};
use super::lower::{self, Lower};

/// What is known of an operator.
pub(super) struct Operator {
    /// Attributes that are read, or make no difference when a network only runs.
    pub(super) attributes: &'static [&'static str],
    /// For inputs that are all constants.
    pub(super) fold: Option<Fold>,
    /// For inputs that are computed.
    pub(super) lower: Option<Lower>,
}

const WINDOW: &[&str] = &["auto_pad", "dilations", "kernel_shape", "pads", "strides", "group"];
const POOL: &[&str] = &[
    "auto_pad",
    "ceil_mode",
    "count_include_pad",
    "dilations",
    "kernel_shape",
    "pads",
    "storage_order",
    "strides",
];
const CONSTANT: &[&str] = &["value", "value_float", "value_floats", "value_int", "value_ints"];
const QUANTIZER: &[&str] = &["axis", "block_size", "output_dtype", "saturate"];

/// Finds an operator of the standard's domain by its name.
pub(super) fn operator(name: &str) -> Option<Operator> {
    activation(name).or_else(|| layer(name)).or_else(|| layout(name)).or_else(|| arithmetic(name))
}

fn computed(attributes: &'static [&'static str], lower: Lower) -> Option<Operator> {
    Some(Operator { attributes, fold: None, lower: Some(lower) })
}

fn folded(attributes: &'static [&'static str], fold: Fold) -> Option<Operator> {
    Some(Operator { attributes, fold: Some(fold), lower: None })
}

fn both(attributes: &'static [&'static str], fold: Fold, lower: Lower) -> Option<Operator> {
    Some(Operator { attributes, fold: Some(fold), lower: Some(lower) })
}

fn layer(name: &str) -> Option<Operator> {
    match name {
        "Conv" => computed(WINDOW, lower::conv),
        "Gemm" => computed(&["alpha", "beta", "transA", "transB"], lower::gemm),
        "MatMul" => computed(&[], lower::matmul),
        "BatchNormalization" => {
            computed(&["epsilon", "momentum", "spatial", "training_mode"], lower::batch_norm)
        }
        "MaxPool" => computed(POOL, lower::max_pool),
        "AveragePool" => computed(POOL, lower::average_pool),
        "GlobalAveragePool" => computed(&[], lower::global_average_pool),
        "GlobalMaxPool" => computed(&[], lower::global_max_pool),
        "ReduceMean" => computed(&["axes", "keepdims", "noop_with_empty_axes"], lower::reduce_mean),
        "QuantizeLinear" => computed(QUANTIZER, lower::quantize),
        "DequantizeLinear" => computed(QUANTIZER, lower::dequantize),
        _ => None,
    }
}

fn activation(name: &str) -> Option<Operator> {
    match name {
        "Relu" => computed(&[], lower::relu),
        "Clip" => computed(&["max", "min"], lower::clip),
        "LeakyRelu" => computed(&["alpha"], lower::leaky_relu),
        "PRelu" => computed(&[], lower::p_relu),
        "HardSwish" => computed(&[], lower::hard_swish),
        "HardSigmoid" => computed(&["alpha", "beta"], lower::hard_sigmoid),
        "Sigmoid" => computed(&[], lower::sigmoid),
        "Softmax" => computed(&["axis"], lower::softmax),
        "LRN" => computed(&["alpha", "beta", "bias", "size"], lower::lrn),
        _ => None,
    }
}

fn layout(name: &str) -> Option<Operator> {
    match name {
        "Identity" => both(&[], fold::pass, lower::pass),
        "Dropout" => both(&["ratio", "seed"], fold::pass, lower::pass),
        "Cast" => both(&["saturate", "to"], fold::cast, lower::cast),
        "Concat" => both(&["axis"], fold::concat, lower::concat),
        "Flatten" => both(&["axis"], fold::flatten, lower::flatten),
        "Reshape" => both(&["allowzero"], fold::reshape, lower::reshape),
        "Transpose" => both(&["perm"], fold::transpose, lower::transpose),
        "Slice" => both(&["axes", "ends", "starts"], fold::slice, lower::slice),
        "Split" => both(&["axis", "num_outputs", "split"], fold::split, lower::split),
        "Squeeze" => both(&["axes"], fold::squeeze, lower::squeeze),
        "Unsqueeze" => both(&["axes"], fold::unsqueeze, lower::unsqueeze),
        "Pad" => computed(&["mode", "pads", "value"], lower::pad),
        "Shape" => computed(&["end", "start"], lower::shape),
        "Constant" => folded(CONSTANT, fold::constant),
        "ConstantOfShape" => folded(&["value"], fold::constant_of_shape),
        "Expand" => folded(&[], fold::expand),
        "Gather" => folded(&["axis"], fold::gather),
        "Range" => folded(&[], fold::range),
        _ => None,
    }
}

fn arithmetic(name: &str) -> Option<Operator> {
    match name {
        "Add" | "Sum" => both(&[], fold::binary, lower::add),
        "Mul" => both(&[], fold::binary, lower::multiply),
        "Sub" => both(&[], fold::binary, lower::subtract),
        "Div" => both(&[], fold::binary, lower::divide),
        "Max" | "Min" | "Mod" => folded(&["fmod"], fold::binary),
        "Ceil" | "Floor" | "Neg" | "Sqrt" => folded(&[], fold::unary),
        "Equal" => folded(&[], fold::compare),
        "Pow" => folded(&[], fold::power),
        "ReduceProd" => folded(&["axes", "keepdims", "noop_with_empty_axes"], fold::reduce_product),
        "Where" => folded(&[], fold::select),
        _ => None,
    }
}
