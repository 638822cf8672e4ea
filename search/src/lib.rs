//! Search methods: pure, seeded folds over history that say which trials come next.
//!
//! A [`Searcher`] drives one stage. All it knows follows from the [`StageHistory`], so a resumed search goes on exactly
//! where it stopped; what it keeps is there only so as not to go through the same history twice. [`searcher`] is the
//! registry.

mod adaptive;
pub mod cost;
pub mod form;
pub mod measurements;
pub mod predict;
mod prepare;
mod sensitivity;
pub mod solve;
pub mod space;

use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::plan::{Plan, StagePlan};
use bitloop_core::state::{Proposal, StageHistory};
use bitloop_core::sweep::Sweep;

/// Drives one stage of one plan.
pub trait Searcher: Send {
    /// Number of trials that the stage comes to, as far as known before it starts.
    fn size(&self) -> u64;

    /// Says what is to be measured next. Called again after every settled trial, and after a restart.
    fn propose(&mut self, history: &StageHistory<'_>) -> Proposal;
}

/// Returns the searcher of a plan's stage.
pub fn searcher(plan: &Plan, stage: &StagePlan) -> Box<dyn Searcher> {
    match stage {
        StagePlan::Prepare => Box::new(prepare::Prepare),
        StagePlan::Sensitivity { single } => {
            let sweep = Sweep::new(plan, single);
            match plan.evaluation {
                EvaluationMode::Full { .. } => Box::new(sensitivity::Sensitivity::new(plan, sweep)),
                EvaluationMode::Adaptive(_) => Box::new(adaptive::Adaptive::new(plan, sweep)),
            }
        }
    }
}

/// Number of trials that a whole plan comes to, as far as known before it starts.
pub fn plan_size(plan: &Plan) -> u64 {
    plan.stages.iter().map(|stage| searcher(plan, stage).size()).sum()
}

#[cfg(test)]
mod tests;
