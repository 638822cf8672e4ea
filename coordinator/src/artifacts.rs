//! Content-addressed files: `artifacts/<hexadecimal digest>`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bitloop_core::digest::Digest;

use crate::files::PartFile;

/// Largest artifact: more than any network or data set that a trial reads at once.
pub const MAX_ARTIFACT_BYTES: u64 = 1 << 30;

/// What is read at once where only the digest matters.
const CHECK_BYTES: usize = 1 << 20;

/// The artifacts of a data directory. A clone names the same folder.
#[derive(Clone, Debug)]
pub struct Artifacts {
    folder: PathBuf,
}

/// Why an artifact cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("artifact {0} is not here; submit the experiment again to restore it")]
    Missing(Digest),
    #[error("artifact {0} is damaged and was removed; submit the experiment again to restore it")]
    Damaged(Digest),
    #[error("artifact {digest} arrived as {found}; the file changed while it was sent, submit again")]
    Mismatch { digest: Digest, found: Digest },
    #[error("artifact {digest} has more than {MAX_ARTIFACT_BYTES} bytes")]
    TooLarge { digest: Digest },
    #[error("artifact {digest} cannot be stored or read: {cause}; check the data directory's disk")]
    Disk { digest: Digest, cause: io::Error },
}

impl Artifacts {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where they lie, each under its digest.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    /// Those of `digests` that are not here, each once, in their order.
    pub fn missing(&self, digests: &[Digest]) -> Vec<Digest> {
        let mut missing = Vec::new();
        for digest in digests {
            if !missing.contains(digest) && !self.path(digest).is_file() {
                missing.push(*digest);
            }
        }
        missing
    }

    /// Like [`Artifacts::missing`], but reads the others too, and removes damaged ones, so that they are sent again.
    pub fn missing_or_damaged(&self, digests: &[Digest]) -> Result<Vec<Digest>, ArtifactError> {
        for digest in digests {
            match self.reader(*digest).and_then(ArtifactReader::check) {
                Ok(()) | Err(ArtifactError::Missing(_) | ArtifactError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.missing(digests))
    }

    /// Starts to store an artifact.
    pub fn writer(&self, digest: Digest) -> Result<ArtifactWriter, ArtifactError> {
        let part =
            PartFile::create(&self.path(&digest)).map_err(|cause| ArtifactError::Disk { digest, cause })?;
        Ok(ArtifactWriter { digest, part, hasher: blake3::Hasher::new(), size: 0 })
    }

    /// Starts to read an artifact.
    pub fn reader(&self, digest: Digest) -> Result<ArtifactReader, ArtifactError> {
        let path = self.path(&digest);
        match File::open(&path) {
            Ok(file) => Ok(ArtifactReader { digest, path, file, hasher: blake3::Hasher::new() }),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(ArtifactError::Missing(digest)),
            Err(cause) => Err(ArtifactError::Disk { digest, cause }),
        }
    }
}

/// An artifact that is being stored. Dropped before [`ArtifactWriter::finish`], it leaves nothing.
pub struct ArtifactWriter {
    digest: Digest,
    part: PartFile,
    hasher: blake3::Hasher,
    size: u64,
}

impl ArtifactWriter {
    /// Which artifact it is to become.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        let digest = self.digest;
        self.size += bytes.len() as u64;
        if self.size > MAX_ARTIFACT_BYTES {
            return Err(ArtifactError::TooLarge { digest });
        }
        self.hasher.update(bytes);
        self.part.write(bytes).map_err(|cause| ArtifactError::Disk { digest, cause })
    }

    /// Checks the digest, makes the artifact durable and returns its size.
    pub fn finish(self) -> Result<u64, ArtifactError> {
        let digest = self.digest;
        let found = Digest::from_bytes(*self.hasher.finalize().as_bytes());
        if found != digest {
            return Err(ArtifactError::Mismatch { digest, found });
        }
        self.part.finish().map_err(|cause| ArtifactError::Disk { digest, cause })?;
        Ok(self.size)
    }
}

/// An artifact that is being read.
pub struct ArtifactReader {
    digest: Digest,
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
}

impl ArtifactReader {
    /// Reads everything for its digest alone.
    fn check(mut self) -> Result<(), ArtifactError> {
        while self.next(CHECK_BYTES)?.is_some() {}
        Ok(())
    }

    /// Returns the next bytes, at most `len`; none at the end, where the digest is checked.
    ///
    /// A damaged artifact is removed, so that it counts as missing when its experiment is submitted again.
    pub fn next(&mut self, len: usize) -> Result<Option<Vec<u8>>, ArtifactError> {
        let digest = self.digest;
        let mut bytes = Vec::with_capacity(len);
        self.file
            .by_ref()
            .take(len as u64)
            .read_to_end(&mut bytes)
            .map_err(|cause| ArtifactError::Disk { digest, cause })?;
        self.hasher.update(&bytes);
        if !bytes.is_empty() {
            return Ok(Some(bytes));
        }
        if self.hasher.finalize().as_bytes() == digest.as_bytes() {
            return Ok(None);
        }
        fs::remove_file(&self.path).map_err(|cause| ArtifactError::Disk { digest, cause })?;
        Err(ArtifactError::Damaged(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(artifacts: &Artifacts, bytes: &[u8]) -> Digest {
        let mut writer = artifacts.writer(Digest::of(bytes)).unwrap();
        for chunk in bytes.chunks(3) {
            writer.write(chunk).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), bytes.len() as u64);
        Digest::of(bytes)
    }

    fn read(artifacts: &Artifacts, digest: Digest) -> Result<Vec<u8>, ArtifactError> {
        let mut reader = artifacts.reader(digest)?;
        let mut all = Vec::new();
        while let Some(bytes) = reader.next(4)? {
            all.extend(bytes);
        }
        Ok(all)
    }

    #[test]
    fn what_was_stored_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::new(folder.path().to_owned());
        let other = Digest::of(b"other");

        for bytes in [&b""[..], b"weights and more"] {
            let digest = store(&artifacts, bytes);

            assert_eq!(read(&artifacts, digest).unwrap(), bytes);
            assert_eq!(artifacts.missing(&[digest, other, other]), [other]);
        }
        assert!(matches!(read(&artifacts, other), Err(ArtifactError::Missing(digest)) if digest == other));
    }

    #[test]
    fn other_bytes_than_promised_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::new(folder.path().to_owned());
        let promised = Digest::of(b"promised");

        let mut writer = artifacts.writer(promised).unwrap();
        writer.write(b"sent").unwrap();

        assert!(matches!(writer.finish(), Err(ArtifactError::Mismatch { .. })));
        assert_eq!(artifacts.missing(&[promised]), [promised]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_artifact_is_named_and_counts_as_missing() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::new(folder.path().to_owned());
        let digest = store(&artifacts, b"weights");
        fs::write(folder.path().join(digest.hex()), b"weighty").unwrap();

        let refused = read(&artifacts, digest).unwrap_err();

        assert!(matches!(refused, ArtifactError::Damaged(_)));
        assert!(refused.to_string().contains(&digest.to_string()));
        assert_eq!(artifacts.missing(&[digest]), [digest]);
    }

    #[test]
    fn whoever_asks_what_to_send_is_told_of_damaged_artifacts_too() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::new(folder.path().to_owned());
        let [whole, damaged] = [&b"weights"[..], b"images"].map(|bytes| store(&artifacts, bytes));
        fs::write(folder.path().join(damaged.hex()), b"image").unwrap();

        assert_eq!(artifacts.missing_or_damaged(&[whole, damaged]).unwrap(), [damaged]);
        assert_eq!(read(&artifacts, whole).unwrap(), b"weights");
    }
}
