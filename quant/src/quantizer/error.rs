use bitloop_core::bits::UnsupportedBits;

use crate::error::one_line;

/// Why a tensor cannot be quantized.
#[derive(Debug, thiserror::Error)]
pub enum QuantError {
    /// The width is none that a quantizer has.
    #[error(transparent)]
    UnsupportedBits(#[from] UnsupportedBits),
    /// A grid needs at least two codes, and no more than f32 counts exactly.
    #[error("a grid from {qmin} to {qmax} is not possible: it needs 2 to 65536 codes within +-65536")]
    Grid {
        /// Smallest code.
        qmin: i32,
        /// Largest code.
        qmax: i32,
    },
    /// A range is NaN, infinite or upside down.
    #[error(
        "the range of channel {channel} is {min} to {max}, which no grid can cover; look for NaN or infinite values"
    )]
    NotFinite {
        /// Which channel; 0 if there is one range for all.
        channel: usize,
        /// Lower end.
        min: f32,
        /// Upper end.
        max: f32,
    },
    /// The encoding has another number of channels than the tensor.
    #[error("an encoding of {scales} channels does not fit a tensor of shape {shape:?}")]
    Channels {
        /// Scales of the encoding.
        scales: usize,
        /// The tensor's shape.
        shape: Vec<usize>,
    },
    /// candle cannot do it.
    #[error("quantizing failed: {}", one_line(.0))]
    Tensor(#[from] candle_core::Error),
}
