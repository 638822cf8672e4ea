//! Measuring a list of bit configs: all of each, or as much of each as its decision needs.

mod adaptive;
mod full;

use bitloop_core::bits::BitConfig;
use bitloop_core::digest::Digest;
use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::plan::Plan;
use bitloop_core::state::StageHistory;
use bitloop_core::sweep::Sweep;
use bitloop_core::trial::TrialSpec;

/// Trials proposed at once.
pub(crate) const STEP_TRIALS: u64 = 1024;

/// More are proposed while fewer than this are open: so many that the backlog tells how many workers a sweep could use, and
/// no more than memory bears, of which an open trial takes a few hundred bytes.
pub(crate) const OPEN_TRIALS: u64 = 1 << 20;

/// Bit configs by index; they are made when asked for, so that millions of them take no memory.
pub(crate) trait Configs: Send {
    /// How many there are.
    fn size(&self) -> u64;

    /// The config at `index`, which is below the size.
    fn config(&self, index: u64) -> BitConfig;
}

impl Configs for Sweep {
    fn size(&self) -> u64 {
        self.size()
    }

    fn config(&self, index: u64) -> BitConfig {
        self.config(index)
    }
}

/// What comes next of a list.
#[derive(Debug)]
pub(crate) enum Next {
    /// These trials.
    Trials(Vec<TrialSpec>),
    /// Nothing until more is settled.
    Wait,
    /// Nothing any more: all is settled.
    Done,
}

/// Measures the configs of one list, as a fold over the stage's history.
pub(crate) trait Measure: Send {
    /// Number of trials that the list comes to, as far as known before.
    fn size(&self) -> u64;

    /// What is measured next.
    fn next(&mut self, context: Digest, history: &StageHistory<'_>) -> Next;
}

/// A list of configs, of which the first `references` are measured on all images in any case.
pub(crate) struct List {
    pub(crate) configs: Box<dyn Configs>,
    pub(crate) references: u64,
    /// Trials that the stage had proposed before the list.
    pub(crate) before: u64,
}

/// The way in which a plan measures a list.
pub(crate) fn measure(plan: &Plan, list: List) -> Box<dyn Measure> {
    let images = plan.data.selection.images;
    match plan.evaluation {
        EvaluationMode::Full { .. } => Box::new(full::Full::new(plan.evaluation, images, list)),
        EvaluationMode::Adaptive(_) => Box::new(adaptive::Adaptive::new(plan.evaluation, images, list)),
    }
}
