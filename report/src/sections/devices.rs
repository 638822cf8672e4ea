//! What was measured on devices: all of them together, then a file per subject, each with sections for every probe stage.

mod additivity;
pub(super) mod environment;
mod fidelity;
mod fleet;
mod fronts;
mod layers;
mod networks;

use bitloop_core::probe::Estimate;
use bitloop_core::report::DeviceReport;

use super::cut;
use crate::chart::Range;
use crate::document::{Cell, Column, Section};
use crate::material::Material;

/// Nanoseconds of a millisecond.
const MS_NS: f64 = 1e6;

/// What gives the sections on one subject, of the device of a number.
type Subject = fn(usize, &DeviceReport) -> Vec<Section>;

const SUBJECTS: &[Subject] = &[
    networks::sections,
    fronts::sections,
    additivity::sections,
    layers::sections,
    fidelity::sections,
    environment::sections,
];

pub(super) fn sections(material: &Material) -> Vec<Section> {
    let devices = (1..).zip(&material.report.devices);
    let each =
        devices.flat_map(|(number, device)| SUBJECTS.iter().flat_map(move |subject| subject(number, device)));
    fleet::section(material).into_iter().chain(each).collect()
}

/// The device for headings: its class, or what was asked for before that is known.
fn name(device: &DeviceReport) -> String {
    let class = device.class.clone().unwrap_or_else(|| {
        let labels = device.target.on.iter().map(|(key, value)| format!("{key}={value}"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        if labels.is_empty() { "a device".to_owned() } else { labels }
    });
    format!("{} on {}", cut(&device.target.probe), cut(&class))
}

fn milliseconds(estimate: Estimate) -> Estimate {
    let Estimate { median, low, high } = estimate;
    Estimate { median: median / MS_NS, low: low / MS_NS, high: high / MS_NS }
}

fn range(estimate: Estimate) -> Option<Range> {
    Range::new(estimate.low, estimate.high)
}

/// Columns of an estimate, with its interval.
fn estimate_columns(what: &str, digits: u8) -> [Column; 3] {
    [what, "low", "high"].map(|title| Column::number(title, digits))
}

fn estimate_cells(estimate: Option<Estimate>) -> [Cell; 3] {
    [estimate.map(|it| it.median), estimate.map(|it| it.low), estimate.map(|it| it.high)].map(Cell::number)
}
