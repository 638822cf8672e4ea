//! What each point loses alone.

use std::collections::BTreeMap;

use bitloop_core::graph::PointKind;
use bitloop_core::plan::Metric;
use bitloop_core::report::Row;

use super::{
    NAMES_MAX, ROWS_MAX, axis, confidence_percent, interval_cells, interval_columns, loss, measured, state,
};
use crate::chart::{Bar, Bars, Chart, Plot, Range};
use crate::document::{Cell, Column, Section, Table, plural};
use crate::material::Material;

const METRIC: Metric = Metric::Top1Drop;

pub(super) fn sections(material: &Material) -> Vec<Section> {
    let kinds = [(PointKind::Weight, "Weights"), (PointKind::Activation, "Activations")];
    kinds.into_iter().filter_map(|(kind, name)| section(material, kind, name)).collect()
}

fn section(material: &Material, kind: PointKind, name: &str) -> Option<Section> {
    let by_damage: Vec<&Row> =
        material.report.by_damage().into_iter().filter(|row| row.kind == kind).collect();
    if by_damage.is_empty() {
        return None;
    }
    let id = format!("sensitivity-{}", kind.as_str());
    let mut section = Section::new(id, format!("{name} lowered alone")).say(format!(
        "Each bar is one point at fewer bits while everything else stays at {}. Drops are of the baseline's top-1 on the same \
         selection images, with intervals of {} %; below 0 means better. An interval that holds 0 means that these images \
         cannot tell the two apart.",
        material.report.baseline_bits,
        confidence_percent(material)
    ));
    let shown = damaged(&by_damage);
    let (bars, most) = bars(&by_damage, &shown);
    if let Some(most) = most {
        let left_out = by_damage.iter().filter(|row| !shown.contains_key(row.point.as_str()));
        let left_out: std::collections::BTreeSet<&str> = left_out.map(|row| row.point.as_str()).collect();
        section = section.say(format!(
            "The chart has the {NAMES_MAX} points that lose most. {} lose {} at most, at any width.",
            plural(left_out.len(), "other point", "other points"),
            loss(METRIC, most)
        ));
    }
    section.chart = (!bars.is_empty()).then(|| chart(bars, name));
    section.table = Some(table(material, &by_damage));
    Some(section)
}

/// The points that lose most, by their places.
fn damaged<'a>(by_damage: &[&'a Row]) -> BTreeMap<&'a str, usize> {
    let mut places = BTreeMap::new();
    for row in by_damage.iter().filter(|row| row.result.measured().is_some()) {
        let next = places.len();
        if next < NAMES_MAX {
            places.entry(row.point.as_str()).or_insert(next);
        }
    }
    places
}

/// The bars, points that lose most first and then by width; and the most that a point without a bar loses.
fn bars(by_damage: &[&Row], shown: &BTreeMap<&str, usize>) -> (Vec<Bar>, Option<f64>) {
    let (mut bars, mut most) = (Vec::new(), None::<f64>);
    let mut rows: Vec<(&Row, usize)> = Vec::new();
    for row in by_damage {
        match (shown.get(row.point.as_str()), measured(&row.result, METRIC)) {
            (Some(place), Some(_)) => rows.push((row, *place)),
            (None, Some(drop)) => most = Some(most.map_or(drop.value, |most| most.max(drop.value))),
            (Some(_) | None, None) => {}
        }
    }
    rows.sort_by_key(|(row, place)| (*place, row.bits));
    for (row, _) in rows {
        let Some(drop) = measured(&row.result, METRIC) else { continue };
        bars.push(Bar {
            name: row.point.clone(),
            series: format!("{} bits", row.bits),
            value: drop.value,
            range: Range::new(drop.low, drop.high),
        });
    }
    (bars, most)
}

fn chart(bars: Vec<Bar>, name: &str) -> Chart {
    let mut widths: Vec<(usize, String)> =
        bars.iter().map(|bar| (bar.series.len(), bar.series.clone())).collect();
    widths.sort();
    widths.dedup();
    let series: Vec<String> = widths.into_iter().map(|(_, series)| series).collect();
    let names: std::collections::BTreeSet<&str> = bars.iter().map(|bar| bar.name.as_str()).collect();
    let worst = bars.iter().max_by(|a, b| a.value.total_cmp(&b.value));
    let worst =
        worst.map(|bar| format!(" {} at {} loses most: {}.", bar.name, bar.series, loss(METRIC, bar.value)));
    Chart {
        alt: format!(
            "Bars of the drop of top-1 of {} at {}.{}",
            plural(names.len(), "point", "points"),
            series.join(", "),
            worst.unwrap_or_default()
        ),
        plot: Plot::Bars(Bars {
            axis: axis(METRIC).to_owned(),
            legend: format!("{} at", name.to_lowercase()),
            series,
            bars,
        }),
    }
}

fn table(material: &Material, by_damage: &[&Row]) -> Table {
    let mut columns = vec![
        Column::words("point"),
        Column::number("bits", 0),
        Column::words("state"),
        Column::number("images", 0),
    ];
    columns.extend(interval_columns(METRIC, "measured"));
    columns.push(Column::difference("increase of cross-entropy (nats)", 4));
    columns.push(Column::number("size saved (%)", 1));
    columns.push(Column::number("BOPs saved (%)", 1));
    let report = &material.report;
    let share = |saved: u64, of: u64| Cell::number((of > 0).then(|| saved as f64 / of as f64 * 100.0));
    let row = |row: &&Row| {
        let numbers = row.result.measured();
        let mut cells = vec![
            Cell::words(&row.point),
            Cell::count(row.bits.get().into()),
            state(&row.result),
            Cell::number(numbers.map(|it| it.n as f64)),
        ];
        cells.extend(interval_cells(measured(&row.result, METRIC)));
        cells.push(Cell::number(numbers.map(|it| it.loss_increase.value)));
        cells.push(share(row.size_saved_bits, report.baseline_size_bits));
        cells.push(share(row.bops_saved, report.baseline_bops));
        cells
    };
    Table::new("Points by damage, largest first", columns).fill(ROWS_MAX, by_damage.iter().map(row))
}
