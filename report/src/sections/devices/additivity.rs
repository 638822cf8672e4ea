//! What layers' times add up to, beside whole networks.

use bitloop_core::probe::Estimate;
use bitloop_core::report::{DeviceReport, NetworkRow};

use super::{estimate_cells, estimate_columns, milliseconds, name, range};
use crate::chart::{Chart, Mark, Plot, Scatter};
use crate::document::{Cell, Column, Section, Table, plural};
use crate::sections::{MARKS_MAX, ROWS_MAX};

const SUM: &str = "sum of layers";
const MODEL: &str = "corrected model";
const TABLE: &str = "part of the table";

pub(super) fn sections(number: usize, device: &DeviceReport) -> Vec<Section> {
    let rows = device.networks.iter().filter(|row| row.latency_ns.is_some() && row.sum_ns.is_some());
    let rows: Vec<&NetworkRow> = rows.collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let title = format!("Do layers add up? {}", name(device));
    let mut section = Section::new(format!("device-{number}-additivity"), title).say(
        "The times of layers at their widths, added up, and what the corrected model makes of that, beside whole networks as they \
         were measured. On the line both are equal.",
    );
    section.text.extend(by_construction(&rows));
    section.text.extend(judgement(device));
    section.chart = Some(chart(&rows));
    let mut columns = vec![Column::words("network"), Column::words("its layers")];
    columns.extend(estimate_columns("sum of layers (ms)", 4));
    columns.extend(estimate_columns("model (ms)", 4));
    columns.extend(estimate_columns("measured (ms)", 4));
    columns.push(Column::difference("sum less measured (%)", 2));
    columns.push(Column::difference("model less measured (%)", 2));
    let cells = rows.iter().map(|row| {
        let beyond = |predicted: Option<Estimate>| {
            let (predicted, measured) = predicted.zip(row.latency_ns)?;
            Some((predicted.median / measured.median - 1.0) * 100.0)
        };
        let role = if row.in_table { TABLE } else { "put to the test" };
        let mut cells = vec![Cell::words(&row.name), Cell::words(role)];
        cells.extend(estimate_cells(row.sum_ns.map(milliseconds)));
        cells.extend(estimate_cells(row.predicted_ns.map(milliseconds)));
        cells.extend(estimate_cells(row.latency_ns.map(milliseconds)));
        cells.extend([row.sum_ns, row.predicted_ns].map(|predicted| Cell::number(beyond(predicted))));
        cells
    });
    section.table = Some(Table::new("Predicted and measured whole", columns).fill(ROWS_MAX, cells));
    vec![section]
}

/// Which of the networks say nothing of how well layers add up.
fn by_construction(rows: &[&NetworkRow]) -> Option<String> {
    let count = rows.iter().filter(|row| row.in_table).count();
    (count > 0).then(|| {
        format!(
            "The table of layers was made of {}: by construction their sums come out near what was measured, and test nothing. What is \
             said of sums is of the others alone.",
            plural(count, "network", "networks")
        )
    })
}

fn judgement(device: &DeviceReport) -> Vec<String> {
    let mut text = Vec::new();
    if let Some(additivity) = &device.additivity
        && additivity.configs > 0
    {
        let within = match additivity.is_additive() {
            true => "all of them within their intervals".to_owned(),
            false => format!("{} of them within their intervals", additivity.within),
        };
        let corrected = additivity.corrected_mean_error.map(|error| {
            format!(
                " Corrected, networks that the model has not seen are {:.2} % off on average.",
                error * 100.0
            )
        });
        text.push(format!(
            "Sums are {:.2} % off on average over {}, {:.2} % at most, {:+.2} % to one side; {within}.{}",
            additivity.mean_error * 100.0,
            plural(additivity.configs as usize, "network", "networks"),
            additivity.max_error * 100.0,
            additivity.bias * 100.0,
            corrected.unwrap_or_default()
        ));
    }
    text.extend(device.price_of_changes());
    text
}

fn chart(rows: &[&NetworkRow]) -> Chart {
    let mark = |row: &NetworkRow, series: &str, predicted: Option<Estimate>| {
        let (predicted, measured) = (milliseconds(predicted?), milliseconds(row.latency_ns?));
        Some(Mark {
            name: row.name.clone(),
            series: series.to_owned(),
            x: predicted.median,
            y: measured.median,
            x_range: range(predicted),
            y_range: range(measured),
        })
    };
    let of = |row: &&NetworkRow| match row.in_table {
        true => [mark(row, TABLE, row.sum_ns), None],
        false => [mark(row, SUM, row.sum_ns), mark(row, MODEL, row.predicted_ns)],
    };
    let marks: Vec<Mark> = rows.iter().flat_map(of).flatten().take(MARKS_MAX).collect();
    let has = |series: &&str| marks.iter().any(|mark| mark.series == *series);
    Chart {
        alt: format!(
            "Marks of {}: predicted latency across, measured latency upwards, each with its interval, with a line where the two \
             are equal.",
            plural(rows.len(), "network", "networks")
        ),
        plot: Plot::Scatter(Scatter {
            x: "predicted latency (ms)".to_owned(),
            y: "measured latency (ms)".to_owned(),
            legend: "predicted by".to_owned(),
            series: [MODEL, SUM, TABLE].into_iter().filter(has).map(str::to_owned).collect(),
            marks,
            traces: Vec::new(),
            has_diagonal: true,
        }),
    }
}
