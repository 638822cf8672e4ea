//! A coordinator and workers in this process, reached over in-memory connections.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bitloop_coordinator::Coordinator;
use bitloop_core::plan::ExperimentId;
use bitloop_proto::transport::{InProcess, in_process};
use bitloop_worker::{Connection, Executor, WorkSummary, WorkerError, WorkerOptions, work};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};

/// How the coordinator is called in messages.
const NAME: &str = "this process";

/// What is missing in this process cannot be handed in from elsewhere, so a worker says that it cannot go on, after a while in
/// which another one may be making what it waits for: its device rests ever longer between, half a minute in all where there are two
/// of them. Trials that its device cannot measure are another matter: the coordinator gives them up.
const GIVE_BACKS: u32 = 3;

/// How often it is looked whether a results file cannot be written.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Local {
    coordinator: Arc<Coordinator>,
    serving: JoinHandle<Result<(), bitloop_coordinator::ServeError>>,
    /// Stops taking connections; cancelled after the workers have gone.
    closed: CancellationToken,
    connector: InProcess,
    workers: JoinSet<Result<WorkSummary, WorkerError>>,
    stop_workers: CancellationToken,
}

impl Local {
    /// Opens a data directory and serves it to this process alone.
    pub(super) fn open(data_dir: &Path) -> Result<Self, Failure> {
        Ok(Self::around(Coordinator::open(data_dir)?))
    }

    pub(super) fn around(coordinator: Coordinator) -> Self {
        let coordinator = Arc::new(coordinator);
        let (incoming, connector) = in_process();
        let closed = CancellationToken::new();
        let (server, until) = (coordinator.clone(), closed.clone());
        let serving = tokio::spawn(async move { server.serve_incoming(incoming, until).await });
        let stop_workers = CancellationToken::new();
        Self { coordinator, serving, closed, connector, workers: JoinSet::new(), stop_workers }
    }

    pub(super) async fn client(&self) -> Result<Client, Failure> {
        Ok(Client::over(self.connector.connect().await?, NAME))
    }

    /// Adds a worker that shares the coordinator's artifacts: what lies on this disk already needs no copy.
    pub(super) fn add_worker(&mut self, executor: Box<dyn Executor>, options: WorkerOptions) {
        let cache_dir = self.coordinator.handle().artifacts().folder().map(Path::to_owned);
        let options = WorkerOptions { cache_dir, max_give_backs: Some(GIVE_BACKS), ..options };
        let connection = Connection::InProcess(self.connector.clone());
        self.workers.spawn(work(connection, executor, options, self.stop_workers.clone()));
    }

    /// Waits until a worker ends, which none does by itself unless something is wrong.
    pub(super) async fn worker_ended(&mut self) -> Failure {
        match self.workers.join_next().await {
            Some(Ok(Err(error))) => error.into(),
            Some(Ok(Ok(_))) => Failure::new(Exit::Failed, "a worker stopped by itself"),
            Some(Err(error)) => Failure::new(Exit::Failed, format!("a worker panicked: {error}")),
            None => std::future::pending().await,
        }
    }

    /// Waits until an experiment's results file cannot be written. The coordinator tries again for as long as it lives, which is
    /// no use where nobody looks after it.
    pub(super) fn results_unwritable(&self, id: ExperimentId) -> impl Future<Output = ()> + use<> {
        let handle = self.coordinator.handle();
        async move {
            while !handle.has_unwritten_results(&id) {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
    }

    /// Stops the workers, which commit what they have measured, then the coordinator.
    pub(super) async fn close(mut self) -> Outcome {
        self.stop_workers.cancel();
        while self.workers.join_next().await.is_some() {}
        self.closed.cancel();
        let served = self.serving.await.context("the coordinator's service panicked")?;
        let coordinator = Arc::into_inner(self.coordinator).context("the coordinator is still in use")?;
        // Why the driver stopped says more than that the service did.
        coordinator.close().await?;
        Ok(served?)
    }
}

/// Asks the coordinator of a data directory that nobody else is using.
pub(super) async fn asked<T>(
    data_dir: &Path,
    ask: impl AsyncFnOnce(&mut Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if !data_dir.exists() {
        let message = format!("there is no {}; name the folder that `bitloop run` used", data_dir.display());
        return Err(Failure::usage(message));
    }
    let local = Local::open(data_dir)?;
    let answer = match local.client().await {
        Ok(mut client) => ask(&mut client).await,
        Err(failure) => Err(failure),
    };
    local.close().await?;
    answer
}
