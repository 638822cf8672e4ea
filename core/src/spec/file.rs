//! What all kinds of files have in common at their top level, and the order in which mistakes are listed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::error::{Mistake, SpecError};
use super::node::Node;
use super::reader::{Fields, Place, key_name, key_path};

/// The version of every kind of file that this bitloop reads.
const FILE_VERSION: u64 = 1;
const EXAMPLE: &str = "configs/quickstart.yaml is an example to start from";

/// Reads a whole file: `read` gets its top level, of which `version` is checked here.
///
/// Errors: every mistake, in the order of the file.
pub(super) fn read_file<T>(
    text: &str,
    known: &[&'static str],
    read: impl FnOnce(&Fields<'_>) -> Option<T>,
) -> Result<T, SpecError> {
    read_file_like(EXAMPLE, text, known, read)
}

/// The same for another kind of file, with an `example` of its kind to point at.
pub(super) fn read_file_like<T>(
    example: &str,
    text: &str,
    known: &[&'static str],
    read: impl FnOnce(&Fields<'_>) -> Option<T>,
) -> Result<T, SpecError> {
    let root = Node::parse(text).map_err(|mistake| SpecError { mistakes: vec![mistake] })?;
    let mistakes = RefCell::new(Vec::new());
    let value = top_level(&Place::root(&root, &mistakes), &root, known, example).and_then(|fields| {
        let only = FILE_VERSION..=FILE_VERSION;
        let version = fields.required("version", "version: 1", |place| place.integer(only));
        let value = read(&fields);
        version.and(value)
    });
    let mistakes = mistakes.into_inner();
    match value {
        Some(value) if mistakes.is_empty() => Ok(value),
        Some(_) | None => Err(SpecError { mistakes: in_file_order(mistakes, &root) }),
    }
}

fn top_level<'a>(
    place: &Place<'a>,
    root: &'a Node,
    known: &[&'static str],
    example: &str,
) -> Option<Fields<'a>> {
    let entries = match root {
        Node::Mapping(entries) => entries,
        Node::Nothing => return place.mistake("is empty", example),
        Node::Flag(_)
        | Node::Integer(_)
        | Node::Number(_)
        | Node::Text(_)
        | Node::List(_)
        | Node::Tagged(_) => {
            return place.expected("keys such as `version: 1` at the top level", example);
        }
    };
    let version = entries.iter().find(|(key, _)| matches!(key, Node::Text(key) if key == "version"));
    if let Some((_, node @ Node::Integer(version))) = version
        && *version != i128::from(FILE_VERSION)
    {
        // Another version has other keys; complaints about them would only mislead.
        let problem = format!("this file is version {version}; this bitloop reads version {FILE_VERSION}");
        return place.child("version", node).mistake(problem, "");
    }
    place.fields(known)
}

/// Sorts mistakes by where they are in the file; a missing key counts as the beginning of what it is missing from.
fn in_file_order(mut mistakes: Vec<Mistake>, root: &Node) -> Vec<Mistake> {
    let mut order = BTreeMap::new();
    number_places(root, String::new(), &mut order);
    mistakes.sort_by_key(|mistake| {
        let parent = mistake.path.rfind(['.', '[']).map_or("", |end| &mistake.path[..end]);
        order.get(&mistake.path).or_else(|| order.get(parent)).copied().unwrap_or(0)
    });
    mistakes
}

fn number_places(node: &Node, path: String, order: &mut BTreeMap<String, usize>) {
    let next = order.len() + 1;
    order.entry(path.clone()).or_insert(next);
    match node {
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                number_places(item, format!("{path}[{index}]"), order);
            }
        }
        Node::Mapping(entries) => {
            for (key, value) in entries {
                number_places(value, key_path(&path, &key_name(key)), order);
            }
        }
        Node::Nothing
        | Node::Flag(_)
        | Node::Integer(_)
        | Node::Number(_)
        | Node::Text(_)
        | Node::Tagged(_) => {}
    }
}
