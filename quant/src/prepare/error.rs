use bitloop_core::bits::Bits;
use bitloop_core::graph::GraphError;

use crate::calibration::CalibrationError;
use crate::evaluate::EvaluateError;
use crate::lanes::LaneError;
use crate::model::ModelError;
use crate::quantizer::QuantError;
use crate::transforms::TransformError;

/// Why a model cannot be prepared, or a prepared model not be read.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A transform failed.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// The threads cannot be started.
    #[error(transparent)]
    Lanes(#[from] LaneError),
    /// The model cannot be calibrated.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// What a transform costs cannot be measured.
    #[error(transparent)]
    Evaluate(Box<EvaluateError>),
    /// The graph makes no sense.
    #[error("the model's graph is not valid: {0}")]
    Graph(#[from] GraphError),
    /// A point has no encoding.
    #[error("point `{point}`: {source}")]
    Quantizer {
        /// The point.
        point: String,
        /// Why.
        source: QuantError,
    },
    /// A point's tensor is not in the network.
    #[error(
        "point `{point}` is of `{node}`, which the prepared network does not have; submit the experiment again"
    )]
    UnknownNode {
        /// The point.
        point: String,
        /// The node.
        node: String,
    },
    /// A point was not prepared at a width.
    #[error("point `{point}` was not prepared at {bits} bits; submit the experiment again")]
    MissingWidth {
        /// The point.
        point: String,
        /// The width.
        bits: Bits,
    },
    /// The bytes are no prepared model.
    #[error("the prepared model is damaged or of another kind ({reason}); it has to be prepared again")]
    NotPrepared {
        /// What is wrong.
        reason: String,
    },
    /// The model inside is wrong.
    #[error("the prepared model: {0}")]
    Model(#[from] ModelError),
}

impl From<EvaluateError> for PrepareError {
    fn from(error: EvaluateError) -> Self {
        Self::Evaluate(Box::new(error))
    }
}
