//! Artifacts in chunks, an experiment's progress, and streams in general.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bitloop_core::plan::ExperimentId;
use bitloop_proto::convert::digest;
use bitloop_proto::transport::CHUNK_BYTES;
use bitloop_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::overview::summary_to_wire;
use super::status;
use super::transfers::Transfer;
use crate::artifacts::{ArtifactError, ArtifactReader, ArtifactWriter, Artifacts};
use crate::driver::{Overview, Summary};
use crate::metrics::Metrics;

/// A stream of answers.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Chunks that wait between disk and network.
const CHUNKS_WAITING: usize = 2;

/// Receives an artifact; returns its size.
pub(super) async fn receive(
    artifacts: Artifacts,
    mut chunks: Streaming<v1::ArtifactChunk>,
    mut transfer: Transfer,
) -> Result<u64, Status> {
    let Some(first) = transfer.step(chunks.message()).await?? else {
        return Err(Status::invalid_argument("an artifact begins with a chunk, which may be empty"));
    };
    let named = digest("digest", &first.digest).map_err(|error| status::unreadable(&error))?;
    transfer.moved(first.data.len());
    let mut writer = blocking(move || append(artifacts.writer(named)?, &first.data)).await?;
    while let Some(chunk) = transfer.step(chunks.message()).await?? {
        if chunk.digest != named.as_bytes() {
            return Err(Status::invalid_argument(format!(
                "a chunk of artifact {named} names another digest"
            )));
        }
        // Only bytes move an upload on.
        if chunk.data.is_empty() {
            return Err(Status::invalid_argument(format!(
                "a chunk of artifact {named} is empty; only the first one may be"
            )));
        }
        transfer.moved(chunk.data.len());
        writer = blocking(move || append(writer, &chunk.data)).await?;
    }
    blocking(move || writer.finish()).await
}

fn append(mut writer: ArtifactWriter, bytes: &[u8]) -> Result<ArtifactWriter, ArtifactError> {
    writer.write(bytes)?;
    Ok(writer)
}

/// Sends an artifact in chunks; there is at least one, so that an empty artifact arrives too.
pub(super) fn send(
    reader: ArtifactReader,
    mut transfer: Transfer,
    metrics: Arc<Metrics>,
) -> Answers<v1::ArtifactChunk> {
    let (sender, chunks) = mpsc::channel(CHUNKS_WAITING);
    let (end, ended) = oneshot::channel();
    let own = transfer.take_own();
    // The task ends with the artifact, when the peer has gone, or when it takes no more chunks.
    tokio::spawn(async move {
        if let Err(status) = send_chunks(reader, &sender, transfer, &metrics).await {
            // A peer that has gone needs no error.
            let _ = end.send(status);
        }
    });
    Box::pin(Chunks { chunks, ended, _own: own })
}

async fn send_chunks(
    mut reader: ArtifactReader,
    sender: &mpsc::Sender<v1::ArtifactChunk>,
    mut transfer: Transfer,
    metrics: &Metrics,
) -> Result<(), Status> {
    let digest = reader.digest().as_bytes().to_vec();
    let mut is_first = true;
    loop {
        // A thread reads one chunk; none waits for the peer.
        let (read, chunk) = blocking(move || {
            let chunk = reader.next(CHUNK_BYTES)?;
            Ok((reader, chunk))
        })
        .await?;
        reader = read;
        let data = match chunk {
            Some(data) => data,
            None if is_first => Vec::new(),
            None => return Ok(()),
        };
        is_first = false;
        let bytes = data.len();
        let sent = transfer.step(sender.send(v1::ArtifactChunk { digest: digest.clone(), data })).await?;
        if sent.is_err() || bytes == 0 {
            return Ok(());
        }
        transfer.moved(bytes);
        metrics.artifact_fetched(bytes as u64);
    }
}

/// The chunks of an artifact, and then why they end too early, if they do.
struct Chunks {
    chunks: mpsc::Receiver<v1::ArtifactChunk>,
    ended: oneshot::Receiver<Status>,
    /// Held until the peer lets go of the stream, which has chunks in memory for as long.
    _own: Option<OwnedSemaphorePermit>,
}

impl Stream for Chunks {
    type Item = Result<v1::ArtifactChunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.chunks.poll_recv(context)) {
            Some(chunk) => Poll::Ready(Some(Ok(chunk))),
            // The reason was given before the last sender went; there is none at the end of an artifact.
            None => Poll::Ready(self.ended.try_recv().ok().map(Err)),
        }
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
    id: ExperimentId,
    overview: watch::Receiver<Arc<Overview>>,
    shutdown: CancellationToken,
) -> Answers<v1::ExperimentSummary> {
    stream(shutdown, |sender| send_summaries(id, overview, sender))
}

/// A stream of what `body` sends, until that ends, the reader has gone or the server stops.
pub(super) fn stream<T: Send + 'static, F: Future<Output = ()> + Send>(
    shutdown: CancellationToken,
    body: impl FnOnce(mpsc::Sender<Result<T, Status>>) -> F + Send + 'static,
) -> Answers<T> {
    // One answer waits at most: whoever reads slowly holds up nobody else.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {
                // A reader that has gone needs no reason.
                let _ = sender.try_send(Err(status::stopping()));
            }
            () = body(sender.clone()) => {}
            () = sender.closed() => {}
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

async fn send_summaries(
    id: ExperimentId,
    mut overview: watch::Receiver<Arc<Overview>>,
    sender: mpsc::Sender<Result<v1::ExperimentSummary, Status>>,
) {
    let mut sent: Option<Summary> = None;
    loop {
        let newest = overview.borrow_and_update().experiment(&id).cloned();
        if let Some(newest) = newest.filter(|newest| sent.as_ref() != Some(newest)) {
            let is_over = newest.status.is_over();
            if sender.send(Ok(summary_to_wire(&newest))).await.is_err() || is_over {
                return;
            }
            sent = Some(newest);
        }
        if overview.changed().await.is_err() {
            // The driver has stopped; its error is for the log, the reader learns that there is no more.
            let _ = sender.send(Err(status::stopping())).await;
            return;
        }
    }
}
