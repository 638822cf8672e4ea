use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use bitloop_core::digest::Digest;

/// What only the owner may read and write.
const FILE_MODE: u32 = 0o600;

/// What only the owner may enter.
const FOLDER_MODE: u32 = 0o700;

/// Makes a folder that nobody but its owner may enter, or closes the one that is there.
///
/// Errors: what the system says.
pub fn create_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    // A folder that was there before keeps its mode, and whoever runs with a wider umask gets a wider one.
    fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER_MODE))
}

/// Writes a file that nobody but its owner may read, durably, and so that a crash leaves the old one or the new one.
///
/// Errors: what the system says.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    // Machines that share the folder have processes of the same number; what they write differs.
    part.push(format!(".{}.{}.part", std::process::id(), Digest::of(bytes).short()));
    let part = Path::new(&part);
    // What an ended process left of the same is in the way.
    match fs::remove_file(part) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(part, path)?;
    match path.parent() {
        Some(folder) if folder != Path::new("") => fs::File::open(folder)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_and_folders_are_their_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();

        create_private_folder(&inner).unwrap();
        write_private(&inner.join("key"), b"first").unwrap();
        write_private(&inner.join("key"), b"second").unwrap();

        assert_eq!((mode(&inner), mode(&inner.join("key"))), (0o700, 0o600));
        assert_eq!(fs::read(inner.join("key")).unwrap(), b"second");
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
    }
}
