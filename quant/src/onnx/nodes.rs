//! What a runtime says of an ONNX file's nodes, in the words of the network that was written.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::encoded;
use super::error::ImportError;
use super::schema::{GraphProto, ModelProto, NodeProto, ValueInfoProto};

/// Operators of quantizers; Clip is one where it stands behind a QuantizeLinear.
const QUANTIZERS: [&str; 2] = ["QuantizeLinear", "DequantizeLinear"];

/// Operators whose kernels take up what stands behind them.
const LAYERS: [&str; 3] = ["Conv", "Gemm", "MatMul"];

/// Operators that such a kernel takes up.
const TAKEN_UP: [&str; 7] =
    ["Add", "BatchNormalization", "Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid"];

/// Why a file has no such outputs.
#[derive(Debug, thiserror::Error)]
pub enum OutputsError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] ImportError),
    /// It has no node of this name.
    #[error("the ONNX file has no node `{node}`")]
    NoNode {
        /// The name.
        node: String,
    },
    /// It gets larger than the format allows.
    #[error("the ONNX file would have {bytes} bytes, and may have 2^31 - 1")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// A file's nodes as runtimes' kernels are named after them.
#[derive(Clone, Debug, Default)]
pub struct Kernels {
    /// By node of the file: the node of the network.
    layers: BTreeMap<String, String>,
    /// The layer that a node stands behind, with nothing between but what the layer's kernel takes up.
    before: BTreeMap<String, String>,
}

impl Kernels {
    /// Reads the nodes of a file that bitloop wrote.
    ///
    /// Errors: `NotOnnx`, `NoGraph`.
    pub fn of(bytes: &[u8]) -> Result<Self, ImportError> {
        let (_, graph) = read(bytes)?;
        let by_output: BTreeMap<&str, &NodeProto> =
            graph.node.iter().filter_map(|node| Some((node.output.first()?.as_str(), node))).collect();
        let names: BTreeSet<&str> = graph.node.iter().map(|node| node.name.as_str()).collect();
        let mut kernels = Self::default();
        for node in graph.node.iter().filter(|node| !is_quantizer(node, &by_output)) {
            let whole = node.name.strip_suffix(".flatten").filter(|whole| names.contains(whole));
            kernels.layers.insert(node.name.clone(), whole.unwrap_or(&node.name).to_owned());
            if let Some(layer) = layer_before(node, &by_output) {
                kernels.before.insert(node.name.clone(), layer.to_owned());
            }
        }
        Ok(kernels)
    }

    /// The node of the network that a node of the file belongs to; none for what converts between types.
    ///
    /// `is_layer` says that its kernel computes a layer: then it is that layer's, whatever of what the kernel took up gave it its
    /// name.
    pub fn node_of(&self, name: &str, is_layer: bool) -> Option<&str> {
        let layer = self.before.get(name).filter(|_| is_layer);
        layer.or_else(|| self.layers.get(name)).map(String::as_str)
    }
}

/// Returns the file with what these nodes give as further outputs, behind their quantizers, and the names of those outputs.
///
/// Errors: [`OutputsError`].
pub fn with_outputs(bytes: &[u8], nodes: &[String]) -> Result<(Vec<u8>, Vec<String>), OutputsError> {
    let (mut file, mut graph) = read(bytes)?;
    let mut tensors = Vec::new();
    for node in nodes {
        let tensor = tensor_of(&graph, node).ok_or_else(|| OutputsError::NoNode { node: node.clone() })?;
        if !graph.output.iter().any(|output| output.name == tensor) {
            // The type is left to the runtime's own inference.
            graph.output.push(ValueInfoProto { name: tensor.clone(), ..ValueInfoProto::default() });
        }
        tensors.push(tensor);
    }
    file.graph = Some(graph);
    let bytes = encoded(&file).map_err(|bytes| OutputsError::TooLarge { bytes })?;
    Ok((bytes, tensors))
}

fn read(bytes: &[u8]) -> Result<(ModelProto, GraphProto), ImportError> {
    let mut file =
        ModelProto::decode(bytes).map_err(|error| ImportError::NotOnnx { reason: error.to_string() })?;
    let graph = file.graph.take().ok_or(ImportError::NoGraph)?;
    Ok((file, graph))
}

fn is_quantizer(node: &NodeProto, by_output: &BTreeMap<&str, &NodeProto>) -> bool {
    let is_one = |node: &NodeProto| QUANTIZERS.contains(&node.op_type.as_str());
    let reads_codes = || {
        let source = node.input.first().and_then(|input| by_output.get(input.as_str()));
        source.is_some_and(|source| source.op_type == QUANTIZERS[0])
    };
    is_one(node) || (node.op_type == "Clip" && reads_codes())
}

/// Goes from a node to what it reads first until there is a layer.
fn layer_before<'a>(node: &'a NodeProto, by_output: &BTreeMap<&str, &'a NodeProto>) -> Option<&'a str> {
    let mut node = node;
    // No kernel takes up more, and no file keeps us going round in a circle.
    for _ in 0..TAKEN_UP.len() {
        if TAKEN_UP.contains(&node.op_type.as_str()) {
            node = by_output.get(node.input.first()?.as_str())?;
        }
    }
    LAYERS.contains(&node.op_type.as_str()).then_some(node.name.as_str())
}

/// The tensor that stands for what a node gives: behind its quantizer, whose nodes are named after it, if it has one.
fn tensor_of(graph: &GraphProto, node: &str) -> Option<String> {
    let output = |node: &NodeProto| node.output.first().cloned();
    let dequantizer = format!("{node}.dequantize");
    let quantized = graph.node.iter().find(|node| node.name == dequantizer).and_then(output);
    let gives = |other: &&NodeProto| other.output.first().is_some_and(|output| output == node);
    quantized.or_else(|| graph.node.iter().find(gives).and_then(output))
}
