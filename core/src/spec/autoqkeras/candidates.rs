//! What may be chosen: `quantization_config` and `limit`.

use super::super::node::quoted;
use super::super::reader::Place;
use super::super::suggestion::{alternatives, nearest};
use super::bits;
use crate::autoqkeras::{Bound, Entry, Limit, Ordered, QuantizationConfig};
use crate::qkeras::{Grammar, Quantizer};

const CONFIG_EXAMPLE: &str = "kernel: { binary: 1, \"quantized_bits(4,0,1)\": 4 }";
const SECTION_EXAMPLE: &str = "{ binary: 1, \"quantized_bits(4,0,1)\": 4 }";
const LIMIT_EXAMPLE: &str = "limit: { Conv2D: [4, 8, 4], Activation: [4] }";
const ENTRY_EXAMPLE: &str = "[[binary, ternary], 8, 4]";
/// Kernel, bias, activation, and of recurrent layers one more.
const BOUNDS_MAX: usize = 4;

/// The sections that QKeras has. Those of pointwise and recurrent kernels it never looks at; a search says so.
const SECTIONS: [&str; 7] = [
    "kernel",
    "bias",
    "activation",
    "linear",
    "pointwise_kernel",
    "recurrent_kernel",
    "recurrent_activation",
];

/// Sections of quantizers with their bits, in the file's order; every string that is no quantizer is a mistake.
pub(super) fn quantization_config(place: &Place<'_>, grammar: Grammar) -> Option<QuantizationConfig> {
    let sections = place.entries(CONFIG_EXAMPLE)?.into_iter().map(|(name, place)| {
        let section = section(&place, grammar);
        if SECTIONS.contains(&name.as_str()) {
            return section.map(|section| (name, section));
        }
        let hint = match nearest(&name, &SECTIONS) {
            Some(guess) => format!("did you mean `{guess}`?"),
            None => format!("known keys: {}", alternatives(&SECTIONS, "and")),
        };
        place.mistake("unknown key", hint)
    });
    let sections: Vec<Option<(String, Ordered<u32>)>> = sections.collect();
    sections.into_iter().collect::<Option<_>>().map(|sections| QuantizationConfig { sections })
}

fn section(place: &Place<'_>, grammar: Grammar) -> Option<Ordered<u32>> {
    let candidates = place.entries(SECTION_EXAMPLE)?.into_iter().map(|(text, place)| {
        let width = bits(&place);
        match Quantizer::parse(&text, grammar) {
            Ok(_) => width.map(|bits| (text, bits as u32)),
            Err(error) => place.mistake(format!("is no quantizer: {}", error.problem), ""),
        }
    });
    let candidates: Vec<Option<(String, u32)>> = candidates.collect();
    candidates.into_iter().collect()
}

/// Bounds by class and pattern, in the file's order; names of quantizers must be candidates of some section.
pub(super) fn limit(place: &Place<'_>, config: Option<&QuantizationConfig>) -> Option<Limit> {
    let entries = place.entries(LIMIT_EXAMPLE)?.into_iter();
    let entries: Vec<_> =
        entries.map(|(key, place)| entry(&place, config).map(|entry| (key, entry))).collect();
    entries.into_iter().collect::<Option<_>>().map(|entries| Limit { entries })
}

fn entry(place: &Place<'_>, config: Option<&QuantizationConfig>) -> Option<Entry> {
    if !place.is_list() {
        let what = "a number of bits, or a list";
        return match place.is_integer() {
            true => bits(place).map(|bits| Entry::One(Bound::Bits(bits as u32))),
            false => place.expected(what, format!("write a list such as `{ENTRY_EXAMPLE}`")),
        };
    }
    let items = place.any_items(ENTRY_EXAMPLE)?;
    if items.len() > BOUNDS_MAX {
        let hint = "give kernel, bias and activation; put quantizers to choose from in a list of their own";
        return place.mistake(format!("{} bounds are too many", items.len()), hint);
    }
    let bounds: Vec<Option<Bound>> = items.iter().map(|item| bound(item, config)).collect();
    bounds.into_iter().collect::<Option<_>>().map(Entry::Each)
}

fn bound(place: &Place<'_>, config: Option<&QuantizationConfig>) -> Option<Bound> {
    if place.is_integer() {
        return bits(place).map(|bits| Bound::Bits(bits as u32));
    }
    if !place.is_list() {
        let hint = format!("put quantizers in a list of their own: `{ENTRY_EXAMPLE}`");
        return place.expected("a number of bits or a list of quantizers", hint);
    }
    let mut named: Vec<String> = Vec::new();
    let mut is_complete = true;
    for item in place.items("[binary, ternary]")? {
        match candidate(&item, config) {
            Some(text) if named.contains(&text) => {
                is_complete = false;
                item.mistake::<()>(format!("`{}` is already in the list", quoted(&text)), "remove it");
            }
            Some(text) => named.push(text),
            None => is_complete = false,
        }
    }
    is_complete.then_some(Bound::Among(named))
}

fn candidate(place: &Place<'_>, config: Option<&QuantizationConfig>) -> Option<String> {
    let text = place.text()?;
    let is_known = config
        .is_none_or(|config| config.sections.iter().any(|(_, candidates)| candidates.get(text).is_some()));
    match is_known {
        true => Some(text.to_owned()),
        false => place.mistake(
            format!("`{}` is in no section of `quantization_config`", quoted(text)),
            "add it there, spelt the same, or remove it here",
        ),
    }
}
