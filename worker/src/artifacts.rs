//! Artifacts as trials need them: from a cache folder, or from the coordinator by way of that folder.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitloop_core::digest::Digest;
use tempfile::{NamedTempFile, TempDir};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::backoff::Backoff;
use crate::client::{Client, ClientError};

/// How often one artifact is tried before the lease is given back.
const TRANSFER_ATTEMPTS: u32 = 5;

/// Why an artifact is not there; another worker, or this one later, may get it.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The cache folder cannot be used.
    #[error("cannot use cache folder `{}`: {source}; name another one with --cache-dir", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be transferred.
    #[error("artifact {digest} cannot be transferred: {source}")]
    Transfer {
        /// Which.
        digest: Digest,
        /// Why.
        source: ClientError,
    },
    /// The worker is shutting down.
    #[error("the worker is shutting down")]
    Stopped,
}

/// Where an executor gets its inputs and leaves what others need.
pub trait Artifacts {
    /// Returns an artifact's bytes, which have this digest.
    fn fetch(&self, digest: &Digest) -> Result<Vec<u8>, ArtifactError>;

    /// Stores an artifact where every worker finds it.
    fn store(&self, bytes: Vec<u8>) -> Result<Digest, ArtifactError>;
}

/// A folder of artifacts, each in a file named by its digest. Several processes may share one.
#[derive(Debug)]
pub struct ArtifactCache {
    folder: PathBuf,
    _temporary: Option<TempDir>,
}

impl ArtifactCache {
    /// Opens `folder`, or a temporary one that goes with the process.
    ///
    /// Errors: `Cache`.
    pub fn open(folder: Option<&Path>) -> Result<Self, ArtifactError> {
        match folder {
            Some(folder) => {
                fs::create_dir_all(folder)
                    .map_err(|source| ArtifactError::Cache { path: folder.to_owned(), source })?;
                Ok(Self { folder: folder.to_owned(), _temporary: None })
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("bitloop-worker-").tempdir();
                let temporary = temporary
                    .map_err(|source| ArtifactError::Cache { path: std::env::temp_dir(), source })?;
                Ok(Self { folder: temporary.path().to_owned(), _temporary: Some(temporary) })
            }
        }
    }

    /// Returns an artifact if it is here. A file with other bytes than its name says is deleted.
    ///
    /// Errors: `Cache`.
    pub fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ArtifactError> {
        let path = self.path(digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.broken(source)),
        };
        if Digest::of(&bytes) == *digest {
            return Ok(Some(bytes));
        }
        warn!(path = %path.display(), "a cached artifact is damaged and is fetched again");
        fs::remove_file(&path).map_err(|source| self.broken(source))?;
        Ok(None)
    }

    /// Keeps an artifact; a reader sees all of it or nothing.
    ///
    /// Errors: `Cache`.
    pub fn write(&self, bytes: &[u8]) -> Result<Digest, ArtifactError> {
        let digest = Digest::of(bytes);
        let mut file = self.begin()?;
        let written = file.write_all(bytes).and_then(|()| file.as_file().sync_all());
        written.map_err(|source| self.broken(source))?;
        self.finish(&digest, file)?;
        Ok(digest)
    }

    fn begin(&self) -> Result<NamedTempFile, ArtifactError> {
        NamedTempFile::new_in(&self.folder).map_err(|source| self.broken(source))
    }

    fn finish(&self, digest: &Digest, file: NamedTempFile) -> Result<(), ArtifactError> {
        match file.persist(self.path(digest)) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.broken(error.error)),
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    fn broken(&self, source: io::Error) -> ArtifactError {
        ArtifactError::Cache { path: self.folder.clone(), source }
    }
}

/// The coordinator's artifacts, for the compute thread: calls block it, and the runtime's threads do the work.
pub(crate) struct CoordinatorArtifacts {
    pub(crate) cache: ArtifactCache,
    pub(crate) client: Client,
    pub(crate) runtime: Handle,
    pub(crate) shutdown: CancellationToken,
}

impl Artifacts for CoordinatorArtifacts {
    fn fetch(&self, digest: &Digest) -> Result<Vec<u8>, ArtifactError> {
        if let Some(bytes) = self.cache.read(digest)? {
            return Ok(bytes);
        }
        let file = self.wait(digest, || self.download(digest))?;
        self.cache.finish(digest, file)?;
        let vanished =
            || io::Error::new(io::ErrorKind::InvalidData, "a file just written is gone or damaged");
        self.cache.read(digest)?.ok_or_else(|| self.cache.broken(vanished()))
    }

    fn store(&self, bytes: Vec<u8>) -> Result<Digest, ArtifactError> {
        let digest = self.cache.write(&bytes)?;
        let bytes = Arc::new(bytes);
        self.wait(&digest, || async {
            let stored = self.client.store_artifact(&digest, Arc::clone(&bytes)).await;
            stored.map_err(|source| ArtifactError::Transfer { digest, source })
        })?;
        Ok(digest)
    }
}

impl CoordinatorArtifacts {
    async fn download(&self, digest: &Digest) -> Result<NamedTempFile, ArtifactError> {
        let temporary = self.cache.begin()?;
        let file = temporary.reopen().map_err(|source| self.cache.broken(source))?;
        let mut file = tokio::fs::File::from_std(file);
        match self.client.fetch_artifact(digest, &mut file).await {
            Ok(()) => Ok(temporary),
            Err(source) => Err(ArtifactError::Transfer { digest: *digest, source }),
        }
    }

    /// Tries a transfer until it succeeds, cannot succeed, has been tried often enough, or nobody wants it any more.
    fn wait<T, F>(&self, digest: &Digest, attempt: impl Fn() -> F) -> Result<T, ArtifactError>
    where
        F: Future<Output = Result<T, ArtifactError>>,
    {
        let tries = async {
            let mut backoff = Backoff::new(&digest.hex());
            let mut left = TRANSFER_ATTEMPTS;
            loop {
                left -= 1;
                match attempt().await {
                    Err(ArtifactError::Transfer { source, .. }) if source.is_retryable() && left > 0 => {
                        debug!(%digest, %source, "a transfer is tried again");
                        tokio::time::sleep(backoff.next_wait()).await;
                    }
                    done => return done,
                }
            }
        };
        let done = self.runtime.block_on(self.shutdown.run_until_cancelled(tries));
        done.unwrap_or(Err(ArtifactError::Stopped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_artifact_is_read_back() {
        let cache = ArtifactCache::open(None).unwrap();

        let digest = cache.write(b"weights").unwrap();

        assert_eq!(cache.read(&digest).unwrap().as_deref(), Some(b"weights".as_slice()));
        assert_eq!(cache.read(&Digest::of(b"other")).unwrap(), None);
        let files = fs::read_dir(&cache.folder).unwrap().count();
        assert_eq!(files, 1, "no temporary file stays behind");
    }

    #[test]
    fn a_damaged_artifact_is_deleted() {
        let cache = ArtifactCache::open(None).unwrap();
        let digest = cache.write(b"weights").unwrap();
        fs::write(cache.path(&digest), b"weighty").unwrap();

        assert_eq!(cache.read(&digest).unwrap(), None);

        assert!(!cache.path(&digest).exists());
        cache.write(b"weights").unwrap();
        assert_eq!(cache.read(&digest).unwrap().as_deref(), Some(b"weights".as_slice()));
    }

    #[test]
    fn a_folder_given_by_the_user_outlives_the_cache() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let digest = ArtifactCache::open(Some(&folder)).unwrap().write(b"weights").unwrap();

        let again = ArtifactCache::open(Some(&folder)).unwrap();

        assert!(again.read(&digest).unwrap().is_some());
    }
}
