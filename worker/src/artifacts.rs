//! Artifacts as trials need them: from a cache folder, or from the coordinator by way of that folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bitloop_core::digest::Digest;
use bitloop_core::worker::Backoff;
use tempfile::{NamedTempFile, TempDir};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::client::{Client, ClientError};
use crate::clock;
use crate::parts;

/// How the names of temporary folders begin.
const TEMPORARY_PREFIX: &str = "bitloop-worker-";

/// A temporary folder's file that its process keeps locked.
const LOCK: &str = "lock";

/// For how long an artifact is asked for again, from the first attempt that failed on, before the lease is given back.
const FETCH_PATIENCE: Duration = Duration::from_secs(30);

/// For how long an artifact is sent again, from the first attempt that failed on, before the lease is given back: so that a
/// coordinator that restarts or whose disk is full costs nothing that was measured.
const STORE_PATIENCE: Duration = Duration::from_secs(600);

/// How often a transfer looks whether its order is still wanted.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

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
    /// The worker is shutting down, or the trial is not wanted any more.
    #[error("the transfer is not wanted any more")]
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
    // The lock goes after the folder.
    _temporary: Option<(TempDir, File)>,
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
                parts::remove_abandoned(folder);
                Ok(Self { folder: folder.to_owned(), _temporary: None })
            }
            None => Self::temporary_in(&std::env::temp_dir()),
        }
    }

    /// A file of its own name among the artifacts.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn temporary_in(parent: &Path) -> Result<Self, ArtifactError> {
        let unusable = |source| ArtifactError::Cache { path: parent.to_owned(), source };
        remove_abandoned(parent);
        let temporary = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempdir_in(parent);
        let temporary = temporary.map_err(unusable)?;
        let lock = lock(temporary.path()).map_err(unusable)?;
        Ok(Self { folder: temporary.path().to_owned(), _temporary: Some((temporary, lock)) })
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
        parts::begin(|builder| builder.tempfile_in(&self.folder))
            // The full text would name the random path, which says nothing.
            .map_err(|source| self.broken(source.kind().into()))
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

/// Locks a temporary folder for as long as the process lives; the lock comes into sight locked.
fn lock(folder: &Path) -> io::Result<File> {
    let early = folder.join("lock.part");
    let file = File::create(&early)?;
    file.try_lock()?;
    fs::rename(early, folder.join(LOCK))?;
    Ok(file)
}

/// Removes the temporary folders of workers that were killed: those whose lock nobody holds.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX);
        // A link is no folder here, so nothing outside can be meant.
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let lock = File::open(entry.path().join(LOCK));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            // Another worker may be removing it too, or it may be another user's.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The coordinator's artifacts, for the compute thread: calls block it, and the runtime's threads do the work.
pub(crate) struct CoordinatorArtifacts {
    pub(crate) cache: ArtifactCache,
    pub(crate) client: Client,
    pub(crate) runtime: Handle,
    pub(crate) shutdown: CancellationToken,
}

/// The same for one order, with which downloads end.
pub(crate) struct OrderArtifacts<'a> {
    artifacts: &'a CoordinatorArtifacts,
    stop: &'a AtomicBool,
}

impl Artifacts for OrderArtifacts<'_> {
    fn fetch(&self, digest: &Digest) -> Result<Vec<u8>, ArtifactError> {
        let CoordinatorArtifacts { cache, .. } = self.artifacts;
        if let Some(bytes) = cache.read(digest)? {
            return Ok(bytes);
        }
        let download = tried_for(FETCH_PATIENCE, digest, || self.artifacts.download(digest));
        let file = self.artifacts.wait(async {
            tokio::select! {
                file = download => file,
                () = unwanted(self.stop) => Err(ArtifactError::Stopped),
            }
        })?;
        cache.finish(digest, file)?;
        let vanished =
            || io::Error::new(io::ErrorKind::InvalidData, "a file just written is gone or damaged");
        cache.read(digest)?.ok_or_else(|| cache.broken(vanished()))
    }

    /// Goes on though the order has ended: what was measured is worth something all the same.
    fn store(&self, bytes: Vec<u8>) -> Result<Digest, ArtifactError> {
        let CoordinatorArtifacts { cache, client, .. } = self.artifacts;
        let digest = cache.write(&bytes)?;
        let bytes = Arc::new(bytes);
        self.artifacts.wait(tried_for(STORE_PATIENCE, &digest, || async {
            let stored = client.store_artifact(&digest, Arc::clone(&bytes)).await;
            stored.map_err(|source| ArtifactError::Transfer { digest, source })
        }))?;
        Ok(digest)
    }
}

/// Comes to its end when an order is to stop.
async fn unwanted(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Tries a transfer until it succeeds or cannot succeed; for so long from the first failure on, and as long as an attempt
/// takes that begins before.
async fn tried_for<T, F>(
    patience: Duration,
    digest: &Digest,
    attempt: impl Fn() -> F,
) -> Result<T, ArtifactError>
where
    F: Future<Output = Result<T, ArtifactError>>,
{
    let mut backoff = Backoff::new(&digest.hex());
    let mut failed = None;
    loop {
        match attempt().await {
            Err(ArtifactError::Transfer { source, .. })
                if source.is_retryable()
                    && clock::elapsed(*failed.get_or_insert_with(clock::now)) < patience =>
            {
                debug!(%digest, %source, "a transfer is tried again");
                tokio::time::sleep(backoff.next_wait()).await;
            }
            done => return done,
        }
    }
}

impl CoordinatorArtifacts {
    /// The artifacts for an order that ends when `stop` becomes true.
    pub(crate) fn during<'a>(&'a self, stop: &'a AtomicBool) -> OrderArtifacts<'a> {
        OrderArtifacts { artifacts: self, stop }
    }

    async fn download(&self, digest: &Digest) -> Result<NamedTempFile, ArtifactError> {
        let temporary = self.cache.begin()?;
        let file = temporary.reopen().map_err(|source| self.cache.broken(source))?;
        let mut file = tokio::fs::File::from_std(file);
        match self.client.fetch_artifact(digest, &mut file).await {
            Ok(()) => Ok(temporary),
            Err(source) => Err(ArtifactError::Transfer { digest: *digest, source }),
        }
    }

    /// Waits for a transfer, unless the worker shuts down.
    fn wait<T>(&self, transfer: impl Future<Output = Result<T, ArtifactError>>) -> Result<T, ArtifactError> {
        let done = self.runtime.block_on(self.shutdown.run_until_cancelled(transfer));
        done.unwrap_or(Err(ArtifactError::Stopped))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_written_artifact_is_read_back() {
        let cache = ArtifactCache::open(None).unwrap();

        let digest = cache.write(b"weights").unwrap();

        assert_eq!(cache.read(&digest).unwrap().as_deref(), Some(b"weights".as_slice()));
        assert_eq!(cache.read(&Digest::of(b"other")).unwrap(), None);
        let files = fs::read_dir(&cache.folder).unwrap().count();
        assert_eq!(files, 2, "no temporary file stays behind, only the artifact and the lock");
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
    fn temporary_folders_of_killed_workers_are_removed_and_no_others() {
        let parent = tempfile::tempdir().unwrap();
        let killed = parent.path().join("bitloop-worker-killed");
        let other = parent.path().join("another");
        for folder in [&killed, &other] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join(LOCK), "").unwrap();
        }

        let first = ArtifactCache::temporary_in(parent.path()).unwrap();
        let second = ArtifactCache::temporary_in(parent.path()).unwrap();

        assert!(!killed.exists() && other.exists());
        assert!(first.folder.exists() && second.folder.exists());
        let folder = first.folder.clone();
        drop(first);
        assert!(!folder.exists());
    }

    fn unreachable(digest: Digest) -> ArtifactError {
        let source = ClientError::Unreachable { call: "store_artifact", reason: "by the test".to_owned() };
        ArtifactError::Transfer { digest, source }
    }

    #[tokio::test]
    async fn a_transfer_is_tried_again_for_a_while_however_long_an_attempt_takes() {
        let digest = Digest::of(b"weights");
        for (patience_ms, expected) in [(0, 1), (250, 2)] {
            let patience = Duration::from_millis(patience_ms);
            let attempts = Cell::new(0);

            let ended = tried_for::<(), _>(patience, &digest, || async {
                attempts.set(attempts.get() + 1);
                // Each takes longer than all of them may, which is no reason to give up for the first one.
                tokio::time::sleep(2 * patience).await;
                Err(unreachable(digest))
            });

            assert!(ended.await.is_err());
            assert_eq!(attempts.get(), expected);
        }
    }

    #[tokio::test]
    async fn what_cannot_succeed_is_not_tried_again() {
        let digest = Digest::of(b"weights");
        let attempts = Cell::new(0);

        let ended = tried_for::<(), _>(STORE_PATIENCE, &digest, || async {
            attempts.set(attempts.get() + 1);
            let source = ClientError::NotFound { call: "fetch_artifact", message: "by the test".to_owned() };
            Err(ArtifactError::Transfer { digest, source })
        });

        assert!(ended.await.is_err());
        assert_eq!(attempts.get(), 1);
    }

    #[test]
    fn a_download_that_was_cut_short_by_the_end_of_its_process_is_removed_by_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let cache = ArtifactCache::open(Some(parent.path())).unwrap();
        let (living, killed) = (cache.begin().unwrap(), cache.begin().unwrap());
        let (file, killed) = killed.keep().unwrap();
        drop(file);

        ArtifactCache::open(Some(parent.path())).unwrap();

        assert!(living.path().exists() && !killed.exists());
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
