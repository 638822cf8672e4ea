//! Names of our nodes from those of a file.

use std::collections::BTreeSet;

use bitloop_core::graph::INPUT;

use super::call::{Call, Value};
use super::schema::NodeProto;
use super::topology::label;

/// What exporters put behind the name of a weight that they store as integers.
const INTEGER_SUFFIXES: [&str; 3] = ["_quantized", "_q", ".quantized"];

/// The names that are taken.
pub(super) struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { taken: BTreeSet::from([INPUT.to_owned()]) }
    }

    /// Returns this name, or with the first free number behind it where another node has it.
    pub(super) fn claim(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut number = 1;
        while !self.taken.insert(free.clone()) {
            free = format!("{name}_{number}");
            number += 1;
        }
        free
    }
}

/// Returns the name for what a node of a file becomes.
///
/// 1. A node whose weight is called `X.weight` is called `X`, as PyTorch and bitloop call their layers.
/// 2. Otherwise it has the name of the file's node, or of its first output where it has none. Of a path such as
///    `/layer1/layer1.0/relu/Relu_1` the operator at the end is dropped, its number kept, and a part that repeats the
///    one before it stands for both: `layer1.0.relu_1`.
/// 3. `/` and `:` become `.`; other characters than letters, digits, `_`, `-` and `.` become `_`.
pub(super) fn name_of(call: &Call<'_>) -> String {
    if let Some(Value::Constant(weight)) = call.input(1) {
        let mut name = weight.name.as_str();
        for suffix in INTEGER_SUFFIXES {
            name = name.strip_suffix(suffix).unwrap_or(name);
        }
        if let Some(layer) = name.strip_suffix(".weight").filter(|layer| !layer.is_empty()) {
            return clean(layer, call.operator());
        }
    }
    clean(&path(call.node), call.operator())
}

/// Returns a name out of allowed characters only.
pub(super) fn clean(name: &str, otherwise: &str) -> String {
    let mut clean = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '/' | ':' | '.' if clean.is_empty() || clean.ends_with('.') => {}
            '/' | ':' => clean.push('.'),
            _ if character.is_ascii_alphanumeric() || "_-.".contains(character) => clean.push(character),
            _ => clean.push('_'),
        }
    }
    let clean = clean.trim_end_matches('.');
    if clean.is_empty() { otherwise.to_lowercase() } else { clean.to_owned() }
}

fn path(node: &NodeProto) -> String {
    let name = label(node);
    if !name.starts_with('/') {
        return name;
    }
    let mut parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    let mut number = "";
    if let [_, .., last] = parts.as_slice()
        && let Some(rest) = last.strip_prefix(node.op_type.as_str())
        && (rest.is_empty() || rest.strip_prefix('_').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())))
    {
        number = rest;
        parts.pop();
    }
    let mut kept: Vec<&str> = Vec::new();
    for part in parts {
        if kept
            .last()
            .is_some_and(|before| part.strip_prefix(before).is_some_and(|rest| rest.starts_with('.')))
        {
            kept.pop();
        }
        kept.push(part);
    }
    kept.join("/") + number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, operator: &str) -> NodeProto {
        let output = vec!["given".to_owned()];
        NodeProto { name: name.to_owned(), op_type: operator.to_owned(), output, ..NodeProto::default() }
    }

    #[test]
    fn paths_lose_the_operator_and_repeated_parts() {
        let cases = [
            ("/conv1/Conv", "Conv", "conv1"),
            ("/layer1/layer1.0/relu/Relu_1", "Relu", "layer1/layer1.0/relu_1"),
            ("/Relu_2", "Relu", "Relu_2"),
            ("stage/Relu", "Relu", "stage/Relu"),
            ("", "Relu", "given"),
        ];
        for (name, operator, expected) in cases {
            let expected = expected.replace("layer1/layer1.0", "layer1.0");
            assert_eq!(path(&node(name, operator)), expected);
        }
    }

    #[test]
    fn names_hold_allowed_characters_only_and_are_unique() {
        assert_eq!(clean("/a//b::c d", "Relu"), "a.b.c_d");
        assert_eq!(clean("//", "Relu"), "relu");
        assert_eq!(clean("stage1.unit-2.conv_3", "Conv"), "stage1.unit-2.conv_3");

        let mut names = Names::new();
        assert_eq!(
            ["a", "a", "a_1", "input"].map(|name| names.claim(name)),
            ["a", "a_1", "a_1_1", "input_1"]
        );
    }
}
