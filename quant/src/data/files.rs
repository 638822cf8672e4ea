use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::DataError;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A file's bytes, unpacked if it is compressed with gzip.
pub(super) struct Source<'a> {
    path: &'a Path,
    reader: Box<dyn Read>,
    is_compressed: bool,
}

impl<'a> Source<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, DataError> {
        let io = |source| DataError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        let mut start = Vec::new();
        file.by_ref().take(2).read_to_end(&mut start).map_err(io)?;
        let is_compressed = start == GZIP_MAGIC;
        let whole = BufReader::new(Cursor::new(start).chain(file));
        let reader: Box<dyn Read> = match is_compressed {
            true => Box::new(MultiGzDecoder::new(whole)),
            false => Box::new(whole),
        };
        Ok(Self { path, reader, is_compressed })
    }

    /// Reads on until the end, or until `limit` bytes are there.
    ///
    /// Errors: `Io`, or `Gzip` if the compression is damaged.
    pub(super) fn read_up_to(&mut self, limit: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(limit).read_to_end(&mut bytes);
        let path = || self.path.to_owned();
        read.map_err(|source| match self.is_compressed {
            true => DataError::Gzip { path: path(), source },
            false => DataError::Io { path: path(), source },
        })?;
        Ok(bytes)
    }
}

/// The file of this name, or the same with `.gz`.
pub(super) fn plain_or_gzip(plain: &Path) -> Option<PathBuf> {
    [plain.to_owned(), with_gz(plain)].into_iter().find(|path| path.is_file())
}

fn with_gz(plain: &Path) -> PathBuf {
    let mut name = plain.as_os_str().to_owned();
    name.push(".gz");
    PathBuf::from(name)
}
