//! Between a plan's bit configs and the assignments that predictors and solvers speak of.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::plan::{Metric, Plan, StagePlan};
use bitloop_core::report::Measured;
use bitloop_core::state::StageHistory;

use crate::measurements::{Measurements, Row};
use crate::set_search::FLOAT;
use crate::space::{Space, Variable};

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
        let mut levels = self.space.reference();
        for (variable, level) in self.changes(config)? {
            levels[variable as usize] = level;
        }
        Some(levels)
    }

    /// What sweeps and searches have measured on the selection images so far, each config once.
    pub(crate) fn measurements(&self, history: &StageHistory<'_>, metric: Metric) -> Measurements {
        let row = |(changes, measured): (_, Measured)| Row::reported((changes, measured.loss_by(metric)));
        let rows = self.measured(history).into_iter().map(row).collect();
        Measurements { space: self.space.clone(), metric, rows }
    }

    /// The assignments that have been measured on some of the selection images only.
    pub(crate) fn partial(&self, history: &StageHistory<'_>) -> BTreeSet<Vec<u8>> {
        let images = history.plan().data.selection.images;
        let partial = self.measured(history).into_iter().filter(|(_, measured)| measured.n < images);
        let levels = |changes: Vec<(u32, u8)>| {
            let mut levels = self.space.reference();
            changes.into_iter().for_each(|(variable, level)| levels[variable as usize] = level);
            levels
        };
        partial.map(|(changes, _)| levels(changes)).collect()
    }

    /// What came of what sweeps and searches have measured, by its changes; a complete result goes before one of some images.
    fn measured(&self, history: &StageHistory<'_>) -> BTreeMap<Vec<(u32, u8)>, Measured> {
        let plan = history.plan();
        let mut all: BTreeMap<Vec<(u32, u8)>, Measured> = BTreeMap::new();
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
