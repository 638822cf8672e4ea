//! What may be chosen, as an experiment file writes it.

use serde::{Deserialize, Serialize};

use super::Ordered;

/// The key of a limit whose entry fills up those that are too short.
pub const DEFAULT: &str = "default";

/// Bounds on the quantizers of layers: by class (`Conv2D`), or by a pattern of names (`^conv2d_[12]$`) whose layers choose
/// together; `default` fills up entries that are too short.
///
/// Patterns are regular expressions that hold at the beginning of a name; the first one that does counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Limit {
    /// In the file's order, which decides.
    pub entries: Ordered<Entry>,
}

/// What a limit says of one class or pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "give a number of bits, or a list like [4, 8, 4] or [[binary, ternary], 8, 4]")]
pub enum Entry {
    /// Kernel, bias and activation, in this order; the activation is the last, and for activations it is all.
    Each(Vec<Bound>),
    /// One bound for what comes first; of the default, for everything.
    One(Bound),
}

/// Which of the candidates may be chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Bound {
    /// Those with at most so many bits.
    Bits(u32),
    /// These.
    Among(Vec<String>),
}

/// The candidates: of each section (`kernel`, `bias`, `activation`, `linear`) quantizers with their bits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuantizationConfig {
    /// In the file's order, which is that of the choices.
    pub sections: Ordered<Ordered<u32>>,
}

impl Entry {
    /// The bounds, kernel first.
    pub fn bounds(&self) -> &[Bound] {
        match self {
            Self::One(bound) => std::slice::from_ref(bound),
            Self::Each(bounds) => bounds,
        }
    }
}

impl Limit {
    /// The entry of a class or pattern, as written.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        let twice = serde_json::from_str::<Limit>(r#"{"Dense": [4], "Dense": [8]}"#);

        assert!(twice.unwrap_err().to_string().contains("`Dense` stands twice"));
    }
}
