//! The latest trials that failed, for people.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::{Change, Event, Fact, Input, State, UnixMillis, WorkerId, WorkerInfo};
use bitloop_core::trial::{TrialKey, TrialResult};

/// Failures that are kept.
const FAILURES_MAX: usize = 64;

/// Letters of a reason that are kept; all of it is in the trial's outcome.
const REASON_LETTERS_MAX: usize = 500;

/// A trial that failed, or was quarantined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialFailure {
    pub trial: TrialKey,
    /// The first experiment that wants it.
    pub experiment: Option<ExperimentId>,
    /// Who reported it; nobody reports a quarantine.
    pub worker: Option<WorkerId>,
    pub reason: String,
    pub at: UnixMillis,
}

/// Failures since the coordinator's start.
#[derive(Default)]
pub(super) struct Failures {
    /// Newest first.
    latest: VecDeque<Arc<TrialFailure>>,
    by_worker: HashMap<WorkerId, u64>,
}

impl Failures {
    /// Takes note of an event that was just applied.
    pub(super) fn note(&mut self, state: &State, (input, event): (&Input, &Event), now: UnixMillis) {
        let (trial, reason) = match event {
            Event::Fact(fact) => match failed(fact) {
                Some(failed) => failed,
                None => return,
            },
            Event::Change(change) => return self.forget(change),
        };
        let worker = match input {
            Input::Commit { worker, .. } | Input::Release { worker, .. } => Some(worker.clone()),
            Input::Submit { .. }
            | Input::Act { .. }
            | Input::Advance { .. }
            | Input::Register { .. }
            | Input::Leave { .. }
            | Input::Request { .. }
            | Input::Heartbeat { .. }
            | Input::Inspect { .. }
            | Input::Missed { .. }
            | Input::Tick { .. } => None,
        };
        if let Some(worker) = &worker {
            *self.by_worker.entry(worker.clone()).or_default() += 1;
        }
        let wanted = state.ledger.trial(&trial);
        let experiment = wanted.and_then(|trial| state.ledger.experiments_of(trial).next());
        let experiment = experiment.map(|experiment| experiment.id.clone());
        self.latest.truncate(FAILURES_MAX - 1);
        self.latest.push_front(Arc::new(TrialFailure { trial, experiment, worker, reason, at: now }));
    }

    /// What a worker did before it came back is another one's.
    fn forget(&mut self, change: &Change) {
        if let Change::WorkerLeft { worker }
        | Change::WorkerJoined { info: WorkerInfo { id: worker, .. }, .. } = change
        {
            self.by_worker.remove(worker);
        }
    }

    pub(super) fn latest(&self) -> Vec<Arc<TrialFailure>> {
        self.latest.iter().cloned().collect()
    }

    /// Trials that a worker reported as failed.
    pub(super) fn of(&self, worker: &WorkerId) -> u64 {
        self.by_worker.get(worker).copied().unwrap_or(0)
    }
}

/// The trial of a fact that says that one failed, and why.
fn failed(fact: &Fact) -> Option<(TrialKey, String)> {
    if let Fact::TrialQuarantined { key, losses } = fact {
        return Some((*key, format!("quarantined: {losses} workers were lost while they ran it")));
    }
    let (Fact::OutcomeCommitted { key, outcome } | Fact::OutcomeReplaced { key, outcome }) = fact else {
        return None;
    };
    let TrialResult::Failed { reason } = &outcome.result else { return None };
    Some((*key, reason.chars().take(REASON_LETTERS_MAX).collect()))
}
