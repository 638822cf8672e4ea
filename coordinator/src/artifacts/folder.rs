//! Blobs as files of a folder.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::{BlobWriter, Blobs, Stamp};
use crate::files::PartFile;

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Blobs for Folder {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn look(&self) -> io::Result<()> {
        fs::read_dir(&self.path).map(drop)
    }

    fn stamp(&self, name: &str) -> io::Result<Option<Stamp>> {
        match fs::metadata(self.path.join(name)) {
            Ok(found) if found.is_file() => {
                // A blob is renamed into its place, so that another one is another file.
                let version = format!("{} {}.{:09}", found.ino(), found.mtime(), found.mtime_nsec());
                Ok(Some(Stamp { size: found.len(), version }))
            }
            Ok(_) => Ok(None),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn BlobWriter>> {
        Ok(Box::new(PartFile::create(&self.path.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn io::Read + Send>>> {
        match File::open(self.path.join(name)) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }
}

impl BlobWriter for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        PartFile::write(self, bytes)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        PartFile::finish(*self)
    }
}
