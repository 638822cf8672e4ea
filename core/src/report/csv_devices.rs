//! The columns of a results file about devices: what was measured of a row's config on each of them, beside what was predicted.
//!
//! Devices are counted from 1 in the order of their probe stages, so that the columns follow from the plan alone.

use std::collections::{BTreeMap, BTreeSet};

use super::csv::write_real;
use super::{DeviceReport, Finalist, NetworkRow, Report};
use crate::bits::Bits;
use crate::latency::Quantity;
use crate::probe::Unsteady;
use crate::trial::ProbeTarget;

/// What is told of a device, by the cost's name and so in its unit; every device has all of it, though few can measure all.
const COSTS: [&str; 3] = ["latency_ms", "energy_mj", "peak_memory_mib"];

/// The columns of each cost, behind its name.
const OF_COST: [&str; 4] = ["predicted", "measured", "low", "high"];

/// The points that are not at the baseline's width, with theirs.
type Changes = BTreeMap<String, Bits>;

/// What stands in one row.
type Cells = Vec<String>;

/// The columns behind those of every results file; none without a probe stage.
pub(super) struct DeviceColumns<'a> {
    pub(super) names: Vec<String>,
    /// Of a config that no device measured and no search chose.
    unknown: Cells,
    pub(super) float: Cells,
    configs: BTreeMap<&'a Changes, Cells>,
}

impl<'a> DeviceColumns<'a> {
    pub(super) fn of(report: &'a Report) -> Self {
        let devices = &report.devices;
        let cells = |row: &dyn Fn(&'a DeviceReport) -> Known<'a>| -> Cells {
            devices
                .iter()
                .flat_map(|device| row(device).cells(device, goes_by_energy(report, device)))
                .collect()
        };
        let changes: BTreeSet<&Changes> = devices.iter().flat_map(all_changes).collect();
        let known =
            changes.into_iter().map(|changes| (changes, cells(&|device| Known::of_config(device, changes))));
        Self {
            names: (1..)
                .zip(devices)
                .flat_map(|(number, device)| names(number, goes_by_energy(report, device)))
                .collect(),
            unknown: cells(&|_| Known::default()),
            float: cells(&Known::of_float),
            configs: known.collect(),
        }
    }

    /// What stands in the rows of a config.
    pub(super) fn config(&self, changes: &Changes) -> &[String] {
        self.configs.get(changes).unwrap_or(&self.unknown)
    }

    /// Whether there are any.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Whether a search limits or lowers the energy on a device, so that there is a column for what says it.
fn goes_by_energy(report: &Report, device: &DeviceReport) -> bool {
    let is_its = |cost: &str, target: &ProbeTarget| {
        Quantity::of_cost(cost).is_some_and(|(quantity, _)| quantity == Quantity::Energy)
            && *target == device.target
    };
    report.searches.iter().any(|search| {
        let limited =
            search.plan.limits.iter().filter_map(|limit| Some((&limit.cost, limit.target.as_ref()?)));
        let lowered = search.plan.lowers.iter().map(|lowers| (&lowers.cost, &lowers.target));
        limited.chain(lowered).any(|(cost, target)| is_its(cost, target))
    })
}

/// The names of a device's columns.
fn names(number: usize, has_energy_source: bool) -> Vec<String> {
    let of_cost = |cost: &'static str| OF_COST.map(|what| format!("device{number}_{cost}_{what}"));
    let mut names = vec![format!("device{number}"), format!("device{number}_class")];
    names.extend(COSTS.into_iter().flat_map(of_cost));
    names.extend(["unsteady", "refused"].map(|what| format!("device{number}_{what}")));
    names.extend(has_energy_source.then(|| format!("device{number}_energy_source")));
    names
}

/// The configs that a device has anything to say of.
fn all_changes(device: &DeviceReport) -> impl Iterator<Item = &Changes> {
    let networks = device.networks.iter().filter(|row| !row.is_float()).map(|row| &row.changes);
    let finalists = device.finalists.iter().map(|finalist| &finalist.changes);
    let compared = device.fidelity.iter().filter(|row| !row.is_float).map(|row| &row.changes);
    networks.chain(finalists).chain(compared)
}

/// What is known of a network on one device.
#[derive(Default)]
struct Known<'a> {
    network: Option<&'a NetworkRow>,
    /// As searches chose it.
    finalists: Vec<&'a Finalist>,
    refused: Option<&'a str>,
}

impl<'a> Known<'a> {
    fn of_float(device: &'a DeviceReport) -> Self {
        Self { network: device.networks.iter().find(|row| row.is_float()), ..Self::default() }
    }

    fn of_config(device: &'a DeviceReport, changes: &Changes) -> Self {
        let mut compared = device.fidelity.iter().filter(|row| !row.is_float && row.changes == *changes);
        Self {
            network: device.networks.iter().find(|row| !row.is_float() && row.changes == *changes),
            finalists: device.finalists.iter().filter(|finalist| finalist.changes == *changes).collect(),
            refused: compared.find_map(|row| row.refused.as_deref()),
        }
    }

    fn cells(&self, device: &DeviceReport, has_energy_source: bool) -> Cells {
        let mut cells = vec![device.target.to_string(), device.class.clone().unwrap_or_default()];
        for cost in COSTS {
            let (quantity, unit) = Quantity::of_cost(cost).expect("costs that are measured");
            let measured = self.network.and_then(|network| network.measured(quantity));
            let values = [
                self.predicted(quantity),
                measured.map(|measured| measured.median),
                measured.map(|measured| measured.low),
                measured.map(|measured| measured.high),
            ];
            cells.extend(values.map(|value| value.map_or_else(String::new, |value| real(value / unit))));
        }
        cells.push(self.unsteady());
        cells.push(self.refused.unwrap_or_default().to_owned());
        cells.extend(has_energy_source.then(|| self.energy_source().unwrap_or_default().to_owned()));
        cells
    }

    /// As the first search expected it that chose the config, in the quantity's unit; of times, else as the model expects them
    /// from all other networks.
    fn predicted(&self, quantity: Quantity) -> Option<f64> {
        let chosen = self.finalists.iter().find_map(|finalist| {
            let (known, unit) = Quantity::of_cost(&finalist.cost)?;
            (known == quantity).then_some(finalist.predicted.median * unit)
        });
        let modelled = || match quantity {
            Quantity::Latency => Some(self.network?.predicted_ns?.median),
            Quantity::Energy | Quantity::PeakMemory => None,
        };
        chosen.or_else(modelled)
    }

    /// What says its energy: the counter that measured it, else what a search went by that chose it.
    fn energy_source(&self) -> Option<&'a str> {
        let measured = self.network.and_then(|network| network.energy_source.as_deref());
        measured.or_else(|| self.finalists.iter().find_map(|finalist| finalist.energy_source.as_deref()))
    }

    /// Why repetitions are not to be relied on, each reason once.
    fn unsteady(&self) -> String {
        let reasons = self.network.iter().flat_map(|network| &network.unsteady);
        let words: BTreeSet<&str> = reasons.map(Unsteady::as_str).collect();
        words.into_iter().collect::<Vec<_>>().join(" ")
    }
}

fn real(value: f64) -> String {
    let mut text = String::new();
    write_real(&mut text, value).expect("a string takes everything");
    text
}
