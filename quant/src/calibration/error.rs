use bitloop_core::graph::GraphError;

use crate::data::DataError;
use crate::error::one_line;
use crate::lanes::LaneError;
use crate::quantizer::QuantError;

/// Why a model cannot be calibrated, or statistics cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// The images do not fit.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The graph makes no sense.
    #[error("the model's graph is not valid: {0}")]
    Graph(#[from] GraphError),
    /// No threads.
    #[error(transparent)]
    Lanes(#[from] LaneError),
    /// An activation is NaN or infinite.
    #[error(
        "activation `{point}` is NaN or infinite on calibration images ({min} to {max}); the model cannot be used"
    )]
    NotFinite {
        /// The first such point of the first such images.
        point: String,
        /// Smallest value.
        min: f32,
        /// Largest value.
        max: f32,
    },
    /// The network cannot be executed.
    #[error("calibrating failed: {}", one_line(.0))]
    Execute(#[from] candle_core::Error),
    /// The bytes are no statistics.
    #[error("the calibration statistics are damaged or of another kind ({reason}); calibrate again")]
    NotStatistics {
        /// What is wrong.
        reason: String,
    },
    /// The statistics are of another version.
    #[error(
        "the calibration statistics have format version {found}, only {supported} is known; use the same bitloop release everywhere"
    )]
    Version {
        /// The file's version.
        found: String,
        /// The one that can be read.
        supported: &'static str,
    },
    /// A point was not calibrated.
    #[error("the calibration statistics have no point `{point}`; calibrate this model again")]
    MissingPoint {
        /// The point.
        point: String,
    },
    /// A range gives no encoding.
    #[error("point `{point}`: {source}")]
    Quantizer {
        /// The point.
        point: String,
        /// Why.
        source: QuantError,
    },
}
