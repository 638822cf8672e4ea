//! What `bitloop autoscale` keeps from one start to the next, where it is told to.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitloop_autoscale::{Autoscaler, Memory};
use bitloop_core::spec::AutoscaleSpec;

use crate::clock::{self, Stopwatch};
use crate::failure::{Exit, Failure, Outcome};

/// A file, if there is to be one, and the time that goes on from start to start.
pub(super) struct StateFile {
    path: Option<PathBuf>,
    /// Since 1970, when this start began. From then on a stopwatch counts, which nobody sets.
    began: Duration,
    stopwatch: Stopwatch,
}

impl StateFile {
    pub(super) fn at(path: Option<&Path>) -> Self {
        let began = Duration::from_secs(clock::unix_seconds());
        Self { path: path.map(Path::to_owned), began, stopwatch: Stopwatch::start() }
    }

    pub(super) fn now(&self) -> Duration {
        self.began + Duration::from_secs_f64(self.stopwatch.seconds())
    }

    /// What an earlier start knew; nothing at the first one.
    ///
    /// Errors: what is wrong with the file.
    pub(super) fn read(&self, spec: &AutoscaleSpec) -> Result<Memory, Failure> {
        let Some(path) = &self.path else { return Ok(Memory::default()) };
        match std::fs::read(path) {
            Ok(text) => {
                Memory::from_notes(&text, spec, self.now()).map_err(|error| failure(path, &error.to_string()))
            }
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Memory::default()),
            Err(cause) => Err(failure(path, &format!("cannot be read: {cause}"))),
        }
    }

    /// Writes down what is known, whole or not at all.
    pub(super) fn write(&self, autoscaler: &Autoscaler) -> Outcome {
        let Some(path) = &self.path else { return Ok(()) };
        let notes = autoscaler.memory().to_notes(autoscaler.spec());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
            file.write_all(&notes)?;
            file.as_file().sync_all()?;
            file.persist(path).map(drop).map_err(|error| error.error)
        });
        written.map_err(|cause| failure(path, &format!("cannot be written: {cause}")))
    }
}

fn failure(path: &Path, reason: &str) -> Failure {
    Failure::new(Exit::Failed, format!("{} {reason}", path.display()))
}
