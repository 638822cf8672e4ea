//! A network trained with QKeras's quantizers as ONNX: their grids are those of QuantizeLinear and DequantizeLinear.

use std::collections::BTreeMap;

use bitloop_core::autoqkeras::Compat;
use bitloop_core::bits::{Bits, Choice};
use bitloop_core::graph::{Op, Point, PointKind};
use bitloop_core::qkeras::{Alpha, Quantizer};
use bitloop_core::trial::{Biases, NodeQuantizers};
use candle_core::{Device, Tensor};

use super::{ExportError, Exported, onnx};
use crate::model::Model;
use crate::prepare::Prepared;
use crate::quantizer::{Encoding, Grid, QuantError};
use crate::train::{QuantizedWeight, is_activation, quantized_weights};

/// Widths that ONNX has integers of.
const WIDTHS: [u8; 3] = [4, 8, 16];

/// Codes and their step.
struct Codes {
    low: f64,
    high: f64,
    step: f64,
}

/// Returns an ONNX file of a network with its quantizers, which have the arithmetic of `compat`, as [`onnx`] writes one.
///
/// A kernel whose values are whole steps of a scale is followed by a pair with integers of 4 or 8 bits, whatever its own
/// width; powers of two stay floats, since no scale has them all. An activation's quantizer becomes a Clip to its ends and a
/// pair of the next width that ONNX has, which together give its values. Biases are floats of their quantized values.
///
/// Errors: `Activation` naming a node whose quantizer is no such grid; `Training`; as [`onnx`].
pub fn trained_onnx(
    model: &Model,
    quantizers: &BTreeMap<String, NodeQuantizers>,
    compat: Compat,
) -> Result<Vec<u8>, ExportError> {
    let (prepared, choices) = grids(model, quantizers, compat)?;
    onnx(&Exported::new(&prepared, choices)?)
}

/// The network with its quantizers as encodings, and the width of each.
///
/// Errors: as [`trained_onnx`].
pub(crate) fn grids(
    model: &Model,
    quantizers: &BTreeMap<String, NodeQuantizers>,
    compat: Compat,
) -> Result<(Prepared, Vec<Choice>), ExportError> {
    let weights = quantized_weights(model, quantizers, compat.into());
    let weights = weights.map_err(|error| ExportError::Training(Box::new(error)))?;
    let mut grids = Grids { model: model.clone(), points: Vec::new(), encodings: Vec::new() };
    for (name, weight) in &weights {
        grids.weight(name, weight, quantizers)?;
    }
    for (node, NodeQuantizers { activation, .. }) in quantizers {
        if let Some(quantizer) = activation {
            grids.activation(node, quantizer)?;
        }
    }
    let Grids { model, points, encodings } = grids;
    let widths = encodings.iter().map(|encoding| encoding.grid().bits().map_or(Choice::Float, Choice::Bits));
    let choices: Vec<Choice> = widths.collect();
    Ok((Prepared::with_encodings(model, points, encodings, Biases::Float), choices))
}

/// A network that gets pairs.
struct Grids {
    model: Model,
    points: Vec<Point>,
    encodings: Vec<Encoding>,
}

impl Grids {
    /// Puts the quantized values in place, and a pair behind those of a kernel where they are codes.
    fn weight(
        &mut self,
        name: &str,
        weight: &QuantizedWeight,
        quantizers: &BTreeMap<String, NodeQuantizers>,
    ) -> Result<(), ExportError> {
        let Some(tensor) = self.model.weights.get_mut(name) else { return Ok(()) };
        let shape = tensor.dims().to_vec();
        *tensor = Tensor::from_slice(&weight.values, shape.as_slice(), &Device::Cpu)?;
        let Some(node) = name.strip_suffix(".weight") else { return Ok(()) };
        let kernel = quantizers.get(node).and_then(|quantizers| quantizers.kernel.as_ref());
        let outputs = shape.first().copied().unwrap_or(1);
        let Some(steps) = kernel.and_then(|kernel| steps(kernel, weight, outputs)) else { return Ok(()) };
        let Some(bits) = width_of(&weight.values, &steps) else { return Ok(()) };
        // Zero is the code 0 on all of these grids.
        let offsets = vec![0; steps.len()];
        let encoding = Encoding::given(Grid::symmetric(bits), steps, offsets)
            .map_err(|error| grid_error(node, &error))?;
        self.add(PointKind::Weight, node, weight.values.len(), encoding);
        Ok(())
    }

    /// Turns an activation into a Clip with a pair behind it.
    fn activation(&mut self, name: &str, quantizer: &Quantizer) -> Result<(), ExportError> {
        let refused = || ExportError::Activation { node: name.to_owned(), quantizer: quantizer.spelling() };
        let Codes { low, high, step } = codes(quantizer).ok_or_else(refused)?;
        let node = self.model.graph.nodes.iter_mut().find(|node| node.name == name).ok_or_else(refused)?;
        if !is_activation(&node.op) {
            return Err(ExportError::NoActivation { node: name.to_owned() });
        }
        node.op = Op::Clip { min: (low * step) as f32, max: (high * step) as f32 };
        let grid = WIDTHS.iter().filter_map(|bits| Bits::new(*bits).ok()).map(|bits| match low < 0.0 {
            true => Grid::symmetric(bits),
            false => Grid::asymmetric(bits),
        });
        let mut holding = grid.filter(|grid| f64::from(grid.qmin()) <= low && high <= f64::from(grid.qmax()));
        let grid = holding.next().ok_or_else(refused)?;
        let encoding =
            Encoding::given(grid, vec![step as f32], vec![0]).map_err(|error| grid_error(name, &error))?;
        self.add(PointKind::Activation, name, 0, encoding);
        Ok(())
    }

    fn add(&mut self, kind: PointKind, node: &str, elements: usize, encoding: Encoding) {
        let (ending, tensors) = match kind {
            PointKind::Weight => ("weight", Vec::new()),
            PointKind::Activation => ("output", vec![node.to_owned()]),
        };
        self.points.push(Point {
            name: format!("{node}.{ending}"),
            kind,
            node: node.to_owned(),
            elements,
            tensors,
            passed_on: Vec::new(),
            fixed: false,
        });
        self.encodings.push(encoding);
    }
}

fn grid_error(node: &str, error: &QuantError) -> ExportError {
    ExportError::Grid { node: node.to_owned(), reason: error.to_string() }
}

/// The step of each output's codes, or one for all; none for quantizers whose values are no multiples of one.
fn steps(kernel: &Quantizer, weight: &QuantizedWeight, outputs: usize) -> Option<Vec<f32>> {
    let unit = match kernel {
        Quantizer::Bits(bits) => libm::exp2(f64::from(bits.integer) - f64::from(bits.unsigned_bits())),
        Quantizer::Linear(linear) => {
            let sign = i32::from(linear.keep_negative);
            libm::exp2(f64::from(linear.integer) - f64::from(linear.bits) + f64::from(sign))
        }
        Quantizer::Binary(binary) if !binary.use_01 => 1.0,
        Quantizer::Ternary(_) | Quantizer::StochasticTernary(_) | Quantizer::StochasticBinary(_) => 1.0,
        Quantizer::Binary(_) | Quantizer::Bernoulli(_) | Quantizer::Po2(_) | Quantizer::ReluPo2(_) => {
            return None;
        }
        Quantizer::Relu(_) | Quantizer::Tanh(_) | Quantizer::Sigmoid(_) => return None,
        Quantizer::Ulaw(_) | Quantizer::Hswish(_) => return None,
    };
    let scales = &weight.scale.as_ref()?.data;
    if scales.len() != 1 && scales.len() != outputs {
        return None;
    }
    // A channel of zeros has no scale; any will do.
    let step = |scale: &f32| match (f64::from(*scale) * unit) as f32 {
        step if step.is_normal() => step,
        _ => 1.0,
    };
    Some(scales.iter().map(step).collect())
}

/// The width whose codes the values are.
fn width_of(values: &[f32], steps: &[f32]) -> Option<Bits> {
    /// Values are a float and what is added to it, so that they miss their code by some parts in 2^24.
    const OFF_GRID: f32 = 1e-3;
    let per_step = (values.len() / steps.len()).max(1);
    let codes = values.iter().enumerate().map(|(at, value)| value / steps[at / per_step]);
    let mut largest = 0.0_f32;
    for code in codes {
        if !code.is_finite() || (code - code.round()).abs() > OFF_GRID {
            return None;
        }
        largest = largest.max(if code < 0.0 { -code - 1.0 } else { code });
    }
    let bits = WIDTHS[..2].iter().find(|bits| largest.round() <= f32::from((1_u8 << (**bits - 1)) - 1))?;
    Bits::new(*bits).ok()
}

/// What an activation's quantizer rounds to, where clipping and rounding is all it does.
fn codes(quantizer: &Quantizer) -> Option<Codes> {
    let power = |exponent: f64| libm::exp2(exponent);
    match quantizer {
        Quantizer::Relu(relu)
            if !relu.use_sigmoid
                && relu.negative_slope == 0.0
                && relu.is_quantized_clip
                && relu.qnoise_factor == 1.0
                && relu.relu_upper_bound.is_none() =>
        {
            let (bits, integer) = (f64::from(relu.bits), f64::from(relu.integer));
            Some(Codes { low: 0.0, high: power(bits) - 1.0, step: power(integer - bits) })
        }
        Quantizer::Bits(bits)
            if matches!(bits.alpha, None | Some(Alpha::Number(1.0)))
                && bits.unsigned_bits() > 0
                && bits.qnoise_factor == 1.0 =>
        {
            let (width, integer) = (f64::from(bits.unsigned_bits()), f64::from(bits.integer));
            let symmetric = f64::from(u8::from(bits.symmetric));
            let low = if bits.keep_negative { symmetric - power(width) } else { 0.0 };
            Some(Codes { low, high: power(width) - 1.0, step: power(integer - width) })
        }
        Quantizer::Tanh(tanh) if !tanh.use_real_tanh => {
            let half = power(f64::from(tanh.bits) - 1.0);
            let low = f64::from(u8::from(tanh.symmetric)) - half;
            Some(Codes { low, high: half - 1.0, step: 1.0 / half })
        }
        Quantizer::Relu(_) | Quantizer::Bits(_) | Quantizer::Tanh(_) | Quantizer::Sigmoid(_) => None,
        Quantizer::Po2(_) | Quantizer::ReluPo2(_) | Quantizer::Binary(_) | Quantizer::Ternary(_) => None,
        Quantizer::StochasticBinary(_) | Quantizer::StochasticTernary(_) | Quantizer::Bernoulli(_) => None,
        Quantizer::Linear(_) | Quantizer::Ulaw(_) | Quantizer::Hswish(_) => None,
    }
}
