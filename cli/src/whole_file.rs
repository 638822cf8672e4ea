//! Files that are replaced as a whole: whoever reads one sees the old content or the new one.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Who may read a new file: its owner alone.
pub(crate) const PRIVATE: u32 = 0o600;

/// Who may read a new file: whoever the process lets read its files.
pub(crate) const READABLE: u32 = 0o666;

/// The folder that a file is in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Replaces a file, or makes it, and returns when it is on the disk.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let permissions = Permissions::from_mode(mode);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(folder(path))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder(path))?.sync_all()
}
