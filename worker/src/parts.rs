//! Files that are being written. Each is locked until it is whole, so that those of processes that were killed can be told.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

/// How their names begin and end; a coordinator that shares the folder has names of its own, and locks nothing.
const PREFIX: &str = "worker-";
const SUFFIX: &str = ".part";

/// How often a file is made anew that another process took for an abandoned one.
const ATTEMPTS: u32 = 16;

/// Begins a file, as `make` makes one in a folder, and locks it.
///
/// Errors: what the system says.
pub(crate) fn begin(
    make: impl Fn(&Builder<'_, '_>) -> io::Result<NamedTempFile>,
) -> io::Result<NamedTempFile> {
    for _ in 0..ATTEMPTS {
        let part = make(Builder::new().prefix(PREFIX).suffix(SUFFIX))?;
        match part.as_file().try_lock() {
            // Whoever clears up may have found it before it was locked.
            Ok(()) if part.as_file().metadata()?.nlink() == 0 => {}
            Ok(()) => return Ok(part),
            Err(TryLockError::WouldBlock) => {}
            // Where nothing can be locked, nothing is found abandoned.
            Err(TryLockError::Error(_)) => return Ok(part),
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "other processes remove what is being written"))
}

/// Removes what processes that are gone have begun in a folder.
pub(crate) fn remove_abandoned(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_part = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if !is_part || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let file = File::open(entry.path());
        if file.is_ok_and(|file| file.try_lock().is_ok() && fs::remove_file(entry.path()).is_ok()) {
            tracing::debug!(path = %entry.path().display(), "what an earlier worker had begun to write is removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_killed_processes_had_begun_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let begun = begin(|builder| builder.tempfile_in(folder.path())).unwrap();
        let (killed, other) = (folder.path().join("worker-killed.part"), folder.path().join("other.part"));
        let whole = folder.path().join("worker-whole.jsonl");
        for path in [&killed, &other, &whole] {
            fs::write(path, "half").unwrap();
        }

        remove_abandoned(folder.path());

        assert!(!killed.exists() && other.exists() && whole.exists());
        assert!(begun.path().exists(), "its process lives");
        let path = begun.path().to_owned();
        // As `kill -9` leaves it.
        let (file, left) = begun.keep().unwrap();
        drop(file);
        remove_abandoned(folder.path());
        assert!(left == path && !path.exists());
    }

    #[test]
    fn a_file_that_is_removed_before_it_is_locked_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let is_first = std::cell::Cell::new(true);

        let part = begin(|builder| {
            let part = builder.tempfile_in(folder.path())?;
            if is_first.replace(false) {
                remove_abandoned(folder.path());
            }
            Ok(part)
        });

        assert!(part.unwrap().path().exists());
    }
}
