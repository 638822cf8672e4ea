use bitloop_core::graph::GraphError;

use crate::prepare::PrepareError;
use crate::quantizer::QuantError;

/// A network cannot be computed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// Its graph is broken.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A point was not prepared at its width.
    #[error(transparent)]
    Prepared(Box<PrepareError>),
    /// A weight has no codes.
    #[error("point `{point}`: {source}")]
    Quantizer {
        /// The point.
        point: String,
        /// Why.
        source: QuantError,
    },
    /// A weight is missing, or of another type.
    #[error(transparent)]
    Weight(#[from] candle_core::Error),
}

impl From<PrepareError> for EngineError {
    fn from(error: PrepareError) -> Self {
        Self::Prepared(Box::new(error))
    }
}
