//! Workers in this process that are real but for what they measure: each has its own connections, threads and cache
//! folder, and a host of its own as far as the coordinator knows.

use std::path::Path;
use std::time::Duration;

use bitloop_worker::{Connection, WorkSummary, WorkerError, WorkerOptions, sleeping, work};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::commands::worker;
use crate::failure::{Exit, Failure};

/// Pause between two looks at who is registered, and then at who is silent.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Two connections of a worker, what its heartbeat's thread waits with, its spool, and some to spare.
const FILES_PER_WORKER: u64 = 8;

/// Files that the rest of the program has open.
const FILES_BESIDE: u64 = 128;

/// What the workers of a benchmark are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crew {
    pub(super) workers: u16,
    pub(super) trial_time: Duration,
}

impl Crew {
    /// Files that they and this program hold open at most.
    pub(super) fn files(self) -> u64 {
        FILES_BESIDE + FILES_PER_WORKER * u64::from(self.workers)
    }
}

/// What is seen of them at the coordinator.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    /// The longest that nothing was heard of any of them.
    pub(super) longest_ms: u64,
}

/// The running workers.
pub(super) struct Farm {
    crew: Crew,
    working: JoinSet<Result<WorkSummary, WorkerError>>,
    stop: CancellationToken,
}

impl Farm {
    /// Starts the workers; their cache folders are made below `folder`.
    pub(super) fn start(crew: Crew, connection: &Connection, folder: &Path) -> Self {
        let (mut working, stop) = (JoinSet::new(), CancellationToken::new());
        for number in 0..crew.workers {
            let options = WorkerOptions {
                host: format!("host-{number}"),
                machine: format!("machine-{number}"),
                cache_dir: Some(folder.join(format!("worker-{number}"))),
                ..worker::options(1)
            };
            let executor = Box::new(sleeping(crew.trial_time));
            working.spawn(work(connection.clone(), executor, options, stop.clone()));
        }
        Self { crew, working, stop }
    }

    /// Waits until the coordinator knows all of them.
    ///
    /// Errors: why one of them ended, or the coordinator did not answer.
    pub(super) async fn registered(&mut self, client: &mut Client) -> Result<(), Failure> {
        loop {
            if client.workers().await?.len() >= usize::from(self.crew.workers) {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                failure = self.ended() => return Err(failure),
            }
        }
    }

    /// Looks after who is silent, for as long as nothing goes wrong.
    pub(super) async fn listen(&mut self, client: &mut Client, silence: &mut Silence) -> Failure {
        loop {
            let heard = match client.workers().await {
                Ok(workers) => workers,
                Err(failure) => return failure,
            };
            for worker in heard {
                silence.longest_ms = silence.longest_ms.max(worker.silent_ms);
            }
            tokio::select! {
                () = tokio::time::sleep(LISTEN_AGAIN) => {}
                failure = self.ended() => return failure,
            }
        }
    }

    /// Waits for one that ends before it is told to, which none does unless something is wrong.
    async fn ended(&mut self) -> Failure {
        match self.working.join_next().await {
            Some(ended) => match committed(ended) {
                Ok(_) => Failure::new(Exit::Failed, "a worker ended by itself"),
                Err(failure) => failure,
            },
            None => std::future::pending().await,
        }
    }

    /// Tells them to leave and waits for it; returns how many outcomes of theirs the coordinator acknowledged.
    pub(super) async fn close(mut self) -> Result<u64, Failure> {
        self.stop.cancel();
        let mut sum = 0;
        while let Some(ended) = self.working.join_next().await {
            sum += committed(ended)?;
        }
        Ok(sum)
    }
}

fn committed(ended: Result<Result<WorkSummary, WorkerError>, JoinError>) -> Result<u64, Failure> {
    Ok(ended??.committed)
}
