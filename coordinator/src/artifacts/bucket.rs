//! Blobs as objects of a bucket: S3 and what speaks like it; Google's and Azure's by the same client.
//!
//! Whatever its size, a blob is sent and fetched in parts, and no more than one of them is in memory.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio_stream::StreamExt;
use tracing::warn;
use url::Url;

use super::{BlobWriter, Blobs, Stamp};
use crate::background::Background;

/// Size of the parts of a blob: more than the least that S3 takes (5 MiB), little beside the memory of a coordinator.
const PART_BYTES: usize = 8 << 20;

/// How long a question may take, with what the client repeats: less than workers wait for an answer that is durable.
const QUESTION_LIMIT: Duration = Duration::from_secs(15);

/// How long a part may take, with what the client repeats.
const PART_LIMIT: Duration = Duration::from_secs(120);

/// Beginnings of the variables that say where a bucket is and who may use it.
const SETTINGS: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// Where S3 is, if not at Amazon.
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"];

/// Whether a place for artifacts is a bucket, not a folder.
pub(super) fn is_bucket(place: &str) -> bool {
    place.contains("://")
}

/// A bucket, and the prefix that all names get.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    url: String,
    prefix: Path,
    store: Arc<dyn ObjectStore>,
    background: Arc<Background>,
}

impl Bucket {
    /// Opens a bucket, without asking it anything.
    pub(super) fn open(url: &str, settings: impl Iterator<Item = (String, String)>) -> io::Result<Self> {
        // The client asks the process for its cryptography; whoever was first has chosen the same.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let parsed = Url::parse(url).map_err(io::Error::other)?;
        let settings = settings.filter(|(key, _)| SETTINGS.iter().any(|start| key.starts_with(start)));
        let mut settings: Vec<(String, String)> = settings.collect();
        // Whoever names an endpoint without TLS means it.
        let is_plain = |(key, value): &(String, String)| {
            ENDPOINTS.contains(&key.as_str()) && value.starts_with("http://")
        };
        if settings.iter().any(is_plain) {
            settings.push(("AWS_ALLOW_HTTP".to_owned(), "true".to_owned()));
        }
        let (store, prefix) = object_store::parse_url_opts(&parsed, settings).map_err(io::Error::other)?;
        let background = Arc::new(Background::start("bitloop-bucket")?);
        Ok(Self { url: url.to_owned(), prefix, store: Arc::from(store), background })
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    fn wait<T: Send + 'static>(
        &self,
        limit: Duration,
        future: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> io::Result<T> {
        match self.background.wait(limit, future) {
            Some(Ok(value)) => Ok(value),
            Some(Err(cause)) => Err(cause.into()),
            None => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {} s", limit.as_secs()),
            )),
        }
    }
}

impl Blobs for Bucket {
    fn place(&self) -> String {
        self.url.clone()
    }

    fn look(&self) -> io::Result<()> {
        let (store, prefix) = (self.store.clone(), self.prefix.clone());
        let first = async move { store.list(Some(&prefix)).next().await.transpose() };
        self.wait(QUESTION_LIMIT, first).map(drop)
    }

    fn stamp(&self, name: &str) -> io::Result<Option<Stamp>> {
        let (store, path) = (self.store.clone(), self.path(name));
        match self.wait(QUESTION_LIMIT, async move { store.head(&path).await }) {
            Ok(found) => {
                // Not every provider has all of these; a tag may be one of the bytes alone.
                let version = format!("{:?} {:?} {:?}", found.version, found.e_tag, found.last_modified);
                Ok(Some(Stamp { size: found.size, version }))
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn BlobWriter>> {
        let path = self.path(name);
        Ok(Box::new(Sending { bucket: self.clone(), path, part: Vec::new(), upload: None }))
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn io::Read + Send>>> {
        let Some(Stamp { size, .. }) = self.stamp(name)? else { return Ok(None) };
        let (bucket, path) = (self.clone(), self.path(name));
        let part = io::Cursor::default();
        Ok(Some(Box::new(Fetching { bucket, path, part, fetched: 0, size })))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (store, path) = (self.store.clone(), self.path(name));
        self.wait(QUESTION_LIMIT, async move { store.delete(&path).await })
    }
}

/// A blob on its way into a bucket.
struct Sending {
    bucket: Bucket,
    path: Path,
    part: Vec<u8>,
    /// None while all of it fits into one part.
    upload: Option<Box<dyn MultipartUpload>>,
}

impl Sending {
    fn send_part(&mut self) -> io::Result<()> {
        let (store, path) = (self.bucket.store.clone(), self.path.clone());
        let part = PutPayload::from(std::mem::take(&mut self.part));
        let begun = self.upload.take();
        let sent = async move {
            let mut upload = match begun {
                Some(upload) => upload,
                None => store.put_multipart(&path).await?,
            };
            let sent = upload.put_part(part).await;
            Ok((upload, sent))
        };
        let (upload, sent) = self.bucket.wait(PART_LIMIT, sent)?;
        self.upload = Some(upload);
        Ok(sent?)
    }
}

impl BlobWriter for Sending {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PART_BYTES - self.part.len()));
            self.part.extend_from_slice(now);
            bytes = later;
            if self.part.len() == PART_BYTES {
                self.send_part()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if self.upload.is_none() {
            let (store, path) = (self.bucket.store.clone(), self.path.clone());
            let part = PutPayload::from(std::mem::take(&mut self.part));
            let put = async move { store.put(&path, part).await };
            return self.bucket.wait(PART_LIMIT, put).map(drop);
        }
        if !self.part.is_empty() {
            self.send_part()?;
        }
        let Some(mut upload) = self.upload.take() else { return Ok(()) };
        let complete = async move {
            let completed = upload.complete().await;
            if completed.is_err() {
                abort(upload).await;
            }
            completed
        };
        self.bucket.wait(PART_LIMIT, complete).map(drop)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            self.bucket.background.spawn(abort(upload));
        }
    }
}

/// Gives an upload up. What cannot be told to the bucket now stays there as an unfinished upload, until a rule of its
/// owner removes such.
async fn abort(mut upload: Box<dyn MultipartUpload>) {
    if let Err(cause) = upload.abort().await {
        warn!(%cause, "an unfinished upload may be left in the bucket");
    }
}

/// A blob on its way out of a bucket.
struct Fetching {
    bucket: Bucket,
    path: Path,
    part: io::Cursor<bytes::Bytes>,
    fetched: u64,
    size: u64,
}

impl io::Read for Fetching {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.part.read(buffer)?;
        if read > 0 || buffer.is_empty() || self.fetched == self.size {
            return Ok(read);
        }
        let (store, path) = (self.bucket.store.clone(), self.path.clone());
        let range = self.fetched..self.size.min(self.fetched + PART_BYTES as u64);
        let end = range.end;
        // The part before is gone before the next one comes.
        self.part = io::Cursor::default();
        let part = self.bucket.wait(PART_LIMIT, async move { store.get_range(&path, range).await })?;
        self.part = io::Cursor::new(part);
        self.fetched = end;
        self.part.read(buffer)
    }
}
