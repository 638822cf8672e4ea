//! How encodings are found: the grid, how many scales a tensor has, and what its range comes from.

use serde::{Deserialize, Serialize};

use crate::canonical::Encoder;

/// Where the codes of a quantizer lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// `-2^(b-1)..=2^(b-1) - 1` around zero.
    Symmetric,
    /// `-(2^(b-1) - 1)..=2^(b-1) - 1`: the lowest code is dropped, so that both sides have the same.
    StrictSymmetric,
    /// `0..=2^b - 1` with a zero point.
    Asymmetric,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 3] = [Self::Symmetric, Self::StrictSymmetric, Self::Asymmetric];

    /// The word used in experiment files and results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Symmetric => "symmetric",
            Self::StrictSymmetric => "strict_symmetric",
            Self::Asymmetric => "asymmetric",
        }
    }

    /// Writes the canonical form.
    pub fn write(self, encoder: &mut Encoder) {
        encoder.number(match self {
            Self::Symmetric => 0,
            Self::StrictSymmetric => 1,
            Self::Asymmetric => 2,
        });
    }
}

/// How many scales a weight has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// One scale for the whole tensor.
    PerTensor,
    /// One scale per output channel.
    PerChannel,
}

impl Granularity {
    /// Writes the canonical form.
    pub fn write(self, encoder: &mut Encoder) {
        encoder.number(match self {
            Self::PerTensor => 0,
            Self::PerChannel => 1,
        });
    }
}

/// Which share of the values a range keeps below its upper end, and above its lower one.
///
/// An exact integer, parts per million, as keys hash it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Percentile(u32);

impl Percentile {
    /// All values: the range is that of the values seen.
    pub const WHOLE_PPM: u32 = 1_000_000;

    /// Checks a percentile in parts per million.
    ///
    /// Errors: `UnsupportedPercentile` up to one half, where the ends would meet, and above one.
    pub fn new(parts_per_million: u32) -> Result<Self, UnsupportedPercentile> {
        match parts_per_million {
            500_001..=Self::WHOLE_PPM => Ok(Self(parts_per_million)),
            other => Err(UnsupportedPercentile(other)),
        }
    }

    /// Parts per million, above 500000.
    pub fn parts_per_million(self) -> u32 {
        self.0
    }
}

/// A percentile that leaves no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a percentile of {0} parts per million is not possible; choose more than 500000, up to 1000000")]
pub struct UnsupportedPercentile(pub u32);

impl TryFrom<u32> for Percentile {
    type Error = UnsupportedPercentile;

    fn try_from(parts_per_million: u32) -> Result<Self, UnsupportedPercentile> {
        Self::new(parts_per_million)
    }
}

impl From<Percentile> for u32 {
    fn from(percentile: Percentile) -> Self {
        percentile.0
    }
}

/// How a range is derived from the values seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// Smallest and largest value seen, with zero included.
    MinMax,
    /// The range that leaves a share of the values out at either end.
    Percentile(Percentile),
    /// The range with the least squared error over a histogram of 2048 bins, where clipped values count three times.
    Sqnr,
    /// The same over 512 bins that grow to four times the first batch's range at most.
    TfEnhanced,
    /// The range with the least squared error over 2048 bins, where all values count alike.
    Mse,
}

impl Calibration {
    /// Whether more than the smallest and the largest value has to be known.
    pub fn needs_histograms(self) -> bool {
        self != Self::MinMax
    }

    /// Writes the canonical form.
    pub fn write(self, encoder: &mut Encoder) {
        match self {
            Self::MinMax => encoder.number(0),
            Self::Percentile(percentile) => encoder.number(1).number(percentile.0.into()),
            Self::Sqnr => encoder.number(2),
            Self::TfEnhanced => encoder.number(3),
            Self::Mse => encoder.number(4),
        };
    }
}

/// How encodings of weights are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightRule {
    /// The grid.
    pub scheme: Scheme,
    /// Number of scales.
    pub granularity: Granularity,
    /// What the range comes from.
    pub calibration: Calibration,
}

impl WeightRule {
    /// Writes the canonical form.
    pub fn write(self, encoder: &mut Encoder) {
        self.scheme.write(encoder);
        self.granularity.write(encoder);
        self.calibration.write(encoder);
    }
}

/// How encodings of activations are found; they have one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationRule {
    /// The grid.
    pub scheme: Scheme,
    /// What the range comes from.
    pub calibration: Calibration,
}

impl ActivationRule {
    /// Writes the canonical form.
    pub fn write(self, encoder: &mut Encoder) {
        self.scheme.write(encoder);
        self.calibration.write(encoder);
    }
}
