//! Whether the device computes what the simulation says.

use bitloop_core::report::{DeviceReport, FidelityRow};
use bitloop_core::trial::{Fidelity, LayerDifference};

use super::name;
use crate::chart::{Bar, Bars, Chart, Plot, once};
use crate::document::{Cell, Column, Section, Table, plural, shown};
use crate::sections::{NAMES_MAX, ROWS_MAX, cut};

const DEVICE: &str = "on the device";
const SIMULATED: &str = "simulated";

/// Where layers were not looked at.
const EQUAL: &str = "not needed: every logit is equal";

pub(super) fn sections(number: usize, device: &DeviceReport) -> Vec<Section> {
    if device.fidelity.is_empty() {
        return Vec::new();
    }
    let title = format!("Does it compute what was simulated? {}", name(device));
    let mut section = Section::new(format!("device-{number}-fidelity"), title).say(
        "Exported networks, executed on the device and compared with the simulation image by image. The first layer that differs \
         is the first one, from the input on, whose values are apart by more than rounding explains.",
    );
    section.text.extend(compared(device));
    section.chart = chart(device);
    section.table = Some(table(device));
    vec![section]
}

/// In how many networks layers were compared: in those alone of which a logit differs.
fn compared(device: &DeviceReport) -> Option<String> {
    let found: Vec<&Fidelity> = device.fidelity.iter().filter_map(|row| row.found.as_ref()).collect();
    let equal = found.iter().filter(|found| has_equal_logits(found)).count();
    let compared = found.len() - equal;
    let differing = found.iter().filter(|found| found.first_difference.is_some()).count();
    let have = if differing == 1 { "has" } else { "have" };
    let equal = (equal > 0).then(|| {
        let networks = plural(equal, "network", "networks");
        format!("In {networks} every logit is equal, so that no layer's difference comes through.")
    });
    let compared = (compared > 0).then(|| {
        let networks = plural(compared, "network", "networks");
        format!("Layers were compared in {networks}; {differing} of them {have} a layer that differs.")
    });
    let sentences: Vec<String> = compared.into_iter().chain(equal).collect();
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

/// Whether not one bit of a logit differs.
fn has_equal_logits(found: &Fidelity) -> bool {
    found.logit_difference_max == 0.0
}

fn first_difference(row: &FidelityRow) -> Option<&LayerDifference> {
    row.found.as_ref()?.first_difference.as_ref()
}

fn percent(correct: u64, n: u64) -> f64 {
    correct as f64 / n.max(1) as f64 * 100.0
}

fn chart(device: &DeviceReport) -> Option<Chart> {
    let bars = device.fidelity.iter().take(NAMES_MAX).flat_map(|row| {
        let of = |series: &str, correct: u64, n: u64| Bar {
            name: row.name.clone(),
            series: series.to_owned(),
            value: percent(correct, n),
            range: None,
        };
        let found = row.found.as_ref();
        found.map(|found| {
            [of(DEVICE, found.device_correct, found.n), of(SIMULATED, found.simulated_correct, found.n)]
        })
    });
    let bars: Vec<Bar> = bars.flatten().collect();
    let apart = device.fidelity.iter().filter_map(|row| Some((&row.name, row.accuracy_difference?)));
    let (name, most) = apart.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
    let names = once(bars.iter().map(|bar| bar.name.as_str())).len();
    Some(Chart {
        alt: format!(
            "Bars of the top-1 of {}, on the device and simulated. They are farthest apart in {}: {} points.",
            plural(names, "network", "networks"),
            name,
            shown(most * 100.0, 2, true)
        ),
        plot: Plot::Bars(Bars {
            axis: "top-1 (%)".to_owned(),
            legend: "executed".to_owned(),
            series: [DEVICE, SIMULATED].map(str::to_owned).to_vec(),
            bars,
        }),
    })
}

fn table(device: &DeviceReport) -> Table {
    let columns = vec![
        Column::words("network"),
        Column::number("images", 0),
        Column::number("top-1 on the device (%)", 2),
        Column::number("top-1 simulated (%)", 2),
        Column::difference("difference (points)", 2),
        Column::number("same class (%)", 2),
        Column::number("largest difference of a logit", 4),
        Column::number("mean difference", 5),
        Column::words("first layer that differs"),
        Column::number("part of its values (%)", 2),
        Column::number("largest, in steps of its grid (of floats, in parts of the largest value)", 4),
    ];
    let rows = device.fidelity.iter().map(|row| {
        let found = row.found.as_ref();
        let first = first_difference(row);
        let layer = match (&row.failed, found, first) {
            (Some(reason), _, _) => format!("failed: {}", cut(reason)),
            (None, None, _) => "not measured yet".to_owned(),
            (None, Some(_), Some(first)) => first.node.clone(),
            (None, Some(found), None) if has_equal_logits(found) => EQUAL.to_owned(),
            (None, Some(_), None) => "none".to_owned(),
        };
        vec![
            Cell::words(&row.name),
            Cell::number(found.map(|found| found.n as f64)),
            Cell::number(found.map(|found| percent(found.device_correct, found.n))),
            Cell::number(found.map(|found| percent(found.simulated_correct, found.n))),
            Cell::number(row.accuracy_difference.map(|difference| difference * 100.0)),
            Cell::number(found.map(|found| percent(found.agreeing, found.n))),
            Cell::number(found.map(|found| found.logit_difference_max)),
            Cell::number(found.map(|found| found.logit_difference_mean)),
            Cell::Words(layer),
            Cell::number(first.map(|first| first.share * 100.0)),
            Cell::number(first.map(|first| first.largest)),
        ]
    });
    Table::new("Device and simulation", columns).fill(ROWS_MAX, rows)
}
