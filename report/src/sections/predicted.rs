//! What searches' predictors expected, beside what was measured.

use bitloop_core::plan::Metric;
use bitloop_core::report::{Interval, SearchReport, TopRow};

use super::{MARKS_MAX, ROWS_MAX, axis, changes, interval_cells, interval_columns, measured};
use crate::chart::{Chart, Mark, Plot, Range, Scatter};
use crate::document::{Cell, Column, Section, Table, plural};
use crate::material::Material;

/// A config that was predicted and measured.
struct Judged<'a> {
    search: usize,
    rank: usize,
    top: &'a TopRow,
    predicted: Interval,
    measured: Interval,
}

impl Judged<'_> {
    /// Whether the measured loss is within the interval that was predicted for a measurement.
    fn is_within(&self) -> bool {
        (self.predicted.low..=self.predicted.high).contains(&self.measured.value)
    }
}

pub(super) fn sections(material: &Material) -> Vec<Section> {
    Metric::ALL.into_iter().filter_map(|metric| section(material, metric)).collect()
}

fn section(material: &Material, metric: Metric) -> Option<Section> {
    let searches = (1..).zip(&material.report.searches).filter(|(_, search)| search.plan.objective == metric);
    let judged: Vec<Judged<'_>> =
        searches.flat_map(|(number, search)| judged(number, search, metric)).collect();
    if judged.is_empty() {
        return None;
    }
    let within = judged.iter().filter(|judged| judged.is_within()).count();
    let mut section = Section::new(format!("predicted-{}", metric.as_str().replace('_', "-")), "Predicted and measured")
        .say(format!(
            "The configurations that searches recommend, as their last predictor expects them and as they were measured on the \
             selection images. {within} of {} measured losses are within the 90 % interval that was predicted. Of what \
             searches measured besides, predictions are not kept.",
            judged.len()
        ));
    section.chart = Some(chart(&judged, metric));
    let mut columns =
        vec![Column::words("search"), Column::number("rank", 0), Column::words("configuration")];
    columns.extend(interval_columns(metric, "predicted"));
    columns.extend(interval_columns(metric, "measured"));
    columns.push(Column::words("within"));
    let rows = judged.iter().map(|judged| {
        let mut cells = vec![
            Cell::Words(format!("search {}", judged.search)),
            Cell::count(judged.rank as u64),
            Cell::Words(changes(&judged.top.row.changes)),
        ];
        cells.extend(interval_cells(Some(judged.predicted)));
        cells.extend(interval_cells(Some(judged.measured)));
        cells.push(Cell::words(if judged.is_within() { "yes" } else { "no" }));
        cells
    });
    section.table = Some(
        Table::new("Predicted with 90 % and measured with 95 % intervals", columns).fill(ROWS_MAX, rows),
    );
    Some(section)
}

fn judged(search: usize, report: &SearchReport, metric: Metric) -> Vec<Judged<'_>> {
    let all = report.top.iter().zip(1..).filter_map(|(top, rank)| {
        let measured = measured(&top.row.result, metric)?;
        Some(Judged { search, rank, top, predicted: top.predicted?, measured })
    });
    all.collect()
}

fn chart(judged: &[Judged<'_>], metric: Metric) -> Chart {
    let marks: Vec<Mark> = judged
        .iter()
        .take(MARKS_MAX)
        .map(|judged| Mark {
            name: format!("rank {}: {}", judged.rank, changes(&judged.top.row.changes)),
            series: format!("search {}", judged.search),
            x: judged.predicted.value,
            y: judged.measured.value,
            x_range: Range::new(judged.predicted.low, judged.predicted.high),
            y_range: Range::new(judged.measured.low, judged.measured.high),
        })
        .collect();
    let mut series: Vec<usize> = judged.iter().map(|judged| judged.search).collect();
    series.dedup();
    Chart {
        alt: format!(
            "Marks of {}: predicted loss across, measured loss upwards, each with its interval, with a line where the two are equal.",
            plural(marks.len(), "configuration", "configurations")
        ),
        plot: Plot::Scatter(Scatter {
            x: format!("predicted: {}", axis(metric)),
            y: format!("measured: {}", axis(metric)),
            legend: "found by".to_owned(),
            series: series.into_iter().map(|search| format!("search {search}")).collect(),
            marks,
            traces: Vec::new(),
            has_diagonal: true,
        }),
    }
}
