//! Search methods: pure, seeded folds over history that say which trials come next.
//!
//! A [`Searcher`] drives one stage. All it knows follows from the [`StageHistory`], so a resumed search goes on exactly
//! where it stopped; what it keeps is there only so as not to go through the same history twice. [`searcher`] is the
//! registry.
//!
//! Underneath lie the methods themselves, which know nothing of trials: [`predict`] fits [`measurements`], [`cost`]
//! prices assignments of a [`space`], and [`solve`] finds the best within limits; both speak in [`form`]s.

pub mod amp;
pub mod autoqkeras;
mod check;
pub mod cost;
pub mod demotion;
pub mod design;
pub mod energy;
pub mod form;
pub mod front;
pub mod goal;
mod limits;
mod measure;
pub mod measurements;
pub mod network;
pub mod offline;
pub mod predict;
pub mod priced;
mod searched;
pub mod set_search;
pub mod solve;
pub mod space;
mod stages;
pub mod tables;
mod turns;

pub use check::{check, warnings};
pub use turns::{Concluded, Searchers, Thinking};

use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::plan::{Plan, StagePlan};
use bitloop_core::state::{Proposal, StageHistory};

/// A computation that takes a while, with all that it depends on; its result is a searcher's proposal.
pub type Thought = Box<dyn FnOnce() -> Proposal + Send>;

/// What a searcher answers.
pub enum Step {
    /// This is next.
    Propose(Proposal),
    /// This says what is next. Until it has, nothing else happens to the stage.
    Think(Thought),
}

impl Step {
    /// The proposal, computed here and now if need be.
    pub fn conclude(self) -> Proposal {
        match self {
            Self::Propose(proposal) => proposal,
            Self::Think(thought) => thought(),
        }
    }
}

/// Drives one stage of one plan.
pub trait Searcher: Send {
    /// Number of trials that the stage comes to, as far as known before it starts.
    fn size(&self) -> u64;

    /// Says what is to be measured next. Called again after every settled trial, and after a restart.
    fn propose(&mut self, history: &StageHistory<'_>) -> Step;
}

/// Returns the searcher of a plan's stage.
pub fn searcher(plan: &Plan, stage: &StagePlan) -> Box<dyn Searcher> {
    match stage {
        StagePlan::Prepare => Box::new(stages::Prepare),
        StagePlan::Sensitivity { .. } => Box::new(stages::Sensitivity::new(plan, stage)),
        StagePlan::Search(search) if search.method.is_limited_by_cost() => {
            Box::new(stages::Search::new(plan, search))
        }
        StagePlan::Search(search) => Box::new(stages::Sets::new(plan, search)),
        StagePlan::AutoQKeras(search) => Box::new(stages::AutoQKeras::new(plan, search)),
        StagePlan::Probe(probe) => Box::new(stages::Probe::new(plan, probe)),
        StagePlan::Verify { top, uniform, difference_max_ppm: _ } => {
            Box::new(stages::Verify::new(plan, *top, *uniform))
        }
    }
}

/// What a stage comes to, as far as known before it starts.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Forecast {
    /// The stage's word.
    pub stage: &'static str,
    /// Trials.
    pub trials: u64,
    /// Images evaluated, over all trials; where parts of them may be enough, the most.
    pub images: u64,
}

/// What each stage of a plan comes to.
pub fn forecast(plan: &Plan) -> Vec<Forecast> {
    let stage = |stage: &StagePlan| {
        let trials = searcher(plan, stage).size();
        let (mode, images) = match stage {
            StagePlan::Prepare | StagePlan::Probe(_) => (plan.evaluation, 0),
            StagePlan::Sensitivity { .. } => (plan.evaluation, plan.data.selection.images),
            StagePlan::Search(_) => (plan.evaluation.references(), plan.data.selection.images),
            // Trainings see their images many times; a forecast of them counts what they are judged by.
            StagePlan::AutoQKeras(_) => (EvaluationMode::default(), plan.data.selection.images),
            StagePlan::Verify { .. } => (plan.evaluation.references(), plan.data.report.images),
        };
        let parts = match mode {
            EvaluationMode::Full { .. } => mode.parts(images).max(1),
            EvaluationMode::Adaptive(_) => 1,
        };
        let images = (trials / parts).saturating_mul(images);
        Forecast { stage: stage.as_str(), trials, images }
    };
    plan.stages.iter().map(stage).collect()
}

/// Number of trials that a whole plan comes to, as far as known before it starts.
pub fn plan_size(plan: &Plan) -> u64 {
    plan.stages.iter().map(|stage| searcher(plan, stage).size()).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests;
