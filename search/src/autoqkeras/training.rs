//! From a network of the space to what a worker trains.

use std::collections::BTreeMap;

use bitloop_core::graph::{Graph, Op};
use bitloop_core::qkeras::{Grammar, ParseError, Quantizer};
use bitloop_core::trial::NodeQuantizers;

use crate::network::{Kind, Layer, Network};

/// What of a network differs from the graph that it was made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Quantizers by node.
    pub quantizers: BTreeMap<String, NodeQuantizers>,
    /// Output channels and features by node, where they are others.
    pub outputs: BTreeMap<String, usize>,
}

impl Changes {
    /// Finds the quantizers and filter counts of a network whose layers are a graph's nodes.
    ///
    /// Errors: a quantizer that cannot be read.
    pub fn of(network: &Network, graph: &Graph, grammar: Grammar) -> Result<Self, ParseError> {
        let mut changes = Self::default();
        for layer in &network.layers {
            let Some(node) = graph.node(&layer.name) else { continue };
            let outputs = match &node.op {
                Op::Conv2d(conv) => layer.filters.filter(|filters| *filters != conv.out_channels),
                Op::Linear(linear) => layer.units.filter(|units| *units != linear.out_features),
                _ => None,
            };
            changes.outputs.extend(outputs.map(|outputs| (layer.name.clone(), outputs)));
            // Batch norms that a limit lists are of QKeras's class, though nothing of them is quantized.
            let is_listed = layer.class.quantized && layer.class.kind == Kind::BatchNormalization;
            let quantizers = quantizers(layer, grammar)?;
            if is_listed || quantizers != NodeQuantizers::default() {
                changes.quantizers.insert(layer.name.clone(), quantizers);
            }
        }
        Ok(changes)
    }
}

fn quantizers(layer: &Layer, grammar: Grammar) -> Result<NodeQuantizers, ParseError> {
    if !layer.class.quantized {
        return Ok(NodeQuantizers::default());
    }
    let read = |text: Option<&str>| text.map(|text| Quantizer::parse(text, grammar)).transpose();
    // Batch norms are listed without quantizers; their arithmetic stays that of floats.
    if layer.class.kind == Kind::BatchNormalization {
        return Ok(NodeQuantizers::default());
    }
    let activation = layer.activation().filter(|text| !matches!(*text, "linear" | "softmax"));
    Ok(NodeQuantizers {
        kernel: read(layer.quantizer(0))?,
        bias: read(layer.quantizer(1))?,
        activation: read(activation)?,
    })
}
