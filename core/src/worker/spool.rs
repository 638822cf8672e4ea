//! The text of a spool: outcomes that wait for the coordinator, a checked line each, behind a line that names the format.

use serde::{Deserialize, Serialize};

use crate::checked;
use crate::state::Report;
use crate::trial::{Outcome, TrialKey};

use super::Measured;

/// Version of the lines: since 2, outcomes may be measurements of devices.
pub const SPOOL_FORMAT: u32 = 2;

/// The oldest version that this one reads.
const OLDEST_FORMAT: u32 = 1;

/// What a spool holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Outcomes in the order in which they were measured.
    pub outcomes: Vec<Measured>,
    /// Lines that cannot be read: the last one, as a crash leaves it, or damaged ones.
    pub unreadable: usize,
    /// The version that wrote it, if this one does not read it; then nothing else of it is read.
    pub foreign_format: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    spool: u32,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    key: TrialKey,
    #[serde(bound(deserialize = "std::borrow::Cow<'a, Outcome>: Deserialize<'de>"))]
    outcome: std::borrow::Cow<'a, Outcome>,
    compute_ms: f64,
}

/// The first line of a spool.
pub fn spool_head() -> Vec<u8> {
    sealed(&Head { spool: SPOOL_FORMAT })
}

/// The line of an outcome.
pub fn spool_line(measured: &Measured) -> Vec<u8> {
    let Measured { report: Report { key, outcome }, compute_ms } = measured;
    let outcome = std::borrow::Cow::Borrowed(outcome);
    // JSON has no infinity; a time that is none counts for nothing.
    let compute_ms = if compute_ms.is_finite() { *compute_ms } else { 0.0 };
    sealed(&Line { key: *key, outcome, compute_ms })
}

fn sealed(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("outcomes have only text keys; memory takes all of it");
    line.pop();
    checked::seal(&mut line);
    line
}

/// Reads what [`spool_head`] and [`spool_line`] wrote, also where a crash cut it off.
pub fn read_spool(bytes: &[u8]) -> Recovered {
    let mut recovered = Recovered::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let head: Option<Head> = if index == 0 { opened(line) } else { None };
        match head {
            Some(Head { spool: OLDEST_FORMAT..=SPOOL_FORMAT }) => {}
            Some(Head { spool }) => {
                recovered.foreign_format = Some(spool);
                return recovered;
            }
            None => match opened::<Line<'_>>(line) {
                Some(Line { key, outcome, compute_ms }) => {
                    let report = Report { key, outcome: outcome.into_owned() };
                    recovered.outcomes.push(Measured { report, compute_ms });
                }
                None => recovered.unreadable += 1,
            },
        }
    }
    recovered
}

fn opened<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Option<T> {
    // The fields before the checksum are all there is; the line as a whole is JSON with one field more.
    checked::unseal(line).ok().and_then(|_| serde_json::from_slice(line).ok())
}

#[cfg(test)]
mod tests {
    use super::super::tests::measured;
    use super::*;
    use crate::trial::{Reading, TrialResult};

    fn spool(count: usize) -> Vec<u8> {
        let lines = (0..count).map(|index| spool_line(&measured(index)));
        std::iter::once(spool_head()).chain(lines).flatten().collect()
    }

    #[test]
    fn outcomes_come_back_and_a_torn_end_takes_no_other_line_with_it() {
        let whole = spool(3);
        let two = spool(2).len();

        let all: Vec<Measured> = (0..3).map(measured).collect();
        assert_eq!(read_spool(&whole), Recovered { outcomes: all.clone(), ..Recovered::default() });
        for end in two + 1..whole.len() - 1 {
            let torn = Recovered { outcomes: all[..2].to_vec(), unreadable: 1, foreign_format: None };
            assert_eq!(read_spool(&whole[..end]), torn, "cut at {end}");
        }
        assert_eq!(read_spool(b""), Recovered::default());
    }

    #[test]
    fn a_damaged_line_is_counted_and_the_others_are_read() {
        let mut bytes = spool(3);
        let second = spool(1).len() + 10;
        bytes[second] ^= 1;

        let recovered = read_spool(&bytes);

        assert_eq!(recovered.outcomes, [measured(0), measured(2)]);
        assert_eq!(recovered.unreadable, 1);
    }

    #[test]
    fn a_spool_of_another_format_is_left_alone() {
        let mut bytes = sealed(&Head { spool: SPOOL_FORMAT + 1 });
        bytes.extend(spool_line(&measured(0)));

        let foreign_format = Some(SPOOL_FORMAT + 1);
        assert_eq!(read_spool(&bytes), Recovered { foreign_format, ..Recovered::default() });
    }

    #[test]
    fn a_spool_of_format_1_is_read() {
        let recovered = read_spool(include_bytes!("tests/spool-1.jsonl"));

        assert_eq!(recovered, Recovered { outcomes: vec![measured(0)], ..Recovered::default() });
    }

    /// The file has an outcome that failed and one of each kind of measurement. A change of this text is a new format.
    #[test]
    fn a_spool_of_this_format_is_read_and_written_byte_for_byte() {
        let golden = include_str!("tests/spool-2.jsonl");

        let recovered = read_spool(golden.as_bytes());

        assert_eq!((recovered.unreadable, recovered.foreign_format), (0, None));
        let kinds: Vec<&str> = recovered.outcomes.iter().map(kind).collect();
        assert_eq!(kinds, ["failed", "whole", "layers", "fidelity"]);
        let written = std::iter::once(spool_head()).chain(recovered.outcomes.iter().map(spool_line));
        assert_eq!(String::from_utf8(written.flatten().collect()).unwrap(), golden);
    }

    fn kind(measured: &Measured) -> &'static str {
        match &measured.report.outcome.result {
            TrialResult::Failed { .. } => "failed",
            TrialResult::Measured(measured) => match &measured.reading {
                Reading::Whole { .. } => "whole",
                Reading::Layers { .. } => "layers",
                Reading::Fidelity(_) => "fidelity",
            },
            other => panic!("{other:?}"),
        }
    }
}
