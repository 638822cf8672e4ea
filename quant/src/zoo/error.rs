use bitloop_core::graph::{GraphError, Shape};

/// Why a network cannot be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ZooError {
    /// The numbers give no valid graph.
    #[error("the network cannot be built: {0}")]
    Graph(#[from] GraphError),
    /// There is no layer.
    #[error("`filters` is empty or has an empty block; name at least one number of filters per block")]
    NoFilters,
    /// The classifier of an `all_conv` network sees more than one pixel.
    #[error(
        "`all_conv` needs a 1x1 image at the classifier but it is {0}; add blocks, or leave `all_conv` out"
    )]
    NotOnePixel(Shape),
    /// The input is no image.
    #[error("the input has shape {0}; (channels, height, width) is needed")]
    NoImage(Shape),
    /// Residual networks have `6 k + 2` layers.
    #[error("a residual network of depth {0} does not exist; use 8, 14 or 20")]
    Depth(usize),
    /// There is no architecture of this name.
    #[error("architecture `{name}` is not known; known are {}", known.join(", "))]
    UnknownArchitecture {
        /// The name.
        name: String,
        /// Every name there is.
        known: Vec<&'static str>,
    },
    /// A tensor could not be made.
    #[error("weight `{name}` cannot be made: {reason}")]
    Weight {
        /// The weight.
        name: String,
        /// Candle's words.
        reason: String,
    },
}
