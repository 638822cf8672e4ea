//! Artifacts: bytes under their digest, in a folder or in a bucket of an object store.
//!
//! Digests are checked here, on the way in and on the way out; the places below `Blobs` know only names and bytes.

mod bucket;
mod folder;
mod misses;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bitloop_core::digest::Digest;

use self::bucket::{Bucket, is_bucket};
use self::folder::Folder;
pub(crate) use self::misses::Misses;
use crate::files::make_folder;

/// Largest artifact: more than any network or data set that a trial reads at once.
pub const MAX_ARTIFACT_BYTES: u64 = 1 << 30;

/// What is read at once where only the digest matters.
const CHECK_BYTES: usize = 1 << 20;

/// What is written once, to see whether anything can be.
const PROBE: &str = "probe";

/// A place for blobs: bytes under a name, written once.
trait Blobs: fmt::Debug + Send + Sync {
    /// How people call the place.
    fn place(&self) -> String;

    /// Whether blobs can be listed; changes nothing.
    fn look(&self) -> io::Result<()>;

    /// Tells a blob from others that had its name before or get it later; none if it is not there.
    fn stamp(&self, name: &str) -> io::Result<Option<Stamp>>;

    /// Starts to write a blob; it is there when the writing is finished, and not before.
    fn create(&self, name: &str) -> io::Result<Box<dyn BlobWriter>>;

    /// Starts to read a blob; none if it is not there.
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn io::Read + Send>>>;

    /// Removes a blob that is there.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// What changes when a blob is written anew: its size, and what its place knows of it beside that.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    version: String,
}

/// A blob that is being written. Dropped before [`BlobWriter::finish`], it leaves nothing.
trait BlobWriter: Send {
    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Puts the blob into its place; it is durable when this returns.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// The artifacts of a coordinator. A clone names the same place.
#[derive(Clone, Debug)]
pub struct Artifacts {
    blobs: Arc<dyn Blobs>,
    folder: Option<PathBuf>,
    /// Held for writing while a damaged blob is removed, for reading while a blob is put into its place.
    places: Arc<RwLock<()>>,
    misses: Arc<Misses>,
}

/// Why artifacts cannot be kept in a place.
#[derive(Debug, thiserror::Error)]
#[error("artifacts cannot be kept in {place}: {cause}; {advice}")]
pub struct PlaceError {
    place: String,
    cause: io::Error,
    advice: &'static str,
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
    #[error(
        "artifact {digest} cannot be stored or read in {place}: {cause}; check that it is there and has space"
    )]
    Unusable { digest: Digest, place: String, cause: io::Error },
}

const FOLDER_ADVICE: &str = "name a folder that can be written";

const BUCKET_ADVICE: &str =
    "check the URL, and the variables that say where it is and who may use it: see docs/stores.md";

/// The environment, as far as it is text.
fn variables() -> impl Iterator<Item = (String, String)> {
    let variables = std::env::vars_os();
    variables.filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
}

impl Artifacts {
    fn new(blobs: Arc<dyn Blobs>, folder: Option<PathBuf>) -> Self {
        Self { blobs, folder, places: Arc::default(), misses: Arc::default() }
    }

    /// Artifacts in a folder that is there.
    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self::new(Arc::new(Folder::new(folder.clone())), Some(folder))
    }

    /// Artifacts in the place that a user names: a folder, which is made if need be, or the URL of a bucket.
    ///
    /// Errors: when it cannot be written.
    pub fn at(place: &str) -> Result<Self, PlaceError> {
        match is_bucket(place) {
            true => Self::in_bucket(place, variables()),
            false => Self::in_shared_folder(Path::new(place)),
        }
    }

    /// Whether the place that a user names can be read, as far as one can tell without writing to it.
    ///
    /// Errors: why not.
    pub fn look_at(place: &str) -> Result<(), PlaceError> {
        let unusable = |cause, advice| PlaceError { place: place.to_owned(), cause, advice };
        match is_bucket(place) {
            true => Bucket::open(place, variables())
                .and_then(|bucket| bucket.look())
                .map_err(|cause| unusable(cause, BUCKET_ADVICE)),
            false => Folder::new(PathBuf::from(place)).look().map_err(|cause| unusable(cause, FOLDER_ADVICE)),
        }
    }

    fn in_shared_folder(folder: &Path) -> Result<Self, PlaceError> {
        let unusable =
            |cause| PlaceError { place: folder.display().to_string(), cause, advice: FOLDER_ADVICE };
        make_folder(folder).map_err(unusable)?;
        let artifacts = Self::in_folder(folder.to_owned());
        artifacts.probe().map_err(unusable)?;
        Ok(artifacts)
    }

    /// Artifacts in a bucket; `settings` are named like the environment variables of its provider's tools.
    fn in_bucket(url: &str, settings: impl Iterator<Item = (String, String)>) -> Result<Self, PlaceError> {
        let unusable = |cause| PlaceError { place: url.to_owned(), cause, advice: BUCKET_ADVICE };
        let artifacts = Self::new(Arc::new(Bucket::open(url, settings).map_err(unusable)?), None);
        artifacts.probe().map_err(unusable)?;
        Ok(artifacts)
    }

    /// A place that cannot be written is better found now than after hours of measuring.
    fn probe(&self) -> io::Result<()> {
        self.blobs.create(PROBE)?.finish()?;
        self.blobs.remove(PROBE)
    }

    /// The folder in which they lie, each under its digest; none if they are in a bucket.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// What readers have found missing or damaged, for who can have it made again.
    pub(crate) fn misses(&self) -> Arc<Misses> {
        Arc::clone(&self.misses)
    }

    /// Those of `digests` that are not here, each once, in their order.
    pub fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>, ArtifactError> {
        let mut missing = Vec::new();
        for digest in each_once(digests) {
            let stamp = self.blobs.stamp(&digest.hex());
            if stamp.map_err(|cause| self.unusable(digest, cause))?.is_none() {
                missing.push(digest);
            }
        }
        Ok(missing)
    }

    /// Like [`Artifacts::missing`], but reads the others too, and removes damaged ones, so that they are sent again.
    pub fn missing_or_damaged(&self, digests: &[Digest]) -> Result<Vec<Digest>, ArtifactError> {
        self.missing_or_damaged_while(digests, || true)
    }

    /// The same, but reads no more once that is not wanted: damage further on is found by whoever reads it.
    pub(crate) fn missing_or_damaged_while(
        &self,
        digests: &[Digest],
        is_wanted: impl Fn() -> bool,
    ) -> Result<Vec<Digest>, ArtifactError> {
        for digest in each_once(digests) {
            if !is_wanted() {
                break;
            }
            match self.reader(digest).and_then(|reader| reader.check(&is_wanted)) {
                Ok(()) | Err(ArtifactError::Missing(_) | ArtifactError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.missing(digests)
    }

    /// Starts to store an artifact.
    pub fn writer(&self, digest: Digest) -> Result<ArtifactWriter, ArtifactError> {
        let blob = self.blobs.create(&digest.hex()).map_err(|cause| self.unusable(digest, cause))?;
        Ok(ArtifactWriter { artifacts: self.clone(), digest, blob, hasher: blake3::Hasher::new(), size: 0 })
    }

    /// Starts to read an artifact.
    pub fn reader(&self, digest: Digest) -> Result<ArtifactReader, ArtifactError> {
        let blob = self.blobs.open(&digest.hex()).map_err(|cause| self.unusable(digest, cause))?;
        let Some(blob) = blob else {
            self.misses.add(digest);
            return Err(ArtifactError::Missing(digest));
        };
        Ok(ArtifactReader { artifacts: self.clone(), digest, blob, hasher: blake3::Hasher::new() })
    }

    /// Removes a blob whose reader found other bytes than its digest says, unless it is another one by now: it may have been
    /// sent again meanwhile. Returns whether nothing is there any more.
    fn remove_damaged(&self, digest: Digest) -> io::Result<bool> {
        let name = digest.hex();
        let Some(stamp) = self.blobs.stamp(&name)? else { return Ok(true) };
        // That takes long for a large one, and holds up no upload.
        if self.is_whole(digest)? {
            return Ok(false);
        }
        let _alone = self.places.write().unwrap_or_else(PoisonError::into_inner);
        match self.blobs.stamp(&name)? {
            None => Ok(true),
            Some(now) if now == stamp => self.blobs.remove(&name).map(|()| true),
            // If it is damaged too, its own reader finds that.
            Some(_) => Ok(false),
        }
    }

    fn is_whole(&self, digest: Digest) -> io::Result<bool> {
        let Some(mut blob) = self.blobs.open(&digest.hex())? else { return Ok(false) };
        let mut hasher = blake3::Hasher::new();
        let mut bytes = vec![0; CHECK_BYTES];
        loop {
            match io::Read::read(&mut blob, &mut bytes)? {
                0 => return Ok(hasher.finalize().as_bytes() == digest.as_bytes()),
                len => hasher.update(&bytes[..len]),
            };
        }
    }

    fn unusable(&self, digest: Digest, cause: io::Error) -> ArtifactError {
        ArtifactError::Unusable { digest, place: self.blobs.place(), cause }
    }
}

/// Digests without repetitions, in their order.
fn each_once(digests: &[Digest]) -> impl Iterator<Item = Digest> {
    let mut seen = HashSet::with_capacity(digests.len());
    digests.iter().copied().filter(move |digest| seen.insert(*digest))
}

/// An artifact that is being stored. Dropped before [`ArtifactWriter::finish`], it leaves nothing.
pub struct ArtifactWriter {
    artifacts: Artifacts,
    digest: Digest,
    blob: Box<dyn BlobWriter>,
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
        self.blob.write(bytes).map_err(|cause| self.artifacts.unusable(digest, cause))
    }

    /// Checks the digest, makes the artifact durable and returns its size.
    pub fn finish(self) -> Result<u64, ArtifactError> {
        let digest = self.digest;
        let found = Digest::from_bytes(*self.hasher.finalize().as_bytes());
        if found != digest {
            return Err(ArtifactError::Mismatch { digest, found });
        }
        let place = self.artifacts.places.read().unwrap_or_else(PoisonError::into_inner);
        self.blob.finish().map_err(|cause| self.artifacts.unusable(digest, cause))?;
        drop(place);
        Ok(self.size)
    }
}

/// An artifact that is being read.
pub struct ArtifactReader {
    artifacts: Artifacts,
    digest: Digest,
    blob: Box<dyn io::Read + Send>,
    hasher: blake3::Hasher,
}

impl ArtifactReader {
    /// Which artifact it is.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Reads everything for its digest alone, as long as that is wanted.
    fn check(mut self, is_wanted: impl Fn() -> bool) -> Result<(), ArtifactError> {
        while is_wanted() && self.next(CHECK_BYTES)?.is_some() {}
        Ok(())
    }

    /// Returns the next bytes, at most `len`; none at the end, where the digest is checked.
    ///
    /// A damaged artifact is removed, so that it counts as missing when its experiment is submitted again.
    pub fn next(&mut self, len: usize) -> Result<Option<Vec<u8>>, ArtifactError> {
        let digest = self.digest;
        let mut bytes = Vec::with_capacity(len);
        let read = io::Read::read_to_end(&mut io::Read::take(&mut self.blob, len as u64), &mut bytes);
        read.map_err(|cause| self.artifacts.unusable(digest, cause))?;
        self.hasher.update(&bytes);
        if !bytes.is_empty() {
            return Ok(Some(bytes));
        }
        if self.hasher.finalize().as_bytes() == digest.as_bytes() {
            return Ok(None);
        }
        let is_gone = self.artifacts.remove_damaged(digest);
        if is_gone.map_err(|cause| self.artifacts.unusable(digest, cause))? {
            self.artifacts.misses.add(digest);
        }
        Err(ArtifactError::Damaged(digest))
    }
}
