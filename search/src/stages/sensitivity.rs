//! A sensitivity sweep: points lowered alone, then in pairs, then in larger subsets.
//!
//! Each part begins when the one before is settled, since damage alone may say what takes part in company.

use bitloop_core::bits::BitConfig;
use bitloop_core::plan::{Metric, Pairs, Plan, StagePlan, SubsetDesign, Subsets};
use bitloop_core::state::{Batch, Proposal, StageHistory};
use bitloop_core::sweep::{REFERENCES, Sweep};

use super::uncertain::Uncertain;
use super::{NOT_PREPARED, Shared, prepared};
use crate::design::{self, Change, Design, DesignError, Items, Promising, SubsetSizes};
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
    shared: Shared,
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
            StagePlan::Prepare
            | StagePlan::Search(_)
            | StagePlan::Probe(_)
            | StagePlan::AutoQKeras(_)
            | StagePlan::Verify { .. } => (&[][..], None, None),
        };
        let sweep = Sweep::new(plan, single);
        let list = List { configs: Box::new(sweep.clone()), references: REFERENCES, before: 0 };
        let parts = [subsets.map(Part::Subsets), pairs.map(Part::Pairs)];
        Self {
            plan: plan.clone(),
            searched: Searched::new(plan),
            shared: Shared::default(),
            current: Current::List(measure(plan, list)),
            sweep,
            parts: parts.into_iter().flatten().collect(),
            before: 0,
        }
    }

    /// Goes on to the next part; `false` if there is none.
    ///
    /// Errors: those of the designs, which a plan that was checked does not give.
    fn advance(&mut self, history: &StageHistory<'_>) -> Result<bool, DesignError> {
        let Some(part) = self.parts.pop() else { return Ok(false) };
        self.before += match &self.current {
            Current::List(list) => list.size(),
            Current::Uncertain(_) => 0,
        };
        let (items, damages): (Vec<Change>, Vec<f64>) = self.lowered(history).into_iter().unzip();
        let items = Items::of(items);
        let kept = |quantile_ppm: Option<u32>| match quantile_ppm {
            Some(ppm) => items.below_quantile(&damages, f64::from(ppm) / 1e6),
            None => Ok(items.clone()),
        };
        let mut configs_max = u64::MAX;
        let design: Box<dyn Design> = match part {
            Part::Pairs(Pairs::Below { quantile_ppm }) => Box::new(design::Pairs::new(kept(quantile_ppm)?)),
            Part::Pairs(Pairs::MostPromising { configs }) => {
                configs_max = configs;
                Box::new(Promising::new(&items, &damages)?)
            }
            Part::Subsets(subsets) if subsets.design == SubsetDesign::Uncertain => {
                let items = kept(subsets.quantile_ppm)?;
                let points = items.variables();
                let uncertain = Uncertain::new(self.searched.clone(), items, subsets, self.before)?;
                some(uncertain.pool(), subsets, points)?;
                self.current = Current::Uncertain(uncertain);
                return Ok(true);
            }
            Part::Subsets(subsets) => {
                let items = kept(subsets.quantile_ppm)?;
                let points = items.variables();
                let design = random(items, subsets)?;
                some(design.len(), subsets, points)?;
                Box::new(design)
            }
        };
        let size = design.len().min(configs_max);
        let configs = Box::new(Designed { design, size, searched: self.searched.clone() });
        let list = List { configs, references: 0, before: self.before };
        self.current = Current::List(measure(&self.plan, list));
        Ok(true)
    }

    /// What every item that could be measured does alone, ascending by item.
    fn lowered(&self, history: &StageHistory<'_>) -> Vec<(Change, f64)> {
        let evaluations = history.evaluations(history.stage(), self.plan.evaluation);
        let lowered = (REFERENCES..self.sweep.size()).filter_map(|index| {
            let config = self.sweep.config(index);
            let item = *self.searched.changes(&config)?.first()?;
            let damage = evaluations.row(&config).measured()?.loss_by(Metric::Top1Drop).value;
            Some((item, damage))
        });
        let mut lowered: Vec<(Change, f64)> = lowered.collect();
        lowered.sort_by_key(|(item, _)| *item);
        lowered
    }
}

fn random(items: Items, subsets: Subsets) -> Result<design::Subsets, DesignError> {
    let Subsets { configs, points: [min, max], seed, .. } = subsets;
    design::Subsets::new(items, SubsetSizes { min, max, step: 1 }, configs, seed)
}

/// Refuses a design without any subset: a sweep that silently leaves them out would be taken for one that has them.
fn some(count: u64, subsets: Subsets, points: usize) -> Result<(), DesignError> {
    let [min, max] = subsets.points;
    match count {
        0 => Err(DesignError::NoSubsets { min, max, points }),
        _ => Ok(()),
    }
}

/// A design's configs.
struct Designed {
    design: Box<dyn Design>,
    /// How many of them.
    size: u64,
    searched: Searched,
}

impl Configs for Designed {
    fn size(&self) -> u64 {
        self.size
    }

    fn config(&self, index: u64) -> BitConfig {
        self.searched.config(&self.design.get(index).unwrap_or_default())
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
            Part::Subsets(subsets) => {
                let changes = (REFERENCES..self.sweep.size())
                    .filter_map(|index| self.searched.changes(&self.sweep.config(index))?.first().copied());
                parts * random(Items::of(changes), *subsets).map_or(0, |design| design.len())
            }
        };
        singles + self.parts.iter().map(of).sum::<u64>()
    }

    fn propose(&mut self, history: &StageHistory<'_>) -> Step {
        let Some(artifact) = prepared(history) else {
            return Step::Propose(Proposal::Failed(NOT_PREPARED.to_owned()));
        };
        let (context, digest) = self.shared.on(artifact, |artifact| history.plan().context(artifact));
        loop {
            match &mut self.current {
                Current::List(list) => match list.next(digest, history) {
                    Next::Trials(trials) => {
                        let is_first = history.proposed().is_empty();
                        let context = is_first.then(|| context.as_ref().clone());
                        return Step::Propose(Proposal::Trials(Batch {
                            context,
                            trials,
                            ..Batch::default()
                        }));
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
            match self.advance(history) {
                Ok(true) => {}
                Ok(false) => return Step::Propose(Proposal::Finished),
                Err(error) => return Step::Propose(Proposal::Failed(error.to_string())),
            }
        }
    }
}
