//! `results/<experiment>.csv`, written when an experiment is finished.
//!
//! That takes long for a large one, so a thread of its own does it, for one experiment after the other, and asks the driver for
//! some pages of trials a round (`excerpt.rs`). Until it is done, nobody is told that the experiment is finished. A file that
//! cannot be written is tried again, ever more rarely; a report that cannot be
//! made holds up nobody, and the next start tries again.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bitloop_core::plan::ExperimentId;
use bitloop_core::report::{Report, WriteError};
use bitloop_core::state::{Experiment, Ledger, State, Status, UnixMillis};
use tokio::sync::mpsc;
use tracing::{error, info};

use super::Driver;
use super::command::RequestError;
use super::excerpt::{Excerpt, Outline, Page, PageStart};
use crate::chronicle::EventKind;
use crate::files::{make_folder, write_atomically_by};

/// One thread writes at a time, waits for each answer, and is joined before the next begins.
const SAID_WAITING: usize = 1;

/// Pages that the driver copies in a round: about a millisecond of its time.
pub(super) const PAGES_PER_ROUND: usize = if cfg!(test) { 1 } else { 8 };

/// How often the thread looks whether the driver has gone while it waits for pages.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long after it failed a file is tried again, in milliseconds; after each further failure twice as long.
const RETRY_MS_MIN: u64 = 500;

/// And at the longest. An attempt writes what fits, and until that is removed nothing else can be stored on that disk.
const RETRY_MS_MAX: u64 = 600_000;

/// When a file is tried again.
struct Retry {
    wait_ms: u64,
    due: UnixMillis,
}

/// Writes a file's text; tests have others.
type Make = fn(&Ledger, &Experiment, &mut dyn io::Write) -> Result<(), WriteError>;

/// The folder of results files, the thread that writes them, and what it has to do.
pub(super) struct Results {
    folder: PathBuf,
    pub(super) make: Make,
    /// With their part of the ledger, if it was copied already.
    owed: VecDeque<(ExperimentId, Option<Box<Excerpt>>)>,
    pub(super) writing: Option<(ExperimentId, JoinHandle<()>)>,
    /// What the thread waits for.
    wanted: Option<Wanted>,
    /// Files that could not be written, with what they are made from.
    unwritten: BTreeMap<ExperimentId, Box<Excerpt>>,
    /// Of those whose last attempt failed.
    retries: BTreeMap<ExperimentId, Retry>,
    say: mpsc::Sender<Said>,
    heard: mpsc::Receiver<Said>,
}

/// What the thread says.
pub(super) enum Said {
    Wants(Wanted),
    Ended(Ended),
}

/// Pages of an experiment's trials, for who copies them.
pub(super) struct Wanted {
    experiment: ExperimentId,
    starts: Vec<PageStart>,
    reply: SyncSender<Result<Vec<Page>, RequestError>>,
}

/// What became of a file.
pub(super) struct Ended {
    experiment: ExperimentId,
    outcome: Outcome,
}

/// What a file is made from.
enum Source {
    /// What is still to be copied.
    Outlined(Outline),
    /// What an attempt before has left.
    Copied(Box<Excerpt>),
}

enum Outcome {
    Written,
    /// As on a full disk.
    Unwritten {
        excerpt: Box<Excerpt>,
        cause: String,
    },
    /// There is nothing to write.
    Unmade {
        cause: String,
    },
}

/// Says what became of a file, whatever that is.
struct Ending {
    driver: mpsc::Sender<Said>,
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
        let ended = Ended { experiment: self.experiment.clone(), outcome };
        let _ = self.driver.blocking_send(Said::Ended(ended));
    }
}

impl Results {
    pub(super) fn new(folder: PathBuf) -> Self {
        let (say, heard) = mpsc::channel(SAID_WAITING);
        let (owed, unwritten, retries) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new());
        let (make, writing, wanted): (Make, _, _) = (Report::write_csv, None, None);
        Self { folder, make, owed, writing, wanted, unwritten, retries, say, heard }
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

    /// Tries again what could not be written, where it is time.
    pub(super) fn owe_again(&mut self, now: UnixMillis) {
        let is_due =
            |experiment: &ExperimentId| self.retries.get(experiment).is_none_or(|retry| retry.due <= now);
        let unwritten = self.unwritten.extract_if(.., |experiment, _| is_due(experiment));
        self.owed.extend(unwritten.map(|(experiment, excerpt)| (experiment, Some(excerpt))));
    }

    fn put_off(&mut self, experiment: &ExperimentId, now: UnixMillis) {
        let last = self.retries.get(experiment);
        let wait_ms = last.map_or(RETRY_MS_MIN, |last| RETRY_MS_MAX.min(2 * last.wait_ms));
        self.retries.insert(experiment.clone(), Retry { wait_ms, due: now.after(wait_ms) });
    }

    fn begin(&mut self, experiment: ExperimentId, source: Source) {
        let (folder, make) = (self.folder.clone(), self.make);
        let cause = "making the report broke off; the log says where".to_owned();
        let outcome = Outcome::Unmade { cause };
        let ending = Ending { driver: self.say.clone(), experiment: experiment.clone(), outcome };
        let writer = thread::spawn(move || {
            let excerpt = match source {
                Source::Copied(excerpt) => Ok(excerpt),
                Source::Outlined(outline) => copy(outline, &ending).map(Box::new),
            };
            // The copy is gone before the driver hears of the end and joins this thread: that takes a while too.
            let outcome = match excerpt {
                Ok(excerpt) => write((&folder, &ending.experiment), excerpt, make),
                Err(cause) => Outcome::Unmade { cause: cause.to_string() },
            };
            ending.say(outcome);
        });
        self.writing = Some((experiment, writer));
    }

    /// Whether an experiment that is finished is not yet to be called so.
    pub(super) fn is_writing(&self, id: &ExperimentId) -> bool {
        self.writing.as_ref().is_some_and(|(writing, _)| writing == id)
            || self.unwritten.contains_key(id)
            || self.owed.iter().any(|(owed, _)| owed == id)
    }

    /// Waits until the thread says something.
    pub(super) async fn next_said(&mut self) -> Option<Said> {
        self.heard.recv().await
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        // Nobody waits for a place in the channel any more, or for pages.
        self.heard.close();
        while self.heard.try_recv().is_ok() {}
        self.wanted = None;
        join(self.writing.take());
    }
}

impl Driver {
    /// Begins with the next file unless one is being written.
    pub(super) fn go_on_with_results(&mut self) {
        while self.results.writing.is_none()
            && let Some((experiment, copied)) = self.results.owed.pop_front()
        {
            let source = match copied {
                Some(excerpt) => Source::Copied(excerpt),
                None => match self.view(self.clock.now()).outline(&experiment) {
                    Ok(outline) => Source::Outlined(outline),
                    // A plan that no state has owes nothing.
                    Err(_) => continue,
                },
            };
            self.results.begin(experiment, source);
        }
    }

    /// Hears what the thread says while rounds follow each other without a wait.
    pub(super) fn hear_of_results(&mut self) {
        while let Ok(said) = self.results.heard.try_recv() {
            self.results_said(said);
        }
    }

    /// Waits for the file that is being written, so that its experiment's end is told by this start.
    pub(super) fn end_results(&mut self) {
        while self.results.writing.is_some()
            && let Some(said) = self.results.heard.blocking_recv()
        {
            self.results_said(said);
            self.give_pages();
        }
    }

    pub(super) fn results_said(&mut self, said: Said) {
        match said {
            Said::Wants(wanted) => self.results.wanted = Some(wanted),
            Said::Ended(ended) => self.results_ended(ended),
        }
    }

    /// Copies the pages that the thread waits for, when what stands in them is durable.
    pub(super) fn give_pages(&mut self) {
        let Some(Wanted { experiment, starts, reply }) = self.results.wanted.take() else { return };
        let view = self.view(self.clock.now());
        let pages = starts.into_iter().map(|start| view.page(&experiment, start)).collect();
        // It ends before its time when it panics.
        let _ = reply.send(pages);
    }

    fn results_ended(&mut self, Ended { experiment, outcome }: Ended) {
        join(self.results.writing.take());
        let path = path(&self.results.folder, &experiment);
        let file = path.display();
        match outcome {
            Outcome::Written => {
                info!(%experiment, %file, "results written");
                self.results.retries.remove(&experiment);
                self.metrics.can_write_results(&experiment);
                self.chronicle.finished(&experiment);
            }
            Outcome::Unwritten { excerpt, cause } => {
                self.results.unwritten.insert(experiment.clone(), excerpt);
                self.results.put_off(&experiment, self.clock.now());
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

/// Copies an experiment as far as the driver comes to it in each of its rounds.
fn copy(outline: Outline, Ending { driver, experiment, .. }: &Ending) -> Result<Excerpt, RequestError> {
    let pages = |starts: &[PageStart]| {
        let ((reply, answer), starts) = (sync_channel(1), starts.to_vec());
        let wanted = Wanted { experiment: experiment.clone(), starts, reply };
        driver.blocking_send(Said::Wants(wanted)).map_err(|_| RequestError::Stopped)?;
        loop {
            match answer.recv_timeout(LOOK_INTERVAL) {
                Ok(pages) => return pages,
                // The store may not be writable for a while; then nobody gets anything.
                Err(RecvTimeoutError::Timeout) if !driver.is_closed() => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(RequestError::Stopped);
                }
            }
        }
    };
    let starts = outline.pages();
    let copied = starts.chunks(PAGES_PER_ROUND).flat_map(|starts| match pages(starts) {
        Ok(pages) => starts.iter().copied().zip(pages).map(Ok).collect(),
        Err(stopped) => vec![Err(stopped)],
    });
    outline.excerpt(copied)
}

/// Writes one file.
fn write((folder, id): (&Path, &ExperimentId), excerpt: Box<Excerpt>, make: Make) -> Outcome {
    let folder_made = make_folder(folder).map_err(WriteError::from);
    let written = folder_made.and_then(|()| {
        let Excerpt { ledger, experiment } = excerpt.as_ref();
        write_atomically_by(&path(folder, id), |file| make(ledger, experiment, file))
    });
    match written {
        Ok(()) => Outcome::Written,
        Err(WriteError::Output(cause)) => Outcome::Unwritten { excerpt, cause: cause.to_string() },
        Err(cause @ WriteError::Graph(_)) => Outcome::Unmade { cause: cause.to_string() },
    }
}
