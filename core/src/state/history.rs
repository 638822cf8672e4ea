use crate::autoqkeras::Asked;
use crate::evaluation::EvaluationMode;
use crate::latency::Probed;
use crate::plan::{Plan, StagePlan};
use crate::report::Evaluations;
use crate::selection::Selection;
use crate::trial::{Outcome, ProbeTarget, TrialKey};

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

    /// What each of them is for, where the stage is a search that trains.
    pub fn asked(&self) -> &'a [Asked] {
        &self.progress(self.stage).asked
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
        self.ledger.outcome_for(self.experiment, key)
    }

    /// The evaluations that a stage proposed, as a table by config. `mode` says when a config is measured enough.
    pub fn evaluations(&self, stage: u32, mode: EvaluationMode) -> Evaluations<'a> {
        let plan = self.plan();
        let images = match plan.stages[stage as usize] {
            StagePlan::Verify { .. } => plan.data.report.images,
            StagePlan::Prepare
            | StagePlan::Sensitivity { .. }
            | StagePlan::Search(_)
            | StagePlan::Probe(_)
            | StagePlan::AutoQKeras(_) => plan.data.selection.images,
        };
        Evaluations::new((self.ledger, self.experiment), &self.progress(stage).trials, mode, images)
    }

    /// What was asked of a device, by this stage and those before it.
    pub fn probed(&self, target: &ProbeTarget) -> Vec<Probed<'a>> {
        let mut probed = Probed::all(self.ledger, self.experiment, target);
        probed.retain(|probed| probed.stage <= self.stage);
        probed
    }

    /// What an earlier stage chose, if it chooses anything.
    pub fn selection(&self, stage: u32) -> Option<&'a Selection> {
        self.progress(stage).selection.as_deref()
    }

    /// Whether a trial is no longer open: it has an outcome or was quarantined.
    pub fn is_settled(&self, key: &TrialKey) -> bool {
        let trial = self.ledger.trial(key);
        trial.is_some_and(|trial| !matches!(self.experiment.came_of(trial), TrialState::Open))
    }

    fn progress(&self, stage: u32) -> &'a StageProgress {
        &self.experiment.stages[stage as usize]
    }
}
