//! Reports on their way, in parts: that of a large sweep is many times what a message may be.

use std::io;

use bitloop_core::plan::ExperimentId;
use bitloop_proto::transport::CHUNK_BYTES;
use bitloop_proto::v1;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::status;
use super::streams::{Answers, patiently, stream};
use super::transfers::{Limits, Transfer};
use crate::driver::{Handle, RequestError};

/// What reports on their way may take: each is in memory as a whole, some hundred bytes for a trial.
pub(super) fn limits() -> Limits {
    Limits { noun: "report", at_once: 4, of_a_client: 2, ..Limits::default() }
}

/// Sends the results so far in parts, and with the last one their digest. While the report waits for its turn or is made, empty
/// parts say that it will come.
pub(super) fn send(
    (handle, id): (Handle, ExperimentId),
    turn: impl Future<Output = Transfer> + Send + 'static,
    shutdown: CancellationToken,
) -> Answers<v1::ResultsResponse> {
    stream(shutdown, move |sender: mpsc::Sender<_>| async move {
        let written = async { write(&handle, &id, turn.await).await };
        let (written, mut transfer) = patiently(&sender, v1::ResultsResponse::default, written).await?;
        transfer.start();
        let Written { parts, last } = written;
        let parts = parts.into_iter().map(|report| v1::ResultsResponse { report, ..Default::default() });
        for part in parts.chain([last]) {
            let bytes = part.report.len() + part.effort.len();
            if transfer.step(sender.send(part)).await?.is_err() {
                return Ok(());
            }
            transfer.moved(bytes);
        }
        Ok(())
    })
}

/// A report in parts.
struct Written {
    parts: Vec<Vec<u8>>,
    last: v1::ResultsResponse,
}

/// Has a report made, and writes it down. Its turn is taken as long as anything of it is in memory, also where nobody waits for it
/// any more.
async fn write(
    handle: &Handle,
    id: &ExperimentId,
    transfer: Transfer,
) -> Result<(Written, Transfer), Status> {
    let (report, effort) = handle.report(id).await.map_err(|error: RequestError| status::refused(&error))?;
    // A report of a million trials takes a second to write.
    let written = tokio::task::spawn_blocking(move || {
        let mut parts = Parts::default();
        serde_json::to_writer(&mut parts, &report)?;
        let digest = parts.hasher.finalize().as_bytes().to_vec();
        let last = v1::ResultsResponse { report: Vec::new(), effort: serde_json::to_vec(&effort)?, digest };
        Ok((Written { parts: parts.parts, last }, transfer))
    });
    let written = written.await.map_err(|_| status::lost_task())?;
    written.map_err(|error: serde_json::Error| Status::internal(error.to_string()))
}

/// Bytes cut into parts as they are written.
#[derive(Default)]
struct Parts {
    parts: Vec<Vec<u8>>,
    hasher: blake3::Hasher,
}

impl io::Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.parts.last().is_none_or(|part| part.len() == CHUNK_BYTES) {
            self.parts.push(Vec::with_capacity(CHUNK_BYTES));
        }
        let Some(part) = self.parts.last_mut() else { return Ok(0) };
        let taken = bytes.len().min(CHUNK_BYTES - part.len());
        part.extend_from_slice(&bytes[..taken]);
        self.hasher.update(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
