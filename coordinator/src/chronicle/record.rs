//! The lines of the files that tell of trials: JSON, in the order of what happened.

use bitloop_core::state::{Obstacle, UnixMillis};
use bitloop_core::trial::TrialKey;
use bitloop_proto::convert::LogLine;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that are kept of why a trial failed; all of it stands with its outcome.
const REASON_BYTES_MAX: usize = 2_048;

/// A trial by the first 64 bits of its key: files hold four times as much, and millions of trials still differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Short(u64);

impl From<&TrialKey> for Short {
    fn from(key: &TrialKey) -> Self {
        let mut first = [0; 8];
        first.copy_from_slice(&key.0.as_bytes()[..8]);
        Self(u64::from_be_bytes(first))
    }
}

impl Short {
    pub(super) fn digits(self) -> String {
        format!("{:016x}", self.0)
    }
}

impl Serialize for Short {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Short {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        u64::from_str_radix(&digits, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The digits by which events name a trial, enough for every command that asks for one.
pub(super) fn key_digits(key: &TrialKey) -> String {
    Short::from(key).digits()
}

/// How the trials that were left of a lease came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// Its worker gave them back.
    GivenBack,
    /// Its worker left.
    Left,
    /// Its worker registered again; what it still holds is under another lease.
    Registered,
    /// Its worker was not heard from for a lease's term.
    Lost,
    /// The lease was not renewed for its term, though its worker was heard from.
    Expired,
    /// Its worker renewed it for far longer than it should have taken.
    Hung,
}

/// What kept a worker from measuring trials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Met {
    /// The kind of obstacle, as a word.
    pub(super) kind: String,
    pub(super) reason: String,
}

impl From<&Obstacle> for Met {
    fn from(obstacle: &Obstacle) -> Self {
        Self { kind: obstacle.kind.as_str().to_owned(), reason: short_reason(&obstacle.reason) }
    }
}

/// A line that a worker wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(super) at: u64,
    pub(super) level: String,
    pub(super) text: String,
    /// The trial that it is about; none if about all that its lease has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trial: Option<Short>,
}

impl Line {
    pub(super) fn new(line: LogLine, now: UnixMillis) -> Self {
        Self {
            at: now.0.saturating_sub(line.ago_ms),
            level: line.level.as_str().to_owned(),
            trial: line.alone.then(|| Short::from(&line.trial)),
            text: line.text,
        }
    }
}

/// Something that happened to trials. Leases are numbered anew with each start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Record {
    /// The coordinator started: no lease is in force.
    Started { at: u64, epoch: u64 },
    /// Trials were handed out.
    Leased {
        at: u64,
        lease: u64,
        worker: String,
        device: String,
        /// Whether another worker has them too.
        second: bool,
        /// Whether the worker had them already when it registered.
        #[serde(default, skip_serializing_if = "is_false")]
        held: bool,
        trials: Vec<Short>,
    },
    /// A heartbeat said that the worker is busy with these.
    Begun { at: u64, lease: u64, trials: Vec<Short> },
    /// A worker reported.
    Reported {
        at: u64,
        worker: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        measured: Vec<Short>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        failed: Vec<(Short, String)>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        duplicates: Vec<Short>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        conflicts: Vec<Short>,
    },
    /// Trials came back without an outcome.
    Ended {
        at: u64,
        lease: u64,
        end: End,
        trials: Vec<Short>,
        /// Why the worker gave them back, if something kept it from measuring them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        obstacle: Option<Met>,
    },
    /// A trial is not tried again.
    Quarantined { at: u64, trial: Short, losses: u32 },
    /// A worker wrote lines; before them it had left some out.
    Lines { at: u64, lease: u64, worker: String, left_out: u64, lines: Vec<Line> },
    /// So many records could not be written.
    LeftOut { at: u64, records: u64 },
}

impl Record {
    /// Bytes that it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let trials = |trials: &[Short]| size_of_val(trials);
        size_of::<Self>()
            + match self {
                Self::Started { .. } | Self::Quarantined { .. } | Self::LeftOut { .. } => 0,
                Self::Leased { worker, device, trials: of, .. } => worker.len() + device.len() + trials(of),
                Self::Begun { trials: of, .. } => trials(of),
                Self::Ended { trials: of, obstacle, .. } => {
                    trials(of) + obstacle.as_ref().map_or(0, |met| met.kind.len() + met.reason.len())
                }
                Self::Reported { worker, measured, failed, duplicates, conflicts, .. } => {
                    let reasons =
                        failed.iter().map(|(_, reason)| size_of::<(Short, String)>() + reason.len());
                    let others = trials(measured) + trials(duplicates) + trials(conflicts);
                    worker.len() + others + reasons.sum::<usize>()
                }
                Self::Lines { worker, lines, .. } => {
                    let texts =
                        lines.iter().map(|line| size_of::<Line>() + line.level.len() + line.text.len());
                    worker.len() + texts.sum::<usize>()
                }
            }
    }

    /// When it happened.
    pub(super) fn at(&self) -> u64 {
        match self {
            Self::Started { at, .. }
            | Self::Leased { at, .. }
            | Self::Begun { at, .. }
            | Self::Reported { at, .. }
            | Self::Ended { at, .. }
            | Self::Quarantined { at, .. }
            | Self::Lines { at, .. }
            | Self::LeftOut { at, .. } => *at,
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Cuts a reason for the files.
pub(super) fn short_reason(reason: &str) -> String {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}
