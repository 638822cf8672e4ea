use crate::engine::EngineError;
use crate::evaluate::EvaluateError;
use crate::kernels::{KERNELS_VARIABLE, KernelsError};
use crate::lanes::LaneError;
use crate::prepare::PrepareError;

/// A network cannot be executed.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// It cannot be evaluated either.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// There is nothing to compute, or nobody who would.
    #[error("an inference of {images} images by {threads} threads is none; give at least 1 of each")]
    Setting {
        /// Images.
        images: usize,
        /// Threads.
        threads: usize,
    },
    /// The bit config leaves out a point.
    #[error("the bit config says nothing of point `{0}`; give each point a width, or null to leave it float")]
    MissingPoint(String),
    /// The bit config names a point that the network lacks.
    #[error("the bit config names point `{0}`, which the network does not have")]
    UnknownPoint(String),
    /// No quantizer has this width.
    #[error("point `{point}` cannot have {bits} bits; give 2 to 16")]
    Bits {
        /// The point.
        point: String,
        /// What was asked for.
        bits: u32,
    },
    /// The network lacks a node that is asked for.
    #[error("the network has no node `{0}`")]
    UnknownNode(String),
    /// Values that are no images of the network's shape.
    #[error("{values} values are no whole number of images of {elements} values each")]
    Images {
        /// How many.
        values: usize,
        /// Of an image.
        elements: usize,
    },
    /// Values that no pixel has.
    #[error(
        "value {index} of the images is {value}, which no pixel of a byte gives with the network's mean and deviation; the integer kernels take images of bytes"
    )]
    NoPixel {
        /// Position in the images.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The environment rules the engine out.
    #[error("only bitloop's own kernels for processors can be measured this way; unset {KERNELS_VARIABLE}")]
    Kernels,
}

impl InferenceError {
    /// Whether it is this machine that cannot compute the network now; otherwise none can.
    pub fn is_of_this_machine(&self) -> bool {
        match self {
            Self::Kernels => true,
            Self::Evaluate(error) => {
                matches!(error, EvaluateError::Lanes(_) | EvaluateError::Kernels(_) | EvaluateError::Exact)
            }
            Self::Setting { .. }
            | Self::MissingPoint(_)
            | Self::UnknownPoint(_)
            | Self::Bits { .. }
            | Self::UnknownNode(_)
            | Self::Images { .. }
            | Self::NoPixel { .. } => false,
        }
    }
}

impl From<EngineError> for InferenceError {
    fn from(error: EngineError) -> Self {
        Self::Evaluate(error.into())
    }
}

impl From<PrepareError> for InferenceError {
    fn from(error: PrepareError) -> Self {
        Self::Evaluate(error.into())
    }
}

impl From<KernelsError> for InferenceError {
    fn from(error: KernelsError) -> Self {
        Self::Evaluate(error.into())
    }
}

impl From<LaneError> for InferenceError {
    fn from(error: LaneError) -> Self {
        Self::Evaluate(error.into())
    }
}

impl From<candle_core::Error> for InferenceError {
    fn from(error: candle_core::Error) -> Self {
        Self::Evaluate(error.into())
    }
}
