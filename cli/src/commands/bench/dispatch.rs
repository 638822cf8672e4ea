//! `bitloop bench dispatch`: a sweep whose evaluations cost nothing, so that what the coordinator costs shows.
//!
//! Coordinator and workers are processes of their own and speak over loopback; every outcome is committed durably.

use bitloop_worker::{EmptyExecutor, work};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::process::{CoordinatorProcess, Usage};
use super::trials::Trials;
use crate::args::{DispatchArguments, Output};
use crate::clock::{self, Stopwatch};
use crate::commands::{watch, worker};
use crate::failure::Outcome;
use crate::show;

/// Shares of the commits whose times are told.
const QUANTILES: [f64; 3] = [0.5, 0.99, 1.0];

pub(in crate::commands) async fn execute(arguments: &DispatchArguments, output: Output) -> Outcome {
    let folder = arguments.folder.create()?;
    let trials = Trials::at_least(u64::from(arguments.trials)).pairs("bench")?;
    let coordinator = CoordinatorProcess::start(&folder.path().join("data"))?;
    let mut client = coordinator.client().await?;
    let (mut workers, stop) = (JoinSet::new(), CancellationToken::new());
    for _ in 0..arguments.workers {
        let (connection, options) = (coordinator.connection()?, worker::options(1));
        workers.spawn(work(connection, Box::new(EmptyExecutor), options, stop.clone()));
    }
    let before = coordinator.usage()?;
    let (watch, cpu) = (Stopwatch::start(), clock::cpu_seconds());
    let summary = client.submit(&trials).await?.summary;
    let last = watch::follow(&mut client, &summary.id).await?;
    let (wall, after) = (watch.seconds(), coordinator.usage()?);
    let cpu_of_workers = clock::cpu_seconds().zip(cpu).map(|(end, start)| end - start);
    watch::verdict(&mut client, &last).await?;
    let measured = Measured {
        trials: last.settled,
        workers: arguments.workers,
        wall,
        used: [before, after],
        cpu_of_workers: cpu_of_workers.unwrap_or(f64::NAN),
        stored_bytes: coordinator.stored_bytes(),
        metrics: coordinator.metrics()?,
    };
    stop.cancel();
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    measured.show(output)
}

struct Measured {
    trials: u64,
    workers: u16,
    wall: f64,
    /// By the coordinator, before and after.
    used: [Usage; 2],
    cpu_of_workers: f64,
    stored_bytes: u64,
    metrics: super::process::Metrics,
}

impl Measured {
    fn per_trial(&self, value: f64) -> f64 {
        value / self.trials as f64
    }

    fn show(&self, output: Output) -> Outcome {
        let [before, after] = self.used;
        let micros = |seconds: f64| self.per_trial(seconds * 1e6);
        let cpu = micros(after.cpu_seconds - before.cpu_seconds);
        let memory = self.per_trial(after.memory_max_bytes.saturating_sub(before.memory_max_bytes) as f64);
        let stored = self.per_trial(self.stored_bytes as f64);
        let commits = self.metrics.value("bitloop_commit_seconds_count");
        let appends = self.metrics.value("bitloop_batch_facts_count");
        let times = QUANTILES.map(|share| self.metrics.quantile("bitloop_commit_seconds", share));
        let [half, most, all] = times.map(|time| time.unwrap_or(0.0));
        let round = self.metrics.value("bitloop_longest_round_seconds");
        match output {
            Output::Json => show::json(&json!({
                "trials": self.trials,
                "workers": self.workers,
                "wall_seconds": self.wall,
                "trials_per_second": self.trials as f64 / self.wall,
                "coordinator_cpu_us_per_trial": cpu,
                "workers_cpu_us_per_trial": micros(self.cpu_of_workers),
                "coordinator_memory_bytes_per_trial": memory,
                "stored_bytes_per_trial": stored,
                "commits": commits,
                "appends": appends,
                "commit_seconds_below": { "p50": half, "p99": most, "max": all },
                "longest_round_seconds": round,
            })),
            Output::Text => show::data(&show::fields(&[
                ("trials", format!("{} by {} workers that evaluate nothing", self.trials, self.workers)),
                ("wall", format!("{:.2} s, {:.0} trials/s", self.wall, self.trials as f64 / self.wall)),
                ("coordinator", format!("{cpu:.1} us of processor time a trial")),
                ("workers", format!("{:.1} us of processor time a trial", micros(self.cpu_of_workers))),
                ("memory", format!("{memory:.0} bytes a trial at most, of the coordinator")),
                ("store", format!("{stored:.0} bytes a trial, journal and index")),
                (
                    "commits",
                    format!(
                        "{commits:.0}, half of them below {} ms, 99% below {} ms, all below {} ms",
                        half * 1e3,
                        most * 1e3,
                        all * 1e3
                    ),
                ),
                ("appends", format!("{appends:.0}, each synced in the journal and in the index")),
                ("driver", format!("{:.0} ms in its longest round", round * 1e3)),
            ])),
        }
    }
}
