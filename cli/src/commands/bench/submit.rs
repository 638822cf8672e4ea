//! `bitloop bench submit`: how long it takes from handing in a large sweep until all of its trials wait for workers, and
//! what that takes of the coordinator, which is a process of its own.

use std::time::Duration;

use bitloop_worker::{EmptyExecutor, work};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::process::{CoordinatorProcess, Metrics, Usage};
use super::trials::Trials;
use crate::args::{Output, SubmissionArguments};
use crate::client::Client;
use crate::clock::Stopwatch;
use crate::commands::{watch, worker};
use crate::failure::{Failure, Outcome};
use crate::show;

/// Pause between two looks at how far it is.
const PAUSE: Duration = Duration::from_millis(20);

/// Trials that wait for workers, of the kind that sweeps consist of.
const QUEUED: &str = "bitloop_queued_trials{kind=\"evaluate\"}";

pub(in crate::commands) async fn execute(arguments: &SubmissionArguments, output: Output) -> Outcome {
    let folder = arguments.folder.create()?;
    let trials = Trials::at_least(u64::from(arguments.trials));
    let coordinator = CoordinatorProcess::start(&folder.path().join("data"))?;
    let mut client = coordinator.client().await?;
    measure_singles(&coordinator, &mut client, &trials).await?;
    let before = (coordinator.usage()?, coordinator.stored_bytes());
    let watch = Stopwatch::start();
    let id = client.submit(&trials.pairs("pairs")?).await?.summary.id;
    let submitted = watch.seconds();
    let (mut queued, mut longest) = (None, 0.0);
    while queued.is_none() {
        tokio::time::sleep(PAUSE).await;
        let asked = Stopwatch::start();
        queued = all_queued(&coordinator, &mut client, &id).await?;
        longest = asked.seconds().max(longest);
    }
    let measured = Measured {
        trials: queued.unwrap_or(0),
        submitted,
        wall: watch.seconds(),
        used: [before.0, coordinator.usage()?],
        stored_bytes: coordinator.stored_bytes().saturating_sub(before.1),
        longest_answer: longest,
        metrics: coordinator.metrics()?,
    };
    measured.show(output)
}

/// Has all points measured alone, so that what is submitted next is known to the last trial: a sweep begins its pairs
/// when it knows what each point does alone, and what is measured already is not measured again.
async fn measure_singles(coordinator: &CoordinatorProcess, client: &mut Client, trials: &Trials) -> Outcome {
    let stop = CancellationToken::new();
    let connection = coordinator.connection()?;
    let working = tokio::spawn(work(connection, Box::new(EmptyExecutor), worker::options(1), stop.clone()));
    let summary = client.submit(&trials.singles("singles")?).await?.summary;
    let last = watch::follow(client, &summary.id).await?;
    watch::verdict(client, &last).await?;
    stop.cancel();
    working.await??;
    Ok(())
}

/// How many trials wait, once all of an experiment's that are not settled do. Waiting ones are counted when they are
/// durable.
async fn all_queued(
    coordinator: &CoordinatorProcess,
    client: &mut Client,
    id: &str,
) -> Result<Option<u64>, Failure> {
    let experiments = client.list().await?;
    let open = experiments.iter().find(|summary| summary.id == *id).map(|known| known.total - known.settled);
    let queued = coordinator.metrics()?.value(QUEUED) as u64;
    Ok(open.filter(|open| queued == *open))
}

struct Measured {
    trials: u64,
    submitted: f64,
    wall: f64,
    /// By the coordinator, before and after.
    used: [Usage; 2],
    stored_bytes: u64,
    longest_answer: f64,
    metrics: Metrics,
}

impl Measured {
    fn show(&self, output: Output) -> Outcome {
        let [before, after] = self.used;
        let trials = self.trials as f64;
        let cpu = (after.cpu_seconds - before.cpu_seconds) / trials * 1e6;
        let bytes = |before: u64, after: u64| after.saturating_sub(before) as f64 / trials;
        let memory = bytes(before.memory_bytes, after.memory_bytes);
        let memory_max = bytes(before.memory_bytes, after.memory_max_bytes);
        let stored = self.stored_bytes as f64 / trials;
        let round = self.metrics.value("bitloop_longest_round_seconds");
        match output {
            Output::Json => show::json(&json!({
                "trials": self.trials,
                "submit_seconds": self.submitted,
                "queued_seconds": self.wall,
                "coordinator_cpu_us_per_trial": cpu,
                "coordinator_memory_bytes_per_trial": memory,
                "coordinator_memory_max_bytes_per_trial": memory_max,
                "stored_bytes_per_trial": stored,
                "longest_round_seconds": round,
                "longest_answer_seconds": self.longest_answer,
            })),
            Output::Text => show::data(&show::fields(&[
                ("trials", format!("{}, each of two points at a width each", self.trials)),
                ("accepted", format!("{:.2} s after it was handed in", self.submitted)),
                ("queued", format!("{:.2} s after it was handed in, all of them durable", self.wall)),
                ("coordinator", format!("{cpu:.1} us of processor time a trial")),
                ("memory", format!("{memory:.0} bytes a trial, of the coordinator; {memory_max:.0} at most")),
                ("store", format!("{stored:.0} bytes a trial, journal and index")),
                ("driver", format!("{:.0} ms in its longest round", round * 1e3)),
                ("others", format!("{:.0} ms for the longest answer meanwhile", self.longest_answer * 1e3)),
            ])),
        }
    }
}
