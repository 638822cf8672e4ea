//! What users see of the state: counts, cheap enough to be taken after every round.

use std::collections::HashMap;

use bitloop_core::digest::Digest;
use bitloop_core::plan::ExperimentId;
use bitloop_core::state::{
    Backlog, Experiment, Explanation, Ledger, Queued, Rejection, Sources, State, Status, UnixMillis,
    WorkerId, WorkerInfo,
};
use bitloop_core::trial::EvaluateContext;

use super::command::RequestError;
use super::lease_times::LeaseTimes;
use super::results::Results;

/// Fewest digits of a trial's key that someone may mean it by.
const KEY_DIGITS_MIN: usize = 6;

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
    pub experiments: Vec<Summary>,
    pub workers: Vec<WorkerSummary>,
    pub queued: Queued,
    /// The same by what is asked of workers, with what is leased; nothing for what nobody waits for.
    pub backlog: Vec<Backlog>,
    pub leases: LeaseSummary,
}

impl Overview {
    /// Finds an experiment.
    pub fn experiment(&self, id: &ExperimentId) -> Option<&Summary> {
        self.experiments.iter().find(|summary| summary.id == *id)
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
    pub(crate) results: &'a Results,
    pub(crate) now: UnixMillis,
}

impl View<'_> {
    pub(crate) fn overview(&self) -> Overview {
        let leased = self.leased();
        let experiments = self.state.ledger.experiments().iter();
        Overview {
            experiments: experiments.map(|experiment| self.summary(experiment, &leased)).collect(),
            workers: self.workers(),
            queued: self.state.dispatch.queued(),
            backlog: self.state.backlog(),
            leases: self.leases.summary(self.state, self.now),
        }
    }

    pub(crate) fn summary_of(&self, id: &ExperimentId) -> Result<Summary, RequestError> {
        Ok(self.summary(self.experiment(id)?, &self.leased()))
    }

    pub(crate) fn shown(&self, id: &ExperimentId) -> Result<Shown, RequestError> {
        let experiment = self.experiment(id)?;
        Ok(Shown {
            summary: self.summary(experiment, &self.leased()),
            plan: experiment.plan.to_document(),
            sources: experiment.sources.as_ref().clone(),
        })
    }

    /// What is known of one experiment, to be read elsewhere.
    pub(crate) fn only(&self, id: &ExperimentId) -> Result<Ledger, RequestError> {
        let only = self.state.ledger.only(id);
        only.ok_or_else(|| Rejection::UnknownExperiment(id.clone()).into())
    }

    /// What no connected worker can do of an experiment; nothing while there are no workers.
    pub(crate) fn warnings(&self, id: &ExperimentId) -> Vec<String> {
        let connected = self.state.dispatch.workers().len();
        let Some(experiment) = self.state.ledger.experiment(id).filter(|_| connected > 0) else {
            return Vec::new();
        };
        let stages = experiment.plan.stages.iter().zip(&experiment.stages).enumerate();
        let unmet = stages.filter(|(_, (_, progress))| !progress.finished).filter_map(|(index, (stage, _))| {
            let requirements = experiment.plan.requires(index as u32);
            let is_unmet = self.state.able(requirements, experiment.plan.numerics_of(index as u32)) == 0;
            is_unmet.then(|| {
                let stage = stage.as_str();
                format!("none of the {connected} connected workers can measure stage `{stage}` ({requirements})")
            })
        });
        unmet.collect()
    }

    pub(crate) fn explain(&self, subject: &str) -> Result<Explanation, RequestError> {
        let unknown = match self.resolve(subject) {
            Ok(id) => {
                let explanation = self.state.explain_experiment(&id);
                return explanation.ok_or_else(|| Rejection::UnknownExperiment(id).into());
            }
            Err(error @ RequestError::Ambiguous { .. }) => return Err(error),
            Err(error) => error,
        };
        let is_key = subject.len() >= KEY_DIGITS_MIN && subject.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_key {
            return Err(unknown);
        }
        let (ledger, digits) = (&self.state.ledger, subject.to_ascii_lowercase());
        let found: Vec<_> = ledger.trials_called(&digits, 0..ledger.proposed()).take(2).collect();
        match found.as_slice() {
            [trial] => self.state.explain_trial(&trial.key, self.now).ok_or(unknown),
            [] => Err(RequestError::UnknownSubject(subject.to_owned())),
            _ => Err(RequestError::AmbiguousTrial(subject.to_owned())),
        }
    }

    pub(crate) fn context(&self, digest: &Digest) -> Result<EvaluateContext, RequestError> {
        let context = self.state.ledger.context(digest).cloned();
        context.ok_or(RequestError::UnknownContext(*digest))
    }

    /// Finds the experiment that a user means: by id, else by its whole name, else by the start of its id.
    pub(crate) fn resolve(&self, text: &str) -> Result<ExperimentId, RequestError> {
        let exact = ExperimentId(text.to_owned());
        let experiments = self.state.ledger.experiments();
        if self.state.ledger.experiment(&exact).is_some() {
            return Ok(exact);
        }
        let ids = |fits: &dyn Fn(&Experiment) -> bool| -> Vec<ExperimentId> {
            let fitting = experiments.iter().filter(|experiment| fits(experiment));
            fitting.map(|experiment| experiment.id.clone()).collect()
        };
        let mut candidates = ids(&|experiment| experiment.plan.name == text);
        if candidates.is_empty() {
            candidates = ids(&|experiment| !text.is_empty() && experiment.id.0.starts_with(text));
        }
        match candidates.len() {
            0 => Err(Rejection::UnknownExperiment(exact).into()),
            1 => Ok(candidates.remove(0)),
            _ => Err(RequestError::Ambiguous { text: text.to_owned(), candidates }),
        }
    }

    pub(crate) fn workers(&self) -> Vec<WorkerSummary> {
        let mut leased: HashMap<&WorkerId, u64> = HashMap::new();
        for (_, lease) in self.state.dispatch.leases() {
            *leased.entry(&lease.worker).or_default() += lease.trials.len() as u64;
        }
        let workers = self.state.dispatch.workers();
        workers
            .map(|worker| WorkerSummary {
                info: worker.info.clone(),
                committed: worker.committed,
                leased: leased.get(&worker.info.id).copied().unwrap_or(0),
                trial_ms: worker.trial_ms,
                silent_ms: self.now.0.saturating_sub(worker.last_seen.0),
            })
            .collect()
    }

    fn experiment(&self, id: &ExperimentId) -> Result<&Experiment, RequestError> {
        let known = self.state.ledger.experiment(id);
        known.ok_or_else(|| Rejection::UnknownExperiment(id.clone()).into())
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

    fn summary(&self, experiment: &Experiment, leased: &HashMap<&ExperimentId, u64>) -> Summary {
        let current = experiment.current_stage();
        let stage = current.and_then(|stage| experiment.plan.stages.get(stage as usize));
        let requirements = experiment.plan.requires(current.unwrap_or(0));
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
            workers: self.state.able(requirements, experiment.plan.numerics_of(current.unwrap_or(0))),
            conflicts: self.state.ledger.conflicts(),
        }
    }
}
