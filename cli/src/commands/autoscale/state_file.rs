//! What `bitloop autoscale` keeps from one start to the next, where it is told to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitloop_autoscale::{Autoscaler, Memory};
use bitloop_core::spec::AutoscaleSpec;

use crate::clock::{self, Stopwatch};
use crate::failure::{Exit, Failure, Outcome};
use crate::whole_file;

/// A file, if there is to be one, and the time that goes on from start to start.
pub(super) struct StateFile {
    path: Option<PathBuf>,
    /// Locked while this start goes on, so that no other one submits by the same file.
    _lock: Option<File>,
    /// Since 1970, when this start began. From then on a stopwatch counts, which nobody sets.
    began: Duration,
    stopwatch: Stopwatch,
}

impl StateFile {
    /// Finds the file, if there is to be one, and keeps others from it unless it is only read.
    ///
    /// Errors: another start has it, or there can be no such file.
    pub(super) fn open(path: Option<&Path>, is_read_only: bool) -> Result<Self, Failure> {
        let lock = path.filter(|_| !is_read_only).map(lock).transpose()?;
        let began = Duration::from_secs(clock::unix_seconds());
        Ok(Self { path: path.map(Path::to_owned), _lock: lock, began, stopwatch: Stopwatch::start() })
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
        let written = whole_file::write(path, &notes, whole_file::PRIVATE);
        written.map_err(|cause| failure(path, &format!("cannot be written: {cause}")))
    }
}

/// Locks a file beside the one at `path`, which is replaced with every look.
fn lock(path: &Path) -> Result<File, Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let opened = OpenOptions::new().create(true).append(true).open(&beside);
    let file = opened.map_err(|cause| failure(path, &format!("cannot be written: {cause}")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(failure(
            path,
            "is used by another `bitloop autoscale`; wait until that has ended, or give each a file of its own",
        )),
        Err(TryLockError::Error(cause)) => Err(failure(
            path,
            &format!("cannot be locked: {cause}; put it on a file system that knows locks"),
        )),
    }
}

fn failure(path: &Path, reason: &str) -> Failure {
    Failure::new(Exit::Failed, format!("{} {reason}", path.display()))
}
