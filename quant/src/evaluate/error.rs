use bitloop_core::graph::GraphError;

use crate::data::DataError;
use crate::engine::EngineError;
use crate::error::one_line;
use crate::kernels::{KERNELS_VARIABLE, KernelsError};
use crate::lanes::LaneError;
use crate::prepare::PrepareError;
use crate::quantizer::QuantError;

/// Why an evaluation is not possible; every variant names the place.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The model's graph makes no sense.
    #[error("the model's graph is not valid: {0}")]
    Graph(#[from] GraphError),
    /// The images do not fit.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The prepared model lacks what the bit config asks for.
    #[error(transparent)]
    Prepared(Box<PrepareError>),
    /// No threads.
    #[error(transparent)]
    Lanes(#[from] LaneError),
    /// The context was made for another model, or by a release that counts points differently.
    #[error(
        "point {index} is `{graph}` in the model but `{context}` in the experiment; submit the experiment with this model and release"
    )]
    Points {
        /// Position of the first difference.
        index: usize,
        /// The model's name for it; empty if it has fewer points.
        graph: String,
        /// The context's name for it; empty if it has fewer points.
        context: String,
    },
    /// The bit config names a point that does not exist.
    #[error("the bit config names point {index}, the model has {points} points")]
    UnknownPoint {
        /// The index.
        index: u32,
        /// Number of points.
        points: usize,
    },
    /// The network knows fewer classes than the images have.
    #[error(
        "the model has {logits} outputs for images of {classes} classes; use the data set that it was trained on"
    )]
    Classes {
        /// Number of logits.
        logits: usize,
        /// Classes of the images.
        classes: u32,
    },
    /// A logit is NaN or infinite.
    #[error(
        "logit {class} of image {image} is {value}, and the output of node `{node}` is the first that is not finite; the network cannot be evaluated with this bit config"
    )]
    NotFinite {
        /// Position of the image in the data artifact.
        image: usize,
        /// Class.
        class: usize,
        /// The value.
        value: f32,
        /// The first node whose output has a value for this image that is NaN or infinite.
        node: String,
    },
    /// A weight cannot be quantized.
    #[error("point `{point}`: {source}")]
    Quantizer {
        /// The point.
        point: String,
        /// Why.
        source: QuantError,
    },
    /// The kernels that the environment asks for.
    #[error(transparent)]
    Kernels(#[from] KernelsError),
    /// Only our own kernels compute with integers.
    #[error(
        "`numerics: exact` is computed by bitloop's kernels for CPUs alone; use CPU workers without {KERNELS_VARIABLE}=candle or =cuda, or `numerics: float`"
    )]
    Exact,
    /// The network cannot be executed.
    #[error("evaluating failed: {}", one_line(.0))]
    Execute(#[from] candle_core::Error),
}

impl From<EngineError> for EvaluateError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Graph(error) => Self::Graph(error),
            EngineError::Prepared(error) => Self::Prepared(error),
            EngineError::Quantizer { point, source } => Self::Quantizer { point, source },
            EngineError::Weight(error) => Self::Execute(error),
        }
    }
}

impl From<PrepareError> for EvaluateError {
    fn from(error: PrepareError) -> Self {
        Self::Prepared(Box::new(error))
    }
}
