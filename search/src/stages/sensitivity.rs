//! A sensitivity sweep: points lowered alone, then in pairs, then in larger subsets.
//!
//! Each part begins when the one before is settled, since damage alone may say what takes part in company.

use bitloop_core::bits::BitConfig;
use bitloop_core::plan::{Metric, Pairs, Plan, StagePlan, SubsetDesign, Subsets};
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::sweep::{REFERENCES, Sweep};

use super::uncertain::Uncertain;
use super::{NOT_PREPARED, prepared};
use crate::design::{self, Design, Item};
use crate::measure::{Configs, List, Measure, Next, measure};
use crate::searched::Searched;
use crate::{Searcher, Step};

/// The parts of a sweep behind its single points.
#[derive(Clone, Copy, Debug)]
enum Part {
    Pairs(Pairs),
    Subsets(Subsets),
}

pub(crate) struct Sensitivity {
    plan: Plan,
    sweep: Sweep,
    searched: Searched,
    /// The parts that follow, last one first.
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
    /// The sweep of a plan's stage.
    pub(crate) fn new(plan: &Plan, stage: &StagePlan) -> Self {
        let (single, pairs, subsets) = match stage {
            StagePlan::Sensitivity { single, pairs, subsets } => (single.as_slice(), *pairs, *subsets),
            StagePlan::Prepare | StagePlan::Search(_) | StagePlan::Verify { .. } => (&[][..], None, None),
        };
        let sweep = Sweep::new(plan, single);
        let list = List { configs: Box::new(sweep.clone()), references: REFERENCES, before: 0 };
        let parts = [subsets.map(Part::Subsets), pairs.map(Part::Pairs)];
        Self {
            plan: plan.clone(),
            searched: Searched::new(plan),
            current: Current::List(measure(plan, list)),
            sweep,
            parts: parts.into_iter().flatten().collect(),
            before: 0,
        }
    }

    /// Goes on to the next part; `false` if there is none.
    fn advance(&mut self, history: &StageHistory<'_>) -> bool {
        let Some(part) = self.parts.pop() else { return false };
        self.before += match &self.current {
            Current::List(list) => list.size(),
            Current::Uncertain(_) => 0,
        };
        let items = self.kept(history, part);
        let before = self.before;
        let design: Box<dyn Design> = match part {
            Part::Pairs(Pairs::Below { .. }) => Box::new(design::Pairs::new(&items)),
            Part::Pairs(Pairs::MostPromising { .. }) => Box::new(design::Pairs::new(&items)),
            Part::Subsets(Subsets { configs, points, seed, design: SubsetDesign::Random, .. }) => {
                Box::new(design::Subsets::new(items, points, configs, seed))
            }
            Part::Subsets(subsets) => {
                self.current =
                    Current::Uncertain(Uncertain::new(self.searched.clone(), items, subsets, before));
                return true;
            }
        };
        let configs = Box::new(Designed { design, searched: self.searched.clone() });
        self.current = Current::List(measure(&self.plan, List { configs, references: 0, before }));
        true
    }

    /// What takes part in company: variables with levels, ascending.
    fn kept(&self, history: &StageHistory<'_>, part: Part) -> Vec<Item> {
        let evaluations = history.evaluations(history.stage(), self.plan.evaluation);
        let lowered = (REFERENCES..self.sweep.size()).filter_map(|index| {
            let config = self.sweep.config(index);
            let item = *self.searched.changes(&config)?.first()?;
            let damage = evaluations.row(&config).measured()?.loss_by(Metric::Top1Drop).value;
            Some((item, damage))
        });
        let mut lowered: Vec<(Item, f64)> = lowered.collect();
        let quantile_ppm = match part {
            Part::Pairs(Pairs::Below { quantile_ppm }) | Part::Subsets(Subsets { quantile_ppm, .. }) => {
                quantile_ppm
            }
            Part::Pairs(Pairs::MostPromising { .. }) => None,
        };
        if let Some(ppm) = quantile_ppm {
            let mut damages: Vec<f64> = lowered.iter().map(|l| l.1).collect();
            damages.sort_by(f64::total_cmp);
            let at = f64::from(ppm) / 1e6 * (damages.len() as f64 - 1.0);
            let (i, t) = (at.floor() as usize, at.fract());
            let q = damages[i] + t * (damages.get(i + 1).copied().unwrap_or(damages[i]) - damages[i]);
            lowered.retain(|l| l.1 < q);
        }
        let mut items: Vec<Item> = lowered.into_iter().map(|(item, _)| item).collect();
        items.sort_unstable();
        items
    }
}

/// A design's configs.
struct Designed {
    design: Box<dyn Design>,
    searched: Searched,
}

impl Configs for Designed {
    fn size(&self) -> u64 {
        self.design.len()
    }

    fn config(&self, index: u64) -> BitConfig {
        self.searched.config(&self.design.get(index))
    }
}

impl Searcher for Sensitivity {
    /// How many points damage leaves for company is only known afterwards; ties aside it is the quantile's share of them.
    fn size(&self) -> u64 {
        let singles = match &self.current {
            Current::List(list) => list.size(),
            Current::Uncertain(_) => 0,
        };
        let parts = self.plan.evaluation.parts(self.plan.data.selection.images);
        let (items, all) = (self.sweep.size() - REFERENCES, self.sweep.pairs());
        let pairs = |quantile_ppm: Option<u32>| match quantile_ppm {
            Some(ppm) => {
                let kept = (f64::from(ppm) / 1e6 * items.saturating_sub(1) as f64).ceil();
                (all as f64 * (kept / items.max(1) as f64).powi(2)).round() as u64
            }
            None => all,
        };
        let of = |part: &Part| match part {
            Part::Pairs(Pairs::Below { quantile_ppm }) => parts * pairs(*quantile_ppm),
            Part::Pairs(Pairs::MostPromising { configs }) => parts * (*configs).min(all),
            Part::Subsets(Subsets { configs, .. }) => parts * configs,
        };
        singles + self.parts.iter().map(of).sum::<u64>()
    }

    fn propose(&mut self, history: &StageHistory<'_>) -> Step {
        let Some(artifact) = prepared(history) else {
            return Step::Propose(Proposal::Failed(NOT_PREPARED.to_owned()));
        };
        let context = history.plan().context(artifact);
        loop {
            match &mut self.current {
                Current::List(list) => match list.next(context.digest(), history) {
                    Next::Trials(trials) => {
                        let is_first = history.proposed().is_empty();
                        let context = is_first.then_some(context);
                        return Step::Propose(Proposal::Trials(Batch { context, trials }));
                    }
                    Next::Wait => return Step::Propose(Proposal::Wait),
                    Next::Done => {}
                },
                Current::Uncertain(uncertain) => {
                    if let Some(step) = uncertain.next(&context, history) {
                        return step;
                    }
                }
            }
            if !self.advance(history) {
                return Step::Propose(Proposal::Finished);
            }
        }
    }
}
