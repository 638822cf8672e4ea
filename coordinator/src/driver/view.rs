//! What users see of the state: counts, cheap enough to be taken a few times a second.

use std::collections::HashMap;
use std::sync::Arc;

use bitloop_core::device::Requirements;
use bitloop_core::digest::Digest;
use bitloop_core::plan::{ExperimentId, Plan};
use bitloop_core::state::{
    Backlog, Elsewhere, Experiment, Explanation, Lease, Queued, Rejection, Sources, State, Status,
    UnixMillis, WorkerId, WorkerInfo, asked_text,
};
use bitloop_core::trial::{EvaluateContext, Numerics, TrialKey};

use super::board::Board;
use super::command::RequestError;
use super::failures::TrialFailure;
use super::lease_times::LeaseTimes;
use super::results::Results;

/// How far an experiment is.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub id: ExperimentId,
    pub name: String,
    pub status: Status,
    /// The word of the first stage that is not finished.
    pub stage: Option<&'static str>,
    /// Trials of all stages, as far as known.
    pub total: u64,
    /// Trials that are no longer open.
    pub settled: u64,
    /// Of these, failed or quarantined ones.
    pub failed: u64,
    /// Trials that other experiments had measured before.
    pub reused: u64,
    /// Trials under a lease.
    pub leased: u64,
    /// Workers heard from lately that can measure trials of its stage.
    pub workers: u64,
    /// Repeated measurements that differed, over all experiments.
    pub conflicts: u64,
    /// Experiments with a higher one go first.
    pub priority: i32,
    /// Trials measured per second, smoothed over about a minute.
    pub per_second: f64,
}

/// What a worker has done and holds.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerSummary {
    pub info: WorkerInfo,
    pub committed: u64,
    /// Trials it holds.
    pub leased: u64,
    /// Smoothed time of one trial, once known.
    pub trial_ms: Option<f64>,
    /// Since it was last heard from.
    pub silent_ms: u64,
    /// Of what it committed, trials that failed.
    pub failed: u64,
    /// Trials committed per second, smoothed over about a minute.
    pub per_second: f64,
    /// Share of about the last minute in which it held trials.
    pub busy: f64,
    /// The experiment that its trials are of.
    pub experiment: Option<ExperimentId>,
    /// A trial that it said it was busy with.
    pub running: Option<TrialKey>,
}

/// Ages of leases that people look at, in milliseconds: a shard is made to take about two seconds.
pub(crate) const LEASE_AGES_MS: [u64; 4] = [5_000, 30_000, 300_000, 3_600_000];

/// The leases in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseSummary {
    pub count: u64,
    /// Trials under them.
    pub trials: u64,
    /// Since the oldest of them was granted.
    pub oldest_ms: u64,
    /// How many are older than 5 s, 30 s, 5 min and 1 h.
    pub older_than: [u64; 4],
}

/// All experiments in order of submission, all workers by name, and what they have to do: what readers get who must not
/// hold up the driver.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overview {
    /// When it was taken.
    pub taken: UnixMillis,
    pub experiments: Vec<Summary>,
    /// What was submitted, in the order of `experiments`.
    pub submissions: Vec<Submission>,
    pub workers: Vec<WorkerSummary>,
    pub queued: Queued,
    /// The same by what is asked of workers, with what is leased; nothing for what nobody waits for.
    pub backlog: Vec<Backlog>,
    pub leases: LeaseSummary,
    /// The latest of this start, newest first.
    pub failures: Vec<Arc<TrialFailure>>,
    /// Repeated measurements that differed.
    pub conflicts: u64,
}

/// What a user handed in.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    pub plan: Arc<Plan>,
    pub sources: Arc<Sources>,
}

impl Overview {
    /// Finds an experiment.
    pub fn experiment(&self, id: &ExperimentId) -> Option<&Summary> {
        self.experiments.iter().find(|summary| summary.id == *id)
    }

    /// Finds an experiment with what was submitted.
    pub(crate) fn submission(&self, id: &ExperimentId) -> Option<(&Summary, &Submission)> {
        let mut all = self.experiments.iter().zip(&self.submissions);
        all.find(|(summary, _)| summary.id == *id)
    }

    /// Finds the experiment that a user means: by id, else by its whole name, else by the start of its id.
    pub(crate) fn resolve(&self, text: &str) -> Result<ExperimentId, RequestError> {
        let exact = ExperimentId(text.to_owned());
        if self.experiment(&exact).is_some() {
            return Ok(exact);
        }
        let ids = |fits: &dyn Fn(&Summary) -> bool| -> Vec<ExperimentId> {
            let fitting = self.experiments.iter().filter(|summary| fits(summary));
            fitting.map(|summary| summary.id.clone()).collect()
        };
        let mut candidates = ids(&|summary| summary.name == text);
        if candidates.is_empty() {
            candidates = ids(&|summary| !text.is_empty() && summary.id.0.starts_with(text));
        }
        match candidates.len() {
            0 => Err(Rejection::UnknownExperiment(exact).into()),
            1 => Ok(candidates.remove(0)),
            _ => Err(RequestError::Ambiguous { text: text.to_owned(), candidates }),
        }
    }
}

/// An experiment with its plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub summary: Summary,
    /// The plan's document.
    pub plan: Vec<u8>,
    pub sources: Sources,
}

/// Number of trials of each plan, computed once.
pub(crate) type Sizes = HashMap<ExperimentId, u64>;

/// The state at the end of a round, when all of it is durable.
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    pub(crate) sizes: &'a Sizes,
    pub(crate) leases: &'a LeaseTimes,
    pub(super) results: &'a Results,
    pub(super) board: &'a Board,
    pub(crate) now: UnixMillis,
}

/// How many workers can measure what, asked once for all experiments that ask for the same.
type Able<'a> = Vec<((&'a Requirements, Numerics), u64)>;

impl View<'_> {
    pub(crate) fn overview(&self) -> Overview {
        let (leased, mut able) = (self.leased(), Able::new());
        let experiments = self.state.ledger.experiments();
        let summaries = experiments.iter().map(|experiment| self.summary(experiment, (&leased, &mut able)));
        let submission = |experiment: &Experiment| {
            let (plan, sources) = (experiment.plan.clone(), experiment.sources.clone());
            Submission { plan, sources }
        };
        Overview {
            taken: self.now,
            experiments: summaries.collect(),
            submissions: experiments.iter().map(submission).collect(),
            workers: self.workers(),
            queued: self.state.dispatch.queued(),
            backlog: self.state.backlog(),
            leases: self.leases.summary(self.state, self.now),
            failures: self.board.failures.latest(),
            conflicts: self.state.ledger.conflicts(),
        }
    }

    /// What no connected worker can do of an experiment; nothing while there are no workers.
    pub(crate) fn warnings(&self, id: &ExperimentId) -> Vec<String> {
        let connected = self.state.dispatch.workers().len();
        let Some(experiment) = self.state.ledger.experiment(id).filter(|_| connected > 0) else {
            return Vec::new();
        };
        let stages = experiment.plan.stages.iter().zip(&experiment.stages).enumerate();
        let unmet =
            stages.filter(|(_, (_, progress))| !progress.finished).filter_map(|(index, (stage, _))| {
                let numerics = experiment.plan.numerics_of(index as u32);
                let asked = experiment.plan.all_required(index as u32);
                let unmet = asked.iter().find(|asked| self.state.able(asked, numerics) == 0)?;
                let (stage, asked) = (stage.as_str(), asked_text(unmet, numerics));
                Some(format!(
                    "none of the {connected} connected workers can measure stage `{stage}` ({asked})"
                ))
            });
        unmet.collect()
    }

    pub(crate) fn explain_experiment(&self, id: &ExperimentId, elsewhere: &Elsewhere) -> Option<Explanation> {
        self.state.explain_experiment(id, (elsewhere, self.now))
    }

    pub(crate) fn explain_trial(&self, key: &TrialKey) -> Option<Explanation> {
        self.state.explain_trial(key, self.now)
    }

    pub(crate) fn context(&self, digest: &Digest) -> Result<EvaluateContext, RequestError> {
        let context = self.state.ledger.context(digest).cloned();
        context.ok_or(RequestError::UnknownContext(*digest))
    }

    fn workers(&self) -> Vec<WorkerSummary> {
        let mut leases: HashMap<&WorkerId, Vec<&Lease>> = HashMap::new();
        for (_, lease) in self.state.dispatch.leases() {
            leases.entry(&lease.worker).or_default().push(lease);
        }
        let workers = self.state.dispatch.workers();
        workers
            .map(|worker| {
                let id = &worker.info.id;
                let held = leases.get(id).map(Vec::as_slice).unwrap_or_default();
                let (per_second, busy) = self.board.rates.of_worker(id);
                WorkerSummary {
                    info: worker.info.clone(),
                    committed: worker.committed,
                    leased: held.iter().map(|lease| lease.trials.len() as u64).sum(),
                    trial_ms: worker.trial_ms,
                    silent_ms: self.now.0.saturating_sub(worker.last_seen.0),
                    failed: self.board.failures.of(id),
                    per_second,
                    busy,
                    experiment: held.iter().find_map(|lease| self.experiment_of(lease)),
                    running: held.iter().find_map(|lease| lease.running.first().copied()),
                }
            })
            .collect()
    }

    /// The experiment that a lease's trials are of; the first of several.
    fn experiment_of(&self, lease: &Lease) -> Option<ExperimentId> {
        let trial = self.state.ledger.trial(lease.trials.first()?)?;
        let mut experiments = self.state.ledger.experiments_of(trial);
        let active = experiments.find(|experiment| experiment.status == Status::Active);
        active.map(|experiment| experiment.id.clone())
    }

    /// Leased trials of each experiment.
    fn leased(&self) -> HashMap<&ExperimentId, u64> {
        let ledger = &self.state.ledger;
        let mut counts = HashMap::new();
        let leases = self.state.dispatch.leases();
        for trial in leases.flat_map(|(_, lease)| &lease.trials).filter_map(|key| ledger.trial(key)) {
            for experiment in ledger.experiments_of(trial) {
                *counts.entry(&experiment.id).or_default() += 1;
            }
        }
        counts
    }

    fn summary<'s>(
        &'s self,
        experiment: &'s Experiment,
        (leased, able): (&HashMap<&ExperimentId, u64>, &mut Able<'s>),
    ) -> Summary {
        let current = experiment.current_stage();
        let stage = current.and_then(|stage| experiment.plan.stages.get(stage as usize));
        let current = current.unwrap_or(0);
        let asked = (experiment.plan.requires(current), experiment.plan.numerics_of(current));
        let proposed: usize = experiment.stages.iter().map(|stage| stage.trials.len()).sum();
        let planned = self.sizes.get(&experiment.id).copied().unwrap_or(0);
        Summary {
            id: experiment.id.clone(),
            name: experiment.plan.name.clone(),
            status: match self.results.is_writing(&experiment.id) {
                true => Status::Active,
                false => experiment.status.clone(),
            },
            stage: stage.map(|stage| stage.as_str()),
            total: planned.max(proposed as u64),
            settled: experiment.settled(),
            failed: experiment.failed,
            reused: experiment.reused,
            leased: leased.get(&experiment.id).copied().unwrap_or(0),
            workers: self.able(asked, able),
            conflicts: self.state.ledger.conflicts(),
            priority: experiment.priority,
            per_second: self.board.rates.of_experiment(&experiment.id),
        }
    }

    fn able<'s>(&'s self, asked: (&'s Requirements, Numerics), known: &mut Able<'s>) -> u64 {
        if let Some((_, able)) = known.iter().find(|(known, _)| *known == asked) {
            return *able;
        }
        let able = self.state.able(asked.0, asked.1);
        known.push((asked, able));
        able
    }
}
