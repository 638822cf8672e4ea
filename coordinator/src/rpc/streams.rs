//! Artifacts in chunks, an experiment's progress, and streams in general.

use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bitloop_core::digest::Digest;
use bitloop_core::plan::ExperimentId;
use bitloop_proto::convert::digest;
use bitloop_proto::transport::CHUNK_BYTES;
use bitloop_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio_stream::Stream;
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

/// How often a reader that has to wait is told that it is not forgotten: a few times in what clients give one answer.
const NOTE_INTERVAL: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

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

/// Sends an artifact in chunks; there is at least one, so that an empty artifact arrives too. While it waits for its turn, which
/// may take long where many want artifacts, empty chunks say that it will come.
pub(super) fn send(
    (artifacts, digest): (Artifacts, Digest),
    turn: impl Future<Output = Transfer> + Send + 'static,
    metrics: Arc<Metrics>,
) -> Answers<v1::ArtifactChunk> {
    let own = Arc::new(OnceLock::new());
    let held = Arc::clone(&own);
    let body = move |sender: mpsc::Sender<_>| async move {
        let chunk = |data| v1::ArtifactChunk { digest: digest.as_bytes().to_vec(), data };
        let mut transfer = patiently(&sender, || chunk(Vec::new()), turn).await;
        if let Some(permit) = transfer.take_own() {
            // It is the first one.
            let _ = held.set(permit);
        }
        let reader = blocking(move || artifacts.reader(digest)).await?;
        send_chunks(reader, &sender, transfer, &metrics).await
    };
    // There is no end but the artifact's: whoever reads slowly is cut off by the transfer's pace.
    Box::pin(Items { _own: own, ..items(CHUNKS_WAITING, CancellationToken::new(), body) })
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

/// Waits for what may take long, and says so now and then, so that the other side knows that somebody is there.
pub(super) async fn patiently<T, O>(
    sender: &mpsc::Sender<T>,
    note: impl Fn() -> T,
    awaited: impl Future<Output = O>,
) -> O {
    let mut awaited = pin!(awaited);
    loop {
        match tokio::time::timeout(NOTE_INTERVAL, &mut awaited).await {
            Ok(done) => return done,
            // A reader that has not taken the last one needs no other.
            Err(_) => drop(sender.try_send(note())),
        }
    }
}

/// What is sent, and then why it ends too early, if it does.
struct Items<T> {
    items: mpsc::Receiver<T>,
    ended: oneshot::Receiver<Status>,
    /// Held until the peer lets go of the stream, which has chunks in memory for as long.
    _own: Arc<OnceLock<OwnedSemaphorePermit>>,
}

impl<T> Stream for Items<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.items.poll_recv(context)) {
            Some(item) => Poll::Ready(Some(Ok(item))),
            // The reason was given before the last sender went; there is none at a good end.
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
pub(super) fn stream<T: Send + 'static, F: Future<Output = Result<(), Status>> + Send>(
    shutdown: CancellationToken,
    body: impl FnOnce(mpsc::Sender<T>) -> F + Send + 'static,
) -> Answers<T> {
    // One answer waits at most: whoever reads slowly holds up nobody else.
    Box::pin(items(1, shutdown, body))
}

fn items<T: Send + 'static, F: Future<Output = Result<(), Status>> + Send>(
    waiting_max: usize,
    shutdown: CancellationToken,
    body: impl FnOnce(mpsc::Sender<T>) -> F + Send + 'static,
) -> Items<T> {
    let (sender, items) = mpsc::channel(waiting_max);
    let (end, ended) = oneshot::channel();
    tokio::spawn(async move {
        let done = tokio::select! {
            () = shutdown.cancelled() => Err(status::stopping()),
            done = body(sender.clone()) => done,
            () = sender.closed() => Ok(()),
        };
        // The reason has a way of its own, as an answer may wait that nobody takes. A reader that has gone needs none.
        if let Err(status) = done {
            let _ = end.send(status);
        }
        // Not before: where no more comes, the reason is looked for.
        drop(sender);
    });
    Items { items, ended, _own: Arc::default() }
}

async fn send_summaries(
    id: ExperimentId,
    mut overview: watch::Receiver<Arc<Overview>>,
    sender: mpsc::Sender<v1::ExperimentSummary>,
) -> Result<(), Status> {
    let mut sent: Option<Summary> = None;
    loop {
        let newest = overview.borrow_and_update().experiment(&id).cloned();
        if let Some(newest) = newest.filter(|newest| sent.as_ref() != Some(newest)) {
            let is_over = newest.status.is_over();
            if sender.send(summary_to_wire(&newest)).await.is_err() || is_over {
                return Ok(());
            }
            sent = Some(newest);
        }
        // Once the driver has stopped; its error is for the log, the reader learns that there is no more.
        overview.changed().await.map_err(|_| status::stopping())?;
    }
}
