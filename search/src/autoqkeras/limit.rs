//! How short entries of a limit are filled up.

use bitloop_core::autoqkeras::{Bound, DEFAULT, Entry, Limit};

use crate::network::{Class, Kind};

/// What fills up short entries where a limit has no default.
const DEFAULT_BITS: u32 = 8;
/// Kernel, bias and activation.
const ENTRY_LENGTH: usize = 3;

/// Fills up the entries of classes that have a kernel: with the default's bounds from the place where they end, and its
/// last one for the activation.
pub fn padded(limit: &Limit) -> Limit {
    let default = default_bounds(limit);
    let pad = |(key, entry): (&str, &Entry)| {
        let entry = if is_padded(key) { filled(entry, &default) } else { entry.clone() };
        (key.to_owned(), entry)
    };
    Limit { entries: limit.entries.iter().map(pad).collect() }
}

/// What fills up short entries, as long as an entry is.
pub(super) fn default_bounds(limit: &Limit) -> Vec<Bound> {
    match limit.get(DEFAULT) {
        Some(Entry::Each(bounds)) => bounds.clone(),
        Some(Entry::One(bound)) => vec![bound.clone(); ENTRY_LENGTH],
        None => vec![Bound::Bits(DEFAULT_BITS); ENTRY_LENGTH],
    }
}

/// `entry + default[length of entry .. 2] + default[-1:]`, for entries that are too short.
pub(super) fn filled(entry: &Entry, default: &[Bound]) -> Entry {
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
            serde_json::to_string(&padded(&limit(&text))).unwrap()
        };

        let written = r#"{"Dense":[4,8,8],"Conv2D":[8,8,8],"^x":[4],"Activation":[4]}"#;
        assert_eq!(of(""), written);
        let written = r#"{"Dense":[4,2,["binary"]],"Conv2D":[1,2,["binary"]],"^x":[4],"Activation":[4],"default":[1,2,["binary"]]}"#;
        assert_eq!(of(r#", "default": [1, 2, ["binary"]]"#), written);
    }
}
