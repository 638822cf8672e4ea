//! What sets of points lose, beside the sum of what their points lose alone.

use std::collections::BTreeMap;

use bitloop_core::plan::Metric;
use bitloop_core::report::{ConfigRow, Interval};

use super::pairs::{Lowered, alone};
use super::{
    MARKS_MAX, ROWS_MAX, axis, changes, digits, interval_cells, interval_columns, loss, measured, metric,
    spread,
};
use crate::chart::{Chart, Mark, Plot, Range, Scatter};
use crate::document::{Cell, Column, Section, Table, plural};
use crate::material::Material;

/// A set of points with the sum of what they lose alone.
struct Set<'a> {
    row: &'a ConfigRow,
    sum: f64,
    together: Interval,
}

impl<'a> Set<'a> {
    /// A set that is measured, and whose points are each measured alone.
    fn new(row: &'a ConfigRow, metric: Metric, alone: &BTreeMap<Lowered<'_>, f64>) -> Option<Self> {
        let together = measured(&row.result, metric)?;
        let sum: Option<f64> =
            row.changes.iter().map(|(point, bits)| alone.get(&(point.as_str(), *bits)).copied()).sum();
        Some(Self { row, sum: sum?, together })
    }

    fn beyond(&self) -> f64 {
        self.together.value - self.sum
    }

    fn series(&self) -> &'static str {
        if self.row.changes.len() == 2 { "2 points" } else { "3 points or more" }
    }
}

pub(super) fn sections(material: &Material) -> Vec<Section> {
    let metric = metric(material);
    let alone = alone(material, metric);
    let rows = material.report.configs.iter().filter(|row| row.changes.len() >= 2);
    let mut sets: Vec<Set<'_>> = rows.filter_map(|row| Set::new(row, metric, &alone)).collect();
    if sets.is_empty() {
        return Vec::new();
    }
    let count = sets.len() as f64;
    let mean = sets.iter().map(Set::beyond).sum::<f64>() / count;
    let spread_of = (sets.iter().map(|set| set.beyond() * set.beyond()).sum::<f64>() / count).sqrt();
    sets.sort_by(|a, b| a.together.value.total_cmp(&b.together.value));
    let drawn = sets.len().min(MARKS_MAX);
    let mut section = Section::new("sums", "Sets of points beside the sum of their points").say(format!(
        "Sweeps and searches measured {} whose points were all measured alone too. If points did not matter to each other, every \
         mark would lie on the line. Measured losses are {} beyond the sums on average; their root mean square distance is {}.",
        plural(sets.len(), "set of points", "sets of points"),
        loss(metric, mean),
        loss(metric, spread_of).trim_start_matches('+')
    ));
    if drawn < sets.len() {
        section = section.say(format!("{drawn} of them are drawn, evenly spread over the losses."));
    }
    let mut by_distance: Vec<&Set<'_>> = sets.iter().collect();
    by_distance.sort_by(|a, b| b.beyond().abs().total_cmp(&a.beyond().abs()));
    let mut columns = vec![Column::words("set"), Column::number("points", 0)];
    columns.push(Column::difference("sum of the points alone", digits(metric)));
    columns.extend(interval_columns(metric, "together"));
    columns.push(Column::difference("beyond the sum", digits(metric)));
    let table = Table::new("Sets of points, those farthest from the sum first", columns);
    section.table = Some(table.fill(ROWS_MAX, by_distance.into_iter().map(cells)));
    section.chart = Some(chart(&sets, axis(metric)));
    vec![section]
}

fn cells(set: &Set<'_>) -> Vec<Cell> {
    let mut cells = vec![
        Cell::Words(changes(&set.row.changes)),
        Cell::count(set.row.changes.len() as u64),
        Cell::number(set.sum),
    ];
    cells.extend(interval_cells(Some(set.together)));
    cells.push(Cell::number(set.beyond()));
    cells
}

fn chart(sets: &[Set<'_>], axis: &str) -> Chart {
    let shown = spread(sets.iter().collect(), MARKS_MAX);
    let marks: Vec<Mark> = shown
        .iter()
        .map(|set| Mark {
            name: changes(&set.row.changes),
            series: set.series().to_owned(),
            x: set.sum,
            y: set.together.value,
            x_range: None,
            y_range: Range::new(set.together.low, set.together.high),
        })
        .collect();
    let has = |series: &str| marks.iter().any(|mark| mark.series == series);
    let series = ["2 points", "3 points or more"].into_iter().filter(|series| has(series));
    Chart {
        alt: format!(
            "Marks of {}: the sum of what the points lose alone across, what they lose together upwards, with a line where the \
             two are equal.",
            plural(marks.len(), "set of points", "sets of points")
        ),
        plot: Plot::Scatter(Scatter {
            x: format!("sum of the points alone: {axis}"),
            y: format!("together: {axis}"),
            legend: "set of".to_owned(),
            series: series.map(str::to_owned).collect(),
            marks,
            traces: Vec::new(),
            has_diagonal: true,
        }),
    }
}
