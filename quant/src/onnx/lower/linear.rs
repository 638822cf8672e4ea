//! Products with a constant matrix.

use bitloop_core::graph::{Linear, Op};

use super::super::builder::Builder;
use super::super::call::{Call, Value};
use super::super::encoding::ImportedEncoding;
use super::super::error::Reason;
use super::super::names::name_of;
use super::super::tensor::Constant;
use super::Lowered;

/// Gemm.
pub(in super::super) fn gemm(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    if call.flag("transA", false)? {
        return Err(Reason::Batch);
    }
    let matrix = matrix(builder, call, call.flag("transB", false)?)?;
    let bias = match call.float_constant(2)? {
        None => None,
        Some((constant, values)) => Some((constant, bias_values(constant, values, matrix.out_features)?)),
    };
    let scaled = |factor: f32, encoding: &Option<ImportedEncoding>| factor != 1.0 && encoding.is_some();
    if scaled(alpha, &matrix.encoding) || bias.as_ref().is_some_and(|(c, _)| scaled(beta, &c.encoding)) {
        return Err(Reason::Feature("alpha and beta must be 1 where weights are quantized"));
    }
    let Matrix { out_features, in_features, mut values, encoding } = matrix;
    scale(&mut values, alpha);
    let op = Op::Linear(Linear { out_features, bias: bias.is_some() });
    let name = builder.push(&name_of(call), op, &[call.computed(0)?])?;
    builder.weight(&name, "weight", &[out_features, in_features], values)?;
    builder.encoding(&name, "weight", encoding);
    if let Some((constant, mut values)) = bias {
        scale(&mut values, beta);
        builder.weight(&name, "bias", &[out_features], values)?;
        builder.encoding(&name, "bias", constant.encoding.clone());
    }
    Ok(vec![Value::Tensor(name)])
}

/// MatMul with a constant on the right.
pub(in super::super) fn matmul(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let Matrix { out_features, in_features, values, encoding } = matrix(builder, call, false)?;
    let op = Op::Linear(Linear { out_features, bias: false });
    let name = builder.push(&name_of(call), op, &[call.computed(0)?])?;
    builder.weight(&name, "weight", &[out_features, in_features], values)?;
    builder.encoding(&name, "weight", encoding);
    Ok(vec![Value::Tensor(name)])
}

/// A weight `(out, in)`.
struct Matrix {
    out_features: usize,
    in_features: usize,
    values: Vec<f32>,
    encoding: Option<ImportedEncoding>,
}

fn matrix(builder: &Builder, call: &Call<'_>, is_transposed: bool) -> Result<Matrix, Reason> {
    let (weight, values) = call.float_constant(1)?.ok_or(Reason::MissingInput { index: 1 })?;
    let [features] = builder.shape(call.computed(0)?).0[..] else {
        return Err(Reason::Feature(
            "only products of (batch, features) with a constant matrix are supported",
        ));
    };
    let (out_features, in_features) = match weight.shape[..] {
        [out, into] if is_transposed => (out, into),
        [into, out] => (out, into),
        _ => (0, 0),
    };
    if in_features != features || out_features == 0 {
        let expected = format!("a matrix for {features} features");
        return Err(Reason::ConstantShape { found: weight.shape.clone(), expected });
    }
    let mut encoding = weight.encoding.clone();
    let values = match is_transposed {
        true => values.to_vec(),
        false => {
            // The grid's axis turns with the matrix.
            if let Some(axis) = encoding.as_mut().and_then(|encoding| encoding.axis.as_mut()) {
                *axis = 1 - (*axis).min(1);
            }
            transposed(values, out_features)
        }
    };
    Ok(Matrix { out_features, in_features, values, encoding })
}

fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}

/// A bias may be one number for all features, and have axes of extent 1 in front.
fn bias_values(constant: &Constant, values: &[f32], features: usize) -> Result<Vec<f32>, Reason> {
    let is_row = constant.shape.iter().rev().skip(1).all(|extent| *extent == 1);
    match values {
        [one] => Ok(vec![*one; features]),
        _ if is_row && values.len() == features => Ok(values.to_vec()),
        _ => Err(Reason::ConstantShape { found: constant.shape.clone(), expected: format!("({features},)") }),
    }
}

fn scale(values: &mut [f32], factor: f32) {
    if factor != 1.0 {
        values.iter_mut().for_each(|value| *value *= factor);
    }
}
