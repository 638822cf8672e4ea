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

/// Makes a folder and those above it if need be, durably: a file in it is worth nothing while its folder may be gone.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    let is_missing = |above: &&Path| !above.as_os_str().is_empty() && !above.exists();
    let missing = folder.ancestors().take_while(is_missing).count();
    fs::create_dir_all(folder)?;
    // Also where it was there: whoever made it may have been killed before it was durable.
    folder.ancestors().skip(1).take(missing.max(1)).try_for_each(sync_folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    match File::open(folder) {
        Ok(opened) => opened.sync_all(),
        // Whoever may not look into a folder has made nothing there.
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(cause) => Err(cause),
    }
}

/// Writes a whole file at once.
pub(crate) fn write_atomically(target: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomically_by(target, |file| file.write_all(bytes))
}

/// Writes a file piece by piece; nothing is left of one that is not written to its end.
pub(crate) fn write_atomically_by<E: From<io::Error>>(
    target: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let mut part = PartFile::create(target)?;
    write(&mut part.file)?;
    Ok(part.finish()?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_with_those_above_it_and_may_be_there() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("some/deep/folder");

        make_folder(&deep).unwrap();
        make_folder(&deep).unwrap();

        assert!(deep.is_dir());
        // Its parent has an empty name.
        make_folder(Path::new("src")).unwrap();
        make_folder(Path::new("/")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        assert!(make_folder(&root.path().join("file/below")).is_err());
    }
}
