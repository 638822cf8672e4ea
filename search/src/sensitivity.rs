//! Single-point sensitivity: the baseline with one point lowered, for every point and width.

use bitloop_core::digest::Digest;
use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::plan::{Plan, StagePlan};
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::sweep::Sweep;
use bitloop_core::trial::{EvaluateContext, TrialResult, TrialSpec};

use crate::Searcher;

/// Trials proposed at once.
const STEP_TRIALS: u64 = 1024;

/// More are proposed while fewer than this are open, so that workers never wait for the searcher.
const OPEN_TRIALS: u64 = 4 * STEP_TRIALS;

/// Measures every config on all images: part by part, in each all configs, so that they share what they agree in.
pub(crate) struct Sensitivity {
    sweep: Sweep,
    mode: EvaluationMode,
    images: u64,
}

impl Sensitivity {
    pub(crate) fn new(plan: &Plan, sweep: Sweep) -> Self {
        Self { sweep, mode: plan.evaluation, images: plan.data.selection.images }
    }

    fn trial(&self, context: Digest, index: u64) -> Option<TrialSpec> {
        let configs = self.sweep.size();
        let part = self.mode.part(self.images, index / configs)?;
        Some(TrialSpec::Evaluate { context, config: self.sweep.config(index % configs), part })
    }
}

impl Searcher for Sensitivity {
    fn size(&self) -> u64 {
        self.sweep.size() * self.mode.parts(self.images)
    }

    fn propose(&mut self, history: &StageHistory<'_>) -> Proposal {
        let size = self.size();
        let proposed = history.proposed().len() as u64;
        let open = proposed - history.settled();
        if proposed == size && open == 0 {
            return Proposal::Finished;
        }
        if proposed == size || open >= OPEN_TRIALS {
            return Proposal::Wait;
        }
        let Some(context) = context(history) else {
            return Proposal::Failed(NOT_PREPARED.to_owned());
        };
        let digest = context.digest();
        let end = size.min(proposed + STEP_TRIALS);
        let trials = (proposed..end).filter_map(|index| self.trial(digest, index)).collect();
        Proposal::Trials(Batch { context: (proposed == 0).then_some(context), trials })
    }
}

/// Why a sweep cannot start.
pub(crate) const NOT_PREPARED: &str = "no earlier stage prepared the model";

/// What this sweep's evaluations share: derived from the artifact that the prepare stage gave.
pub(crate) fn context(history: &StageHistory<'_>) -> Option<EvaluateContext> {
    let stages = history.plan().stages.iter().take(history.stage() as usize);
    let prepare = stages.enumerate().find(|(_, stage)| matches!(stage, StagePlan::Prepare))?.0;
    let key = history.earlier(prepare as u32).first()?;
    match &history.outcome(key)?.result {
        TrialResult::Prepared { artifact, .. } => Some(history.plan().context(*artifact)),
        TrialResult::Evaluated(_) | TrialResult::Failed { .. } => None,
    }
}
