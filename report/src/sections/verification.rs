//! What is left of it on images that nothing was chosen by.

use bitloop_core::plan::Metric;
use bitloop_core::report::{Report, RowState, TopRow, Verified};

use super::{
    NAMES_MAX, ROWS_MAX, axis, interval_cells, interval_columns, kib, loss, measured, millions, state,
};
use crate::chart::{Bar, Bars, Chart, Plot, Range};
use crate::document::{Cell, Column, Section, Table, plural};
use crate::material::Material;

const METRIC: Metric = Metric::Top1Drop;

/// A network on the report images.
struct Row<'a> {
    name: String,
    series: &'static str,
    result: &'a RowState,
    /// Bits of weights and bit operations.
    price: Option<(u64, u64)>,
}

const UNIFORM: &str = "one width for all";
const FOUND: &str = "found by a search";
const FLOAT: &str = "float";

pub(super) fn sections(material: &Material) -> Vec<Section> {
    let report = &material.report;
    let Some(verified) = &report.verified else { return Vec::new() };
    let rows = rows(report, verified);
    let mut section = Section::new("verification", "On images that nothing was chosen by").say(format!(
        "{} that neither calibration nor any search has seen. Drops are of the baseline's top-1 on them, with 95 % intervals.",
        plural(verified.images as usize, "report image", "report images")
    ));
    let bars: Vec<Bar> = rows.iter().filter_map(bar).take(NAMES_MAX).collect();
    section.chart = (!bars.is_empty()).then(|| chart(bars));
    let mut columns = vec![
        Column::words("network"),
        Column::words("state"),
        Column::number("images", 0),
        Column::number("top-1 (%)", 2),
    ];
    columns.extend(interval_columns(METRIC, "measured"));
    columns.push(Column::difference("increase of cross-entropy (nats)", 4));
    columns.push(Column::number("weights (KiB)", 1));
    columns.push(Column::number("MBOPs an image", 2));
    section.table = Some(Table::new("Report images", columns).fill(ROWS_MAX, rows.iter().map(cells)));
    vec![section]
}

fn rows<'a>(report: &'a Report, verified: &'a Verified) -> Vec<Row<'a>> {
    let baseline = Some((report.baseline_size_bits, report.baseline_bops));
    let all = |bits: String| format!("all points at {bits} bits");
    let mut rows = vec![
        Row { name: "float".to_owned(), series: FLOAT, result: &verified.float, price: None },
        Row {
            name: all(report.baseline_bits.to_string()),
            series: UNIFORM,
            result: &verified.baseline,
            price: baseline,
        },
    ];
    rows.extend(verified.uniform.iter().map(|row| Row {
        name: all(row.changes.values().next().map(ToString::to_string).unwrap_or_default()),
        series: UNIFORM,
        result: &row.result,
        price: Some((row.size_bits, row.bops)),
    }));
    for (number, search) in (1..).zip(&report.searches) {
        let is_asked_for = |(_, top): &(usize, &TopRow)| !matches!(top.verified, RowState::Open);
        rows.extend((1..).zip(&search.top).filter(is_asked_for).map(|(rank, top)| Row {
            name: format!(
                "search {number}, rank {rank}{}",
                if top.refused.is_some() { ", not recommended" } else { "" }
            ),
            series: FOUND,
            result: &top.verified,
            price: Some((top.row.size_bits, top.row.bops)),
        }));
    }
    rows
}

fn bar(row: &Row<'_>) -> Option<Bar> {
    let drop = measured(row.result, METRIC)?;
    let (name, series) = (row.name.clone(), row.series.to_owned());
    Some(Bar { name, series, value: drop.value, range: Range::new(drop.low, drop.high) })
}

fn chart(bars: Vec<Bar>) -> Chart {
    let known = |series: &&str| bars.iter().any(|bar| bar.series == *series);
    let series: Vec<String> = [FOUND, UNIFORM, FLOAT].into_iter().filter(known).map(str::to_owned).collect();
    let of = |bar: &Bar| format!("{} {}", bar.name, loss(METRIC, bar.value));
    let words: Vec<String> = bars.iter().map(of).collect();
    Chart {
        alt: format!("Bars of the drop of top-1 on the report images: {}.", words.join("; ")),
        plot: Plot::Bars(Bars { axis: axis(METRIC).to_owned(), legend: "network".to_owned(), series, bars }),
    }
}

fn cells(row: &Row<'_>) -> Vec<Cell> {
    let numbers = row.result.measured();
    let mut cells = vec![
        Cell::words(&row.name),
        state(row.result),
        Cell::number(numbers.map(|it| it.n as f64)),
        Cell::number(numbers.map(|it| it.top1 * 100.0)),
    ];
    cells.extend(interval_cells(measured(row.result, METRIC)));
    cells.push(Cell::number(numbers.map(|it| it.loss_increase.value)));
    cells.push(Cell::number(row.price.map(|(size, _)| kib(size))));
    cells.push(Cell::number(row.price.map(|(_, bops)| millions(bops))));
    cells
}
