//! What of a network is quantized and how, by node: what every format is written from.

use std::collections::BTreeMap;

use bitloop_core::graph::{Graph, Op, Point, PointKind};
use bitloop_core::trial::Biases;

use super::{ExportError, Exported};
use crate::quantizer::Encoding;

/// The bias of a layer.
pub(super) enum Bias {
    /// As it is.
    Float(Vec<f32>),
    /// Codes of steps; one step, or one per channel.
    Int32 { codes: Vec<i32>, scale: Vec<f32> },
}

/// Quantizers and biases by node.
pub(super) struct Parts<'a> {
    pub(super) weights: BTreeMap<&'a str, &'a Encoding>,
    /// Of outputs, [`bitloop_core::graph::INPUT`] among them.
    pub(super) outputs: BTreeMap<&'a str, &'a Encoding>,
    pub(super) biases: BTreeMap<&'a str, Bias>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(exported: &Exported<'a>) -> Result<Self, ExportError> {
        let prepared = exported.prepared;
        let mut parts = Self { weights: BTreeMap::new(), outputs: BTreeMap::new(), biases: BTreeMap::new() };
        for (index, point) in prepared.points.iter().enumerate() {
            let Some(encoding) = exported.encoding(index)? else { continue };
            match point.kind {
                PointKind::Weight => {
                    parts.weights.insert(&point.node, encoding);
                }
                PointKind::Activation => {
                    parts.outputs.extend(point.tensors.iter().map(|tensor| (tensor.as_str(), encoding)));
                }
            }
        }
        for layer in prepared.model.graph.layer_costs_with(&prepared.points)? {
            let Some(node) = prepared.model.graph.node(&layer.node) else { continue };
            let Some(values) = bias_values(exported, &node.name)? else { continue };
            let input = layer.input_point.and_then(|name| position(&prepared.points, &name));
            let input = input.map(|index| exported.encoding(index)).transpose()?.flatten();
            let bias = match (prepared.biases, input, parts.weights.get(node.name.as_str())) {
                (Biases::Int32, Some(input), Some(weight)) => {
                    let summands =
                        prepared.model.weights[&format!("{}.weight", node.name)].dims()[1..].iter();
                    in_steps(&values, input, weight, summands.product())
                }
                (Biases::Int32 | Biases::Float, _, _) => Bias::Float(values),
            };
            parts.biases.insert(&node.name, bias);
        }
        Ok(parts)
    }
}

fn position(points: &[Point], name: &str) -> Option<usize> {
    points.iter().position(|point| point.name == name)
}

/// The bias of a layer: corrected for the width of its weight if that was prepared; none if it has none.
fn bias_values(exported: &Exported<'_>, layer: &str) -> Result<Option<Vec<f32>>, ExportError> {
    let prepared = exported.prepared;
    let weight = |point: &Point| point.kind == PointKind::Weight && point.node == layer;
    let choice = prepared.points.iter().position(weight).map(|index| exported.choices[index]);
    let corrected = match choice {
        Some(bitloop_core::bits::Choice::Bits(bits)) => prepared.corrected_bias(layer, bits),
        Some(bitloop_core::bits::Choice::Float) | None => None,
    };
    let bias = corrected.or_else(|| prepared.model.weights.get(&format!("{layer}.bias")));
    Ok(bias.map(|bias| bias.to_vec1::<f32>()).transpose()?)
}

/// Rounds a bias as evaluation does, to steps of both scales' product.
///
/// Where weights are next to nothing, steps are too, and a bias has more of them than 32 bits hold. Runtimes add products to it in
/// 32 bits, so that it keeps as far from their ends as the sum of so many can get.
fn in_steps(values: &[f32], input: &Encoding, weight: &Encoding, summands: usize) -> Bias {
    let scale: Vec<f32> = weight.scale().iter().map(|scale| input.scale()[0] * scale).collect();
    let (inputs, weights) = (input.grid(), weight.grid());
    let product = i64::from(inputs.qmax() - inputs.qmin()) * i64::from(weights.qmax().max(-weights.qmin()));
    let largest = i64::from(i32::MAX);
    let sum = i64::try_from(summands).unwrap_or(largest).saturating_mul(product);
    // Sums of wider codes are not made in 32 bits.
    let limit = (largest - sum.min(largest / 2)) as f64;
    let code = |(value, step): (&f32, &f32)| {
        let code = (f64::from(*value) / f64::from(*step)).round_ties_even();
        // The cast takes the 0 / 0 of a step that vanished as 0.
        code.clamp(-limit, limit) as i32
    };
    let codes = values.iter().zip(scale.iter().cycle()).map(code).collect();
    Bias::Int32 { codes, scale }
}

/// The tensor of a file that has a node's output: a constant is its own initializer.
pub(super) fn tensor_name(graph: &Graph, node: &str) -> String {
    match graph.node(node).map(|node| &node.op) {
        Some(Op::Constant { .. }) => format!("{node}.value"),
        Some(_) | None => node.to_owned(),
    }
}
