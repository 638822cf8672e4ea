//! What each layer takes at each width.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::latency::{LayerTable, LayerTime, Source};
use bitloop_core::report::DeviceReport;

use super::{estimate_cells, estimate_columns, milliseconds, name, range};
use crate::chart::{Bar, Bars, Chart, Plot};
use crate::document::{Cell, Column, Section, Table, plural};
use crate::sections::{NAMES_MAX, ROWS_MAX};

pub(super) fn sections(number: usize, device: &DeviceReport) -> Vec<Section> {
    let Some(layers) = device.layers.as_ref().filter(|layers| !layers.times.is_empty()) else {
        return Vec::new();
    };
    let title = format!("Time of each layer at each width: {}", name(device));
    let mut section = Section::new(format!("device-{number}-layers"), title).say(source(layers));
    let shown = slowest(layers);
    let all: BTreeSet<&str> = layers.times.iter().map(|time| time.node.as_str()).collect();
    if shown.len() < all.len() {
        section = section.say(format!(
            "The chart has the {} of {} layers that take longest.",
            shown.len(),
            all.len()
        ));
    }
    section.chart = Some(chart(layers, &shown));
    section.table = Some(table(layers));
    vec![section]
}

fn source(layers: &LayerTable) -> String {
    match layers.source {
        Source::Layers => format!(
            "Layers within networks of uniform widths, as the device tells them. What belongs to no layer takes {:.4} ms.",
            layers.constant_ns / super::MS_NS
        ),
        Source::OneByOne => format!(
            "Whole networks with one layer changed, beside the baseline's {:.4} ms: below 0 a width saves time.",
            layers.constant_ns / super::MS_NS
        ),
        Source::Nothing => "No times of layers are known.".to_owned(),
    }
}

/// The layers that take longest, in the order of the network.
fn slowest(layers: &LayerTable) -> Vec<&str> {
    let mut most: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for (place, time) in layers.times.iter().enumerate() {
        let known = most.entry(&time.node).or_insert((place, 0.0));
        known.1 = known.1.max(time.time_ns.median.abs());
    }
    let mut by_time: Vec<(&str, (usize, f64))> = most.into_iter().collect();
    by_time.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    by_time.truncate(NAMES_MAX);
    by_time.sort_by_key(|(_, (place, _))| *place);
    by_time.into_iter().map(|(node, _)| node).collect()
}

/// Widths as people write them: `W4A8`, `A8` for layers without weights, `float`.
fn widths(time: &LayerTime) -> String {
    const FLOAT: u32 = 32;
    match (time.weight_bits, time.input_bits) {
        (Some(FLOAT) | None, FLOAT) => "float".to_owned(),
        (Some(weight), input) => format!("W{weight}A{input}"),
        (None, input) => format!("A{input}"),
    }
}

fn chart(layers: &LayerTable, shown: &[&str]) -> Chart {
    let bars: Vec<Bar> = shown
        .iter()
        .flat_map(|node| layers.times.iter().filter(move |time| time.node == *node))
        .map(|time| {
            let of = milliseconds(time.time_ns);
            Bar { name: time.node.clone(), series: widths(time), value: of.median, range: range(of) }
        })
        .collect();
    let mut known: Vec<(u32, u32)> =
        layers.times.iter().map(|time| (time.weight_bits.unwrap_or_default(), time.input_bits)).collect();
    known.sort_unstable();
    known.dedup();
    let of = |(weight, input): &(u32, u32)| {
        let is_it =
            |time: &&LayerTime| (time.weight_bits.unwrap_or_default(), time.input_bits) == (*weight, *input);
        layers.times.iter().find(is_it).map(widths)
    };
    let mut series: Vec<String> = Vec::new();
    for name in known.iter().filter_map(of) {
        if !series.contains(&name) && bars.iter().any(|bar| bar.series == name) {
            series.push(name);
        }
    }
    Chart {
        alt: format!(
            "Bars of the time of {} at {}.",
            plural(shown.len(), "layer", "layers"),
            series.join(", ")
        ),
        plot: Plot::Bars(Bars { axis: "time (ms)".to_owned(), legend: "at".to_owned(), series, bars }),
    }
}

fn table(layers: &LayerTable) -> Table {
    let mut columns = vec![Column::words("layer"), Column::words("widths")];
    columns.extend(estimate_columns("time (ms)", 5));
    columns.push(Column::number("measurements", 0));
    let rows = layers.times.iter().map(|time| {
        let mut cells = vec![Cell::words(&time.node), Cell::Words(widths(time))];
        cells.extend(estimate_cells(Some(milliseconds(time.time_ns))));
        cells.push(Cell::count(time.sessions));
        cells
    });
    Table::new("Layers from input to output", columns).fill(ROWS_MAX, rows)
}
