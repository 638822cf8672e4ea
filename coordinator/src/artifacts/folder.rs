//! Blobs as files of a folder.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use super::{BlobWriter, Blobs};
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

    fn has(&self, name: &str) -> io::Result<bool> {
        match fs::metadata(self.path.join(name)) {
            Ok(found) => Ok(found.is_file()),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
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
