//! `bitloop worker`: measures for a coordinator.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::available_parallelism;

use bitloop_worker::{Connection, Endpoint, Executor, QuantExecutor, WorkerError, WorkerOptions, work};
use tokio_util::sync::CancellationToken;

use super::run::StopSignal;
use crate::args::WorkerArguments;
use crate::clock;
use crate::failure::{Exit, Failure, Outcome};
use crate::show;

pub(super) async fn execute(arguments: &WorkerArguments) -> Outcome {
    let mut stop = StopSignal::listen()?;
    let endpoint =
        Endpoint::parse(&arguments.remote.coordinator).map_err(|error| Failure::usage(error.to_string()))?;
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => u16::try_from(available_parallelism()?.get()).unwrap_or(u16::MAX),
    };
    let executor = executor(&arguments.device, threads)?;
    let options = WorkerOptions {
        cache_dir: arguments.cache_dir.clone(),
        connect_timeout: arguments.connect_timeout,
        ..options(threads)
    };
    show::note(&format!(
        "worker {} on {}, {threads} thread(s), for {endpoint}",
        options.id,
        executor.device()
    ));
    let shutdown = CancellationToken::new();
    let mut working = tokio::spawn(work(Connection::Url(endpoint), executor, options, shutdown.clone()));
    let ended = tokio::select! {
        ended = &mut working => ended,
        () = stop.received() => {
            shutdown.cancel();
            working.await
        }
    };
    let summary = ended?.map_err(|error| Failure {
        exit: if matches!(error, WorkerError::Unreachable { .. }) { Exit::Unreachable } else { Exit::Failed },
        error: error.into(),
    })?;
    show::note(&format!("worker stopped: {} trials measured", summary.committed));
    Ok(())
}

/// The evaluator of a device.
pub(super) fn executor(device: &str, threads: u16) -> Result<Box<dyn Executor>, Failure> {
    let executor = QuantExecutor::new(device, usize::from(threads))
        .map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Box::new(executor))
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
        threads: u32::from(threads),
        cache_dir: None,
        connect_timeout: None,
        max_give_backs: None,
    }
}
