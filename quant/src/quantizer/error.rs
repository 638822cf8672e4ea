use bitloop_core::bits::UnsupportedBits;
use bitloop_core::trial::Calibration;

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
    /// There is nothing to derive a range from.
    #[error("there is no value to take a range from")]
    NoValues,
    /// The statistics lack what the calibration looks at.
    #[error("the statistics do not hold what {calibration:?} needs; calibrate again")]
    Statistics {
        /// The calibration.
        calibration: Calibration,
    },
    /// A given encoding has as many scales as offsets, and at least one.
    #[error("{scales} scales and {offsets} offsets are no encoding; give one of each per channel")]
    Lengths {
        /// Number of scales.
        scales: usize,
        /// Number of offsets.
        offsets: usize,
    },
    /// A given scale or offset belongs to no quantizer.
    #[error(
        "scale {scale} and offset {offset} of channel {channel} are no encoding: zero must lie on a code of the grid"
    )]
    Given {
        /// Which channel; 0 if there is one for all.
        channel: usize,
        /// Its scale.
        scale: f32,
        /// Its offset.
        offset: i32,
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

impl QuantError {
    /// Names the channel of an error that arose where it was not known.
    pub(super) fn of_channel(self, channel: usize) -> Self {
        match self {
            Self::NotFinite { min, max, .. } => Self::NotFinite { channel, min, max },
            other => other,
        }
    }
}
