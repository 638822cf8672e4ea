//! `results/<experiment>.csv`, written when an experiment is finished.
//!
//! That takes long for a large one, so a thread of its own does it. Until it is done, nobody is told that the experiment
//! is finished.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use bitloop_core::plan::ExperimentId;
use bitloop_core::report::Report;
use bitloop_core::state::{Ledger, State, Status};
use tokio::sync::mpsc;
use tracing::{error, info};

use crate::files::write_atomically_by;

/// Experiments whose writing has ended and that may wait for the driver; the threads that have more wait too.
const WRITTEN_WAITING: usize = 16;

/// The folder of results files, and the threads that write them.
pub(super) struct Results {
    folder: PathBuf,
    writing: BTreeMap<ExperimentId, JoinHandle<()>>,
    ended: mpsc::Sender<ExperimentId>,
    written: mpsc::Receiver<ExperimentId>,
}

impl Results {
    pub(super) fn new(folder: PathBuf) -> Self {
        let (ended, written) = mpsc::channel(WRITTEN_WAITING);
        Self { folder, writing: BTreeMap::new(), ended, written }
    }

    /// Writes the files of finished experiments that have none, as after a crash.
    pub(super) fn write_missing(&self, state: &State) {
        let experiments = state.ledger.experiments().iter();
        let finished = experiments.filter(|experiment| experiment.status == Status::Finished);
        for experiment in finished.filter(|experiment| !path(&self.folder, &experiment.id).exists()) {
            write(&self.folder, &state.ledger, &experiment.id);
        }
    }

    /// Begins to write a file.
    pub(super) fn begin(&mut self, state: &State, id: &ExperimentId) {
        let Some(ledger) = state.ledger.only(id) else { return };
        let (folder, written, ended) = (self.folder.clone(), id.clone(), self.ended.clone());
        let writer = thread::spawn(move || {
            write(&folder, &ledger, &written);
            // That takes a while too, and the driver joins this thread when it has heard of the end.
            drop(ledger);
            // The driver may have gone meanwhile.
            let _ = ended.blocking_send(written);
        });
        self.writing.insert(id.clone(), writer);
    }

    /// Whether an experiment that is finished is not yet to be called so.
    pub(super) fn is_writing(&self, id: &ExperimentId) -> bool {
        self.writing.contains_key(id)
    }

    /// Waits until a file is written, or given up.
    pub(super) async fn next_written(&mut self) {
        let written = self.written.recv().await;
        self.end(written);
    }

    /// Takes note of the files that are written by now; returns whether there were any.
    pub(super) fn take_written(&mut self) -> bool {
        let mut any = false;
        while let Ok(written) = self.written.try_recv() {
            self.end(Some(written));
            any = true;
        }
        any
    }

    fn end(&mut self, written: Option<ExperimentId>) {
        let writer = written.and_then(|id| self.writing.remove(&id));
        join(writer);
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        // Nobody waits for a place in the channel any more.
        self.written.close();
        for writer in std::mem::take(&mut self.writing).into_values() {
            join(Some(writer));
        }
    }
}

fn join(writer: Option<JoinHandle<()>>) {
    if writer.is_some_and(|writer| writer.join().is_err()) {
        error!("writing results broke off; the next start tries again");
    }
}

fn path(folder: &Path, id: &ExperimentId) -> PathBuf {
    folder.join(format!("{id}.csv"))
}

/// Writes one file. A failure is logged and loses nothing: the facts are safe, and the next start tries again.
fn write(folder: &Path, ledger: &Ledger, id: &ExperimentId) {
    let Some(experiment) = ledger.experiment(id) else { return };
    let path = path(folder, id);
    match write_atomically_by(&path, |file| Report::write_csv(ledger, experiment, file)) {
        Ok(()) => info!(experiment = %id, file = %path.display(), "results written"),
        Err(cause) => {
            error!(experiment = %id, file = %path.display(), %cause, "results cannot be written");
        }
    }
}
