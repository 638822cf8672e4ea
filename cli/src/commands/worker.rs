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

use super::probes;
use super::run::StopSignal;
use crate::args::WorkerArguments;
use crate::clock;
use crate::failure::{Exit, Failure, Outcome};
use crate::identity::{self, WorkerIdentity};
use crate::show;

/// Where a worker keeps its key and certificate, in the folder of its artifacts.
const IDENTITY_FOLDER: &str = "identity";

/// The devices that a process measures on, with a worker for each, and the threads that each worker has.
struct Devices {
    executors: Vec<Box<dyn Executor>>,
    threads: u16,
}

impl Devices {
    /// Opens those that the command line names.
    fn open(inventory: &dyn Inventory, arguments: &WorkerArguments) -> Result<Self, Failure> {
        let threads = match arguments.threads {
            Some(threads) => threads,
            None => u16::try_from(available_parallelism()?.get()).unwrap_or(u16::MAX),
        };
        let executors = executors(inventory, &arguments.device, usize::from(threads))
            .map_err(|error| Failure::usage(error.to_string()))?;
        let threads = (threads / u16::try_from(executors.len())?).max(1);
        Ok(Self { executors, threads })
    }

    fn start_workers(
        self,
        arguments: &WorkerArguments,
        joined: &Connection,
        shutdown: &CancellationToken,
    ) -> Result<JoinSet<Result<WorkSummary, WorkerError>>, Failure> {
        let mut working = JoinSet::new();
        for executor in self.executors {
            let options = of_arguments(arguments, self.threads)?;
            let device = executor.device().class;
            let (id, threads) = (&options.id, self.threads);
            show::note(&format!("worker {id} on {device}, {threads} thread(s), for {joined}"));
            working.spawn(work(joined.clone(), executor, options, shutdown.clone()));
        }
        Ok(working)
    }
}

pub(super) async fn execute(arguments: &WorkerArguments) -> Outcome {
    let mut stop = StopSignal::listen()?;
    let endpoints = identity::endpoints(&arguments.coordinator)?;
    let mut devices = Devices::open(&Machine, arguments)?;
    let probes = tokio::select! {
        probes = probes::start(&arguments.probes) => probes?,
        () = stop.received() => return Ok(()),
    };
    probes::hand_to_first(&mut devices.executors, probes);
    let temporary = tempfile::tempdir()?;
    let joined = tokio::select! {
        joined = connection(arguments, endpoints, temporary.path()) => joined?,
        () = stop.received() => return Ok(()),
    };
    let shutdown = CancellationToken::new();
    let mut working = devices.start_workers(arguments, &joined, &shutdown)?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use bitloop_coordinator::Coordinator;
    use bitloop_core::device::{Device, DeviceKind};
    use bitloop_core::trial::{Outcome as TrialOutcome, TrialSpec};
    use bitloop_worker::{ALL_GPUS, ExecuteError, InventoryError, Setting, in_process};
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    /// Nothing takes longer unless it never ends.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Three GPUs, of which CUDA_VISIBLE_DEVICES hides one: CUDA numbers the others anew.
    struct OneHidden;

    const VISIBLE: [(&str, &str); 2] = [("cuda:0", "gpu-0"), ("cuda:1", "gpu-2")];

    impl Inventory for OneHidden {
        fn machine(&self) -> Option<String> {
            None
        }

        fn gpus(&self) -> Result<Vec<String>, InventoryError> {
            Ok(VISIBLE.iter().map(|(name, _)| (*name).to_owned()).collect())
        }

        fn open(&self, name: &str, _: usize) -> Result<Box<dyn Executor>, InventoryError> {
            let gpu = VISIBLE.iter().find(|(visible, _)| *visible == name);
            let (_, gpu) = gpu.ok_or_else(|| InventoryError::Device(format!("there is no `{name}`")))?;
            Ok(Box::new(MadeUpGpu(gpu)))
        }
    }

    struct MadeUpGpu(&'static str);

    impl Executor for MadeUpGpu {
        fn device(&self) -> Device {
            let (id, class) = (self.0.to_owned(), "CUDA Made-up 16 GiB".to_owned());
            Device { kind: DeviceKind::Cuda, id, class, memory_bytes: 16 << 30, ..Device::default() }
        }

        fn run(
            &mut self,
            _: &[&TrialSpec],
            _: &Setting<'_>,
            _: &mut dyn FnMut(TrialOutcome),
        ) -> Result<(), ExecuteError> {
            Err(ExecuteError::Device { reason: "it is not there".to_owned() })
        }
    }

    fn arguments(device: &str) -> WorkerArguments {
        let line = ["bitloop", "worker", "--device", device, "--threads", "8"];
        let command = Arguments::try_parse_from(line).unwrap().command;
        let Command::Worker(arguments) = command else { panic!("not a worker: {command:?}") };
        arguments
    }

    /// The devices and threads of the workers that a coordinator hears of when as many as were started have registered.
    async fn registered(device: &str) -> BTreeSet<(String, u32)> {
        let folder = tempfile::tempdir().unwrap();
        let coordinator = Arc::new(Coordinator::open(folder.path()).unwrap());
        let (incoming, connector) = in_process();
        let (end, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let (server, until) = (Arc::clone(&coordinator), end.clone());
        let serving = tokio::spawn(async move { server.serve_incoming(incoming, until).await });
        let arguments = arguments(device);
        let devices = Devices::open(&OneHidden, &arguments).unwrap();
        let connection = Connection::InProcess(connector);
        let mut working = devices.start_workers(&arguments, &connection, &shutdown).unwrap();

        let (started, mut overview) = (working.len(), coordinator.handle().overview());
        let all = overview.wait_for(|overview| overview.workers.len() == started);
        let all = tokio::time::timeout(PATIENCE, all).await.expect("they register").unwrap().clone();

        shutdown.cancel();
        while let Some(ended) = working.join_next().await {
            ended.unwrap().unwrap();
        }
        end.cancel();
        serving.await.unwrap().unwrap();
        let found = all.workers.iter().map(|worker| (worker.info.device.id.clone(), worker.info.threads));
        let found: BTreeSet<_> = found.collect();
        assert_eq!(found.len(), started, "no two have the same device");
        found
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_visible_gpu_has_a_worker_of_its_own_at_the_coordinator() {
        let both = [("gpu-0".to_owned(), 4), ("gpu-2".to_owned(), 4)];

        assert_eq!(registered(ALL_GPUS).await, BTreeSet::from(both));
        assert_eq!(registered("cuda:1").await, BTreeSet::from([("gpu-2".to_owned(), 8)]));
    }
}
