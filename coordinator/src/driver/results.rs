//! `results/<experiment>.csv`, written when an experiment is finished.
//!
//! That takes long for a large one, so a thread of its own does it, for one experiment after the other. Until it is done, nobody
//! is told that the experiment is finished. A file that cannot be written is tried again with every tick; a report that cannot be
//! made holds up nobody, and the next start tries again.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bitloop_core::plan::ExperimentId;
use bitloop_core::report::{Report, WriteError};
use bitloop_core::state::{Ledger, State, Status};
use tokio::sync::mpsc;
use tracing::{error, info};

use super::Driver;
use crate::chronicle::EventKind;
use crate::files::{make_folder, write_atomically_by};

/// One thread writes at a time, and is joined before the next begins.
const ENDED_WAITING: usize = 1;

/// Writes a file's text; tests have others.
type Make = fn(&Ledger, &ExperimentId, &mut dyn io::Write) -> Result<(), WriteError>;

/// The folder of results files, the thread that writes them, and what it has to do.
pub(super) struct Results {
    folder: PathBuf,
    pub(super) make: Make,
    /// With their part of the ledger, if it was copied already.
    owed: VecDeque<(ExperimentId, Option<Arc<Ledger>>)>,
    writing: Option<(ExperimentId, JoinHandle<()>)>,
    /// Files that could not be written, with what they are made from.
    unwritten: BTreeMap<ExperimentId, Arc<Ledger>>,
    ended: mpsc::Sender<Ended>,
    heard: mpsc::Receiver<Ended>,
}

/// What became of a file.
pub(super) struct Ended {
    experiment: ExperimentId,
    outcome: Outcome,
}

enum Outcome {
    Written,
    /// As on a full disk.
    Unwritten {
        ledger: Arc<Ledger>,
        cause: String,
    },
    /// There is nothing to write.
    Unmade {
        cause: String,
    },
}

/// Says what became of a file, whatever that is.
struct Ending {
    ended: mpsc::Sender<Ended>,
    experiment: ExperimentId,
    outcome: Outcome,
}

impl Ending {
    fn say(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Outcome::Written);
        // The driver may have gone meanwhile.
        let _ = self.ended.blocking_send(Ended { experiment: self.experiment.clone(), outcome });
    }
}

impl Results {
    pub(super) fn new(folder: PathBuf) -> Self {
        let (ended, heard) = mpsc::channel(ENDED_WAITING);
        let (owed, unwritten) = (VecDeque::new(), BTreeMap::new());
        Self { folder, make: write_report, owed, writing: None, unwritten, ended, heard }
    }

    /// Takes note of finished experiments that have no file, as after a crash or on another machine.
    pub(super) fn owe_missing(&mut self, state: &State) {
        let experiments = state.ledger.experiments().iter();
        let finished = experiments.filter(|experiment| experiment.status == Status::Finished);
        let missing = finished.filter(|experiment| !path(&self.folder, &experiment.id).exists());
        self.owed.extend(missing.map(|experiment| (experiment.id.clone(), None)));
    }

    /// Takes note that a file is to be written.
    pub(super) fn owe(&mut self, experiment: ExperimentId) {
        self.owed.push_back((experiment, None));
    }

    /// Tries again what could not be written.
    pub(super) fn owe_again(&mut self) {
        let unwritten = std::mem::take(&mut self.unwritten).into_iter();
        self.owed.extend(unwritten.map(|(experiment, ledger)| (experiment, Some(ledger))));
    }

    /// Begins with the next file unless one is being written.
    pub(super) fn go_on(&mut self, state: &State) {
        while self.writing.is_none()
            && let Some((experiment, copied)) = self.owed.pop_front()
        {
            // A plan that no state has owes nothing.
            let Some(ledger) = copied.or_else(|| state.ledger.only(&experiment).map(Arc::new)) else {
                continue;
            };
            let (folder, make) = (self.folder.clone(), self.make);
            let cause = "making the report broke off; the log says where".to_owned();
            let outcome = Outcome::Unmade { cause };
            let ending = Ending { ended: self.ended.clone(), experiment: experiment.clone(), outcome };
            let writer = thread::spawn(move || {
                // The ledger is gone before the driver hears of the end and joins this thread: that takes a while too.
                let outcome = write((&folder, &ending.experiment), ledger, make);
                ending.say(outcome);
            });
            self.writing = Some((experiment, writer));
        }
    }

    /// Whether an experiment that is finished is not yet to be called so.
    pub(super) fn is_writing(&self, id: &ExperimentId) -> bool {
        self.writing.as_ref().is_some_and(|(writing, _)| writing == id)
            || self.unwritten.contains_key(id)
            || self.owed.iter().any(|(owed, _)| owed == id)
    }

    /// Waits until a file is written, or was tried to be.
    pub(super) async fn next_ended(&mut self) -> Option<Ended> {
        self.heard.recv().await
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        // Nobody waits for a place in the channel any more.
        self.heard.close();
        join(self.writing.take());
    }
}

impl Driver {
    /// Hears what became of results files while rounds follow each other without a wait.
    pub(super) fn hear_of_results(&mut self) {
        while let Ok(ended) = self.results.heard.try_recv() {
            self.results_ended(ended);
        }
    }

    /// Waits for the file that is being written, so that its experiment's end is told by this start.
    pub(super) fn end_results(&mut self) {
        if self.results.writing.is_some()
            && let Some(ended) = self.results.heard.blocking_recv()
        {
            self.results_ended(ended);
        }
    }

    /// Tells that an experiment is finished, or that its results file has to wait.
    pub(super) fn results_ended(&mut self, Ended { experiment, outcome }: Ended) {
        join(self.results.writing.take());
        let path = path(&self.results.folder, &experiment);
        let file = path.display();
        match outcome {
            Outcome::Written => {
                info!(%experiment, %file, "results written");
                self.metrics.can_write_results(&experiment);
                self.chronicle.finished(&experiment);
            }
            Outcome::Unwritten { ledger, cause } => {
                self.results.unwritten.insert(experiment.clone(), ledger);
                if self.metrics.cannot_write_results(&experiment) {
                    error!(%experiment, %file, cause, "results cannot be written; it is tried again");
                    let text = format!("{file}: {cause}; it is tried again, and finished with its file");
                    self.chronicle.tell_of(EventKind::ResultsUnwritable, &experiment, text);
                }
            }
            Outcome::Unmade { cause } => {
                error!(%experiment, %file, cause, "the report cannot be made; the next start tries again");
                self.metrics.cannot_write_results(&experiment);
                let text = format!("{cause}; the next start of the coordinator tries again");
                self.chronicle.tell_of(EventKind::ResultsUnwritable, &experiment, text);
                self.chronicle.finished(&experiment);
            }
        }
        self.board.hurry();
    }
}

fn join(writing: Option<(ExperimentId, JoinHandle<()>)>) {
    if let Some((experiment, writer)) = writing
        && writer.join().is_err()
    {
        error!(%experiment, "writing results broke off; the next start tries again");
    }
}

fn path(folder: &Path, id: &ExperimentId) -> PathBuf {
    folder.join(format!("{id}.csv"))
}

fn write_report(ledger: &Ledger, id: &ExperimentId, file: &mut dyn io::Write) -> Result<(), WriteError> {
    let experiment = ledger.experiment(id).expect("a part of a ledger has its experiment");
    Report::write_csv(ledger, experiment, file)
}

/// Writes one file.
fn write((folder, id): (&Path, &ExperimentId), ledger: Arc<Ledger>, make: Make) -> Outcome {
    let folder_made = make_folder(folder).map_err(WriteError::from);
    let written =
        folder_made.and_then(|()| write_atomically_by(&path(folder, id), |file| make(&ledger, id, file)));
    match written {
        Ok(()) => Outcome::Written,
        Err(WriteError::Output(cause)) => Outcome::Unwritten { ledger, cause: cause.to_string() },
        Err(cause @ WriteError::Graph(_)) => Outcome::Unmade { cause: cause.to_string() },
    }
}
