//! What the device was like meanwhile.

use bitloop_core::report::{DeviceReport, EnvironmentSummary, Range};

use super::name;
use crate::document::{Cell, Column, Section, Table, plural, shown};
use crate::sections::{ROWS_MAX, cut};

pub(super) fn sections(number: usize, device: &DeviceReport) -> Vec<Section> {
    let environment = &device.environment;
    if environment.measurements == 0 {
        return Vec::new();
    }
    let title = format!("What the device was like: {}", name(device));
    let mut section = Section::new(format!("device-{number}-environment"), title).say(format!(
        "As far as it can be read, over {}.",
        plural(environment.measurements as usize, "measurement", "measurements")
    ));
    let rows =
        facts(environment).into_iter().map(|(name, value)| vec![Cell::Words(name), Cell::Words(value)]);
    let columns = vec![Column::words("what"), Column::words("value")];
    section.table = Some(Table::new("Environment", columns).fill(ROWS_MAX, rows));
    vec![section]
}

/// What could be read, by name.
pub(in crate::sections) fn facts(environment: &EnvironmentSummary) -> Vec<(String, String)> {
    let span = |range: Range, unit: &str| {
        format!("{} to {} {unit}", shown(range.least, 2, false), shown(range.most, 2, false))
    };
    let list = |values: Vec<String>| values.join("; ");
    let mut facts: Vec<(String, String)> = Vec::new();
    if !environment.governors.is_empty() {
        facts.push(("governor".to_owned(), list(environment.governors.iter().map(|it| cut(it)).collect())));
    }
    if !environment.affinities.is_empty() {
        let sets = environment.affinities.iter().map(|set| format!("{set:?}"));
        facts.push(("processors".to_owned(), cut(&list(sets.collect()))));
    }
    let ranges = [
        ("frequency", environment.mhz, "MHz"),
        ("temperature", environment.celsius, "°C"),
        ("busy threads of the machine", environment.load, ""),
        ("part of the processors that others had", environment.others, ""),
    ];
    facts.extend(
        ranges.into_iter().filter_map(|(name, range, unit)| {
            Some((name.to_owned(), span(range?, unit).trim_end().to_owned()))
        }),
    );
    let more = environment.more.iter();
    facts.extend(more.map(|(name, values)| (cut(name), cut(&list(values.iter().cloned().collect())))));
    facts
}
