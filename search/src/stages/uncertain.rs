//! Subsets chosen in batches: those that the predictor, fitted to what came so far, knows least about.

use bitloop_core::plan::{Metric, Subsets};
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::trial::EvaluateContext;

use crate::Step;
use crate::design::{self, Design, Items, SubsetSizes};
use crate::measurements::Measurements;
use crate::predict::most_informative;
use crate::searched::Searched;

/// Subsets of a batch: enough for a cluster, few enough for the predictor to learn from.
const BATCH: u64 = 32;

/// Random subsets that a batch is chosen from, for each that is taken.
const POOL: u64 = 32;

/// A design that grows batch by batch. Every batch is measured on all images before the next is chosen.
pub(super) struct Uncertain {
    searched: Searched,
    items: Items,
    subsets: Subsets,
    /// Trials of the stage before the first batch.
    before: u64,
}

impl Uncertain {
    pub(super) fn new(searched: Searched, items: Items, subsets: Subsets, before: u64) -> Self {
        Self { searched, items, subsets, before }
    }

    /// What comes next; none when all subsets are measured.
    pub(super) fn next(&self, context: &EvaluateContext, history: &StageHistory<'_>) -> Option<Step> {
        let all = history.proposed().len() as u64;
        if all > history.settled() {
            return Some(Step::Propose(Proposal::Wait));
        }
        let mode = history.plan().evaluation.references();
        let proposed = (all - self.before) / mode.parts(context.images.len).max(1);
        let count = self.subsets.configs.saturating_sub(proposed).min(BATCH);
        if count == 0 {
            return None;
        }
        let choice = Choice {
            measured: self.searched.measurements(history, Metric::default()),
            items: self.items.clone(),
            subsets: self.subsets,
            first: proposed * POOL,
            count,
        };
        let (searched, context) = (self.searched.clone(), context.clone());
        Some(Step::Think(Box::new(move || match choice.make() {
            Ok(subsets) => {
                let configs: Vec<_> = subsets.iter().map(|levels| searched.assigned(levels)).collect();
                let trials = configs.iter().flat_map(|config| context.trials(config, mode)).collect();
                Proposal::Trials(Batch { context: None, trials })
            }
            Err(reason) => Proposal::Failed(reason),
        })))
    }
}

/// All that the choice of a batch depends on.
struct Choice {
    measured: Measurements,
    items: Items,
    subsets: Subsets,
    /// Index of the pool's first subset in the random design.
    first: u64,
    count: u64,
}

impl Choice {
    /// The batch, as assignments.
    fn make(self) -> Result<Vec<Vec<u8>>, String> {
        let Subsets { configs, points: [min, max], seed, .. } = self.subsets;
        let sizes = SubsetSizes { min, max, step: 1 };
        let random = design::Subsets::new(self.items, sizes, configs.saturating_mul(POOL), seed);
        let random = random.map_err(|error| error.to_string())?;
        let reference = self.measured.space.reference();
        let end = random.len().min(self.first + self.count * POOL);
        let pool = (self.first..end).map(|index| {
            let mut levels = reference.clone();
            for (variable, level) in random.get(index).unwrap_or_default() {
                levels[variable as usize] = level;
            }
            levels
        });
        let pool: Vec<Vec<u8>> = pool.collect();
        let chosen = most_informative(&self.measured, &pool, self.count as usize)
            .map_err(|error| error.to_string())?;
        Ok(chosen.into_iter().map(|index| pool[index].clone()).collect())
    }
}
