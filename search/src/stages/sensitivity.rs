//! A sensitivity sweep: points lowered alone, then in pairs, then in larger subsets.
//!
//! Each part begins when the one before is settled, since damage alone may say what takes part in company.

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::plan::{Metric, Pairs, Plan, StagePlan, SubsetDesign, Subsets};
use bitloop_core::report::Evaluations;
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::sweep::{REFERENCES, Sweep};

use super::{NOT_PREPARED, prepared};
use crate::design::{Design, Item, Kept, PairDesign, SubsetsDesign, below_quantile};
use crate::measure::{Configs, List, Measure, Next, measure};
use crate::stages::uncertain::Uncertain;
use crate::{Searcher, Step};

/// The parts of a sweep.
#[derive(Clone, Copy, Debug)]
enum Part {
    Pairs(Pairs),
    Subsets(Subsets),
}

pub(crate) struct Sensitivity {
    plan: Plan,
    sweep: Sweep,
    /// The parts that follow, first one first.
    parts: Vec<Part>,
    current: Current,
    /// Trials of the parts before the current one.
    before: u64,
}

/// The part that is measured now.
enum Current {
    /// A list that is known.
    List(Box<dyn Measure>),
    /// Subsets that are chosen in batches.
    Uncertain(Uncertain),
}

impl Sensitivity {
    /// The sweep of a plan's stage over these points.
    pub(crate) fn new(plan: &Plan, stage: &StagePlan) -> Self {
        let (single, pairs, subsets) = match stage {
            StagePlan::Sensitivity { single, pairs, subsets } => (single.as_slice(), *pairs, *subsets),
            StagePlan::Prepare | StagePlan::Search(_) | StagePlan::Verify { .. } => (&[][..], None, None),
        };
        let sweep = Sweep::new(plan, single);
        let list = List { configs: Box::new(sweep.clone()), references: REFERENCES, before: 0 };
        let parts = [pairs.map(Part::Pairs), subsets.map(Part::Subsets)];
        Self {
            plan: plan.clone(),
            current: Current::List(measure(plan, list)),
            sweep,
            parts: parts.into_iter().flatten().collect(),
            before: 0,
        }
    }

    /// Goes on to the next part; `false` if there is none.
    fn advance(&mut self, history: &StageHistory<'_>) -> bool {
        if self.parts.is_empty() {
            return false;
        }
        let part = self.parts.remove(0);
        self.before += match &self.current {
            Current::List(list) => list.size(),
            Current::Uncertain(_) => 0,
        };
        let kept = self.kept(history, part);
        let design: Box<dyn Design> = match part {
            Part::Pairs(Pairs::Below { .. }) => Box::new(PairDesign::all(kept)),
            Part::Pairs(Pairs::MostPromising { configs }) => Box::new(PairDesign::promising(kept, configs)),
            Part::Subsets(subsets) if subsets.design == SubsetDesign::Uncertain => {
                self.current = Current::Uncertain(Uncertain::new(&self.plan, kept, subsets, self.before));
                return true;
            }
            Part::Subsets(Subsets { configs, points, seed, .. }) => {
                Box::new(SubsetsDesign::new(kept, points, configs, seed))
            }
        };
        let configs = Designed { design, baseline: Choice::Bits(self.plan.candidates.baseline) };
        let list = List { configs: Box::new(configs), references: 0, before: self.before };
        self.current = Current::List(measure(&self.plan, list));
        true
    }

    /// What takes part in company: points and widths with what they do alone, in the order of the sweep.
    fn kept(&self, history: &StageHistory<'_>, part: Part) -> Vec<Kept> {
        let (mode, images) = (self.plan.evaluation, self.plan.data.selection.images);
        let evaluations = history.evaluations(history.stage(), mode, images);
        let lowered = (0..self.sweep.size()).filter_map(|index| {
            let (point, bits) = self.sweep.lowered(index)?;
            Some(Kept { item: Item { point, bits }, damage: damage(&evaluations, &self.sweep.config(index))? })
        });
        let lowered: Vec<Kept> = lowered.collect();
        let quantile_ppm = match part {
            Part::Pairs(Pairs::Below { quantile_ppm }) | Part::Subsets(Subsets { quantile_ppm, .. }) => {
                quantile_ppm
            }
            Part::Pairs(Pairs::MostPromising { .. }) => None,
        };
        match quantile_ppm {
            Some(ppm) => below_quantile(lowered, f64::from(ppm) / 1e6),
            None => lowered,
        }
    }
}

/// What a config costs in top-1, in percentage points; none if it could not be measured.
fn damage(evaluations: &Evaluations<'_>, config: &BitConfig) -> Option<f64> {
    let row = evaluations.row(config);
    row.measured().map(|measured| measured.loss_by(Metric::Top1Drop).value)
}

/// A design's configs.
struct Designed {
    design: Box<dyn Design>,
    baseline: Choice,
}

impl Configs for Designed {
    fn size(&self) -> u64 {
        self.design.len()
    }

    fn config(&self, index: u64) -> BitConfig {
        let choice = |Item { point, bits }: Item| -> (PointIndex, Choice) { (point, Choice::Bits(bits)) };
        BitConfig::against(self.baseline, self.design.get(index).into_iter().map(choice))
    }
}
