//! Conversions between messages and the core's types: `From` towards the wire, `TryFrom` back, as a peer may send
//! anything.

mod experiment;
mod limits;
mod log;
#[cfg(test)]
mod tests;
mod trial;
mod worker;

use bitloop_core::bits::UnsupportedBits;
use bitloop_core::digest::Digest;
use bitloop_core::spec::{LABEL_BYTES_MAX, LABELS_MAX, PRIORITY_MAX};

pub use experiment::{action, sources, sources_to_wire, status};
pub use limits::{
    DIGESTS_MAX, LINE_BYTES_MAX, LINES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, PROSE_BYTES_MAX, REPORTS_MAX,
    SHARD_TRIALS_MAX, SOURCES_MAX, digests, finite, log_line, millis, name, priority, reports, to_log_line,
    trial_keys, worker_id,
};
pub use log::{LogLevel, LogLine, log_lines};
pub use trial::{check_config, check_part};

/// Why a message does not stand for a value; `field` is the name in the `.proto` file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// The field has no value.
    #[error("field `{field}` is missing")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// The bytes are no digest.
    #[error("field `{field}` has {len} bytes, a digest has 32")]
    DigestLength {
        /// Which.
        field: &'static str,
        /// How many bytes it has.
        len: usize,
    },
    /// The number is none of the enum's.
    #[error("field `{field}` has the unknown value {value}; use the same bitloop version everywhere")]
    UnknownValue {
        /// Which.
        field: &'static str,
        /// Its number.
        value: i32,
    },
    /// No quantizer has this width.
    #[error("field `{field}`: {bits} bits are not supported; choose 2 to 8 or 16, or 0 for float")]
    UnsupportedBits {
        /// Which.
        field: &'static str,
        /// The width.
        bits: u32,
    },
    /// Points are named in ascending order, each once.
    #[error("point {point} of the changes does not follow its predecessor in order")]
    PointOrder {
        /// The point.
        point: u32,
    },
    /// A change that changes nothing would give one bit config two names.
    #[error("point {point} of the changes gets what the baseline has")]
    EqualsBaseline {
        /// The point.
        point: u32,
    },
    /// The changes use every choice there is, so some of them equal the baseline's.
    #[error("the changes use every width there is, so some of them equal the baseline")]
    EveryChoice,
    /// The context has no such point.
    #[error("the changes name point {point}, the context has {points}")]
    UnknownPoint {
        /// The point.
        point: u32,
        /// How many there are.
        points: usize,
    },
    /// The range does not fit 64 bits.
    #[error("field `{field}` ends behind the largest number")]
    RangeOverflow {
        /// Which.
        field: &'static str,
    },
    /// A trial is of images that its context does not have, or of none.
    #[error("the trial is of {len} images from {start}, the context has {images}")]
    PartOutside {
        /// First image.
        start: u64,
        /// Number of images.
        len: u64,
        /// How many there are.
        images: u64,
    },
    /// A sum is NaN or infinite.
    #[error("field `{field}` is not a finite number")]
    NotFinite {
        /// Which.
        field: &'static str,
    },
    /// A count is larger than the number of images.
    #[error("field `{field}` counts {count} of {n} images")]
    Count {
        /// Which.
        field: &'static str,
        /// The count.
        count: u64,
        /// Images.
        n: u64,
    },
    /// The text is not the document that it should be.
    #[error("field `{field}` cannot be read ({reason}); use the same bitloop version everywhere")]
    Document {
        /// Which.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A label that could not be asked for.
    #[error(
        "the labels are more than {LABELS_MAX}, or not of 1 to {LABEL_BYTES_MAX} letters, digits, `-`, `_`, `.` and `/`"
    )]
    Labels,
    /// A share of no device.
    #[error("field `share` is {share} ten-thousandths, at most 10000 are all of a device")]
    Share {
        /// The share.
        share: u32,
    },
    /// A text is longer than any honest one.
    #[error("field `{field}` has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Which.
        field: &'static str,
        /// How many bytes it has.
        len: usize,
        /// How many it may have.
        max: usize,
    },
    /// A priority beyond those that an experiment file may have.
    #[error(
        "priority {priority} is no priority; it is a whole number from -{PRIORITY_MAX} to {PRIORITY_MAX}"
    )]
    Priority {
        /// The number.
        priority: i32,
    },
    /// A list is longer than any honest one.
    #[error("field `{field}` has {count} entries, at most {max} are allowed")]
    TooMany {
        /// Which.
        field: &'static str,
        /// How many it has.
        count: usize,
        /// How many it may have.
        max: usize,
    },
    /// A text would do something to the terminal that it is shown on.
    #[error("field `{field}` has control characters")]
    Control {
        /// Which.
        field: &'static str,
    },
    /// A time or a count is less than nothing.
    #[error("field `{field}` is negative")]
    Negative {
        /// Which.
        field: &'static str,
    },
    /// A trial is said to have taken longer than any does.
    #[error("field `{field}` is more than a month")]
    Endless {
        /// Which.
        field: &'static str,
    },
    /// An evaluation of a shard has another context than the shard.
    #[error("a shard's trial has a context that is not the shard's")]
    MixedContexts,
}

impl ConvertError {
    fn bits(field: &'static str, error: &UnsupportedBits) -> Self {
        Self::UnsupportedBits { field, bits: u32::from(error.0) }
    }
}

/// Reads a digest from the bytes of `field`.
///
/// Errors: `Missing` for no bytes, `DigestLength` for another number than 32.
pub fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, ConvertError> {
    if bytes.is_empty() {
        return Err(ConvertError::Missing { field });
    }
    Digest::from_slice(bytes).map_err(|_| ConvertError::DigestLength { field, len: bytes.len() })
}

/// Returns the 32 bytes that stand for a digest.
pub fn digest_to_wire(digest: &Digest) -> Vec<u8> {
    digest.as_bytes().to_vec()
}

fn required<T>(field: &'static str, value: Option<T>) -> Result<T, ConvertError> {
    value.ok_or(ConvertError::Missing { field })
}
