//! One trial's log, made from the files: its attempts, and the lines that workers wrote meanwhile.

use std::path::Path;

use bitloop_core::trial::TrialKey;

use super::record::{End, Met, Record, Short};
use super::segments::{Found, Reader};

/// Entries that are read at once.
const PAGE_MAX: usize = 512;

/// Something in a trial's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) unix_ms: u64,
    pub(crate) what: What,
    /// Counted from 1; 0 where it belongs to no attempt.
    pub(crate) attempt: u32,
    pub(crate) worker: String,
    pub(crate) level: String,
    pub(crate) text: String,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Leased,
    Begun,
    Measured,
    Failed,
    GivenBack,
    Lost,
    Ended,
    Overtaken,
    Duplicate,
    Conflict,
    Quarantined,
    Line,
    LeftOut,
}

impl What {
    /// Its word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Leased => "leased",
            Self::Begun => "begun",
            Self::Measured => "measured",
            Self::Failed => "failed",
            Self::GivenBack => "given_back",
            Self::Lost => "lost",
            Self::Ended => "ended",
            Self::Overtaken => "overtaken",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::Quarantined => "quarantined",
            Self::Line => "line",
            Self::LeftOut => "left_out",
        }
    }
}

/// Reads a trial's log on and on.
#[derive(Debug)]
pub(crate) struct TrialLog {
    reader: Reader,
    fold: Fold,
}

impl TrialLog {
    pub(super) fn new(folder: &Path, key: &TrialKey) -> Self {
        Self { reader: Reader::new(folder), fold: Fold::new(key.into()) }
    }

    /// Reads what has come since the last time, or a part of it; returns whether there is more. Waits for the disk.
    pub(crate) fn read(&mut self) -> (Vec<Entry>, bool) {
        let (mut entries, fold) = (Vec::new(), &mut self.fold);
        let more = self.reader.read(|found| {
            match found {
                Found::Gap => entries.push(Entry {
                    text: "what stood here was thrown away to make room".to_owned(),
                    ..fold.entry(0, What::LeftOut)
                }),
                Found::Line(line) if fold.concerns(&line) => {
                    // A line that cannot be read is damaged; the others are as good as they were.
                    if let Ok(record) = serde_json::from_slice(&line) {
                        entries.extend(fold.apply(record));
                    }
                }
                Found::Line(_) => {}
            }
            entries.len() < PAGE_MAX
        });
        (entries, more)
    }
}

/// An attempt at the trial.
#[derive(Debug)]
struct Attempt {
    lease: u64,
    worker: String,
    begun: bool,
    over: bool,
}

/// What records mean for one trial.
#[derive(Debug)]
pub(super) struct Fold {
    trial: Short,
    /// How the trial stands in lines.
    digits: String,
    attempts: Vec<Attempt>,
    /// The first attempt since the coordinator's last start: leases before it are no more.
    first: usize,
}

/// How lines begin that may concern any trial.
const FOR_ALL: [&[u8]; 2] = [br#"{"what":"started""#, br#"{"what":"left_out""#];

impl Fold {
    pub(super) fn new(trial: Short) -> Self {
        Self { trial, digits: trial.digits(), attempts: Vec::new(), first: 0 }
    }

    /// Whether a line may be about the trial; cheap, as most are not.
    fn concerns(&self, line: &[u8]) -> bool {
        if FOR_ALL.iter().any(|beginning| line.starts_with(beginning)) {
            return true;
        }
        let Ok(text) = std::str::from_utf8(line) else { return false };
        if text.contains(&self.digits) {
            return true;
        }
        // Lines are told by their lease, which stands near the beginning.
        let head = &text[..text.floor_char_boundary(96)];
        head.starts_with(r#"{"what":"lines""#)
            && self.attempts[self.first..]
                .iter()
                .any(|attempt| head.contains(&format!("\"lease\":{},", attempt.lease)))
    }

    fn entry(&self, unix_ms: u64, what: What) -> Entry {
        let (worker, level, text) = Default::default();
        Entry { unix_ms, what, attempt: 0, worker, level, text }
    }

    /// An entry of an attempt, by its place.
    fn of(&self, place: usize, (unix_ms, what): (u64, What), text: String) -> Entry {
        let worker = self.attempts[place].worker.clone();
        Entry { attempt: place as u32 + 1, worker, text, ..self.entry(unix_ms, what) }
    }

    fn under(&self, lease: u64) -> Option<usize> {
        (self.first..self.attempts.len()).rev().find(|place| self.attempts[*place].lease == lease)
    }

    pub(super) fn apply(&mut self, record: Record) -> Vec<Entry> {
        match record {
            Record::Started { at, epoch } => self.started(at, epoch),
            Record::Leased { at, lease, worker, device, second, held, trials } => {
                if !trials.contains(&self.trial) {
                    return Vec::new();
                }
                let alone = trials.len() == 1;
                self.attempts.push(Attempt { lease, worker, begun: false, over: false });
                let others = if alone { String::new() } else { format!(" with {} others", trials.len() - 1) };
                let why = match (held, second) {
                    (false, false) => "",
                    (false, true) => ", as another worker is late with it",
                    (true, false) => ", as it has it already",
                    (true, true) => ", as it has it already; another worker got it meanwhile",
                };
                let text = format!("on {device}, under lease {lease}{others}{why}");
                vec![self.of(self.attempts.len() - 1, (at, What::Leased), text)]
            }
            Record::Begun { at, lease, trials } => match self.under(lease) {
                Some(place) if trials.contains(&self.trial) && !self.attempts[place].begun => {
                    self.attempts[place].begun = true;
                    vec![self.of(place, (at, What::Begun), "seen by a heartbeat".to_owned())]
                }
                Some(_) | None => Vec::new(),
            },
            Record::Reported { at, worker, measured, failed, duplicates, conflicts } => {
                let reason = failed.into_iter().find(|(trial, _)| *trial == self.trial);
                let (what, text) = if let Some((_, reason)) = reason {
                    (What::Failed, reason)
                } else if measured.contains(&self.trial) {
                    (What::Measured, "its outcome is stored".to_owned())
                } else if conflicts.contains(&self.trial) {
                    (What::Conflict, "its outcome differs from the first one, which stays".to_owned())
                } else if duplicates.contains(&self.trial) {
                    (What::Duplicate, "its outcome was there already".to_owned())
                } else {
                    return Vec::new();
                };
                self.reported((at, what), &worker, text)
            }
            Record::Ended { at, lease, end, trials, obstacle } => match self.under(lease) {
                Some(place) if trials.contains(&self.trial) && !self.attempts[place].over => {
                    self.attempts[place].over = true;
                    let (what, text) = ending(end);
                    let text = obstacle.map_or_else(|| text.to_owned(), |met| given_back(&met));
                    vec![self.of(place, (at, what), text)]
                }
                Some(_) | None => Vec::new(),
            },
            Record::Quarantined { at, trial, losses } if trial == self.trial => {
                let text = format!("{losses} workers were lost while they ran it; it is not tried again");
                vec![Entry { text, ..self.entry(at, What::Quarantined) }]
            }
            Record::Quarantined { .. } => Vec::new(),
            Record::Lines { at, lease, left_out, lines, .. } => self.lines((at, lease, left_out), lines),
            Record::LeftOut { at, records } => {
                let text = format!("{records} records, of whichever trials, could not be written");
                vec![Entry { text, ..self.entry(at, What::LeftOut) }]
            }
        }
    }

    fn started(&mut self, at: u64, epoch: u64) -> Vec<Entry> {
        let open: Vec<usize> =
            (self.first..self.attempts.len()).filter(|place| !self.attempts[*place].over).collect();
        self.first = self.attempts.len();
        let text = || {
            format!(
                "the coordinator started anew (epoch {epoch}); the worker may go on with it under another lease"
            )
        };
        open.into_iter().map(|place| self.of(place, (at, What::Ended), text())).collect()
    }

    /// Ends the attempt of a worker that reported; with a first outcome also what others were at.
    fn reported(&mut self, (at, what): (u64, What), worker: &str, text: String) -> Vec<Entry> {
        let own = (0..self.attempts.len()).rev().find(|place| self.attempts[*place].worker == worker);
        let mut entries = match own {
            Some(place) => {
                self.attempts[place].over = true;
                vec![self.of(place, (at, what), text)]
            }
            None => vec![Entry { worker: worker.to_owned(), text, ..self.entry(at, what) }],
        };
        if matches!(what, What::Measured | What::Failed) {
            for place in self.first..self.attempts.len() {
                if !std::mem::replace(&mut self.attempts[place].over, true) {
                    let text = format!("the outcome of {worker} came first");
                    entries.push(self.of(place, (at, What::Overtaken), text));
                }
            }
        }
        entries
    }

    fn lines(&self, (at, lease, left_out): (u64, u64, u64), lines: Vec<super::record::Line>) -> Vec<Entry> {
        let Some(place) = self.under(lease) else { return Vec::new() };
        let mut entries = Vec::new();
        if left_out > 0 {
            let text = format!("{left_out} lines before these were left out by the worker");
            entries.push(self.of(place, (at, What::LeftOut), text));
        }
        for line in lines.into_iter().filter(|line| line.trial.is_none_or(|trial| trial == self.trial)) {
            let entry = self.of(place, (line.at, What::Line), line.text);
            entries.push(Entry { level: line.level, ..entry });
        }
        entries
    }
}

/// Says why a worker gave a trial back. Who gets it next is not known: it may be the same one.
fn given_back(Met { kind, reason }: &Met) -> String {
    format!("the worker gave it back ({kind}): {reason}")
}

fn ending(end: End) -> (What, &'static str) {
    match end {
        End::GivenBack => (What::GivenBack, "the worker gave it back, as it leaves or had not begun it"),
        End::Left => (What::GivenBack, "the worker left; it is handed out again"),
        End::Registered => (What::Ended, "the worker registered again, and goes on with what it still holds"),
        End::Lost => {
            (What::Lost, "nothing was heard of the worker for a lease's term; it is handed out again")
        }
        End::Expired => (What::Lost, "the lease was not renewed in time; it is handed out again"),
        End::Hung => (
            What::Lost,
            "the worker lives but got nowhere with it; it is handed out again; restart that worker",
        ),
    }
}
