//! `bitloop bench workers`: how busy a coordinator keeps workers that sleep for every trial, and what they cost it.
//!
//! The coordinator is a process of its own, with journal and index on disk; the workers speak to it over loopback.

use bitloop_proto::v1::ExperimentSummary;
use serde::Serialize;

use super::farm::{Crew, Farm, Silence};
use super::process::{CoordinatorProcess, Metrics, Usage};
use super::trials::Trials;
use crate::args::{Output, WorkersArguments};
use crate::client::Client;
use crate::clock::{self, Stopwatch};
use crate::commands::watch;
use crate::failure::{Failure, Outcome};
use crate::open_files;
use crate::show;

/// Without a number of trials every worker is kept busy for so long.
const BUSY_SECONDS: f64 = 30.0;

/// Without a number of trials and with nothing to wait for.
const EMPTY_TRIALS: f64 = 100_000.0;

/// What is settled before the first and after the second of these shares is the ramp and the tail.
const STEADY: [f64; 2] = [0.2, 0.8];

pub(in crate::commands) async fn execute(arguments: &WorkersArguments, output: Output) -> Outcome {
    let crew = Crew { workers: arguments.workers, trial_time: arguments.trial_time };
    open_files::require(crew.files(), &format!("{} workers", crew.workers))?;
    let folder = arguments.folder.create()?;
    let trials = arguments.trials.map_or_else(|| busy_trials(crew), u64::from);
    let trials = Trials::at_least_alone(trials).singles("bench")?;
    let coordinator = CoordinatorProcess::start(&folder.path().join("data"))?;
    let mut client = coordinator.client().await?;
    let alone = coordinator.usage()?;

    let watch = Stopwatch::start();
    let mut farm = Farm::start(crew, &coordinator.connection()?, folder.path());
    farm.registered(&mut client).await?;
    let registered_s = watch.seconds();

    let (idle, cpu) = (coordinator.usage()?, clock::cpu_seconds());
    let (watch, mut silence) = (Stopwatch::start(), Silence::default());
    let id = client.submit(&trials).await?.summary.id;
    let (curve, last) = tokio::select! {
        followed = follow(client.clone(), &id, &watch) => followed?,
        failure = farm.listen(&mut client, &mut silence) => return Err(failure),
    };
    let (wall_s, busy) = (watch.seconds(), coordinator.usage()?);
    let workers_cpu_s = clock::cpu_seconds().zip(cpu).map(|(end, start)| end - start);
    watch::verdict(&mut client, &last).await?;
    let metrics = coordinator.metrics()?;
    let acknowledged = farm.close().await?;
    let usage = [alone, idle, busy];
    let measured =
        Measured { crew, registered_s, curve, wall_s, usage, workers_cpu_s, silence, metrics, acknowledged };
    let figures = measured.figures();
    match output {
        Output::Json => show::json(&figures),
        Output::Text => show::data(&figures.show()),
    }
}

/// As many as keep all of them busy for a while.
fn busy_trials(crew: Crew) -> u64 {
    let trial_s = crew.trial_time.as_secs_f64();
    let trials = if trial_s > 0.0 { f64::from(crew.workers) * BUSY_SECONDS / trial_s } else { EMPTY_TRIALS };
    trials.ceil() as u64
}

/// How many trials were settled when.
type Curve = Vec<(f64, u64)>;

/// Follows an experiment to its end.
async fn follow(
    mut client: Client,
    experiment: &str,
    watch: &Stopwatch,
) -> Result<(Curve, ExperimentSummary), Failure> {
    let mut stream = client.watch(experiment).await?;
    let (mut curve, mut last) = (Curve::new(), ExperimentSummary::default());
    while let Some(summary) = stream.message().await.map_err(|status| client.failure(status))? {
        curve.push((watch.seconds(), summary.settled));
        last = summary;
    }
    Ok((curve, last))
}

struct Measured {
    crew: Crew,
    registered_s: f64,
    curve: Curve,
    wall_s: f64,
    /// By the coordinator: alone, with all workers waiting, and at the end.
    usage: [Usage; 3],
    workers_cpu_s: Option<f64>,
    silence: Silence,
    metrics: Metrics,
    /// Outcomes that the workers have an answer for.
    acknowledged: u64,
}

impl Measured {
    /// The part of the workers' time in which they measured; none if a trial takes none.
    fn efficiency(&self, trials: u64, seconds: f64) -> Option<f64> {
        let trial_s = self.crew.trial_time.as_secs_f64();
        let available_s = seconds * f64::from(self.crew.workers);
        (trial_s > 0.0 && available_s > 0.0).then(|| trials as f64 * trial_s / available_s)
    }

    fn figures(&self) -> Figures {
        let trials = self.curve.last().map_or(0, |(_, settled)| *settled);
        let micros = |seconds: f64| seconds / trials as f64 * 1e6;
        let [alone, idle, busy] = self.usage;
        let cpu_s = busy.cpu_seconds - idle.cpu_seconds;
        let held = idle.memory_bytes.saturating_sub(alone.memory_bytes);
        let count = |name: &str| self.metrics.value(&format!("bitloop_{name}_total")) as u64;
        Figures {
            workers: self.crew.workers,
            trial_seconds: self.crew.trial_time.as_secs_f64(),
            trials,
            acknowledged: self.acknowledged,
            duplicates: count("duplicates"),
            conflicts: count("conflicts"),
            leases_expired: count("leases_expired"),
            workers_lost: count("workers_lost"),
            heartbeats_missed: count("heartbeats_missed"),
            longest_silence_seconds: self.silence.longest_ms as f64 / 1e3,
            registration_seconds: self.registered_s,
            wall_seconds: self.wall_s,
            trials_per_second: trials as f64 / self.wall_s,
            efficiency: self.efficiency(trials, self.wall_s),
            steady_efficiency: steady(&self.curve)
                .and_then(|(seconds, settled)| self.efficiency(settled, seconds)),
            coordinator_cpu_us_per_trial: micros(cpu_s),
            coordinator_cores: cpu_s / self.wall_s,
            workers_cpu_us_per_trial: self.workers_cpu_s.map(micros),
            coordinator_bytes: busy.memory_bytes,
            coordinator_bytes_per_worker: held / u64::from(self.crew.workers),
        }
    }
}

/// What is shown; the names are a contract with scripts.
#[derive(Serialize)]
struct Figures {
    workers: u16,
    trial_seconds: f64,
    trials: u64,
    acknowledged: u64,
    duplicates: u64,
    conflicts: u64,
    leases_expired: u64,
    workers_lost: u64,
    heartbeats_missed: u64,
    longest_silence_seconds: f64,
    registration_seconds: f64,
    wall_seconds: f64,
    trials_per_second: f64,
    efficiency: Option<f64>,
    steady_efficiency: Option<f64>,
    coordinator_cpu_us_per_trial: f64,
    coordinator_cores: f64,
    workers_cpu_us_per_trial: Option<f64>,
    coordinator_bytes: u64,
    coordinator_bytes_per_worker: u64,
}

impl Figures {
    fn show(&self) -> String {
        let percent = |part: Option<f64>| part.map_or("-".to_owned(), |part| format!("{:.1}%", part * 100.0));
        let or_unknown = |us: Option<f64>| us.map_or("unknown".to_owned(), |us| format!("{us:.1} us"));
        let trials = format!("{} of {} s by {} workers", self.trials, self.trial_seconds, self.workers);
        let wall = format!("{:.2} s, {:.0} trials/s", self.wall_seconds, self.trials_per_second);
        let [efficiency, between] = [self.efficiency, self.steady_efficiency].map(percent);
        let cpu = format!(
            "{:.1} us of processor time a trial, {:.2} cores",
            self.coordinator_cpu_us_per_trial, self.coordinator_cores
        );
        let memory = format!(
            "{:.1} MiB of the coordinator at the end, {:.1} KiB a waiting worker",
            self.coordinator_bytes as f64 / f64::from(1 << 20),
            self.coordinator_bytes_per_worker as f64 / 1024.0
        );
        let (missed, silence) = (self.heartbeats_missed, self.longest_silence_seconds);
        let leases = format!("{} expired, {} workers lost", self.leases_expired, self.workers_lost);
        let outcomes = format!(
            "{} acknowledged, {} duplicates, {} conflicts",
            self.acknowledged, self.duplicates, self.conflicts
        );
        show::fields(&[
            ("trials", trials),
            ("registration", format!("{:.2} s until all workers were known", self.registration_seconds)),
            ("wall", wall),
            ("efficiency", format!("{efficiency} with ramp and tail, {between} between")),
            ("coordinator", cpu),
            ("workers", format!("{} of processor time a trial", or_unknown(self.workers_cpu_us_per_trial))),
            ("memory", memory),
            ("heartbeats", format!("{missed} missed, {silence:.1} s of silence at most")),
            ("leases", leases),
            ("outcomes", outcomes),
        ])
    }
}

/// Seconds, and what was settled in them, between the ramp and the tail.
///
/// Workers that begin together end together, shard by shard: both ends are where a part of them has just ended.
fn steady(curve: &[(f64, u64)]) -> Option<(f64, u64)> {
    let (_, all) = *curve.last()?;
    let [start, end] =
        STEADY.map(|share| curve.iter().find(|(_, settled)| *settled as f64 >= share * all as f64));
    let ((start_s, before), (end_s, after)) = (*start?, *end?);
    (after > before).then(|| (end_s - start_s, after - before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramp_and_tail_are_left_out() {
        let curve = [(0.0, 0), (9.0, 10), (10.0, 20), (11.0, 40), (12.0, 60), (13.0, 80), (30.0, 100)];

        assert_eq!(steady(&curve), Some((3.0, 60)));
        assert_eq!(steady(&[]), None);
        assert_eq!(steady(&[(1.0, 5)]), None, "there is nothing between");
    }
}
