//! Artifacts in chunks, and an experiment's progress.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bitloop_core::digest::Digest;
use bitloop_core::plan::ExperimentId;
use bitloop_proto::convert::digest;
use bitloop_proto::transport::CHUNK_BYTES;
use bitloop_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::service::summary_to_wire;
use super::status;
use crate::artifacts::{ArtifactError, ArtifactReader, ArtifactWriter, Artifacts};
use crate::driver::{Overview, Summary};
use crate::metrics::Metrics;

/// A stream of answers.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// How long a chunk may take: 256 KiB are 4 KiB a second then.
const CHUNK_PATIENCE: Duration = Duration::from_secs(60);

/// Chunks that wait between disk and network.
const CHUNKS_WAITING: usize = 4;

/// Receives an artifact; returns its size.
pub(super) async fn receive(
    artifacts: Artifacts,
    mut chunks: Streaming<v1::ArtifactChunk>,
) -> Result<u64, Status> {
    let Some(first) = next(&mut chunks).await? else {
        return Err(Status::invalid_argument("an artifact begins with a chunk, which may be empty"));
    };
    let named = digest("digest", &first.digest).map_err(|error| status::unreadable(&error))?;
    let mut writer = blocking(move || {
        let mut writer = artifacts.writer(named)?;
        writer.write(&first.data)?;
        Ok(writer)
    })
    .await?;
    while let Some(chunk) = next(&mut chunks).await? {
        if chunk.digest != named.as_bytes() {
            return Err(Status::invalid_argument(format!(
                "a chunk of artifact {named} names another digest"
            )));
        }
        writer = blocking(move || append(writer, &chunk.data)).await?;
    }
    blocking(move || writer.finish()).await
}

/// The next chunk, if it comes in time: whoever sends slowly on purpose holds nothing open.
async fn next(chunks: &mut Streaming<v1::ArtifactChunk>) -> Result<Option<v1::ArtifactChunk>, Status> {
    match tokio::time::timeout(CHUNK_PATIENCE, chunks.message()).await {
        Ok(chunk) => chunk,
        Err(_) => Err(Status::deadline_exceeded("the next chunk of the artifact did not come in time")),
    }
}

fn append(mut writer: ArtifactWriter, bytes: &[u8]) -> Result<ArtifactWriter, ArtifactError> {
    writer.write(bytes)?;
    Ok(writer)
}

/// Sends an artifact in chunks; there is at least one, so that an empty artifact arrives too.
pub(super) async fn send(
    artifacts: Artifacts,
    digest: Digest,
    metrics: Arc<Metrics>,
) -> Result<Answers<v1::ArtifactChunk>, Status> {
    let reader = blocking(move || artifacts.reader(digest)).await?;
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    // The task ends with the artifact, or when the peer has gone and takes no more chunks.
    tokio::task::spawn_blocking(move || send_chunks(reader, digest, &sender, &metrics));
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

fn send_chunks(
    mut reader: ArtifactReader,
    digest: Digest,
    sender: &mpsc::Sender<Result<v1::ArtifactChunk, Status>>,
    metrics: &Metrics,
) {
    let mut is_first = true;
    loop {
        let data = match reader.next(CHUNK_BYTES) {
            Ok(Some(data)) => data,
            Ok(None) if is_first => Vec::new(),
            Ok(None) => return,
            Err(error) => {
                // A peer that has gone needs no error.
                let _ = sender.blocking_send(Err(status::artifact(&error)));
                return;
            }
        };
        let (is_last, bytes) = (data.is_empty(), data.len() as u64);
        is_first = false;
        let digest = digest.as_bytes().to_vec();
        let sent = sender.blocking_send(Ok(v1::ArtifactChunk { digest, data }));
        if sent.is_err() || is_last {
            return;
        }
        metrics.artifact_fetched(bytes);
    }
}

/// Runs something that waits for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    body: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(body).await;
    done.map_err(|_| status::lost_task())?.map_err(|error| status::artifact(&error))
}

/// Sends an experiment's summary now and whenever it changes, until the experiment is over.
pub(super) fn watch(
    first: Summary,
    overview: watch::Receiver<Arc<Overview>>,
    shutdown: CancellationToken,
) -> Answers<v1::ExperimentSummary> {
    // One summary waits at most: a slow reader gets the newest, not all of them.
    let (sender, receiver) = mpsc::channel(1);
    // The task ends with the experiment, the reader or the server.
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {
                // A reader that has gone needs no reason.
                let _ = sender.try_send(Err(status::stopping()));
            }
            () = send_summaries(first, overview, &sender) => {}
            () = sender.closed() => {}
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

async fn send_summaries(
    first: Summary,
    mut overview: watch::Receiver<Arc<Overview>>,
    sender: &mpsc::Sender<Result<v1::ExperimentSummary, Status>>,
) {
    let id: ExperimentId = first.id.clone();
    let mut current = first;
    loop {
        let is_over = current.status.is_over();
        if sender.send(Ok(summary_to_wire(&current))).await.is_err() || is_over {
            return;
        }
        loop {
            if overview.changed().await.is_err() {
                // The driver has stopped; its error is for the log, the reader learns that there is no more.
                let _ = sender.send(Err(status::stopping())).await;
                return;
            }
            let newest = overview.borrow_and_update().experiment(&id).cloned();
            if let Some(newest) = newest.filter(|newest| *newest != current) {
                current = newest;
                break;
            }
        }
    }
}
