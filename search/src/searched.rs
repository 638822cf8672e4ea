//! Between a plan's bit configs and the assignments that predictors and solvers speak of.

use std::collections::BTreeMap;

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::plan::{Metric, Plan, StagePlan};
use bitloop_core::report::Measured;
use bitloop_core::state::StageHistory;

use crate::measurements::{Measurements, Row};
use crate::set_search::FLOAT;
use crate::space::{Space, Variable};

/// What is measured, by its changes.
pub(crate) type ByChanges = BTreeMap<Vec<(u32, u8)>, Measured>;

/// The searchable points of a plan: the variable at an index is the point at the same index.
#[derive(Clone, Debug)]
pub(crate) struct Searched {
    pub(crate) space: Space,
    points: Vec<PointIndex>,
    baseline: Choice,
}

impl Searched {
    pub(crate) fn new(plan: &Plan) -> Self {
        let points = plan.searchable();
        let variable = |index: &PointIndex| {
            let point = &plan.points[index.0 as usize];
            let mut widths: Vec<Bits> = plan.candidates.bits(point.kind).to_vec();
            widths.push(plan.candidates.baseline);
            Variable { name: point.name.clone(), kind: point.kind, widths }
        };
        let variables = points.iter().map(variable).collect();
        Self { space: Space { variables }, points, baseline: Choice::Bits(plan.candidates.baseline) }
    }

    /// The variable of a point, if it is searched.
    pub(crate) fn variable(&self, point: PointIndex) -> Option<usize> {
        self.points.iter().position(|known| *known == point)
    }

    /// The bit config of some changes.
    pub(crate) fn config(&self, changes: &[(u32, u8)]) -> BitConfig {
        let choice = |(variable, level): &(u32, u8)| {
            let widths = &self.space.variables[*variable as usize].widths;
            let choice = match *level {
                FLOAT => Choice::Float,
                level => Choice::Bits(widths[usize::from(level)]),
            };
            (self.points[*variable as usize], choice)
        };
        BitConfig::against(self.baseline, changes.iter().map(choice))
    }

    /// The bit config of an assignment.
    pub(crate) fn assigned(&self, levels: &[u8]) -> BitConfig {
        let changes: Vec<(u32, u8)> = (0..).zip(levels.iter().copied()).collect();
        self.config(&changes)
    }

    /// The changes of a bit config; none if it has a choice that no variable has.
    pub(crate) fn changes(&self, config: &BitConfig) -> Option<Vec<(u32, u8)>> {
        let change = |(point, choice): (PointIndex, Choice)| {
            let Choice::Bits(bits) = choice else { return None };
            let variable = self.points.iter().position(|known| *known == point)?;
            let level = self.space.variables[variable].widths.iter().position(|width| *width == bits)?;
            Some((variable as u32, level as u8))
        };
        config.changes().map(change).collect()
    }

    /// The assignment of a bit config; none if it has a choice that no variable has.
    pub(crate) fn levels(&self, config: &BitConfig) -> Option<Vec<u8>> {
        self.changes(config).map(|changes| self.levels_of(&changes))
    }

    /// What sweeps and searches have measured on the selection images so far, each config once.
    pub(crate) fn measurements(&self, history: &StageHistory<'_>, metric: Metric) -> Measurements {
        self.table(&self.measured(history), history.plan().data.selection.images, metric)
    }

    /// Measured configs as rows, of so many images in all.
    pub(crate) fn table(&self, measured: &ByChanges, images: u64, metric: Metric) -> Measurements {
        let row = |(changes, measured): (&Vec<(u32, u8)>, &Measured)| {
            Row::reported(changes.clone(), measured.loss_by(metric), [measured.n, images])
        };
        Measurements { space: self.space.clone(), metric, rows: measured.iter().map(row).collect() }
    }

    /// The assignment of some changes.
    pub(crate) fn levels_of(&self, changes: &[(u32, u8)]) -> Vec<u8> {
        let mut levels = self.space.reference();
        changes.iter().for_each(|(variable, level)| levels[*variable as usize] = *level);
        levels
    }

    /// What came of what sweeps and searches have measured, by its changes; a complete result goes before one of some images.
    pub(crate) fn measured(&self, history: &StageHistory<'_>) -> ByChanges {
        let plan = history.plan();
        let mut all = ByChanges::new();
        for (stage, planned) in (0..=history.stage()).zip(&plan.stages) {
            if matches!(planned, StagePlan::Prepare | StagePlan::Verify { .. }) {
                continue;
            }
            let evaluations = history.evaluations(stage, plan.evaluation);
            for config in evaluations.configs() {
                let result = evaluations.result(config);
                let Some(measured) = result.measured() else { continue };
                let Some(changes) = self.changes(config).filter(|changes| !changes.is_empty()) else {
                    continue;
                };
                if all.get(&changes).is_none_or(|known| known.n < measured.n) {
                    all.insert(changes, measured.clone());
                }
            }
        }
        all
    }
}
