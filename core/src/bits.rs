//! Bit widths, and which quantizer point gets which: the bit config.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// Width of a quantizer's codes: 2 to 8, or 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Bits(u8);

impl Bits {
    /// Checks a width.
    ///
    /// Errors: `UnsupportedBits` for anything but 2..=8 and 16.
    pub fn new(bits: u8) -> Result<Self, UnsupportedBits> {
        match bits {
            2..=8 | 16 => Ok(Self(bits)),
            other => Err(UnsupportedBits(other)),
        }
    }

    /// The width as a number.
    pub fn get(self) -> u32 {
        u32::from(self.0)
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The width is none that a quantizer has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} bits are not supported; choose 2 to 8 or 16")]
pub struct UnsupportedBits(pub u8);

impl TryFrom<u8> for Bits {
    type Error = UnsupportedBits;

    fn try_from(bits: u8) -> Result<Self, UnsupportedBits> {
        Self::new(bits)
    }
}

impl From<Bits> for u8 {
    fn from(bits: Bits) -> Self {
        bits.0
    }
}

/// What a point gets: no quantizer, or one of a width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The tensor stays in f32.
    Float,
    /// An affine quantizer of this width.
    Bits(Bits),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float => f.write_str("float"),
            Self::Bits(bits) => bits.fmt(f),
        }
    }
}

/// Position of a point in [`crate::graph::Graph::points`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PointIndex(pub u32);

/// Which points differ from the baseline, and how; points not named keep the baseline's choice.
///
/// In its canonical form no entry equals the baseline's, so that one configuration has one form.
///
/// Clones are cheap: a large sweep has a million of them, each in several places.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "BTreeMap<PointIndex, Choice>")]
pub struct BitConfig(Arc<[(PointIndex, Choice)]>);

impl Serialize for BitConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.changes())
    }
}

impl From<BTreeMap<PointIndex, Choice>> for BitConfig {
    fn from(choices: BTreeMap<PointIndex, Choice>) -> Self {
        Self(choices.into_iter().collect())
    }
}

impl BitConfig {
    /// The baseline itself.
    pub fn baseline() -> Self {
        Self::default()
    }

    /// Collects choices, dropping those that equal the baseline's; of two for a point the last counts.
    pub fn against(baseline: Choice, choices: impl IntoIterator<Item = (PointIndex, Choice)>) -> Self {
        let differing = choices.into_iter().filter(|(_, choice)| *choice != baseline);
        differing.collect::<BTreeMap<_, _>>().into()
    }

    /// The differing points in order.
    pub fn changes(&self) -> impl ExactSizeIterator<Item = (PointIndex, Choice)> + '_ {
        self.0.iter().copied()
    }

    /// What `point` gets, given the baseline's choice.
    pub fn choice(&self, point: PointIndex, baseline: Choice) -> Choice {
        let found = self.0.binary_search_by_key(&point, |(known, _)| *known);
        found.map_or(baseline, |place| self.0[place].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_outside_the_supported_ones_are_refused() {
        for bits in [0, 1, 9, 15, 17, 32] {
            assert_eq!(Bits::new(bits), Err(UnsupportedBits(bits)));
        }
        assert!(serde_json::from_str::<Bits>("9").is_err());
    }

    #[test]
    fn a_config_drops_what_equals_the_baseline() {
        let eight = Choice::Bits(Bits::new(8).unwrap());
        let four = Choice::Bits(Bits::new(4).unwrap());

        let config = BitConfig::against(eight, [(PointIndex(1), four), (PointIndex(0), eight)]);

        assert_eq!(config.changes().collect::<Vec<_>>(), [(PointIndex(1), four)]);
        assert_eq!(config.choice(PointIndex(0), eight), eight);
        assert_eq!(config.choice(PointIndex(1), eight), four);
    }
}
