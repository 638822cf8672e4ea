//! Bias correction: what quantized weights add to the mean of a layer's outputs is taken off its bias.
//!
//! Start at [`bias_correction`]. `plan` says which layers need images and computes the others; `walk` takes the float and
//! the quantized network side by side, node by node, over all images at once: when a layer is measured, every layer
//! before it is corrected already, and no node is computed twice.

mod expectation;
mod plan;
mod walk;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use bitloop_core::graph::{Graph, GraphError, INPUT, Node, Op, Shape};
use candle_core::{DType, Device, Tensor};

use super::layer::Layer;
use super::{TransformError, Transformed};
use crate::calibration::Sample;
use crate::executor;
use crate::model::Model;
use crate::network;
use crate::quantizer::Encoding;

use plan::Plan;
use walk::Walk;

/// Images that are computed together on one thread.
const BLOCK_IMAGES: usize = 32;

/// How the shift of a layer's outputs is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Measured on images.
    Empirical,
    /// Computed for convolutions behind a batch norm (and a ReLU or ReLU6), measured elsewhere. The first layer is left
    /// alone, as a normalized input has the mean 0.
    Analytic,
}

/// One assignment of widths whose biases are to be corrected.
#[derive(Clone, Copy, Debug)]
pub struct BiasCorrection<'a> {
    /// The float network, batch norms folded, and what is known of its activations.
    pub network: &'a Transformed,
    /// Quantized weights by their names in the model; what is not in here stays float.
    pub quantized: &'a BTreeMap<String, Tensor>,
    /// The grid of the quantized network's input, if that has one.
    pub input: Option<&'a Encoding>,
    /// How.
    pub mode: Mode,
}

/// Returns the corrected bias `(out,)` of every convolution and linear layer; `None` if `stop` became true.
///
/// For layers in order: `b -= mean of (y_quantized - y_float)` over images and pixels, or `b -= (Wq - W) E[x]`. A layer
/// without a bias gets one. Activations are not quantized, but for the input. The result does not depend on `threads`.
/// It holds the tensors between nodes for all images: [`live_bytes_per_image`] times their number.
///
/// Shapes: `blocks` normalized images `(n, channels, height, width)` f32 each; as [`calibration_blocks`] makes them.
/// Errors: `NoImages`, `UnknownQuantized`, `NotFinite` naming the layer, `Weight`, `Input`, `Lanes`, `Execute`.
/// Source: `/design/methods/aimet_and_demotion.md` section 1.5, with `|gamma|`, and with the batch norm's running mean as
/// the input of a layer that took over the batch norm before it (its beta is the mean of a tensor that is gone).
pub fn bias_correction(
    request: &BiasCorrection<'_>,
    blocks: Vec<Tensor>,
    threads: usize,
    stop: &AtomicBool,
) -> Result<Option<BTreeMap<String, Tensor>>, TransformError> {
    let model = &request.network.model;
    let plan = Plan::new(request)?;
    let mut walk = Walk::new(&model.weights, quantized_weights(request)?, threads, stop)?;
    let mut biases = plan.unmeasured()?;
    let last_measured = model.graph.nodes.iter().rposition(|node| plan.measures(&node.name));
    if last_measured.is_some() {
        walk.begin(blocks, request.input)?;
    }
    let nodes = last_measured.map_or(&[][..], |last| &model.graph.nodes[..=last]);
    for (layer, bias) in &biases {
        walk.set_bias(layer, bias);
    }
    for (index, node) in nodes.iter().enumerate() {
        let Some(outputs) = walk.outputs(node)? else { return Ok(None) };
        let outputs = match plan.measures(&node.name) {
            false => outputs,
            true => {
                let bias = Layer::read(model, &node.name)?.bias_or_zeros();
                let Some((bias, outputs)) = walk.corrected(node, bias, outputs)? else { return Ok(None) };
                biases.insert(node.name.clone(), bias);
                outputs
            }
        };
        walk.keep(&nodes[index..], outputs);
    }
    Ok(Some(biases))
}

/// Returns the model with other biases; layers that had none get one.
///
/// Errors: `Bias` for a tensor that fits no layer, `Unusable`.
pub fn with_biases(model: &Model, biases: &BTreeMap<String, Tensor>) -> Result<Model, TransformError> {
    let mut changed = model.clone();
    for (layer, bias) in biases {
        let wrong = || TransformError::Bias { layer: layer.clone(), found: Shape(bias.dims().to_vec()) };
        let op = changed.graph.nodes.iter_mut().find(|node| node.name == *layer).map(|node| &mut node.op);
        let (outputs, has_bias) = match op {
            Some(Op::Conv2d(conv)) => (conv.out_channels, &mut conv.bias),
            Some(Op::Linear(linear)) => (linear.out_features, &mut linear.bias),
            _ => return Err(wrong()),
        };
        if bias.dims() != [outputs] {
            return Err(wrong());
        }
        *has_bias = true;
        changed.weights.insert(format!("{layer}.bias"), bias.clone());
    }
    let transform = "bias_correction";
    Model::new(changed.graph, changed.weights)
        .map_err(|source| TransformError::Unusable { transform, source: Box::new(source) })
}

/// Returns a sample of images as normalized blocks.
///
/// Errors: `Data`, `Execute`.
pub fn calibration_blocks(model: &Model, sample: Sample<'_>) -> Result<Vec<Tensor>, TransformError> {
    let Sample { images, range, .. } = sample;
    images.check_shape(&model.graph.input.shape)?;
    let per_image = images.shape.elements();
    let blocks = network::blocks(images.range(range)?, BLOCK_IMAGES).into_iter();
    let normalized = blocks.map(|block| {
        let pixels = &images.pixels[block.start * per_image..block.end * per_image];
        executor::normalize(&model.graph.input, pixels, block.len(), &Device::Cpu)
    });
    Ok(normalized.collect::<candle_core::Result<_>>()?)
}

/// Returns the bytes per image that a [`bias_correction`] holds at most in tensors, for both networks.
///
/// Errors: those of [`Graph::shapes`].
pub fn live_bytes_per_image(graph: &Graph) -> Result<u64, GraphError> {
    let shapes = graph.shapes()?;
    let mut live: BTreeMap<&str, usize> = BTreeMap::from([(INPUT, graph.input.shape.elements())]);
    let mut peak = 2 * graph.input.shape.elements();
    for (index, (node, shape)) in graph.nodes.iter().zip(&shapes).enumerate() {
        live.insert(&node.name, shape.elements());
        // A layer's quantized outputs are there twice while they are shifted.
        let shifted = if node.op.has_weight() { shape.elements() } else { 0 };
        peak = peak.max(2 * live.values().sum::<usize>() + shifted);
        live.retain(|name, _| is_read(&graph.nodes[index + 1..], name));
    }
    Ok((peak * DType::F32.size_in_bytes()) as u64)
}

/// Whether one of the nodes reads `name`.
fn is_read(nodes: &[Node], name: &str) -> bool {
    nodes.iter().any(|node| node.inputs.iter().any(|input| input == name))
}

/// The float weights with the quantized ones put over them.
fn quantized_weights(request: &BiasCorrection<'_>) -> Result<BTreeMap<String, Tensor>, TransformError> {
    let mut weights = request.network.model.weights.clone();
    for (name, tensor) in request.quantized {
        match weights.get_mut(name) {
            Some(weight) if weight.dims() == tensor.dims() => *weight = tensor.clone(),
            _ => {
                let found = Shape(tensor.dims().to_vec());
                return Err(TransformError::UnknownQuantized { name: name.clone(), found });
            }
        }
    }
    Ok(weights)
}

/// Returns the bias plus the shift, `(out,)`.
fn shifted(layer: &str, bias: Vec<f32>, shift: &[f64]) -> Result<Tensor, TransformError> {
    if shift.iter().any(|shift| !shift.is_finite()) {
        return Err(TransformError::NotFinite { layer: layer.to_owned() });
    }
    let bias: Vec<f32> =
        bias.into_iter().zip(shift).map(|(bias, shift)| (f64::from(bias) + shift) as f32).collect();
    let len = bias.len();
    Ok(Tensor::from_vec(bias, len, &Device::Cpu)?)
}
