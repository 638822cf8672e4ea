//! What has happened and what is owed: the coordinator's state, as pure functions of (state, input, now).
//!
//! [`decide`] turns an input into events and a reply; [`State::apply`] records an event, the same live and on
//! replay. The [`Ledger`] holds what facts say and is durable; [`Dispatch`] holds queue, leases and workers and is
//! not. The caller stores the facts among the events before it sends the reply.

mod backlog;
mod blame;
mod change;
mod commit;
mod decide;
mod dispatch;
mod explain;
mod fact;
mod fairness;
mod history;
mod ledger;
mod occupancy;
mod pace;
mod parked;
mod placement;
mod presence;
mod queue;
mod rests;
mod runs;
mod shard;
mod trials;
mod troubles;

pub use backlog::{Backlog, WANTED_MS_MAX};
pub use change::Change;
pub use decide::{Action, Decision, Input, Proposal, Rejection, Reply, Report, decide};
pub use dispatch::{Dispatch, Lease, LeaseId, Worker, WorkerId, WorkerInfo};
pub use explain::{Elsewhere, Explanation, asked_text};
pub use fact::{Batch, Fact, Sources};
pub use history::StageHistory;
pub use ledger::{Claim, Experiment, Ledger, StageProgress, Status, Trial, TrialState};
pub use pace::{Pace, Subject, WorkerClass};
pub use parked::{Parked, Waiting};
pub use placement::Hindrance;
pub use queue::Queued;
pub use shard::Shard;
pub use troubles::{Loss, Obstacle, ObstacleKind};

use crate::plan::ExperimentId;

/// How long a lease lasts without a heartbeat, in milliseconds. A worker sends five heartbeats in this time.
pub const LEASE_TERM_MS: u64 = 10_000;

/// A worker that fell silent may only be cut off. After so long, in milliseconds, it is taken for dead: longer than what
/// restarts of switches, routers and hosts take.
pub const LOSS_DOUBT_MS: u64 = 120_000;

/// A trial that ran on this many workers when they were lost is not tried again.
pub const QUARANTINE_LOSSES: u32 = 3;

/// Milliseconds since 1970, from a clock that never jumps back while the process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The time `millis` later.
    pub fn after(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Durable.
    Fact(Fact),
    /// Volatile.
    Change(Change),
}

impl From<Fact> for Event {
    fn from(fact: Fact) -> Self {
        Self::Fact(fact)
    }
}

impl From<Change> for Event {
    fn from(change: Change) -> Self {
        Self::Change(change)
    }
}

/// All a coordinator knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// What facts say.
    pub ledger: Ledger,
    /// Who works on what.
    pub dispatch: Dispatch,
}

impl State {
    /// What stored facts come to, in their order; `each` sees a fact and the state before it.
    ///
    /// Nothing is handed out meanwhile, so that what is owed is queued once, in the end: an experiment of a million trials that
    /// was paused ten times would otherwise be queued as often.
    pub fn replayed(facts: impl IntoIterator<Item = Fact>, mut each: impl FnMut(&Self, &Fact)) -> Self {
        let mut state = Self::default();
        for fact in facts {
            each(&state, &fact);
            state.ledger.apply(&fact);
        }
        for trial in state.ledger.trials() {
            state.dispatch.enqueue(&trial.key, &state.ledger);
        }
        state
    }

    /// Records an event. The only code that changes state while the coordinator works.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Change(change) => self.dispatch.apply(change, &self.ledger),
            Event::Fact(fact) => {
                let taken_back = self.ledger.apply(fact);
                self.update_queue(fact);
                for key in taken_back {
                    self.dispatch.reconsider(&key, &self.ledger);
                }
            }
        }
    }

    fn update_queue(&mut self, fact: &Fact) {
        match fact {
            Fact::StepProposed { experiment, stage, batch } => {
                // Keys are hashes of what is to be done, and the ledger has just made them.
                let known = self.ledger.experiment(experiment);
                let keys = known.map_or(&[][..], |known| &known.stages[*stage as usize].trials);
                for key in &keys[keys.len().saturating_sub(batch.trials.len())..] {
                    self.dispatch.enqueue(key, &self.ledger);
                }
            }
            Fact::OutcomeCommitted { key, .. }
            | Fact::OutcomeReplaced { key, .. }
            | Fact::TrialQuarantined { key, .. } => {
                self.dispatch.settle(key, &self.ledger);
            }
            Fact::OutcomeLost { key } => self.dispatch.reconsider(key, &self.ledger),
            // Another priority may change whom a trial is measured for.
            Fact::ExperimentSubmitted { plan, .. } => self.reconsider(&plan.id()),
            Fact::ExperimentPaused { experiment }
            | Fact::ExperimentResumed { experiment }
            | Fact::ExperimentCancelled { experiment }
            | Fact::ExperimentFinished { experiment }
            | Fact::ExperimentFailed { experiment, .. } => {
                self.reconsider(experiment);
            }
            Fact::StageFinished { .. } | Fact::ConflictSeen { .. } => {}
        }
    }

    fn reconsider(&mut self, experiment: &ExperimentId) {
        let stages = self.ledger.experiment(experiment).map(|known| &known.stages);
        // Of a stage that is settled nothing waits or is leased.
        let open = stages.into_iter().flatten().filter(|stage| stage.settled < stage.trials.len() as u64);
        for key in open.flat_map(|stage| &stage.trials) {
            self.dispatch.reconsider(key, &self.ledger);
        }
    }

    /// What the searcher of an experiment's current stage may look at; none if the experiment is not active.
    pub fn history(&self, experiment: &Experiment) -> Option<StageHistory<'_>> {
        let stage = experiment.current_stage().filter(|_| experiment.status == Status::Active)?;
        let known = self.ledger.experiment(&experiment.id)?;
        Some(StageHistory::new(&self.ledger, known, stage))
    }

    /// Whether a worker that waits with an empty queue may get trials that others are late with or have not begun.
    pub fn has_spare_trials(&self, now: UnixMillis) -> bool {
        shard::is_spare(&self.ledger, &self.dispatch, now)
    }

    /// Checks what must always hold; for tests and simulation.
    ///
    /// Errors: a sentence naming the first breach.
    pub fn check(&self) -> Result<(), String> {
        self.dispatch.check(&self.ledger)
    }
}

#[cfg(test)]
pub(crate) mod tests;
