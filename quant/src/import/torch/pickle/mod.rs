//! Python's pickles as plain data.
//!
//! A pickle is a program for a small stack machine. Here it can build numbers, texts and containers, and of all the
//! functions that it may name, a fixed list has a meaning: descriptions of tensors and storages. Every other name,
//! call or class gives an [`Object::Opaque`] that remembers the name. Nothing is ever looked up or executed.
//!
//! Objects are numbered instead of nested, so neither building nor dropping them recurses, and cycles are harmless.

mod build;
mod calls;
mod machine;

use std::fmt;

use super::cursor::Cursor;
use super::error::PickleError;
use super::storage::Element;

/// Values that the operations of one pickle may make: four million. A checkpoint with its optimizer's state has
/// about a hundred for each parameter.
const VALUES_MAX: usize = 1 << 22;
/// Marks that may be open at once; Python's own pickler gives up at about a thousand nested objects.
const MARKS_MAX: usize = 1024;
/// Axes of a tensor, the most that PyTorch has.
const AXES_MAX: usize = 64;

/// A value on the machine's stack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// Two's complement, least byte first.
    Long(&'a [u8]),
    /// The digits are of no use here.
    Float,
    Text(&'a str),
    Bytes,
    Object(usize),
}

/// A value with parts, or with a name only.
#[derive(Debug)]
pub(super) enum Object<'a> {
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    /// What it holds is of no use here.
    Set,
    Global(Name<'a>),
    /// What a function or class unknown here would have made.
    Opaque(Name<'a>),
    Storage(Storage<'a>),
    Tensor(Box<TensorParts<'a>>),
}

/// Module and name of a function or class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) module: &'a str,
    pub(super) name: &'a str,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

/// The description of a storage: a flat piece of memory that tensors lie in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    pub(super) element: Element,
    pub(super) key: &'a str,
    /// Elements of the whole storage.
    pub(super) elements: usize,
    /// First element and number of elements of the part that tensors are relative to.
    pub(super) view: (usize, usize),
}

/// The description of a tensor in a storage; nothing is checked but that these are numbers.
#[derive(Clone, Debug)]
pub(super) struct TensorParts<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) element: Element,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// What a pickle built.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) root: Value<'a>,
    objects: Vec<Object<'a>>,
    /// The byte behind the pickle.
    pub(super) end: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle that begins at a byte.
    ///
    /// Errors: [`PickleError`]. Memory is in proportion to the bytes read, and time too.
    pub(super) fn read(bytes: &'a [u8], start: usize) -> Result<Self, PickleError> {
        machine::Machine::new(Cursor::new(bytes, start)).finish()
    }

    /// Returns the object that a value stands for, if it is one.
    pub(super) fn object(&self, value: Value<'a>) -> Option<&Object<'a>> {
        object(&self.objects, value)
    }

    /// Returns the pairs of a dictionary; none for everything else.
    pub(super) fn pairs(&self, value: Value<'a>) -> &[(Value<'a>, Value<'a>)] {
        match self.object(value) {
            Some(Object::Dict(pairs)) => pairs,
            _ => &[],
        }
    }

    /// All storages, in the order of their description.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage<'a>> {
        self.objects.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// Says in a few words what a value is.
    pub(super) fn describe(&self, value: Value<'a>) -> String {
        match self.object(value) {
            None => match value {
                Value::None => "nothing".to_owned(),
                Value::Text(_) => "a text".to_owned(),
                _ => "a number or bytes".to_owned(),
            },
            Some(Object::Dict(pairs)) => describe_keys(pairs),
            Some(Object::Tuple(_) | Object::List(_) | Object::Set) => "a list, tuple or set".to_owned(),
            Some(Object::Global(name) | Object::Opaque(name)) => format!("`{name}`"),
            Some(Object::Storage(_)) => "a storage".to_owned(),
            Some(Object::Tensor(_)) => "a single tensor".to_owned(),
        }
    }
}

/// Keys that an error names.
const KEYS_NAMED_MAX: usize = 8;

fn describe_keys(pairs: &[(Value<'_>, Value<'_>)]) -> String {
    let names = pairs.iter().filter_map(|(key, _)| match key {
        Value::Text(name) => Some(format!("`{name}`")),
        _ => None,
    });
    let named: Vec<String> = names.take(KEYS_NAMED_MAX).collect();
    format!("a dict of {} entries with keys {}", pairs.len(), named.join(", "))
}

fn object<'o, 'a>(objects: &'o [Object<'a>], value: Value<'a>) -> Option<&'o Object<'a>> {
    match value {
        Value::Object(number) => objects.get(number),
        _ => None,
    }
}
