//! What starts a worker and what it says at the end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bitloop_core::device::{DeviceKind, Share};
use bitloop_core::state::{WorkerId, WorkerInfo};
use bitloop_core::worker::{Backoff, Settings};
use bitloop_proto::transport::Connection;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::artifacts::{ArtifactCache, ArtifactError, CoordinatorArtifacts};
use crate::client::{Client, ClientError};
use crate::clock;
use crate::compute::Compute;
use crate::executor::Executor;
use crate::lines::{Courier, Ring};
use crate::presence::Presence;
use crate::session::{Parts, Session};
use crate::spool::Spool;

/// What a worker is told at its start.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Its name; no two workers of a coordinator share one.
    pub id: String,
    /// The host it runs on, for people.
    pub host: String,
    /// The machine it runs on, by which processors are told apart: [`machine_name`](crate::machine_name).
    pub machine: String,
    /// Threads that its executor computes with.
    pub threads: u32,
    /// What its owner calls it; stages ask for such labels.
    pub labels: BTreeMap<String, String>,
    /// Its part of its device; by default a GPU is its alone, and a processor is shared out by the system.
    pub share: Option<Share>,
    /// Where artifacts are kept, and outcomes while the coordinator is away; a temporary folder if none, and outcomes
    /// wait in memory alone.
    pub cache_dir: Option<PathBuf>,
    /// How long the first connection is tried; for ever if none.
    pub connect_timeout: Option<Duration>,
    /// After how many shards in a row of which it measured nothing, as what they need did not come, it ends with an error; never if
    /// none.
    pub max_give_backs: Option<u32>,
    /// After how long without work it leaves; never if none.
    pub idle_exit: Option<Duration>,
}

impl WorkerOptions {
    /// What the worker says of itself when it measures with this executor.
    pub fn offer(&self, executor: &dyn Executor) -> WorkerInfo {
        let device = executor.device();
        WorkerInfo {
            id: WorkerId(self.id.clone()),
            host: self.host.clone(),
            machine: self.machine.clone(),
            share: self.share.unwrap_or_else(|| share_of(device.kind)),
            labels: self.labels.clone(),
            device,
            threads: self.threads,
            float_only: executor.float_only(),
            probes: executor.probes(),
        }
    }
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkSummary {
    /// Shards that it took.
    pub shards: u64,
    /// Outcomes that the coordinator acknowledged.
    pub committed: u64,
    /// Outcomes that the coordinator knows nothing of and that are written down nowhere.
    pub lost: u64,
}

/// Why a worker ended early.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Nobody answered.
    #[error(
        "the coordinator at {address} cannot be reached within {} s: {reason}; check the address and that `bitloop coordinator` runs there",
        waited.as_secs_f64()
    )]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// How long.
        waited: Duration,
        /// Why, as the system says.
        reason: String,
    },
    /// The coordinator does not want this worker: it has another version, or another role.
    #[error("{error}{hint}", error = .0, hint = .0.hint())]
    Refused(ClientError),
    /// It cannot measure what is owed.
    #[error("trials cannot be measured here: {reason}")]
    GaveUp {
        /// Why the last shard was given back.
        reason: String,
    },
    /// Its own cache cannot be used.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The compute thread is gone, which is a mistake of this program.
    #[error("the compute thread ended unexpectedly")]
    ComputeThread,
}

/// Works for a coordinator until `shutdown` is cancelled, or no work has come for as long as the options say.
///
/// On shutdown it stops within about two seconds, commits what is finished, gives the rest back and leaves.
///
/// Errors: [`WorkerError`]; a coordinator that is away later is waited for.
pub async fn work(
    connection: Connection,
    executor: Box<dyn Executor>,
    options: WorkerOptions,
    shutdown: CancellationToken,
) -> Result<WorkSummary, WorkerError> {
    let worker = WorkerId(options.id.clone());
    let first = first_connection(&connection, &worker, &options);
    let Some(client) = shutdown.run_until_cancelled(first).await else {
        return Ok(WorkSummary::default());
    };
    let client = client?;
    let info = options.offer(executor.as_ref());
    let presence = Arc::new(Presence::default());
    // Also ends when the session ends by a mistake, as the compute thread may be waiting for a transfer.
    let transfers = shutdown.child_token();
    let artifacts = CoordinatorArtifacts {
        cache: ArtifactCache::open(options.cache_dir.as_deref())?,
        client: client.clone(),
        runtime: Handle::current(),
        shutdown: transfers.clone(),
    };
    let lines = Arc::new(Ring::default());
    let compute = Compute::start(executor, artifacts, (Arc::clone(&presence), Arc::clone(&lines)))?;
    let courier = Courier::start(lines, client.clone());
    // A folder that goes with the process keeps nothing beyond it.
    let (spool, left) = match &options.cache_dir {
        Some(folder) => {
            let (spool, left) = Spool::open(folder);
            (Some(spool), Some(left))
        }
        None => (None, None),
    };
    let idle_exit_ms = options.idle_exit.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    let settings = Settings { info, max_give_backs: options.max_give_backs, idle_exit_ms, spool: left };
    let parts = Parts { connection, client, compute, presence, spool, transfers };
    let worked = Session::new(parts, settings).work(shutdown).await;
    courier.finish().await;
    worked
}

/// Nothing shares out a GPU's memory among programs.
fn share_of(kind: DeviceKind) -> Share {
    match kind {
        DeviceKind::Cpu => Share::NONE,
        DeviceKind::Cuda => Share::WHOLE,
    }
}

async fn first_connection(
    connection: &Connection,
    worker: &WorkerId,
    options: &WorkerOptions,
) -> Result<Client, WorkerError> {
    let started = clock::now();
    let mut backoff = Backoff::new(&worker.0);
    let mut told = false;
    loop {
        let error = match Client::connect(connection, worker).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        let wait = backoff.next_wait();
        if let Some(limit) = options.connect_timeout
            && clock::elapsed(started) + wait >= limit
        {
            return Err(WorkerError::Unreachable {
                address: error.address,
                waited: limit,
                reason: error.reason,
            });
        }
        if !told {
            warn!(%error, "waiting for the coordinator");
            told = true;
        }
        tokio::time::sleep(wait).await;
    }
}
