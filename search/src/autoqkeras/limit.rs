//! What may be chosen, as an experiment file writes it.

use serde::{Deserialize, Serialize};

use super::Ordered;
use crate::network::{Class, Kind};

/// The key of a limit whose entry fills up those that are too short.
pub const DEFAULT: &str = "default";
/// What fills up short entries where a limit has no default.
const DEFAULT_BITS: u32 = 8;
/// Kernel, bias and activation.
const ENTRY_LENGTH: usize = 3;

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

    /// Fills up the entries of classes that have a kernel: with the default's bounds from the place where they end, and its
    /// last one for the activation.
    pub fn padded(&self) -> Self {
        let default = self.default_bounds();
        let pad = |(key, entry): (&str, &Entry)| {
            let entry = if is_padded(key) { filled(entry, &default) } else { entry.clone() };
            (key.to_owned(), entry)
        };
        Self { entries: self.entries.iter().map(pad).collect() }
    }

    /// What fills up short entries, as long as an entry is.
    pub(crate) fn default_bounds(&self) -> Vec<Bound> {
        match self.get(DEFAULT) {
            Some(Entry::Each(bounds)) => bounds.clone(),
            Some(Entry::One(bound)) => vec![bound.clone(); ENTRY_LENGTH],
            None => vec![Bound::Bits(DEFAULT_BITS); ENTRY_LENGTH],
        }
    }
}

/// `entry + default[length of entry .. 2] + default[-1:]`, for entries that are too short.
pub(crate) fn filled(entry: &Entry, default: &[Bound]) -> Entry {
    let own = entry.bounds();
    if own.len() >= ENTRY_LENGTH {
        return entry.clone();
    }
    let until = (ENTRY_LENGTH - 1).min(default.len());
    let middle = default.get(own.len()..until).unwrap_or(&[]);
    let last = default.last();
    Entry::Each(own.iter().chain(middle).chain(last).cloned().collect())
}

fn is_padded(key: &str) -> bool {
    let class = Class::from(key.to_owned());
    !class.quantized
        && matches!(
            class.kind,
            Kind::Dense | Kind::Conv1D | Kind::Conv2D | Kind::DepthwiseConv2D | Kind::Conv2DTranspose
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> Limit {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn short_entries_of_classes_are_filled_up_and_those_of_patterns_are_not() {
        let of = |default: &str| {
            let text = format!(r#"{{"Dense": [4], "Conv2D": [], "^x": [4], "Activation": [4] {default}}}"#);
            serde_json::to_string(&limit(&text).padded()).unwrap()
        };

        let written = r#"{"Dense":[4,8,8],"Conv2D":[8,8,8],"^x":[4],"Activation":[4]}"#;
        assert_eq!(of(""), written);
        let written = r#"{"Dense":[4,2,["binary"]],"Conv2D":[1,2,["binary"]],"^x":[4],"Activation":[4],"default":[1,2,["binary"]]}"#;
        assert_eq!(of(r#", "default": [1, 2, ["binary"]]"#), written);
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        let twice = serde_json::from_str::<Limit>(r#"{"Dense": [4], "Dense": [8]}"#);

        assert!(twice.unwrap_err().to_string().contains("`Dense` stands twice"));
    }
}
