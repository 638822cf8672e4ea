//! Loss against what a device takes, and what was measured of the configs that searches chose by it.

use std::collections::BTreeMap;

use bitloop_core::bits::Bits;
use bitloop_core::latency::ENERGY_MODEL;
use bitloop_core::report::{DeviceFront, DeviceReport, NetworkRow};

use super::{estimate_cells, estimate_columns, name, networks};
use crate::chart::{Chart, Mark, Plot, Scatter, Trace};
use crate::document::{Cell, Column, Section, Table, plural};
use crate::sections::{MARKS_MAX, ROWS_MAX, changes, spread};

pub(super) fn sections(number: usize, device: &DeviceReport) -> Vec<Section> {
    let mut costs: Vec<(&str, String)> = Vec::new();
    for front in &device.fronts {
        let of = (front.metric.as_str(), front.title());
        if !front.points.is_empty() && !costs.contains(&of) {
            costs.push(of);
        }
    }
    let fronts = costs
        .into_iter()
        .zip(1..)
        .map(|(of, place)| front(device, of, format!("device-{number}-front-{place}")));
    fronts.chain(finalists(number, device)).collect()
}

/// The fronts of all searches that have this metric and cost.
fn front(device: &DeviceReport, (metric, cost): (&str, String), id: String) -> Section {
    let is_of =
        |front: &&DeviceFront| front.metric == metric && front.title() == cost && !front.points.is_empty();
    let fronts: Vec<&DeviceFront> = device.fronts.iter().filter(is_of).collect();
    let title = format!("Predicted {} against {cost}: {}", metric.replace('_', " "), name(device));
    let mut section = Section::new(id, title).say(
        "What searches predict on this device: no other configuration has both a lower loss and a lower cost. Both are predictions; \
         those that were chosen were measured, too.",
    );
    let search = |front: &DeviceFront| format!("search of stage {}", front.stage + 1);
    let room = MARKS_MAX / fronts.len();
    let marks: Vec<Mark> = fronts
        .iter()
        .flat_map(|front| {
            spread(front.points.iter().collect(), room).into_iter().map(|point| Mark {
                name: changes(&point.changes),
                series: search(front),
                x: point.cost,
                y: point.loss,
                x_range: None,
                y_range: None,
            })
        })
        .collect();
    let traces = fronts.iter().map(|front| Trace {
        name: search(front),
        points: spread(front.points.iter().collect(), room)
            .into_iter()
            .map(|point| [point.cost, point.loss])
            .collect(),
    });
    section.chart = Some(Chart {
        alt: format!(
            "Marks of {}: {cost} across, predicted loss upwards; lines join the fronts of {}.",
            plural(marks.len(), "configuration", "configurations"),
            plural(fronts.len(), "search", "searches")
        ),
        plot: Plot::Scatter(Scatter {
            x: cost.clone(),
            y: format!("predicted {metric}"),
            legend: "front of".to_owned(),
            series: fronts.iter().map(|front| search(front)).collect(),
            traces: traces.collect(),
            marks,
            has_diagonal: false,
        }),
    });
    let columns = vec![
        Column::words("search"),
        Column::number(cost, 4),
        Column::difference(format!("predicted {metric}"), 4),
        Column::words("configuration"),
    ];
    let rows = fronts.iter().flat_map(|front| {
        front.points.iter().map(|point| {
            vec![
                Cell::Words(search(front)),
                Cell::number(point.cost),
                Cell::number(point.loss),
                Cell::Words(changes(&point.changes)),
            ]
        })
    });
    section.table = Some(Table::new("The fronts, by ascending loss", columns).fill(ROWS_MAX, rows));
    section
}

/// What searches found within limits on the device.
fn finalists(number: usize, device: &DeviceReport) -> Option<Section> {
    if device.finalists.is_empty() {
        return None;
    }
    let measured = device.finalists.iter().filter(|finalist| finalist.measured.is_some()).count();
    let modelled = device
        .finalists
        .iter()
        .filter(|finalist| finalist.energy_source.as_deref() == Some(ENERGY_MODEL))
        .count();
    let modelled = match modelled {
        0 => String::new(),
        rows => format!(
            " Of {} the energy is what the energy model says, which measures nothing.",
            plural(rows, "row", "rows")
        ),
    };
    let title = format!("What searches chose for {}", name(device));
    let mut section = Section::new(format!("device-{number}-finalists"), title).say(format!(
        "Configurations that searches chose by what they take here; {measured} of {} were measured whole.{modelled}",
        device.finalists.len()
    ));
    let words = ["search", "network", "configuration", "cost"];
    let mut columns: Vec<Column> = words.into_iter().map(Column::words).collect();
    columns.extend(estimate_columns("predicted", 4));
    columns.extend(estimate_columns("measured", 4));
    columns.push(Column::words("unsteady"));
    let rows = device.finalists.iter().map(|finalist| {
        let mut cells = vec![
            Cell::Words(format!("search of stage {}", finalist.stage + 1)),
            network_name(device, &finalist.changes),
            Cell::Words(changes(&finalist.changes)),
            Cell::words(finalist.title()),
        ];
        cells.extend(estimate_cells(Some(finalist.predicted)));
        cells.extend(estimate_cells(finalist.measured));
        cells.push(networks::reasons(&finalist.unsteady));
        cells
    });
    section.table =
        Some(Table::new("Predicted and measured, in the unit of the cost", columns).fill(ROWS_MAX, rows));
    Some(section)
}

/// What a configuration is called where it was measured whole.
fn network_name(device: &DeviceReport, changes: &BTreeMap<String, Bits>) -> Cell {
    let is_it = |row: &&NetworkRow| row.kind != "float" && row.changes == *changes;
    device.networks.iter().find(is_it).map_or(Cell::Nothing, |row| Cell::words(&row.name))
}
