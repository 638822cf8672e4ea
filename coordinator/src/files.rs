//! Writing files so that a crash leaves the old one or the new one, never a part.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How the names of unfinished files end.
const PART_SUFFIX: &str = ".part";

static PARTS: AtomicU64 = AtomicU64::new(0);

/// A file under a temporary name, beside the place where it will stand.
pub(crate) struct PartFile {
    file: File,
    part: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl PartFile {
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        let number = PARTS.fetch_add(1, Ordering::Relaxed);
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.{number}{PART_SUFFIX}", std::process::id()));
        let part = target.with_file_name(name);
        let file = File::create(&part)?;
        Ok(Self { file, part, target: target.to_owned(), finished: false })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Puts the file into its place, durably.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.part, &self.target)?;
        self.finished = true;
        match self.target.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is removed at the next start.
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Writes a whole file at once.
pub(crate) fn write_atomically(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = PartFile::create(target)?;
    part.write(bytes)?;
    part.finish()
}

/// Removes what a killed process left unfinished.
pub(crate) fn remove_parts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(PART_SUFFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
