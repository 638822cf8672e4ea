//! The data directory: who may use it, and where things lie in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::files::{PartFile, make_folder, remove_parts};

/// A data directory that this process alone uses, until this value is dropped.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("data directory {} is in use by another bitloop{holder}; stop it or use --data-dir", .root.display())]
    InUse { root: PathBuf, holder: String },
    #[error("{} is no data directory: there is neither a store nor a journal in it", .0.display())]
    NotThere(PathBuf),
    #[error("data directory {} is a file; choose another with --data-dir", .0.display())]
    IsFile(PathBuf),
    #[error("data directory {} cannot be used: {cause}; choose another with --data-dir", .root.display())]
    Unusable { root: PathBuf, cause: io::Error },
}

impl DataDir {
    /// Creates the directory if need be, and takes it for this process.
    pub fn open(root: &Path) -> Result<Self, DataDirError> {
        if root.is_file() {
            return Err(DataDirError::IsFile(root.to_owned()));
        }
        let unusable = |cause| DataDirError::Unusable { root: root.to_owned(), cause };
        make_folder(root).map_err(unusable)?;
        let lock = take_lock(root)?;
        let directory = Self { root: root.to_owned(), _lock: lock };
        directory.prepare()?;
        Ok(directory)
    }

    /// Whether a coordinator uses a directory; changes nothing in it, and keeps nobody from it.
    ///
    /// Errors: `InUse` if so, or that it is none.
    pub fn look_at(root: &Path) -> Result<(), DataDirError> {
        is_there(root)?;
        let unusable = |cause| DataDirError::Unusable { root: root.to_owned(), cause };
        let mut file = match File::open(root.join(LOCK)) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(cause) => return Err(unusable(cause)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(in_use(root, &mut file)),
            Err(TryLockError::Error(cause)) => Err(unusable(cause)),
        }
    }

    /// Takes a directory that a coordinator has used before; makes nothing new.
    pub fn open_existing(root: &Path) -> Result<Self, DataDirError> {
        is_there(root)?;
        let lock = take_lock(root)?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    fn prepare(&self) -> Result<(), DataDirError> {
        let folders = [self.journal(), self.store(), self.artifacts(), self.results()];
        folders.into_iter().try_for_each(|folder| {
            prepare(&folder).map_err(|cause| DataDirError::Unusable { root: folder.clone(), cause })
        })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    pub(crate) fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    /// What happened, for people; made when there is something to write, and may be deleted.
    pub(crate) fn logs(&self) -> PathBuf {
        Self::logs_of(&self.root)
    }

    /// Where that is for whoever only looks.
    pub(crate) fn logs_of(root: &Path) -> PathBuf {
        root.join("logs")
    }

    /// Where `<experiment>.csv` files are written.
    pub fn results(&self) -> PathBuf {
        self.root.join("results")
    }
}

fn prepare(folder: &Path) -> io::Result<()> {
    make_folder(folder)?;
    remove_parts(folder)?;
    // A folder that cannot be written is better found now than after hours of measuring.
    PartFile::create(&folder.join("probe")).map(drop)
}

/// What a process holds that uses a directory.
const LOCK: &str = "lock";

const LOCK_PAUSE: Duration = Duration::from_millis(50);
const LOCK_RETRIES: u32 = 10;

/// Whether facts lie in a directory.
fn is_there(root: &Path) -> Result<(), DataDirError> {
    let parts = [root.join("journal"), root.join("store")];
    match parts.iter().any(|part| part.is_dir()) {
        true => Ok(()),
        false => Err(DataDirError::NotThere(root.to_owned())),
    }
}

fn in_use(root: &Path, lock: &mut File) -> DataDirError {
    let mut process = String::new();
    // Whoever holds the lock may be just about to write its number; then it goes unnamed.
    let _ = lock.read_to_string(&mut process);
    let holder = match process.trim().parse::<u32>() {
        Ok(process) => format!(" (process {process})"),
        Err(_) => String::new(),
    };
    DataDirError::InUse { root: root.to_owned(), holder }
}

fn take_lock(root: &Path) -> Result<File, DataDirError> {
    let unusable = |cause| DataDirError::Unusable { root: root.to_owned(), cause };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(root.join(LOCK))
        .map_err(unusable)?;
    match lock_patiently(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(in_use(root, &mut file));
        }
        Err(TryLockError::Error(cause)) => return Err(unusable(cause)),
    }
    let note_process = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    note_process(&mut file).map_err(unusable)?;
    Ok(file)
}

/// A process that the last holder was just starting may hold its lock until it runs a program of its own.
fn lock_patiently(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_RETRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            locked => return locked,
        }
    }
    file.try_lock()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_second_user_is_refused_and_told_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path()).unwrap();

        let refused = DataDir::open(folder.path()).unwrap_err().to_string();

        assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
        assert!(refused.contains("--data-dir"), "{refused}");
        drop(first);
        DataDir::open(folder.path()).unwrap();
    }

    #[test]
    fn a_look_tells_who_uses_a_directory_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let names =
            || -> Vec<_> { fs::read_dir(folder.path()).unwrap().flatten().map(|it| it.path()).collect() };
        assert!(matches!(DataDir::look_at(folder.path()), Err(DataDirError::NotThere(_))));
        assert!(names().is_empty());
        let first = DataDir::open(folder.path()).unwrap();
        let before = names();

        let used = DataDir::look_at(folder.path()).unwrap_err().to_string();

        assert!(used.contains(&format!("(process {})", std::process::id())), "{used}");
        drop(first);
        DataDir::look_at(folder.path()).unwrap();
        assert_eq!(names(), before);
        DataDir::open(folder.path()).unwrap();
    }

    #[test]
    fn a_file_is_no_data_directory() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();

        assert!(matches!(DataDir::open(&file), Err(DataDirError::IsFile(_))));
        let below = DataDir::open(&file.join("below"));
        assert!(matches!(below, Err(DataDirError::Unusable { .. })));
    }

    #[test]
    fn what_a_killed_process_left_unfinished_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("artifacts/aa.1.0.part");
        fs::create_dir_all(left.parent().unwrap()).unwrap();
        fs::write(&left, "half").unwrap();

        DataDir::open(folder.path()).unwrap();

        assert!(!left.exists());
    }
}
