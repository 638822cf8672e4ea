//! `results/<experiment>.csv`, written when an experiment is finished.

use std::path::PathBuf;

use bitloop_core::plan::ExperimentId;
use bitloop_core::report::Report;
use bitloop_core::state::{Experiment, State, Status};
use tracing::{error, info};

use crate::files::write_atomically;

/// The folder of results files.
pub(super) struct Results {
    folder: PathBuf,
}

impl Results {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Writes the files of finished experiments that have none, as after a crash.
    pub(super) fn write_missing(&self, state: &State) {
        let experiments = state.ledger.experiments().iter();
        let finished = experiments.filter(|experiment| experiment.status == Status::Finished);
        for experiment in finished.filter(|experiment| !self.path(&experiment.id).exists()) {
            self.write(state, experiment);
        }
    }

    /// Writes one file. A failure is logged and loses nothing: the facts are safe, and the next start tries again.
    pub(super) fn write(&self, state: &State, experiment: &Experiment) {
        let path = self.path(&experiment.id);
        let report = match Report::new(&state.ledger, experiment) {
            Ok(report) => report,
            Err(cause) => {
                error!(experiment = %experiment.id, %cause, "the report cannot be made");
                return;
            }
        };
        match write_atomically(&path, report.to_csv().as_bytes()) {
            Ok(()) => info!(experiment = %experiment.id, file = %path.display(), "results written"),
            Err(cause) => {
                error!(experiment = %experiment.id, file = %path.display(), %cause, "results cannot be written");
            }
        }
    }

    fn path(&self, id: &ExperimentId) -> PathBuf {
        self.folder.join(format!("{id}.csv"))
    }
}
