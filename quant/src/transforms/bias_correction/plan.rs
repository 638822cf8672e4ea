//! Which layers are measured, and the corrections that follow from batch norms alone.

use std::collections::BTreeMap;

use bitloop_core::graph::{Graph, Node, Op};
use candle_core::Tensor;

use super::expectation::Activation;
use super::{BiasCorrection, Mode, shifted};
use crate::transforms::layer::Layer;
use crate::transforms::{Norms, TransformError, Transformed};

/// Which layers are measured, and what the others' inputs are on average.
pub(super) struct Plan<'a> {
    request: &'a BiasCorrection<'a>,
    /// Mean input of the layers that are not measured, `(in,)`.
    means: BTreeMap<&'a str, Vec<f64>>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(request: &'a BiasCorrection<'a>) -> Result<Self, TransformError> {
        let Transformed { model, norms, .. } = request.network;
        let mut means = BTreeMap::new();
        let layers = model.graph.nodes.iter().filter(|node| node.op.has_weight());
        match request.mode {
            Mode::Empirical => {}
            Mode::Analytic => {
                for (index, layer) in layers.enumerate() {
                    let mean = match index {
                        0 => Some(vec![0.0; Layer::read(model, &layer.name)?.inputs()]),
                        _ => mean_input(&model.graph, norms, layer),
                    };
                    means.extend(mean.map(|mean| (layer.name.as_str(), mean)));
                }
            }
        }
        Ok(Self { request, means })
    }

    pub(super) fn measures(&self, node: &str) -> bool {
        let op = self.request.network.model.graph.node(node).map(|node| &node.op);
        op.is_some_and(Op::has_weight) && !self.means.contains_key(node)
    }

    /// The biases that need no images.
    pub(super) fn unmeasured(&self) -> Result<BTreeMap<String, Tensor>, TransformError> {
        let model = &self.request.network.model;
        let mut biases = BTreeMap::new();
        for (name, mean) in &self.means {
            let layer = Layer::read(model, name)?;
            let bias = layer.bias_or_zeros();
            if mean.len() != layer.inputs() {
                return Err(TransformError::Weight { name: format!("{name}.weight") });
            }
            let shift = match self.request.quantized.get(&format!("{name}.weight")) {
                None => vec![0.0; bias.len()],
                // The float weight minus the quantized one: its response is what has to be added.
                Some(quantized) => layer.minus(quantized)?.response(mean),
            };
            biases.insert((*name).to_owned(), shifted(name, bias, &shift)?);
        }
        Ok(biases)
    }
}

/// Returns the mean input of a convolution, if batch norms tell it.
fn mean_input(graph: &Graph, norms: &Norms, layer: &Node) -> Option<Vec<f64>> {
    if !matches!(layer.op, Op::Conv2d(_)) {
        return None;
    }
    if let Some(mean) = norms.input_means.get(&layer.name) {
        return Some(mean.iter().map(|mean| f64::from(*mean)).collect());
    }
    let only_producer = |node: &Node| {
        let producer = graph.node(node.inputs.first()?)?;
        let readers = graph.nodes.iter().flat_map(|node| &node.inputs).filter(|name| **name == producer.name);
        (readers.count() == 1).then_some(producer)
    };
    let before = only_producer(layer)?;
    let (activation, producer) = match before.op {
        Op::Relu => (Activation::Relu, only_producer(before)?),
        Op::Relu6 => (Activation::Relu6, only_producer(before)?),
        _ => (Activation::None, before),
    };
    let norm = norms.outputs.get(&producer.name)?;
    let channels = norm.beta.iter().zip(&norm.gamma);
    Some(channels.map(|(beta, gamma)| activation.mean(f64::from(*beta), f64::from(*gamma))).collect())
}
