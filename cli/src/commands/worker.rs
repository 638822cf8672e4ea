//! `bitloop worker`: measures for a coordinator.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::available_parallelism;

use bitloop_core::device::Share;
use bitloop_worker::{
    Connection, Endpoint, Executor, Inventory, Machine, WorkSummary, WorkerError, WorkerOptions, executors,
    machine_name, work,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::run::StopSignal;
use crate::args::WorkerArguments;
use crate::clock;
use crate::failure::{Exit, Failure, Outcome};
use crate::identity::{self, WorkerIdentity};
use crate::show;

/// Where a worker keeps its key and certificate, in the folder of its artifacts.
const IDENTITY_FOLDER: &str = "identity";

pub(super) async fn execute(arguments: &WorkerArguments) -> Outcome {
    let mut stop = StopSignal::listen()?;
    let endpoints = identity::endpoints(&arguments.coordinator)?;
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => u16::try_from(available_parallelism()?.get()).unwrap_or(u16::MAX),
    };
    let executors = executors(&Machine, &arguments.device, usize::from(threads))
        .map_err(|error| Failure::usage(error.to_string()))?;
    let threads = (threads / u16::try_from(executors.len())?).max(1);
    let temporary = tempfile::tempdir()?;
    let joined = tokio::select! {
        joined = connection(arguments, endpoints, temporary.path()) => joined?,
        () = stop.received() => return Ok(()),
    };
    let shutdown = CancellationToken::new();
    let mut working = JoinSet::new();
    for executor in executors {
        let options = of_arguments(arguments, threads)?;
        let device = executor.device().class;
        show::note(&format!("worker {} on {device}, {threads} thread(s), for {joined}", options.id));
        working.spawn(work(joined.clone(), executor, options, shutdown.clone()));
    }
    let renewing = keep_renewed(&joined);
    tokio::pin!(renewing);
    let mut committed = 0;
    loop {
        let ended = tokio::select! {
            ended = working.join_next() => ended,
            () = &mut renewing => continue,
            () = stop.received(), if !shutdown.is_cancelled() => {
                shutdown.cancel();
                continue;
            }
        };
        let Some(ended) = ended else { break };
        match ended? {
            Ok(WorkSummary { committed: own, .. }) => committed += own,
            Err(error) => {
                // The others of this process are told to stop too: whoever started it starts it again as a whole.
                shutdown.cancel();
                while working.join_next().await.is_some() {}
                return Err(failure(error));
            }
        }
    }
    show::note(&format!("worker stopped: {committed} trials measured"));
    Ok(())
}

fn failure(error: WorkerError) -> Failure {
    let exit =
        if matches!(error, WorkerError::Unreachable { .. }) { Exit::Unreachable } else { Exit::Failed };
    Failure { exit, ..error.into() }
}

/// How the coordinator is reached: over https as a member, which a token may have to be exchanged for first.
async fn connection(
    arguments: &WorkerArguments,
    endpoints: Vec<Endpoint>,
    temporary: &Path,
) -> Result<Connection, Failure> {
    let token = identity::token(arguments.join.join_token_file.as_deref())?;
    if !endpoints.iter().any(Endpoint::is_secured) {
        // Whoever has a token means to be protected.
        return match token {
            Some(_) => Err(Failure::usage(
                "a join token is for https://HOST:PORT; there is nothing to join over http",
            )),
            None => {
                Connection::parse(&arguments.coordinator).map_err(|error| Failure::usage(error.to_string()))
            }
        };
    }
    let folder = match (&arguments.identity.identity, &arguments.cache_dir) {
        (Some(folder), _) => folder.clone(),
        (None, Some(cache)) => cache.join(IDENTITY_FOLDER),
        (None, None) => temporary.join(IDENTITY_FOLDER),
    };
    let identity = WorkerIdentity { folder, token, patience: arguments.connect_timeout };
    let membership = identity.take_up(&endpoints).await?;
    Ok(Connection::Secured(endpoints, membership))
}

/// Never ends: a worker goes when its work does.
async fn keep_renewed(connection: &Connection) {
    match connection {
        Connection::Secured(endpoints, membership) => membership.keep_renewed(endpoints).await,
        Connection::Url(_) | Connection::Any(_) | Connection::InProcess(_) => std::future::pending().await,
    }
}

/// The evaluator of a device.
pub(super) fn executor(device: &str, threads: u16) -> Result<Box<dyn Executor>, Failure> {
    Machine.open(device, usize::from(threads)).map_err(|error| Failure::usage(error.to_string()))
}

fn of_arguments(arguments: &WorkerArguments, threads: u16) -> Result<WorkerOptions, Failure> {
    let share = arguments.share.map(|share| Share::new(u32::from(share))).transpose();
    let found = options(threads);
    Ok(WorkerOptions {
        cache_dir: arguments.cache_dir.clone(),
        connect_timeout: arguments.connect_timeout,
        idle_exit: arguments.idle_exit,
        labels: arguments.labels.iter().cloned().collect(),
        share: share.map_err(|error| Failure::usage(error.to_string()))?,
        machine: arguments.machine.clone().unwrap_or(found.machine),
        ..found
    })
}

/// What a worker of this process says of itself.
pub(super) fn options(threads: u16) -> WorkerOptions {
    static WORKERS: AtomicU32 = AtomicU32::new(0);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
    let number = WORKERS.fetch_add(1, Ordering::Relaxed);
    // Host names and process numbers repeat among containers; the moment of the start does not.
    let id = format!("{host}-{}-{:x}-{number}", std::process::id(), clock::nonce());
    WorkerOptions {
        id,
        host: host.to_owned(),
        machine: machine_name(&Machine, host),
        threads: u32::from(threads),
        labels: BTreeMap::new(),
        share: None,
        cache_dir: None,
        connect_timeout: None,
        max_give_backs: None,
        idle_exit: None,
    }
}
