//! Reads values out of a YAML text and collects every mistake on the way.
//!
//! A reading function gives `None` exactly when it has reported why, so callers read all fields first and only then
//! give up with `?`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds, RangeInclusive};

use super::error::Mistake;
use super::node::{Node, quoted};
use super::suggestion::{alternatives, nearest};

/// A value, where it stands, and where mistakes about it go.
pub(super) struct Place<'a> {
    path: String,
    node: &'a Node,
    mistakes: &'a RefCell<Vec<Mistake>>,
}

impl<'a> Place<'a> {
    /// The whole file.
    pub(super) fn root(node: &'a Node, mistakes: &'a RefCell<Vec<Mistake>>) -> Self {
        Place { path: String::new(), node, mistakes }
    }

    /// Reports a mistake here.
    pub(super) fn mistake<T>(&self, problem: impl Into<String>, hint: impl Into<String>) -> Option<T> {
        let path = if self.path.is_empty() { "file".to_owned() } else { self.path.clone() };
        self.mistakes.borrow_mut().push(Mistake { path, problem: problem.into(), hint: hint.into() });
        None
    }

    /// Reports that something else stands here than `what`.
    pub(super) fn expected<T>(&self, what: &str, hint: impl Into<String>) -> Option<T> {
        self.mistake(format!("expected {what}, found {}", self.node.describe()), hint)
    }

    /// The value `node` of a key of this mapping.
    pub(super) fn child(&self, key: &str, node: &'a Node) -> Self {
        Place { path: key_path(&self.path, key), node, mistakes: self.mistakes }
    }

    /// Whether the value is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.node, Node::List(_))
    }

    /// Whether the value is a mapping.
    pub(super) fn is_mapping(&self) -> bool {
        matches!(self.node, Node::Mapping(_))
    }

    /// Whether the value is a whole number.
    pub(super) fn is_integer(&self) -> bool {
        matches!(self.node, Node::Integer(_))
    }

    /// Whether there is no value, as in `key:` or `key: null`.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self.node, Node::Nothing)
    }

    /// Of a list of mappings with one key each: whether each of them has this key; nothing where there is no list.
    pub(super) fn lists(&self, key: &str) -> Vec<bool> {
        let Node::List(items) = self.node else { return Vec::new() };
        let has_key = |item: &Node| match item {
            Node::Mapping(entries) => {
                matches!(entries.as_slice(), [(Node::Text(name), _)] if name == key)
            }
            _ => false,
        };
        items.iter().map(has_key).collect()
    }

    /// The text, if it is one and has no other use.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        if let Node::Text(text) = self.node { Some(text) } else { None }
    }

    /// A mapping; keys that are unknown, repeated or no text are reported at once.
    pub(super) fn fields(&self, known: &[&'static str]) -> Option<Fields<'a>> {
        let Node::Mapping(entries) = self.node else {
            return self.expected("a mapping", known_keys(known));
        };
        let mut fields = Fields {
            place: Place { path: self.path.clone(), node: self.node, mistakes: self.mistakes },
            values: BTreeMap::new(),
            misspelt: Vec::new(),
        };
        for (key, value) in entries {
            let name = key_name(key);
            let here = self.child(&name, value);
            let Node::Text(text) = key else {
                here.mistake::<()>(
                    format!("a key must be text, found {}", key.describe()),
                    known_keys(known),
                );
                continue;
            };
            match known.iter().find(|known| *known == text) {
                Some(known) if fields.values.contains_key(known) => {
                    here.mistake::<()>("this key stands here more than once", "keep one of them");
                }
                Some(known) => {
                    fields.values.insert(known, value);
                }
                None => fields.report_unknown(&here, text, known),
            }
        }
        Some(fields)
    }

    /// A mapping with at least one entry, whose keys are names of any kind; a repeated one is a mistake.
    pub(super) fn entries(&self, example: &str) -> Option<Vec<(String, Place<'a>)>> {
        let Node::Mapping(entries) = self.node else {
            return self.expected("a mapping", format!("write `{example}`"));
        };
        if entries.is_empty() {
            return self.mistake("the mapping is empty", format!("write `{example}`"));
        }
        let mut seen = BTreeSet::new();
        let read: Vec<_> = entries
            .iter()
            .map(|(key, value)| {
                let here = self.child(&key_name(key), value);
                let name = match key {
                    Node::Text(text) if text.contains(char::is_control) => {
                        return here.mistake("the key has control characters", "remove them");
                    }
                    Node::Text(text) => text.clone(),
                    other => key_name(other),
                };
                match seen.insert(name.clone()) {
                    true => Some((name, here)),
                    false => here.mistake("this key stands here more than once", "keep one of them"),
                }
            })
            .collect();
        read.into_iter().collect()
    }

    /// A list with at least one item.
    pub(super) fn items(&self, example: &str) -> Option<Vec<Place<'a>>> {
        let Node::List(items) = self.node else {
            return self.expected("a list", format!("write a list such as `{example}`"));
        };
        if items.is_empty() {
            return self.mistake("the list is empty", format!("write a list such as `{example}`"));
        }
        self.any_items(example)
    }

    /// A list with any number of items.
    pub(super) fn any_items(&self, example: &str) -> Option<Vec<Place<'a>>> {
        let Node::List(items) = self.node else {
            return self.expected("a list", format!("write a list such as `{example}`"));
        };
        let place =
            |(index, node)| Place { path: format!("{}[{index}]", self.path), node, mistakes: self.mistakes };
        Some(items.iter().enumerate().map(place).collect())
    }

    /// Every item of a list with at least one item, read with `read`; gives up only after the last one.
    pub(super) fn list<T>(&self, example: &str, read: impl Fn(&Place<'a>) -> Option<T>) -> Option<Vec<T>> {
        let values: Vec<Option<T>> = self.items(example)?.iter().map(read).collect();
        values.into_iter().collect()
    }

    /// Text of at least one character, all of them printable.
    pub(super) fn text(&self) -> Option<&'a str> {
        match self.node {
            Node::Text(text) if text.trim().is_empty() => self.mistake("the text is empty", ""),
            Node::Text(text) if text.contains(char::is_control) => {
                self.mistake(format!("text `{}` has control characters", quoted(text)), "remove them")
            }
            Node::Text(text) => Some(text),
            Node::Flag(_) | Node::Integer(_) | Node::Number(_) => {
                self.expected("text", "put it in quotation marks")
            }
            Node::Nothing | Node::List(_) | Node::Mapping(_) | Node::Tagged(_) => self.expected("text", ""),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        let Node::Flag(flag) = self.node else {
            return self.expected("`true` or `false`", "");
        };
        Some(*flag)
    }

    /// A whole number within `range`.
    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let hint = if range.start() == range.end() {
            format!("write {}", range.start())
        } else {
            format!("write a whole number from {} to {}", range.start(), range.end())
        };
        let number = self.any_integer(&hint)?;
        match u64::try_from(number) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => self.mistake(format!("{number} is out of range"), hint),
        }
    }

    /// A whole number of any size, for rules that are no range.
    pub(super) fn any_integer(&self, hint: &str) -> Option<i128> {
        let Node::Integer(number) = self.node else {
            return self.expected("a whole number", hint);
        };
        Some(*number)
    }

    /// A whole number within `range`, as a size.
    pub(super) fn size(&self, range: RangeInclusive<usize>) -> Option<usize> {
        let number = self.integer(*range.start() as u64..=*range.end() as u64)?;
        Some(usize::try_from(number).expect("within a range of usize"))
    }

    /// A finite number within `range`, whose ends are finite too.
    pub(super) fn number(&self, range: impl RangeBounds<f64>) -> Option<f64> {
        let hint = format!("write a number {}", range_in_words(&range));
        let number = match self.node {
            Node::Integer(number) => *number as f64,
            Node::Number(number) => *number,
            Node::Nothing
            | Node::Flag(_)
            | Node::Text(_)
            | Node::List(_)
            | Node::Mapping(_)
            | Node::Tagged(_) => {
                return self.expected("a number", hint);
            }
        };
        if !number.is_finite() {
            return self.mistake(format!("{number} is not a finite number"), hint);
        }
        if !range.contains(&number) {
            return self.mistake(format!("{number} is out of range"), hint);
        }
        Some(number)
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        let expected = match names.as_slice() {
            [_] | [_, _] => alternatives(&names, "or"),
            several => format!("one of {}", alternatives(several, "or")),
        };
        let Node::Text(text) = self.node else {
            return self.expected(&expected, "");
        };
        match words.iter().find(|(name, _)| name == text) {
            Some((_, word)) => Some(*word),
            None => self.expected(&expected, did_you_mean(text, &names).unwrap_or_default()),
        }
    }

    /// A mapping with one key that says which of several kinds its value is, such as `{ sgd: ... }`.
    pub(super) fn variant<T: Copy>(&self, kinds: &[(&'static str, T)]) -> Option<(T, Place<'a>)> {
        self.variant_beside("", kinds).map(|(kind, place, _)| (kind, place))
    }

    /// The same of a mapping that may have one more key.
    pub(super) fn variant_beside<T: Copy>(
        &self,
        beside: &str,
        kinds: &[(&'static str, T)],
    ) -> Option<(T, Place<'a>, Option<Place<'a>>)> {
        let names: Vec<_> = kinds.iter().map(|(name, _)| *name).collect();
        let hint = format!("write `{}: {{ ... }}`", names[0]);
        let Node::Mapping(entries) = self.node else {
            return self.expected(&format!("a mapping with the key {}", alternatives(&names, "or")), hint);
        };
        let is_beside = |(key, _): &&(Node, Node)| matches!(key, Node::Text(key) if key == beside);
        let more = entries.iter().find(is_beside).map(|(_, value)| self.child(beside, value));
        let entries: Vec<_> = entries.iter().filter(|entry| !is_beside(entry)).collect();
        let [(key, value)] = entries.as_slice() else {
            let problem =
                format!("expected one key, {}; found {} keys", alternatives(&names, "or"), entries.len());
            return self.mistake(problem, hint);
        };
        let known = kinds.iter().find(|(name, _)| matches!(key, Node::Text(key) if key == name));
        match known {
            Some((name, kind)) => Some((*kind, self.child(name, value), more)),
            None => {
                let name = key_name(key);
                let hint = did_you_mean(&name, &names).unwrap_or_else(|| known_keys(&names));
                self.child(&name, value).mistake("unknown key", hint)
            }
        }
    }
}

/// A mapping whose keys are known.
pub(super) struct Fields<'a> {
    place: Place<'a>,
    values: BTreeMap<&'static str, &'a Node>,
    /// Keys that an unknown key was probably meant to be; they are not reported as missing too.
    misspelt: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    fn report_unknown(&mut self, here: &Place<'_>, key: &str, known: &[&'static str]) {
        let guess = nearest(key, known);
        self.misspelt.extend(guess);
        let hint = match guess {
            Some(guess) => format!("did you mean `{guess}`?"),
            None => known_keys(known),
        };
        here.mistake::<()>("unknown key", hint);
    }

    /// The value of a key that must be there; `example` is shown when it is not.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Place<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.values.get(key) {
            Some(node) => read(&self.place.child(key, node)),
            None if self.misspelt.contains(&key) => None,
            None => self.place.child(key, self.place.node).mistake("is missing", format!("add `{example}`")),
        }
    }

    /// The value of a key, or `default` without it.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&Place<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.values.get(key) {
            Some(node) => read(&self.place.child(key, node)),
            None => Some(default),
        }
    }

    /// Whether a key is there, or one that was probably meant to be it.
    pub(super) fn names(&self, key: &str) -> bool {
        self.values.contains_key(key) || self.misspelt.contains(&key)
    }

    /// Whether the key is there, with whatever value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Reports a mistake about a key, which may be absent.
    pub(super) fn mistake<T>(
        &self,
        key: &str,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) -> Option<T> {
        self.place.child(key, self.place.node).mistake(problem, hint)
    }
}

fn known_keys(known: &[&str]) -> String {
    format!("known keys: {}", alternatives(known, "and"))
}

fn did_you_mean(text: &str, known: &[&'static str]) -> Option<String> {
    nearest(text, known).map(|guess| format!("did you mean `{guess}`?"))
}

fn range_in_words(range: &impl RangeBounds<f64>) -> String {
    let from = match range.start_bound() {
        Bound::Included(low) => format!("from {low}"),
        Bound::Excluded(low) => format!("above {low}"),
        Bound::Unbounded => "of any size".to_owned(),
    };
    match range.end_bound() {
        Bound::Included(high) => format!("{from} to {high}"),
        Bound::Excluded(high) => format!("{from} to below {high}"),
        Bound::Unbounded => from,
    }
}

/// The path of a key's value.
pub(super) fn key_path(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// What paths call a key.
pub(super) fn key_name(key: &Node) -> String {
    match key {
        Node::Text(text) => quoted(text),
        Node::Flag(flag) => flag.to_string(),
        Node::Integer(number) => number.to_string(),
        Node::Number(number) => number.to_string(),
        Node::Nothing | Node::List(_) | Node::Mapping(_) | Node::Tagged(_) => "?".to_owned(),
    }
}
