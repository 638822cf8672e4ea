use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::error::Mistake;

/// Longest text that is read, in bytes. `serde_yaml` takes time in the square of the number of nested brackets before
/// it finds them too deep: about a second in a debug build here, and 20 s for a mebibyte.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 16;
/// Most values in a file. Aliases let a short text stand for billions of values, and the limit of `serde_yaml` itself
/// counts uses of an alias, not what each stands for.
const NODES_MAX: usize = 10_000;
/// Characters of the user's text that a message repeats.
const QUOTED_CHARS_MAX: usize = 60;

/// A YAML value. Unlike `serde_yaml::Value` it keeps repeated keys, so that they are reported like other mistakes.
#[derive(Debug)]
pub(super) enum Node {
    Nothing,
    Flag(bool),
    Integer(i128),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
    /// A value behind a `!tag`, which no file needs.
    Tagged(String),
}

impl Node {
    /// Reads YAML text.
    ///
    /// Errors: the one mistake that keeps the text from being YAML.
    pub(super) fn parse(text: &str) -> Result<Self, Mistake> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(not_sensible(format!(
                "is {} bytes long; at most {TEXT_BYTES_MAX} are read",
                text.len()
            )));
        }
        let mut count = 0;
        let read = NodeSeed { count: &mut count }.deserialize(serde_yaml::Deserializer::from_str(text));
        read.map_err(|error| {
            if count > NODES_MAX {
                not_sensible(format!("has more than {NODES_MAX} values"))
            } else {
                syntax_mistake(&error)
            }
        })
    }

    /// What messages call the value, as in `found text `abc``.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Nothing => "nothing".into(),
            Self::Flag(flag) => format!("`{flag}`"),
            Self::Integer(number) => format!("number {number}"),
            Self::Number(number) => format!("number {number:?}"),
            Self::Text(text) => format!("text `{}`", quoted(text)),
            Self::List(_) => "a list".into(),
            Self::Mapping(_) => "a mapping".into(),
            Self::Tagged(tag) => format!("the tag `{}`", quoted(tag)),
        }
    }
}

/// The user's text as a message repeats it: on one line and not too long.
pub(super) fn quoted(text: &str) -> String {
    let mut chars = text.chars();
    let mut quoted = String::new();
    for char in chars.by_ref().take(QUOTED_CHARS_MAX) {
        if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') {
            quoted.extend(char.escape_default());
        } else {
            quoted.push(char);
        }
    }
    if chars.next().is_some() {
        quoted.push('…');
    }
    quoted
}

fn not_sensible(problem: String) -> Mistake {
    Mistake { path: "file".into(), problem, hint: "is this the right file?".into() }
}

fn syntax_mistake(error: &serde_yaml::Error) -> Mistake {
    let mut message = error.to_string();
    let mut path = "file".to_owned();
    if let Some(place) = error.location() {
        path = format!("line {}, column {}", place.line(), place.column());
        message = message.replacen(&format!(" at line {} column {}", place.line(), place.column()), "", 1);
    }
    let hint = if message.contains("anchor") || message.contains("alias") {
        "put text that starts with `*` or `&` in quotation marks"
    } else if message.contains("tab character") {
        "indent with spaces"
    } else if message.contains("cannot start any token") {
        "put text with special characters in quotation marks"
    } else if message.contains("more than one document") {
        "write one document, without lines `---` in between"
    } else if message.contains("recursion limit") {
        "lists and mappings are nested too deeply"
    } else {
        "check indentation, colons, brackets and quotation marks"
    };
    Mistake { path, problem: format!("this is not YAML: {}", on_one_line(&message)), hint: hint.into() }
}

/// The parser's message without line breaks; it can repeat keys of any length.
fn on_one_line(message: &str) -> String {
    const MESSAGE_CHARS_MAX: usize = 200;
    message.chars().take(MESSAGE_CHARS_MAX).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// Builds a [`Node`] and counts as it goes, so that a bomb of aliases ends early.
struct NodeSeed<'c> {
    count: &'c mut usize,
}

impl NodeSeed<'_> {
    fn next(&mut self) -> NodeSeed<'_> {
        NodeSeed { count: self.count }
    }
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        *self.count += 1;
        if *self.count > NODES_MAX {
            return Err(D::Error::custom(format!("more than {NODES_MAX} values")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Integer(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Integer(number.into()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Node, E> {
        Ok(Node::Integer(number))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Node, E> {
        // Far outside every range either way; the float is good enough for the message.
        Ok(i128::try_from(number).map_or(Node::Number(number as f64), Node::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self.next())? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut mapping: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = mapping.next_key_seed(self.next())? {
            entries.push((key, mapping.next_value_seed(self.next())?));
        }
        Ok(Node::Mapping(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let (tag, content) = tagged.variant::<String>()?;
        content.newtype_variant_seed(self)?;
        Ok(Node::Tagged(tag))
    }
}
