//! What whole networks took.

use bitloop_core::probe::Unsteady;
use bitloop_core::report::{DeviceReport, NetworkRow};

use super::{estimate_cells, estimate_columns, milliseconds, name, range};
use crate::chart::{Bar, Bars, Chart, Plot, once};
use crate::document::{Cell, Column, Section, Table, plural, shown};
use crate::sections::{NAMES_MAX, ROWS_MAX, changes, cut};

pub(super) fn sections(number: usize, device: &DeviceReport) -> Vec<Section> {
    let mut section =
        Section::new(format!("device-{number}"), format!("Measured: {}", name(device))).say(how(device));
    if !device.is_over {
        section = section.say("The stage that measures is not over; there is more to come.");
    }
    let unsteady = device.networks.iter().filter(|row| !row.unsteady.is_empty()).count();
    if unsteady > 0 {
        section = section.say(format!(
            "{} measured unsteadily; their rows say why.",
            plural(unsteady, "network was", "networks were")
        ));
    }
    section.text.extend(device.notes.iter().map(|note| format!("{}.", cut(note).trim_end_matches('.'))));
    section.text.extend(device.failures.iter().map(|failure| {
        format!(
            "{} failed ({}): {}.",
            plural(failure.trials as usize, "trial", "trials"),
            failure.subject,
            cut(&failure.reason).trim_end_matches('.')
        )
    }));
    let measured = device.networks.iter().filter(|row| row.latency_ns.is_some()).count();
    if measured > NAMES_MAX {
        section = section.say(format!("The chart has the first {NAMES_MAX} of {measured} networks."));
    }
    section.chart = chart(device);
    section.table = Some(table(device));
    vec![section]
}

fn how(device: &DeviceReport) -> String {
    let setting = &device.setting;
    let runtime = device.runtime.as_ref().map(|runtime| format!("{}, ", cut(runtime))).unwrap_or_default();
    format!(
        "Whole inferences on the device itself: {runtime}batches of {}, {}, {} of each network by processes of their own. The \
         baseline had turns with each. Times are those while it takes what it usually does, intervals are of 95 % and for the \
         same measurement at another time.",
        setting.batch,
        plural(setting.threads as usize, "thread", "threads"),
        plural(device.repetitions as usize, "repetition", "repetitions")
    )
}

fn chart(device: &DeviceReport) -> Option<Chart> {
    let bar = |row: &NetworkRow| {
        let time = milliseconds(row.latency_ns?);
        let name = row.name.clone();
        Some(Bar { name, series: row.kind.clone(), value: time.median, range: range(time) })
    };
    let bars: Vec<Bar> = device.networks.iter().filter_map(bar).take(NAMES_MAX).collect();
    let fastest = bars.iter().min_by(|a, b| a.value.total_cmp(&b.value))?;
    let alt = format!(
        "Bars of the latency of {}. The fastest is {} with {} ms.",
        plural(bars.len(), "network", "networks"),
        fastest.name,
        shown(fastest.value, 3, false)
    );
    let series = once(bars.iter().map(|bar| bar.series.as_str())).into_iter().map(str::to_owned).collect();
    let axis = "latency (ms)".to_owned();
    Some(Chart { alt, plot: Plot::Bars(Bars { axis, legend: "network".to_owned(), series, bars }) })
}

fn table(device: &DeviceReport) -> Table {
    let mut columns = vec![Column::words("network")];
    columns.extend(estimate_columns("latency (ms)", 4));
    columns.extend(estimate_columns("beside the baseline in the same rounds", 3));
    columns.extend(
        ["repetitions", "rounds", "disturbed rounds", "outliers"].map(|title| Column::number(title, 0)),
    );
    columns.push(Column::number("peak memory (MiB)", 1));
    columns.push(Column::number("energy (mJ)", 3));
    columns.push(Column::words("energy from"));
    columns.push(Column::words("unsteady"));
    columns.push(Column::words("points at other widths than the baseline's"));
    let cells = |row: &NetworkRow| {
        let mut cells = vec![Cell::words(&row.name)];
        cells.extend(estimate_cells(row.latency_ns.map(milliseconds)));
        cells.extend(estimate_cells(row.ratio));
        cells.extend([row.sessions, row.rounds, row.disturbed, row.outliers].map(Cell::count));
        cells.push(Cell::number(row.peak_memory_bytes.map(|bytes| bytes.median / f64::from(1 << 20))));
        cells.push(Cell::number(row.energy_joules.map(|joules| joules.median * 1e3)));
        cells.push(row.energy_source.as_ref().map_or(Cell::Nothing, |source| Cell::Words(cut(source))));
        cells.push(reasons(&row.unsteady));
        cells.push(if row.changes.is_empty() { Cell::Nothing } else { Cell::Words(changes(&row.changes)) });
        cells
    };
    Table::new("Networks", columns).fill(ROWS_MAX, device.networks.iter().map(cells))
}

/// Why something is not to be relied on.
pub(super) fn reasons(unsteady: &[Unsteady]) -> Cell {
    Cell::Words(unsteady.iter().map(reason).collect::<Vec<_>>().join(", "))
}

fn reason(reason: &Unsteady) -> String {
    match reason {
        Unsteady::Few(rounds) => format!("{rounds} rounds"),
        Unsteady::Wide(share) => format!("interval of {:.1} %", share * 100.0),
        Unsteady::Drift(share) => format!("drift of {:.1} %", share * 100.0),
        Unsteady::Busy(share) => format!("others had {:.0} % of the processors", share * 100.0),
        Unsteady::Clock(share) => format!("frequency moved by {:.1} % to either side", share * 100.0),
    }
}
