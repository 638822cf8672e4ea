//! One line of the journal: its place in the order, what it says, and a checksum ([`checked`]).
//!
//! `{"sequence":12,"batch":10,"fact":{..},"crc32c":"9a3b01ff"}` is JSON for people and their tools. Its layout is
//! fixed, so that a line is checked and counted without parsing what it says. Lines of one batch became durable
//! together; `batch` is the sequence number of its first.

use bitloop_core::checked;
pub(super) use bitloop_core::checked::LineError;
use serde::{Deserialize, Serialize};

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A segment begins: a [`SegmentStart`].
    Segment,
    /// A coordinator starts: its epoch.
    Epoch,
    /// A fact.
    Fact,
}

/// What the first line of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SegmentStart {
    pub(super) format: u32,
    pub(super) number: u32,
    /// Facts in earlier segments.
    pub(super) facts: u64,
    /// The epoch so far.
    pub(super) epoch: u64,
}

/// Where a line stands in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sequence: u64,
    pub(super) batch: u64,
}

/// A line whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) place: Place,
    pub(super) kind: Kind,
    /// JSON.
    pub(super) body: &'a [u8],
}

const SEQUENCE: &[u8] = b"{\"sequence\":";
const BATCH: &[u8] = b",\"batch\":";

impl Kind {
    const ALL: [Self; 3] = [Self::Segment, Self::Epoch, Self::Fact];

    fn field(self) -> &'static [u8] {
        match self {
            Self::Segment => b",\"segment\":",
            Self::Epoch => b",\"epoch\":",
            Self::Fact => b",\"fact\":",
        }
    }
}

/// Puts a line, with the newline that ends it, into an emptied buffer.
pub(super) fn write(buffer: &mut Vec<u8>, place: Place, kind: Kind, body: &impl Serialize) {
    buffer.clear();
    buffer.extend_from_slice(SEQUENCE);
    buffer.extend_from_slice(place.sequence.to_string().as_bytes());
    buffer.extend_from_slice(BATCH);
    buffer.extend_from_slice(place.batch.to_string().as_bytes());
    buffer.extend_from_slice(kind.field());
    serde_json::to_writer(&mut *buffer, body)
        .expect("facts have only text keys, and numbers that JSON can write; memory takes all of it");
    checked::seal(buffer);
}

/// Checks a line, given without its newline.
pub(super) fn read(bytes: &[u8]) -> Result<Line<'_>, LineError> {
    split(checked::unseal(bytes)?).ok_or(LineError::Layout)
}

fn split(text: &[u8]) -> Option<Line<'_>> {
    let (sequence, rest) = number(text.strip_prefix(SEQUENCE)?)?;
    let (batch, rest) = number(rest.strip_prefix(BATCH)?)?;
    let named = |kind: Kind| rest.strip_prefix(kind.field()).map(|body| (kind, body));
    let (kind, body) = Kind::ALL.into_iter().find_map(named)?;
    Some(Line { place: Place { sequence, batch }, kind, body })
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(digits);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// The format that the first line of a journal names, also where later versions write lines differently.
pub(super) fn named_format(line: &[u8]) -> Option<u32> {
    let line: serde_json::Value = serde_json::from_slice(line).ok()?;
    u32::try_from(line.get("segment")?.get("format")?.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { sequence: 12, batch: 10 };

    fn written(body: &impl Serialize) -> Vec<u8> {
        let mut line = b"left from before".to_vec();
        write(&mut line, PLACE, Kind::Fact, body);
        line
    }

    #[test]
    fn a_line_is_json_and_reads_back() {
        let body = serde_json::json!({ "reason": "a \"quoted\"\n,\"crc32c\":\"00000000\"}" });
        let line = written(&body);

        let (newline, line) = line.split_last().unwrap();
        let read = read(line).unwrap();

        assert_eq!(*newline, b'\n');
        assert_eq!((read.place, read.kind), (PLACE, Kind::Fact));
        assert_eq!(serde_json::from_slice::<serde_json::Value>(read.body).unwrap(), body);
        let whole: serde_json::Value = serde_json::from_slice(line).unwrap();
        assert_eq!((&whole["sequence"], &whole["fact"]), (&12.into(), &body));
    }

    #[test]
    fn no_changed_byte_goes_unseen() {
        let line = written(&7);
        let line = &line[..line.len() - 1];

        for index in 0..line.len() {
            for change in [1_u8, 0x20, 0x80] {
                let mut changed = line.to_vec();
                changed[index] ^= change;
                assert!(read(&changed).is_err(), "{}", String::from_utf8_lossy(&changed));
            }
            assert!(read(&line[..index]).is_err(), "cut at {index}");
        }
    }
}
