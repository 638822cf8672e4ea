//! What happened, for people: the attempts at every trial with the lines that workers wrote meanwhile, and the cluster's
//! events.
//!
//! Nothing here is a result and nothing depends on it: files may be deleted at any time, and what cannot be kept is left
//! out and counted. The driver only notes (`note.rs`) and hands over; a thread of its own writes the files (`writer.rs`),
//! and readers read them (`trial.rs`) or the events in memory (`events.rs`) at their own pace.

mod events;
mod leases;
mod note;
mod record;
mod segments;
#[cfg(test)]
mod tests;
mod trial;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::{Fact, State, UnixMillis, WorkerId};
use bitloop_core::trial::TrialKey;
use bitloop_proto::convert::LogLine;
use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;

pub(crate) use events::{Cursor, Event, EventKind};
pub(crate) use note::{Happened, note};
pub(crate) use trial::{Entry, TrialLog, What};

use events::{Events, EventsPage, Happening};
use leases::Leases;
use record::{Line, Record};
use segments::Segments;
use writer::{Entrance, Writer};

/// Bytes of what is kept of trials.
const TRIALS_BYTES_MAX: u64 = 64 << 20;

/// Logs of trials that are read at once; further readers wait for each other.
const READERS_AT_ONCE: usize = 4;

/// Bytes of the events that the next start begins with.
const EVENTS_BYTES_MAX: u64 = 4 << 20;

/// Why lines were not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownWorker;

/// Where logs of trials lie within the folder of all logs.
fn trials_of(folder: &Path) -> PathBuf {
    folder.join("trials")
}

/// Reads what is kept of a trial in a folder of logs, whether or not anybody writes there.
pub(crate) fn trial_log(folder: &Path, key: &TrialKey) -> TrialLog {
    TrialLog::new(&trials_of(folder), key)
}

/// Reads and writes what happened; clones are of the same.
#[derive(Clone, Debug)]
pub(crate) struct Chronicle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    happened: Events,
    leases: Mutex<Leases>,
    entrance: Entrance,
    trials: PathBuf,
    /// Trials' logs that are read at once: each takes a thread, and may go through all files.
    readers: Arc<Semaphore>,
    /// Changes when there is more to read of trials.
    written: watch::Receiver<u64>,
}

/// Keeps the writer's thread; dropping it writes what is still to be written.
#[derive(Debug)]
pub(crate) struct Keeper(Option<Writer>);

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(writer) = self.0.take() {
            writer.finish();
        }
    }
}

impl Chronicle {
    /// Opens the files in a folder, which is made if need be. What cannot be opened is done without.
    pub(crate) fn open(folder: &Path, epoch: u64, clock: Clock) -> (Self, Keeper) {
        let trials = trials_of(folder);
        let events = folder.join("events");
        let happened = Events::new(epoch, segments::read_all(&events));
        let files = [Segments::open(&trials, TRIALS_BYTES_MAX), Segments::open(&events, EVENTS_BYTES_MAX)];
        let (writer, entrance, written) = Writer::start(files);
        entrance.record(Record::Started { at: clock.now().0, epoch });
        let (leases, readers) = (Mutex::default(), Arc::new(Semaphore::new(READERS_AT_ONCE)));
        let inner = Inner { clock, happened, leases, entrance, trials, readers, written };
        (Self(Arc::new(inner)), Keeper(writer))
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        // A panic elsewhere leaves at worst a lease without lines.
        self.0.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no event of earlier starts is known, as on another machine than theirs.
    pub(crate) fn is_blank(&self) -> bool {
        self.0.happened.is_empty()
    }

    /// Makes known what an earlier start stored as facts.
    pub(crate) fn remember(&self, state: &State, fact: &Fact) {
        for happening in note::of_the_past(state, fact) {
            self.0.happened.remember(happening);
        }
    }

    /// Makes known that the coordinator works from now on.
    pub(crate) fn started(&self, took_over: bool) {
        let (epoch, version) = (self.0.happened.epoch(), env!("CARGO_PKG_VERSION"));
        let kind = if took_over { EventKind::CoordinatorTookOver } else { EventKind::CoordinatorStarted };
        self.tell_now(kind, format!("epoch {epoch}, bitloop {version}"));
    }

    /// Makes known what has happened, once it is durable.
    pub(crate) fn tell(&self, happened: &mut Happened) {
        if happened.is_empty() {
            return;
        }
        let Happened { records, happenings } = std::mem::take(happened);
        for record in records {
            self.leases().follow(&record);
            self.0.entrance.record(record);
        }
        for happening in happenings {
            self.announce(happening);
        }
    }

    /// Makes known what became of an experiment.
    pub(crate) fn tell_of(&self, kind: EventKind, experiment: &ExperimentId, text: impl Into<String>) {
        let mut happening = Happening::new(self.0.clock.now(), kind, text.into());
        happening.experiments = vec![experiment.0.clone()];
        self.announce(happening);
    }

    /// Makes known that an experiment is finished, unless that is known, as where only its results file was missing.
    pub(crate) fn finished(&self, experiment: &ExperimentId) {
        if !self.0.happened.knows(EventKind::ExperimentFinished, experiment) {
            self.tell_of(EventKind::ExperimentFinished, experiment, "it is finished");
        }
    }

    /// Makes known what happened to the coordinator itself.
    pub(crate) fn tell_now(&self, kind: EventKind, text: impl Into<String>) {
        self.announce(Happening::new(self.0.clock.now(), kind, text.into()));
    }

    fn announce(&self, happening: Happening) {
        let event = self.0.happened.add(happening);
        self.0.entrance.event(event);
    }

    /// Keeps lines of trials that a worker has a lease on, or had one lately; returns how many it did not take.
    ///
    /// Errors: the worker has had no lease since the coordinator's start.
    pub(crate) fn write_lines(
        &self,
        worker: &WorkerId,
        lines: Vec<LogLine>,
        left_out: u64,
    ) -> Result<u32, UnknownWorker> {
        let (now, asked) = (self.0.clock.now(), lines.len());
        let admitted = self.leases().admit(worker, lines)?;
        let taken: usize = admitted.iter().map(|(_, lines)| lines.len()).sum();
        let mut left_out = left_out;
        for (lease, lines) in admitted {
            let lines = lines.into_iter().map(|line| Line::new(line, now)).collect();
            let worker = worker.0.clone();
            self.0.entrance.record(Record::Lines { at: now.0, lease, worker, left_out, lines });
            left_out = 0;
        }
        Ok(u32::try_from(asked - taken).unwrap_or(u32::MAX))
    }

    /// A reader of what is kept of a trial.
    pub(crate) fn trial(&self, key: &TrialKey) -> TrialLog {
        TrialLog::new(&self.0.trials, key)
    }

    /// Of which whoever reads a trial's log takes one meanwhile.
    pub(crate) fn readers(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.readers)
    }

    /// Changes when there is more to read of trials.
    pub(crate) fn written(&self) -> watch::Receiver<u64> {
        self.0.written.clone()
    }

    /// Events behind a cursor, or from the oldest that is kept.
    pub(crate) fn events(&self, after: Option<Cursor>) -> EventsPage {
        self.0.happened.read(after)
    }

    /// Changes when there are more events.
    pub(crate) fn announced(&self) -> watch::Receiver<()> {
        self.0.happened.announced()
    }

    /// The time by which everything here is dated.
    pub(crate) fn now(&self) -> UnixMillis {
        self.0.clock.now()
    }
}
