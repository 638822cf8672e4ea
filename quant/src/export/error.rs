use bitloop_core::graph::GraphError;

use crate::error::one_line;
use crate::prepare::PrepareError;
use crate::train::TrainError;

/// Why a network cannot be written in a format.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Not one choice per point.
    #[error("{given} choices are given for {points} points; give one for each")]
    Choices {
        /// How many choices.
        given: usize,
        /// How many points.
        points: usize,
    },
    /// A bit config names a point that the network does not have.
    #[error(
        "the bit config names `{name}`, which is no point of this network; `bitloop inspect --points` lists them"
    )]
    UnknownPoint {
        /// The name.
        name: String,
    },
    /// A bit config has a width that no quantizer has.
    #[error("the bit config gives `{name}` {bits} bits; choose 2 to 8, 16, or 32 for float")]
    Width {
        /// The point.
        name: String,
        /// The width.
        bits: u64,
    },
    /// The bytes are no bit config.
    #[error("the bit config is no JSON object of names and widths: {reason}")]
    NotBitConfig {
        /// Why.
        reason: String,
    },
    /// Widths without a type in ONNX.
    #[error(
        "ONNX has integers of 4, 8 and 16 bits only, but {points}; export an encodings file, or choose other widths for these points"
    )]
    OddWidths {
        /// Each such point with its width.
        points: String,
    },
    /// The prepared network lacks what is asked for.
    #[error(transparent)]
    Prepared(Box<PrepareError>),
    /// The graph makes no sense.
    #[error("the model's graph is not valid: {0}")]
    Graph(#[from] GraphError),
    /// A constant stands where ONNX would need a batch.
    #[error(
        "node `{node}` reads nothing that depends on the image, which an ONNX file with a free batch cannot say"
    )]
    Constant {
        /// The node.
        node: String,
    },
    /// A node and a weight have one name.
    #[error("two tensors would be called `{name}` in the file; rename the node")]
    Name {
        /// The name.
        name: String,
    },
    /// More than a file of this kind may hold.
    #[error(
        "the file would have {bytes} bytes, ONNX allows 2^31 - 1; data outside of the file is not written"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// An activation's quantizer does more than clipping and rounding.
    #[error(
        "node `{node}` has {quantizer}, which no pair of QuantizeLinear and DequantizeLinear gives; export the checkpoint"
    )]
    Activation {
        /// The node.
        node: String,
        /// Its quantizer.
        quantizer: String,
    },
    /// A quantizer stands behind a node that is no activation function.
    #[error(
        "node `{node}` has a quantizer of its output, but is no activation function; export the checkpoint"
    )]
    NoActivation {
        /// The node.
        node: String,
    },
    /// A grid has no encoding.
    #[error("the quantizer of node `{node}` has no encoding: {reason}")]
    Grid {
        /// The node.
        node: String,
        /// Why.
        reason: String,
    },
    /// Weights cannot be quantized.
    #[error(transparent)]
    Training(Box<TrainError>),
    /// A weight cannot be read.
    #[error("reading a weight failed: {}", one_line(.0))]
    Tensor(#[from] candle_core::Error),
}

impl From<PrepareError> for ExportError {
    fn from(error: PrepareError) -> Self {
        Self::Prepared(Box::new(error))
    }
}
