//! All devices at once: what every configuration that searches chose takes on each of them, beside its limits.

use std::collections::BTreeSet;

use bitloop_core::probe::Estimate;
use bitloop_core::report::{Report, SearchReport, TopRow};
use bitloop_core::selection::OnDevice;
use bitloop_core::trial::ProbeTarget;

use crate::document::{Cell, Column, Section, Table, plural};
use crate::material::Material;
use crate::sections::{ROWS_MAX, changes, cut};

/// How what was measured stands to a limit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The whole interval keeps it.
    Kept,
    /// The median keeps it, and the interval crosses it.
    Crossed,
    /// The median breaks it.
    Broken,
    /// Nothing was measured.
    Unmeasured,
}

impl Standing {
    fn of(measured: Option<Estimate>, at_most: f64) -> Self {
        match measured {
            None => Self::Unmeasured,
            Some(Estimate { median, .. }) if median > at_most => Self::Broken,
            Some(Estimate { high, .. }) if high > at_most => Self::Crossed,
            Some(_) => Self::Kept,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Crossed => "kept by the median; the interval crosses it",
            Self::Broken => "broken",
            Self::Unmeasured => "not measured",
        }
    }
}

/// A configuration that a search chose.
struct Chosen<'a> {
    search: &'a SearchReport,
    rank: usize,
    top: &'a TopRow,
}

/// The devices together; none of one device alone.
pub(super) fn section(material: &Material) -> Option<Section> {
    let report = &material.report;
    let all: Vec<Chosen<'_>> = report.searches.iter().flat_map(chosen).collect();
    let mut costs: Vec<(&ProbeTarget, &str)> = Vec::new();
    for cost in all.iter().flat_map(|chosen| &chosen.top.devices).map(|on| (&on.target, on.cost.as_str())) {
        if !costs.contains(&cost) {
            costs.push(cost);
        }
    }
    let devices: BTreeSet<&ProbeTarget> = costs.iter().map(|(target, _)| *target).collect();
    if devices.len() < 2 {
        return None;
    }
    let verdicts: Vec<Verdict> = all.iter().map(|chosen| chosen.verdict(report, costs.len())).collect();
    let mut section = Section::new("devices", "All devices together").say(
        "What each configuration that a search chose takes on every device, beside the limits of that search. A choice keeps its limits \
         by the medians of what was measured. Where an interval crosses a limit, one more measurement may lie beyond it.",
    );
    section.text.push(robust(&all, &verdicts));
    let rows = all.iter().zip(&verdicts).map(|(chosen, verdict)| chosen.cells(report, &costs, *verdict));
    section.table =
        Some(Table::new("Measured, in the unit of the cost", columns(&costs)).fill(ROWS_MAX, rows));
    Some(section)
}

/// The configurations of a search that have costs on devices.
fn chosen(search: &SearchReport) -> impl Iterator<Item = Chosen<'_>> {
    let measured = (1..).zip(&search.top).filter(|(_, top)| !top.devices.is_empty());
    measured.map(move |(rank, top)| Chosen { search, rank, top })
}

fn columns(costs: &[(&ProbeTarget, &str)]) -> Vec<Column> {
    let mut columns =
        vec![Column::words("search"), Column::number("rank", 0), Column::words("configuration")];
    for (target, cost) in costs {
        columns.push(Column::number(cut(&format!("{cost}, {target}")), 4));
        columns.extend(["high", "at most"].map(|title| Column::number(title, 4)));
        columns.push(Column::words("limit"));
    }
    columns.push(Column::words("all limits"));
    columns
}

/// How a configuration stands to all limits together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Every interval keeps its limit.
    Robust,
    /// Some do so by their medians alone.
    Crossed,
    /// At least one does not, or is not known.
    No(&'static str),
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Robust => "kept with whole intervals",
            Self::Crossed => "kept by medians alone",
            Self::No(reason) => reason,
        }
    }
}

impl Chosen<'_> {
    /// The limit on a cost, if it has one.
    fn at_most(&self, report: &Report, on: &OnDevice) -> Option<f64> {
        let is_its = |target: Option<&ProbeTarget>| target == Some(&on.target);
        let mut limits = self.search.plan.limits.iter();
        let limit = limits.find(|limit| limit.cost == on.cost && is_its(limit.target.as_ref()))?;
        report.devices.iter().find(|device| device.target == on.target)?.at_most(limit)
    }

    fn standing(&self, report: &Report, on: &OnDevice) -> Option<Standing> {
        self.at_most(report, on).map(|at_most| Standing::of(on.measured, at_most))
    }

    /// Whether the search lowers a cost as far as the loss allows.
    fn is_lowered(&self, on: &OnDevice) -> bool {
        let lowers = self.search.plan.lowers.as_ref();
        lowers.is_some_and(|lowers| lowers.cost == on.cost && lowers.target == on.target)
    }

    /// Of so many costs on devices.
    fn verdict(&self, report: &Report, costs: usize) -> Verdict {
        let devices = &self.top.devices;
        let is_free = |on: &OnDevice| self.standing(report, on).is_none() && !self.is_lowered(on);
        let has = |standing| devices.iter().any(|on| self.standing(report, on) == Some(standing));
        if self.top.refused.is_some() {
            Verdict::No("refused: a device computes something else")
        } else if has(Standing::Broken) {
            Verdict::No("not kept")
        } else if has(Standing::Unmeasured) {
            Verdict::No("not measured everywhere")
        } else if devices.len() < costs || devices.iter().any(is_free) {
            Verdict::No("not limited everywhere")
        } else if devices.iter().any(|on| !on.unsteady.is_empty()) {
            Verdict::No("measured unsteadily")
        } else if has(Standing::Crossed) {
            Verdict::Crossed
        } else {
            Verdict::Robust
        }
    }

    fn cells(&self, report: &Report, costs: &[(&ProbeTarget, &str)], verdict: Verdict) -> Vec<Cell> {
        let mut cells = vec![
            Cell::Words(format!("search of stage {}", self.search.stage + 1)),
            Cell::count(self.rank as u64),
            Cell::Words(changes(&self.top.row.changes)),
        ];
        for (target, cost) in costs {
            let on = self.top.devices.iter().find(|on| on.target == **target && on.cost == *cost);
            let measured = on.and_then(|on| on.measured);
            cells.extend([measured.map(|it| it.median), measured.map(|it| it.high)].map(Cell::number));
            cells.push(Cell::number(on.and_then(|on| self.at_most(report, on))));
            let standing = on.and_then(|on| self.standing(report, on)).map(Standing::as_str);
            let lowered = on.is_some_and(|on| self.is_lowered(on)).then_some("lowered");
            cells.push(standing.or(lowered).map_or(Cell::Nothing, Cell::words));
        }
        cells.push(Cell::words(verdict.as_str()));
        cells
    }
}

/// What is safe to choose for all devices.
fn robust(all: &[Chosen<'_>], verdicts: &[Verdict]) -> String {
    let mut robust = all.iter().zip(verdicts).filter(|(_, verdict)| **verdict == Verdict::Robust);
    let count = robust.clone().count();
    let of = plural(all.len(), "configuration", "configurations");
    match robust.next() {
        None => format!("None of {of} keeps all limits with its whole intervals."),
        Some((first, _)) => format!(
            "{count} of {of} {} all limits with {} whole intervals, which is a robust choice for a fleet; the first is rank {} of the \
             search of stage {}.",
            if count == 1 { "keeps" } else { "keep" },
            if count == 1 { "its" } else { "their" },
            first.rank,
            first.search.stage + 1
        ),
    }
}
