//! Search methods: pure, seeded folds over history that say which trials come next.
//!
//! A [`Searcher`] drives one stage. It keeps no memory of its own: all it knows is in the [`StageHistory`], so a
//! resumed search goes on exactly where it stopped. [`searcher`] is the registry.

mod adaptive;
mod prepare;
mod sensitivity;

use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::graph::GraphError;
use bitloop_core::plan::{Plan, StagePlan};
use bitloop_core::state::{Proposal, StageHistory};
use bitloop_core::sweep::Sweep;

/// Drives one stage of one plan.
pub trait Searcher: Send {
    /// Number of trials that the stage comes to, as far as known before it starts.
    fn size(&self) -> u64;

    /// Says what is to be measured next. Called again after every settled trial, and after a restart.
    fn propose(&self, history: &StageHistory<'_>) -> Proposal;
}

/// Returns the searcher of a plan's stage.
///
/// Errors: those of the plan's graph.
pub fn searcher(plan: &Plan, stage: &StagePlan) -> Result<Box<dyn Searcher>, GraphError> {
    Ok(match stage {
        StagePlan::Prepare => Box::new(prepare::Prepare),
        StagePlan::Sensitivity { single } => {
            let sweep = Sweep::new(plan, single);
            match plan.evaluation {
                EvaluationMode::Full { .. } => Box::new(sensitivity::Sensitivity::new(plan, sweep)),
                EvaluationMode::Adaptive(_) => Box::new(adaptive::Adaptive::new(plan, sweep)),
            }
        }
    })
}

/// Number of trials that a whole plan comes to, as far as known before it starts.
///
/// Errors: those of the plan's graph.
pub fn plan_size(plan: &Plan) -> Result<u64, GraphError> {
    plan.stages.iter().map(|stage| Ok(searcher(plan, stage)?.size())).sum()
}

#[cfg(test)]
mod tests;
