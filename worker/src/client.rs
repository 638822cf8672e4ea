//! The coordinator as a worker calls it: the only place of this crate that knows gRPC.
//!
//! Each call is one attempt with a deadline; whether to try again is the caller's decision ([`ClientError`]).

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitloop_core::digest::Digest;
use bitloop_core::state::{LeaseId, Obstacle, Report, Shard, WorkerId, WorkerInfo};
use bitloop_core::trial::{EvaluateContext, TrialKey};
use bitloop_core::worker::{Beat, DURABLE_MS, Epoch, Failure, FailureKind, LONG_POLL_MS, QUICK_MS};
use bitloop_proto::convert::{self, ConvertError};
use bitloop_proto::status::is_retryable;
use bitloop_proto::trace;
use bitloop_proto::transport::{ConnectError, Connection, MAX_MESSAGE_BYTES};
use bitloop_proto::upload::{self, Stalled};
use bitloop_proto::v1;
use bitloop_proto::v1::coordinator_client::CoordinatorClient;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tracing::{Instrument, info_span};

use crate::lines::Batch;

/// For calls that only touch the coordinator's memory.
const QUICK: Duration = Duration::from_millis(QUICK_MS);

/// For calls that wait for the coordinator's disk.
const DURABLE: Duration = Duration::from_millis(DURABLE_MS);

/// The coordinator holds a request without work back for less than this.
const LONG_POLL: Duration = Duration::from_millis(LONG_POLL_MS);

/// For one chunk of an artifact. Of those that are stored the first one may have to wait for its turn, which the coordinator says
/// after 100 s at most that there is none; of those that are fetched there are empty ones meanwhile.
const CHUNK: Duration = Duration::from_secs(120);

/// For the answer behind the last chunk of an artifact, which the coordinator may have to hand on to a bucket.
const STORED: Duration = Duration::from_secs(300);

/// No model or data set that a worker takes is larger.
const MAX_ARTIFACT_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answered in time, or the coordinator is not able to right now; try again.
    #[error("{call}: the coordinator does not answer: {reason}")]
    Unreachable {
        /// Which call.
        call: &'static str,
        /// What happened.
        reason: String,
    },
    /// The coordinator started anew or gave this worker up; register again.
    #[error("{call}: the worker is not registered: {message}")]
    NotRegistered {
        /// Which call.
        call: &'static str,
        /// What the coordinator says.
        message: String,
    },
    /// The coordinator does not know what was named.
    #[error("{call}: {message}")]
    NotFound {
        /// Which call.
        call: &'static str,
        /// What the coordinator says.
        message: String,
    },
    /// What was said makes no sense to the coordinator.
    #[error("{call}: the coordinator refuses: {message}")]
    Invalid {
        /// Which call.
        call: &'static str,
        /// What the coordinator says.
        message: String,
    },
    /// The coordinator will never accept this call.
    #[error("{call}: the coordinator refuses ({code}): {message}")]
    Rejected {
        /// Which call.
        call: &'static str,
        /// gRPC's name for the reason.
        code: String,
        /// Whether it is about who the worker is.
        is_about_identity: bool,
        /// What the coordinator says.
        message: String,
    },
    /// The answer makes no sense.
    #[error("{call}: the coordinator's answer is malformed: {source}")]
    Malformed {
        /// Which call.
        call: &'static str,
        /// What is wrong.
        source: ConvertError,
    },
    /// What came is not what was asked for.
    #[error("{call}: got {found} instead of {expected}")]
    Damaged {
        /// Which call.
        call: &'static str,
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// An artifact does not end.
    #[error("artifact {digest} is larger than {limit} bytes")]
    TooLarge {
        /// Which.
        digest: Digest,
        /// The limit.
        limit: u64,
    },
    /// An artifact cannot be written down.
    #[error("cannot write artifact {digest}: {source}")]
    File {
        /// Which.
        digest: Digest,
        /// What the system says.
        source: std::io::Error,
    },
}

impl ClientError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::NotRegistered { .. }
            | Self::NotFound { .. }
            | Self::Invalid { .. }
            | Self::Rejected { .. }
            | Self::Malformed { .. }
            | Self::Damaged { .. }
            | Self::TooLarge { .. }
            | Self::File { .. } => false,
        }
    }

    /// What to do about it, where the message does not say so already.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Rejected { is_about_identity: true, .. } | Self::Unreachable { .. } => "",
            Self::Rejected { is_about_identity: false, .. }
            | Self::NotRegistered { .. }
            | Self::NotFound { .. }
            | Self::Invalid { .. }
            | Self::Malformed { .. }
            | Self::Damaged { .. }
            | Self::TooLarge { .. }
            | Self::File { .. } => "; use the same bitloop version everywhere",
        }
    }

    /// What follows from it for the protocol.
    pub(crate) fn failure(&self) -> Failure {
        let kind = match self {
            Self::Unreachable { .. } => FailureKind::Away,
            Self::NotRegistered { .. } => FailureKind::NotRegistered,
            Self::NotFound { .. } => FailureKind::NotFound,
            Self::Invalid { .. } => FailureKind::Invalid,
            Self::Malformed { .. } | Self::Damaged { .. } => FailureKind::Garbled,
            Self::Rejected { .. } | Self::TooLarge { .. } | Self::File { .. } => FailureKind::Refused,
        };
        Failure { kind, reason: self.to_string() }
    }

    fn of_status(call: &'static str, status: &Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            code if is_retryable(code) => Self::Unreachable { call, reason: message },
            Code::FailedPrecondition => Self::NotRegistered { call, message },
            Code::NotFound => Self::NotFound { call, message },
            Code::InvalidArgument => Self::Invalid { call, message },
            code => Self::Rejected {
                call,
                code: format!("{code:?}"),
                is_about_identity: matches!(code, Code::Unauthenticated | Code::PermissionDenied),
                message,
            },
        }
    }
}

/// The answer to registering.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) epoch: Epoch,
    pub(crate) adopted: Option<Shard>,
    pub(crate) heartbeat: Duration,
}

/// The answer to a heartbeat.
#[derive(Debug)]
pub(crate) struct Pulse {
    pub(crate) lease_valid: bool,
    pub(crate) recalled: Vec<TrialKey>,
}

/// Calls in the name of one worker. Clones share a connection, which mends itself.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    worker: WorkerId,
    inner: CoordinatorClient<Channel>,
    /// Where in its trace the last lease stands.
    lease: Arc<Mutex<Option<String>>>,
}

impl Client {
    pub(crate) async fn connect(connection: &Connection, worker: &WorkerId) -> Result<Self, ConnectError> {
        let channel = connection.connect().await?;
        let inner = CoordinatorClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { worker: worker.clone(), inner, lease: Arc::default() })
    }

    /// In whose name it calls.
    pub(crate) fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// Where in its trace the last lease stands, for once.
    pub(crate) fn take_lease_context(&self) -> Option<String> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Says who is there and which trials it still holds.
    pub(crate) async fn register(
        &self,
        info: &WorkerInfo,
        held: &[TrialKey],
    ) -> Result<Registration, ClientError> {
        let request = v1::RegisterRequest {
            info: Some(info.into()),
            held: held.iter().map(|key| convert::digest_to_wire(&key.0)).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let answer = once("register", QUICK, self.inner.clone().register(request)).await?;
        Ok(Registration {
            epoch: Epoch(answer.epoch),
            adopted: shard("register", answer.adopted)?,
            heartbeat: Duration::from_millis(answer.heartbeat_ms),
        })
    }

    /// Waits for work; the coordinator decides how long.
    pub(crate) async fn request_shard(&self, epoch: Epoch) -> Result<Option<Shard>, ClientError> {
        let request = v1::RequestShardRequest { worker: self.worker.0.clone(), epoch: epoch.0 };
        let mut inner = self.inner.clone();
        let answer = Box::pin(inner.request_shard(request));
        let answer = in_time("request_shard", LONG_POLL, answer).await?;
        self.note_lease(answer.metadata());
        shard("request_shard", answer.into_inner().shard)
    }

    fn note_lease(&self, metadata: &MetadataMap) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = trace::read(metadata);
    }

    /// Fetches what evaluations share; the answer is only believed if it has the digest asked for.
    pub(crate) async fn fetch_context(&self, digest: &Digest) -> Result<EvaluateContext, ClientError> {
        let call = "fetch_context";
        let request = v1::FetchContextRequest { digest: convert::digest_to_wire(digest) };
        let answer = once(call, QUICK, self.inner.clone().fetch_context(request)).await?;
        let context =
            EvaluateContext::try_from(answer).map_err(|source| ClientError::Malformed { call, source })?;
        match context.digest() {
            found if found == *digest => Ok(context),
            found => Err(ClientError::Damaged { call, expected: *digest, found }),
        }
    }

    /// Says that the worker is alive; returns whether the lease is in force, and which of its trials others wait for.
    pub(crate) async fn heartbeat(&self, beat: Beat, running: &[TrialKey]) -> Result<Pulse, ClientError> {
        let request = v1::HeartbeatRequest {
            worker: self.worker.0.clone(),
            epoch: beat.epoch.0,
            lease: beat.lease.map(|lease| lease.0),
            running: running.iter().map(|key| convert::digest_to_wire(&key.0)).collect(),
        };
        let answer = once("heartbeat", QUICK, self.inner.clone().heartbeat(request)).await?;
        let recalled = answer.recalled.iter().map(|key| convert::digest("recalled", key).map(TrialKey));
        let malformed = |source| ClientError::Malformed { call: "heartbeat", source };
        let recalled = recalled.collect::<Result<_, _>>().map_err(malformed)?;
        Ok(Pulse { lease_valid: answer.lease_valid, recalled })
    }

    /// Reports outcomes; when this returns they are durable. Gives a shard if it is wanted and there is one. `context` is
    /// where the trace of their own shard stands.
    pub(crate) async fn commit(
        &self,
        epoch: Epoch,
        (reports, trial_ms, wants_shard): (&[Report], f64, bool),
        context: Option<&str>,
    ) -> Result<Option<Shard>, ClientError> {
        let span =
            info_span!(target: trace::TARGET, "commit", worker = self.worker.0, outcomes = reports.len());
        let span = trace::below(span, context);
        let mut request = tonic::Request::new(v1::CommitRequest {
            worker: self.worker.0.clone(),
            epoch: epoch.0,
            reports: reports.iter().map(Into::into).collect(),
            trial_ms,
            wants_shard,
        });
        trace::write(&mut request, &span);
        let mut inner = self.inner.clone();
        let answer = Box::pin(inner.commit(request));
        let answer = in_time("commit", DURABLE, answer).instrument(span).await?;
        if answer.get_ref().shard.is_some() {
            self.note_lease(answer.metadata());
        }
        shard("commit", answer.into_inner().shard)
    }

    /// Gives a lease back, or only these of its trials; maybe as something kept the worker from measuring them.
    pub(crate) async fn release(
        &self,
        epoch: Epoch,
        lease: LeaseId,
        (trials, obstacle): (&[TrialKey], Option<&Obstacle>),
    ) -> Result<(), ClientError> {
        let request = v1::ReleaseRequest {
            worker: self.worker.0.clone(),
            epoch: epoch.0,
            lease: lease.0,
            trials: trials.iter().map(|key| convert::digest_to_wire(&key.0)).collect(),
            obstacle: obstacle.map(Into::into),
        };
        once("release", QUICK, self.inner.clone().release(request)).await.map(|_| ())
    }

    /// Hands over log lines; returns how many the coordinator does not keep.
    pub(crate) async fn write_lines(&self, batch: &Batch) -> Result<u32, ClientError> {
        let request = v1::WriteLinesRequest {
            worker: self.worker.0.clone(),
            lines: batch.lines.iter().map(Into::into).collect(),
            left_out: batch.left_out,
        };
        let answer = once("write_lines", QUICK, self.inner.clone().write_lines(request)).await?;
        Ok(answer.refused)
    }

    /// Says goodbye.
    pub(crate) async fn leave(&self) -> Result<(), ClientError> {
        let request = v1::LeaveRequest { worker: self.worker.0.clone() };
        once("leave", QUICK, self.inner.clone().leave(request)).await.map(|_| ())
    }

    /// Writes an artifact to `file`; what is there after an error is worthless.
    pub(crate) async fn fetch_artifact(
        &self,
        digest: &Digest,
        file: &mut tokio::fs::File,
    ) -> Result<(), ClientError> {
        let call = "fetch_artifact";
        let broken = |source| ClientError::File { digest: *digest, source };
        let request = v1::FetchArtifactRequest { digest: convert::digest_to_wire(digest) };
        let mut chunks = once(call, CHUNK, self.inner.clone().fetch_artifact(request)).await?;
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        while let Some(chunk) = in_time(call, CHUNK, chunks.message()).await? {
            size += chunk.data.len() as u64;
            if size > MAX_ARTIFACT_BYTES {
                return Err(ClientError::TooLarge { digest: *digest, limit: MAX_ARTIFACT_BYTES });
            }
            hasher.update(&chunk.data);
            file.write_all(&chunk.data).await.map_err(broken)?;
        }
        file.sync_all().await.map_err(broken)?;
        match Digest::from_bytes(*hasher.finalize().as_bytes()) {
            found if found == *digest => Ok(()),
            found => Err(ClientError::Damaged { call, expected: *digest, found }),
        }
    }

    /// Hands an artifact to the coordinator.
    pub(crate) async fn store_artifact(
        &self,
        digest: &Digest,
        bytes: Arc<Vec<u8>>,
    ) -> Result<(), ClientError> {
        let call = "store_artifact";
        let (sender, chunks) = mpsc::channel(1);
        let mut inner = self.inner.clone();
        let mut answer = Box::pin(inner.store_artifact(ReceiverStream::new(chunks)));
        let sent = tokio::select! {
            // A coordinator that refuses it does not take all of it.
            answer = &mut answer => return answer.map(|_| ()).map_err(|status| ClientError::of_status(call, &status)),
            sent = upload::send_chunks((digest, &bytes), sender, CHUNK) => sent,
        };
        match sent {
            Ok(()) => in_time(call, STORED, answer).await.map(|_| ()),
            Err(Stalled) => {
                let reason = format!("no chunk was taken within {} s", CHUNK.as_secs());
                Err(ClientError::Unreachable { call, reason })
            }
        }
    }
}

fn shard(call: &'static str, message: Option<v1::Shard>) -> Result<Option<Shard>, ClientError> {
    message.map(Shard::try_from).transpose().map_err(|source| ClientError::Malformed { call, source })
}

/// Boxes the call, as the generated futures are large and would be part of every caller's.
fn once<T>(
    call: &'static str,
    deadline: Duration,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> impl Future<Output = Result<T, ClientError>> {
    let answer = Box::pin(answer);
    async move { in_time(call, deadline, answer).await.map(Response::into_inner) }
}

async fn in_time<T>(
    call: &'static str,
    deadline: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(deadline, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => Err(ClientError::of_status(call, &status)),
        Err(_) => {
            let reason = format!("no answer within {} s", deadline.as_secs());
            Err(ClientError::Unreachable { call, reason })
        }
    }
}
