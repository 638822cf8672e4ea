//! Subsets chosen in batches: those that the predictor, fitted to what came so far, knows least about.

use std::ops::Range;

use bitloop_core::plan::{Metric, Subsets};
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::trial::EvaluateContext;

use crate::Step;
use crate::design::{self, Design, DesignError, Items, SubsetSizes};
use crate::measurements::Measurements;
use crate::predict::{FitError, most_informative};
use crate::searched::Searched;

/// Subsets of a batch: enough for a cluster, few enough for the predictor to learn from.
const BATCH: u64 = 32;

/// Random subsets that a batch is chosen from, for each that is taken.
const POOL: u64 = 32;

/// A design that grows batch by batch. Every batch is measured on all images before the next is chosen.
pub(super) struct Uncertain {
    searched: Searched,
    /// What batches are chosen from.
    random: design::Subsets,
    /// How many subsets are measured in all.
    configs: u64,
    /// Trials of the stage before the first batch.
    before: u64,
}

impl Uncertain {
    /// Errors: sizes that are none.
    pub(super) fn new(
        searched: Searched,
        items: Items,
        subsets: Subsets,
        before: u64,
    ) -> Result<Self, DesignError> {
        let Subsets { configs, points: [min, max], seed, .. } = subsets;
        let sizes = SubsetSizes { min, max, step: 1 };
        let random = design::Subsets::new(items, sizes, configs.saturating_mul(POOL), seed)?;
        Ok(Self { searched, configs: configs.min(random.len()), random, before })
    }

    /// How many subsets there are to choose from.
    pub(super) fn pool(&self) -> u64 {
        self.random.len()
    }

    /// What comes next; none when all subsets are measured.
    pub(super) fn next(&self, context: &EvaluateContext, history: &StageHistory<'_>) -> Option<Step> {
        let all = history.proposed().len() as u64;
        if all > history.settled() {
            return Some(Step::Propose(Proposal::Wait));
        }
        let mode = history.plan().evaluation.references();
        let proposed = (all - self.before) / mode.parts(context.images.len).max(1);
        let count = self.configs.saturating_sub(proposed).min(BATCH);
        if count == 0 {
            return None;
        }
        // Where few subsets exist, each that is taken stands for fewer.
        let each = self.random.len() / self.configs;
        let choice = Choice {
            measured: self.searched.measurements(history, Metric::default()),
            random: self.random.clone(),
            pool: proposed * each..(proposed + count) * each,
            count,
        };
        let (searched, context) = (self.searched.clone(), context.clone());
        Some(Step::Think(Box::new(move || match choice.make() {
            Ok(subsets) => {
                let configs: Vec<_> = subsets.iter().map(|levels| searched.assigned(levels)).collect();
                let trials = configs.iter().flat_map(|config| context.trials(config, mode)).collect();
                Proposal::Trials(Batch { context: None, trials, ..Batch::default() })
            }
            Err(error) => Proposal::Failed(error.to_string()),
        })))
    }
}

/// All that the choice of a batch depends on.
struct Choice {
    measured: Measurements,
    random: design::Subsets,
    /// Which of the random subsets are looked at.
    pool: Range<u64>,
    count: u64,
}

impl Choice {
    /// The batch, as assignments.
    fn make(self) -> Result<Vec<Vec<u8>>, FitError> {
        let reference = self.measured.space.reference();
        let pool = self.pool.map(|index| {
            let mut levels = reference.clone();
            for (variable, level) in self.random.get(index).unwrap_or_default() {
                levels[variable as usize] = level;
            }
            levels
        });
        let pool: Vec<Vec<u8>> = pool.collect();
        let chosen = most_informative(&self.measured, &pool, self.count as usize)?;
        Ok(chosen.into_iter().map(|index| pool[index].clone()).collect())
    }
}
