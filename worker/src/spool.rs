//! Outcomes on disk while the coordinator is away, so that the end of the worker's process does not lose them.
//!
//! A spool is a file in the cache folder that its process keeps locked; it is there only while it holds something. A
//! worker that starts takes over the spools of processes that are gone, whichever they were.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bitloop_core::worker::{Measured, Recovered, SPOOL_FORMAT, read_spool, spool_head, spool_line};
use tracing::{info, warn};

use crate::parts;

/// Folder of all spools within a cache folder.
const FOLDER: &str = "spool";

/// How the names of spools end.
const SUFFIX: &str = ".jsonl";

/// A spool grows no longer: far more than the outcomes of a shard, far less than a disk.
const BYTES_MAX: u64 = 64 << 20;

/// Where one worker writes outcomes down.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    open: Option<OpenSpool>,
    bytes_max: u64,
    /// Whether people know that nothing can be written.
    is_failing: bool,
}

#[derive(Debug)]
struct OpenSpool {
    file: File,
    path: PathBuf,
    /// Bytes of whole lines.
    bytes: u64,
}

impl Spool {
    /// Finds the place for spools in a cache folder, and takes over what processes that are gone have left there.
    pub(crate) fn open(cache_folder: &Path) -> (Self, Vec<Measured>) {
        let folder = cache_folder.join(FOLDER);
        parts::remove_abandoned(&folder);
        let mut spool = Self { folder, open: None, bytes_max: BYTES_MAX, is_failing: false };
        let mut outcomes = Vec::new();
        for path in spool.abandoned() {
            match spool.take_over(&path) {
                Ok(taken) => outcomes.extend(taken),
                Err(error) => {
                    warn!(%error, path = %path.display(), "outcomes of an earlier worker stay where they are")
                }
            }
        }
        (spool, outcomes)
    }

    fn abandoned(&self) -> Vec<PathBuf> {
        // No folder, no spools.
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let paths = entries.flatten().map(|entry| entry.path());
        let mut spools: Vec<PathBuf> =
            paths.filter(|path| path.to_string_lossy().ends_with(SUFFIX)).collect();
        spools.sort();
        spools
    }

    /// Moves the outcomes of a spool whose process is gone into the own one.
    fn take_over(&mut self, path: &Path) -> io::Result<Vec<Measured>> {
        // The own one is locked too, as are those of living processes.
        let Some(file) = lock_abandoned(path)? else { return Ok(Vec::new()) };
        let mut bytes = Vec::new();
        // Locked until its outcomes are in the own one and it is gone: another worker that starts now leaves it alone.
        (&file).take(2 * self.bytes_max).read_to_end(&mut bytes)?;
        let Recovered { outcomes, unreadable, foreign_format } = read_spool(&bytes);
        if let Some(format) = foreign_format {
            let reason = format!("they are of format {format}, this bitloop reads {SPOOL_FORMAT}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
        }
        if unreadable > 0 {
            warn!(lines = unreadable, path = %path.display(), "lines of a spool cannot be read, as after a crash");
        }
        self.try_append(&outcomes)?;
        fs::remove_file(path)?;
        info!(outcomes = outcomes.len(), "outcomes that an earlier worker left are sent now");
        Ok(outcomes)
    }

    /// Writes outcomes down; they are durable when this returns true. A failure is told once.
    pub(crate) fn append(&mut self, outcomes: &[Measured]) -> bool {
        match self.try_append(outcomes) {
            Ok(()) => self.is_failing = false,
            Err(error) if !self.is_failing => {
                self.is_failing = true;
                let folder = self.folder.display();
                warn!(%error, %folder, "outcomes cannot be written down; the work goes on, and they wait in memory");
            }
            Err(_) => {}
        }
        !self.is_failing
    }

    fn try_append(&mut self, outcomes: &[Measured]) -> io::Result<()> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let lines: Vec<u8> = outcomes.iter().flat_map(spool_line).collect();
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(create(&self.folder)?),
        };
        if open.bytes + lines.len() as u64 > self.bytes_max {
            let reason = format!("a spool takes at most {} MiB", self.bytes_max >> 20);
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, reason));
        }
        if let Err(error) = open.file.write_all(&lines).and_then(|()| open.file.sync_data()) {
            // What of it is on disk is cut off; if that fails too, a reader skips the torn line.
            let _ = open.file.set_len(open.bytes);
            return Err(error);
        }
        open.bytes += lines.len() as u64;
        Ok(())
    }

    /// Forgets all outcomes; they are acknowledged.
    pub(crate) fn clear(&mut self) {
        if let Some(OpenSpool { path, .. }) = self.open.take()
            && let Err(error) = fs::remove_file(&path)
        {
            // They are sent again some day, and are known then.
            warn!(%error, path = %path.display(), "a spool that is done with cannot be removed");
        }
    }
}

/// Locks the spool of a process that is gone; none if its process lives.
fn lock_abandoned(path: &Path) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Makes a spool that comes into sight locked, so that nobody takes it for an abandoned one.
fn create(folder: &Path) -> io::Result<OpenSpool> {
    fs::create_dir_all(folder)?;
    let create = |path: &Path| OpenOptions::new().append(true).create_new(true).open(path);
    let mut part = parts::begin(|builder| builder.make_in(folder, create))?;
    // Without a lock nobody could tell that its process lives.
    part.as_file().try_lock()?;
    let head = spool_head();
    part.write_all(&head)?;
    part.as_file().sync_all()?;
    let path = part.path().with_extension(&SUFFIX[1..]);
    let file = part.persist_noclobber(&path)?;
    File::open(folder)?.sync_all()?;
    Ok(OpenSpool { file, path, bytes: head.len() as u64 })
}

#[cfg(test)]
mod tests {
    use bitloop_core::digest::Digest;
    use bitloop_core::state::Report;
    use bitloop_core::trial::{Outcome, Provenance, TrialKey, TrialResult, Work};

    use super::*;

    fn measured(index: u8) -> Measured {
        let provenance = Provenance { engine: String::new(), device: String::new(), kernels: String::new() };
        let result = TrialResult::Failed { reason: "told by a test".to_owned() };
        let outcome = Outcome { result, provenance, work: Work::default() };
        Measured { report: Report { key: TrialKey(Digest::of(&[index])), outcome }, compute_ms: 1.0 }
    }

    fn files(cache: &Path) -> usize {
        fs::read_dir(cache.join(FOLDER)).map_or(0, Iterator::count)
    }

    #[test]
    fn what_a_killed_worker_wrote_down_is_taken_over_once() {
        let cache = tempfile::tempdir().unwrap();
        let (mut killed, left) = Spool::open(cache.path());
        assert_eq!(left, []);
        assert!(killed.append(&[measured(0)]) && killed.append(&[measured(1)]));
        drop(killed);

        let (mut next, left) = Spool::open(cache.path());
        let (_another, nothing) = Spool::open(cache.path());

        assert_eq!(left, [measured(0), measured(1)]);
        assert_eq!(nothing, [], "its process lives");
        assert_eq!(files(cache.path()), 1);
        next.clear();
        assert_eq!(files(cache.path()), 0);
    }

    #[test]
    fn what_was_taken_over_outlives_the_next_end_too() {
        let cache = tempfile::tempdir().unwrap();
        assert!(Spool::open(cache.path()).0.append(&[measured(0)]));

        for _ in 0..3 {
            assert_eq!(Spool::open(cache.path()).1, [measured(0)]);
        }
    }

    #[test]
    fn a_torn_line_takes_no_other_with_it() {
        let cache = tempfile::tempdir().unwrap();
        let (mut spool, _) = Spool::open(cache.path());
        assert!(spool.append(&[measured(0), measured(1)]));
        let OpenSpool { file, bytes, .. } = spool.open.take().unwrap();
        file.set_len(bytes - 3).unwrap();
        drop(file);

        assert_eq!(Spool::open(cache.path()).1, [measured(0)]);
    }

    #[test]
    fn a_spool_is_bounded_and_says_so_without_forgetting_what_it_holds() {
        let cache = tempfile::tempdir().unwrap();
        let (mut spool, _) = Spool::open(cache.path());
        spool.bytes_max = 1_000;
        let written = (0..20).filter(|index| spool.append(&[measured(*index)])).count();
        drop(spool);

        assert!((2..10).contains(&written), "{written}");
        assert_eq!(Spool::open(cache.path()).1.len(), written);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_said_and_nothing_panics() {
        let cache = tempfile::tempdir().unwrap();
        fs::write(cache.path().join(FOLDER), "a file stands in the way").unwrap();
        let (mut spool, _) = Spool::open(cache.path());

        assert!(!spool.append(&[measured(0)]));
        fs::remove_file(cache.path().join(FOLDER)).unwrap();
        assert!(spool.append(&[measured(0)]), "it is tried again");
    }

    #[test]
    fn a_spool_of_a_newer_version_stays_where_it_is() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir(cache.path().join(FOLDER)).unwrap();
        let mut line = format!("{{\"spool\":{}", SPOOL_FORMAT + 1).into_bytes();
        bitloop_core::checked::seal(&mut line);
        fs::write(cache.path().join(FOLDER).join("newer.jsonl"), line).unwrap();

        assert_eq!(Spool::open(cache.path()).1, []);
        assert_eq!(files(cache.path()), 1);
    }
}
