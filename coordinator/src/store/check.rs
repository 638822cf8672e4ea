//! Whether a list of facts can be replayed: every fact speaks of what an earlier one introduced.

use std::collections::{HashMap, HashSet};

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::Fact;
use bitloop_core::trial::TrialKey;

/// Checks facts in the order of their replay.
#[derive(Default)]
pub(super) struct ReplayCheck {
    /// Number of stages of each experiment.
    stages: HashMap<ExperimentId, usize>,
    trials: HashSet<TrialKey>,
}

impl ReplayCheck {
    /// Returns the first reason why these facts cannot be replayed.
    pub(super) fn all(facts: &[Fact]) -> Result<(), String> {
        let mut check = Self::default();
        facts.iter().try_for_each(|fact| check.next(fact))
    }

    /// Returns why a fact cannot follow those before it.
    pub(super) fn next(&mut self, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::ExperimentSubmitted { plan, .. } => {
                // Of two plans with one id, as earlier versions took them, the first one counts.
                self.stages.entry(plan.id()).or_insert(plan.stages.len());
                Ok(())
            }
            Fact::ExperimentPaused { experiment }
            | Fact::ExperimentResumed { experiment }
            | Fact::ExperimentCancelled { experiment }
            | Fact::ExperimentFinished { experiment }
            | Fact::ExperimentFailed { experiment, .. } => self.experiment(experiment).map(|_| ()),
            Fact::StageFinished { experiment, stage, .. } => self.stage(experiment, *stage),
            Fact::StepProposed { experiment, stage, batch } => {
                self.stage(experiment, *stage)?;
                self.trials.extend(batch.trials.iter().map(|spec| spec.key()));
                Ok(())
            }
            Fact::OutcomeCommitted { key, .. }
            | Fact::OutcomeLost { key }
            | Fact::OutcomeReplaced { key, .. }
            | Fact::ConflictSeen { key, .. }
            | Fact::TrialQuarantined { key, .. } => match self.trials.contains(key) {
                true => Ok(()),
                false => Err(format!("it has an outcome of trial {key}, which nothing proposed")),
            },
        }
    }

    fn experiment(&self, id: &ExperimentId) -> Result<usize, String> {
        let stages = self.stages.get(id).copied();
        stages.ok_or_else(|| format!("it speaks of experiment `{id}`, which was never submitted"))
    }

    fn stage(&self, id: &ExperimentId, stage: u32) -> Result<(), String> {
        match (stage as usize) < self.experiment(id)? {
            true => Ok(()),
            false => Err(format!("it speaks of stage {stage} of experiment `{id}`, which has fewer")),
        }
    }
}
