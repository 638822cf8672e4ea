//! Subsets chosen in batches: those that the predictor, fitted to what came so far, knows least about.

use bitloop_core::digest::Digest;
use bitloop_core::plan::{Metric, Subsets};
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::trial::{EvaluateContext, ImageRange, TrialSpec};

use crate::design::{Design, Item, SubsetDesign};
use crate::measurements::Measurements;
use crate::predict;
use crate::searched::Searched;
use crate::{Step, Thought};

/// Subsets of a batch: enough for a cluster, few enough for the predictor to learn from.
const BATCH: u64 = 32;

/// Random subsets that a batch is chosen from, for each that is taken.
const POOL: u64 = 32;

/// A design that grows batch by batch. Every batch is measured on all images before the next is chosen.
pub(super) struct Uncertain {
    searched: Searched,
    items: Vec<Item>,
    subsets: Subsets,
    /// Trials of the stage before the first batch.
    before: u64,
}

impl Uncertain {
    pub(super) fn new(searched: Searched, items: Vec<Item>, subsets: Subsets, before: u64) -> Self {
        Self { searched, items, subsets, before }
    }

    /// What comes next; none when all subsets are measured.
    pub(super) fn next(&self, context: &EvaluateContext, history: &StageHistory<'_>) -> Option<Step> {
        let all = history.proposed().len() as u64;
        if all > history.settled() {
            return Some(Step::Propose(Proposal::Wait));
        }
        let proposed = all - self.before;
        let left = self.subsets.configs.saturating_sub(proposed);
        if left == 0 {
            return None;
        }
        let choice = Choice {
            measured: self.searched.measurements(history, Metric::default()),
            searched: self.searched.clone(),
            items: self.items.clone(),
            subsets: self.subsets,
            first: proposed * POOL,
            count: left.min(BATCH),
            context: context.digest(),
            part: context.whole(),
        };
        let thought: Thought = Box::new(move || choice.make());
        Some(Step::Think(thought))
    }
}

/// All that the choice of a batch depends on.
struct Choice {
    measured: Measurements,
    searched: Searched,
    items: Vec<Item>,
    subsets: Subsets,
    /// Index of the pool's first subset in the random design.
    first: u64,
    count: u64,
    context: Digest,
    part: ImageRange,
}
