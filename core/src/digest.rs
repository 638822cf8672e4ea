//! The name of a content: its blake3 hash.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

const PREFIX: &str = "blake3:";

/// The blake3 hash of some bytes; written `blake3:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Wraps a hash computed elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 32 bytes from a peer or a file.
    ///
    /// Errors: `NotADigest` for any other number of bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, NotADigest> {
        bytes.try_into().map(Self).map_err(|_| NotADigest(format!("{} bytes", bytes.len())))
    }

    /// The hash itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash as 64 hexadecimal digits, for file names.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// Whether its hexadecimal digits, in lower case, begin so.
    pub fn begins_with(&self, digits: &str) -> bool {
        let digit = |place: usize| {
            let byte = self.0.get(place / 2)?;
            char::from_digit(u32::from(if place.is_multiple_of(2) { byte >> 4 } else { byte & 15 }), 16)
        };
        digits.chars().enumerate().all(|(place, wanted)| digit(place) == Some(wanted))
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.short())
    }
}

/// The text or bytes are no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no digest; expected `blake3:` and 64 hexadecimal digits")]
pub struct NotADigest(String);

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // There are several in every fact: the text goes straight to where it is written.
        serializer.collect_str(self)
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let hex = text.strip_prefix(PREFIX).unwrap_or(text);
        let hash = blake3::Hash::from_hex(hex).map_err(|_| NotADigest(text.to_owned()))?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl TryFrom<String> for Digest {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, NotADigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_its_text_form() {
        let digest = Digest::of(b"bitloop");

        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert_eq!(digest.hex().parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn a_digest_begins_with_its_own_digits_and_no_others() {
        let digest = Digest::of(b"bitloop");
        let hex = digest.hex();

        for len in 0..=hex.len() {
            assert!(digest.begins_with(&hex[..len]), "{len} digits");
        }

        let other = if hex.ends_with('0') { '1' } else { '0' };
        assert!(!digest.begins_with(&format!("{}{other}", &hex[..63])));
        assert!(!digest.begins_with(&format!("{hex}0")), "it has no more than 64");
        assert!(!digest.begins_with("xyz"));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "blake3:", "blake3:zz", "sha256:00", &Digest::of(b"x").hex()[1..]] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        assert!(Digest::from_slice(&[0; 31]).is_err());
    }
}
