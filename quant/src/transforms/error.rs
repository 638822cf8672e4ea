use bitloop_core::graph::{GraphError, Shape};

use crate::data::DataError;
use crate::error::one_line;
use crate::lanes::LaneError;
use crate::model::ModelError;
use crate::quantizer::QuantError;

/// Why a network cannot be transformed.
#[derive(Debug, thiserror::Error)]
pub enum TransformError {
    /// The result would not be a network.
    #[error("`{transform}` gives an unusable network ({source}); leave it out")]
    Unusable {
        /// Which transform.
        transform: &'static str,
        /// What is wrong with its result.
        source: Box<ModelError>,
    },
    /// The network was no valid network to begin with.
    #[error(
        "the network lacks weight `{name}`, or its shape is not what the graph says; check the model first"
    )]
    Weight {
        /// The weight.
        name: String,
    },
    /// The graph makes no sense.
    #[error("the model's graph is not valid: {0}")]
    Graph(#[from] GraphError),
    /// There is nothing to measure on.
    #[error("bias correction was given no images; give at least one")]
    NoImages,
    /// A quantized weight belongs to nothing.
    #[error("a quantized `{name}` of shape {found} was given, but the model has no such weight")]
    UnknownQuantized {
        /// The weight.
        name: String,
        /// Shape of what was given.
        found: Shape,
    },
    /// A bias does not fit its layer, or there is no such layer.
    #[error("a bias of shape {found} was given for `{layer}`, which is no layer with as many outputs")]
    Bias {
        /// The layer.
        layer: String,
        /// Shape of what was given.
        found: Shape,
    },
    /// The measured error of a layer is NaN or infinite.
    #[error("outputs of layer `{layer}` are NaN or infinite on calibration images; the model cannot be used")]
    NotFinite {
        /// The layer.
        layer: String,
    },
    /// The input cannot be quantized.
    #[error("the network's input: {0}")]
    Input(#[from] QuantError),
    /// The images do not fit.
    #[error(transparent)]
    Data(#[from] DataError),
    /// No threads.
    #[error(transparent)]
    Lanes(#[from] LaneError),
    /// candle cannot do it.
    #[error("transforming failed: {}", one_line(.0))]
    Execute(#[from] candle_core::Error),
}
