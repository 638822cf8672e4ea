use std::path::PathBuf;

use bitloop_core::graph::{GraphError, Shape};

use crate::error::one_line;
use crate::quantizer::QuantError;

/// What is wrong with a model file; every variant names the place.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read or written.
    #[error("cannot {action} model file `{}`: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file was read, its content is unusable.
    #[error("model file `{}`: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<ModelError>,
    },
    /// The bytes are no whole safetensors file.
    #[error("not a safetensors file, or only a part of one ({reason}); copy or train the model again")]
    NotSafetensors {
        /// What the reader says.
        reason: String,
    },
    /// Tensors alone do not say what network they belong to.
    #[error("a plain safetensors file without a graph; make a model file from it with `bitloop import`")]
    NoGraph,
    /// The file is of another version.
    #[error(
        "format version `{found}` is not known, only `{supported}`; use the bitloop release that wrote the file"
    )]
    Version {
        /// The file's.
        found: String,
        /// Ours.
        supported: &'static str,
    },
    /// The graph's text cannot be read.
    #[error("the graph in the metadata cannot be read: {reason}")]
    GraphText {
        /// What the reader says.
        reason: String,
    },
    /// The graph makes no sense.
    #[error("the graph is not valid: {0}")]
    Graph(#[from] GraphError),
    /// The input's normalization divides by zero, or is not finite.
    #[error(
        "the input's mean {mean} and standard deviation {std} of channel {channel} do not normalize anything"
    )]
    Normalization {
        /// Which channel.
        channel: usize,
        /// Its mean.
        mean: f32,
        /// Its standard deviation.
        std: f32,
    },
    /// A node's weight is missing.
    #[error("tensor `{name}` of shape {shape} is missing; the graph's nodes need it")]
    MissingTensor {
        /// The tensor.
        name: String,
        /// The shape it should have.
        shape: Shape,
    },
    /// A tensor belongs to no node.
    #[error("tensor `{name}` belongs to no node of the graph; remove it or add its node")]
    UnexpectedTensor {
        /// The tensor.
        name: String,
    },
    /// A tensor is not in f32.
    #[error("tensor `{name}` has type {found}; weights are f32, convert it")]
    Type {
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// A tensor does not fit its node.
    #[error("tensor `{name}` has shape {found}, its node needs {expected}")]
    Shape {
        /// The tensor.
        name: String,
        /// What the graph needs.
        expected: Shape,
        /// What the file has.
        found: Shape,
    },
    /// A weight is NaN or infinite.
    #[error(
        "tensor `{name}` has the value {value} at index {index}; the training has diverged or the file is damaged"
    )]
    NotFinite {
        /// The tensor.
        name: String,
        /// Position in row-major order.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A batch norm would divide by zero or take the root of a negative number.
    #[error(
        "tensor `{name}` has the variance {value} at index {index}, which is not positive with eps {eps} added"
    )]
    Variance {
        /// The tensor.
        name: String,
        /// Channel.
        index: usize,
        /// The variance.
        value: f32,
        /// What is added to it.
        eps: f64,
    },
    /// The encodings' text cannot be read.
    #[error("the encodings in the metadata cannot be read: {reason}")]
    EncodingText {
        /// What the reader says.
        reason: String,
    },
    /// An encoding is of no quantizer.
    #[error("the encoding of `{point}`: {source}")]
    Encoding {
        /// The point.
        point: String,
        /// Why.
        source: QuantError,
    },
    /// An encoding belongs to no tensor.
    #[error(
        "the encoding of `{point}` belongs to no layer's weight and no node's output of the graph; remove it"
    )]
    UnknownEncoding {
        /// The point.
        point: String,
    },
    /// An encoding has scales for another number of channels.
    #[error(
        "the encoding of `{point}` has {scales} scales; give 1 or, for a weight, one per channel ({channels})"
    )]
    EncodingChannels {
        /// The point.
        point: String,
        /// How many scales it has.
        scales: usize,
        /// How many channels the tensor may have scales for.
        channels: usize,
    },
    /// candle cannot make or read a tensor.
    #[error("tensor `{name}`: {}", one_line(source))]
    Tensor {
        /// The tensor.
        name: String,
        /// What candle says.
        source: candle_core::Error,
    },
}
