//! The canonical form of a value: bytes that depend on the value alone, for content-addressed keys.
//!
//! Every field is written in a fixed order; integers as eight bytes, least first; texts and lists behind their
//! length; an enum as its tag. Nothing is optional or implied, so two values share a form only if they are equal.
//! Changing anything here changes every key: raise [`crate::trial::KEY_SCHEMA`] with it.

use crate::digest::Digest;

/// Collects the canonical form of a value.
#[derive(Debug, Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// Starts with the schema's name and version, so that kinds of values never share a form.
    pub fn new(schema: &str, version: u64) -> Self {
        let mut encoder = Self::default();
        encoder.text(schema).number(version);
        encoder
    }

    /// Writes an integer, a length or a tag.
    pub fn number(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Writes a text behind its length in bytes.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.number(value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    /// Writes a digest; its length is fixed.
    pub fn digest(&mut self, value: &Digest) -> &mut Self {
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    /// Writes a list behind its length.
    pub fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.number(items.len() as u64);
        for item in items {
            write(self, item);
        }
        self
    }

    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}
