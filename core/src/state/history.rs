use crate::plan::Plan;
use crate::trial::{Outcome, TrialKey};

use super::ledger::{Experiment, Ledger, StageProgress, TrialState};

/// What a searcher may look at: the plan and what has come of its stages' trials so far.
#[derive(Clone, Copy, Debug)]
pub struct StageHistory<'a> {
    ledger: &'a Ledger,
    experiment: &'a Experiment,
    stage: u32,
}

impl<'a> StageHistory<'a> {
    pub(super) fn new(ledger: &'a Ledger, experiment: &'a Experiment, stage: u32) -> Self {
        Self { ledger, experiment, stage }
    }

    /// The plan.
    pub fn plan(&self) -> &'a Plan {
        &self.experiment.plan
    }

    /// Index of the stage in question.
    pub fn stage(&self) -> u32 {
        self.stage
    }

    /// The stage's trials proposed so far, in order.
    pub fn proposed(&self) -> &'a [TrialKey] {
        &self.progress(self.stage).trials
    }

    /// How many of them are no longer open.
    pub fn settled(&self) -> u64 {
        self.progress(self.stage).settled
    }

    /// Trials of an earlier stage, in order.
    pub fn earlier(&self, stage: u32) -> &'a [TrialKey] {
        &self.progress(stage).trials
    }

    /// What a trial gave, if it is done.
    pub fn outcome(&self, key: &TrialKey) -> Option<&'a Outcome> {
        self.ledger.outcome(key)
    }

    /// Whether a trial is no longer open: it has an outcome or was quarantined.
    pub fn is_settled(&self, key: &TrialKey) -> bool {
        self.ledger.trial(key).is_some_and(|trial| !matches!(trial.state, TrialState::Open))
    }

    fn progress(&self, stage: u32) -> &'a StageProgress {
        &self.experiment.stages[stage as usize]
    }
}
