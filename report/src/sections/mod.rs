//! The sections of a report: a file and a line of [`SECTIONS`] for each subject.
//!
//! A subject looks at the material and gives the sections that it has something to say in, which may be none.

mod chosen;
mod devices;
mod fronts;
mod pairs;
mod predicted;
mod preparation;
mod provenance;
mod sensitivity;
mod standing;
mod sums;
mod timeline;
mod trained;
mod verification;

use std::collections::BTreeMap;

use bitloop_core::bits::Bits;
use bitloop_core::plan::Metric;
use bitloop_core::report::{CONFIDENCE, Interval, RowState};

use crate::document::{Cell, Column, Section, shown};
use crate::material::Material;

/// Rows of a table: more than a person reads, and a page of a few megabytes at most. The CSV file has all of them.
const ROWS_MAX: usize = 400;

/// Names on an axis of bars: as many as a person scrolls through.
const NAMES_MAX: usize = 60;

/// Names on each axis of a heat map: their squares are still large enough to be told apart on a screen.
const HEAT_NAMES_MAX: usize = 40;

/// Marks of a chart: beyond that browsers are slow to draw them, and they cover each other.
const MARKS_MAX: usize = 1_000;

/// Spans and moments of a timeline, likewise.
const SPANS_MAX: usize = 1_000;

/// Characters of a reason or of another worker's words.
const PROSE_CHARS_MAX: usize = 300;

/// Changes of a bit config that are named.
const CHANGES_MAX: usize = 8;

/// What gives the sections on one subject.
type Subject = fn(&Material) -> Vec<Section>;

/// The subjects, in the order of the report.
const SECTIONS: &[Subject] = &[
    standing::sections,
    verification::sections,
    chosen::sections,
    fronts::sections,
    predicted::sections,
    devices::sections,
    trained::sections,
    sensitivity::sections,
    pairs::sections,
    sums::sections,
    preparation::sections,
    timeline::sections,
    provenance::sections,
];

/// Everything that there is to say.
pub(crate) fn all(material: &Material) -> Vec<Section> {
    SECTIONS.iter().flat_map(|subject| subject(material)).collect()
}

/// What configs are judged by: what the first search that may choose asks for, otherwise top-1.
fn metric(material: &Material) -> Metric {
    let plans = material.report.searches.iter().map(|search| &search.plan);
    plans
        .filter(|plan| plan.method.is_limited_by_cost())
        .map(|plan| plan.objective)
        .next()
        .unwrap_or_default()
}

/// A metric with its unit, for axes.
fn axis(metric: Metric) -> &'static str {
    match metric {
        Metric::Top1Drop => "drop of top-1 (percentage points)",
        Metric::LossIncrease => "increase of cross-entropy (nats)",
    }
}

/// Digits behind the point that a metric is shown with.
fn digits(metric: Metric) -> u8 {
    match metric {
        Metric::Top1Drop => 2,
        Metric::LossIncrease => 4,
    }
}

/// A metric's value with its unit.
fn loss(metric: Metric, value: f64) -> String {
    let unit = match metric {
        Metric::Top1Drop => "points",
        Metric::LossIncrease => "nats",
    };
    format!("{} {unit}", shown(value, digits(metric), true))
}

/// Columns of an interval, with its value.
fn interval_columns(metric: Metric, what: &str) -> [Column; 3] {
    let digits = digits(metric);
    [format!("{what}, {}", axis(metric)), "low".to_owned(), "high".to_owned()]
        .map(|title| Column::difference(title, digits))
}

/// An interval as three cells.
fn interval_cells(interval: Option<Interval>) -> [Cell; 3] {
    [interval.map(|it| it.value), interval.map(|it| it.low), interval.map(|it| it.high)].map(Cell::number)
}

/// The loss that was measured, if it was.
fn measured(result: &RowState, metric: Metric) -> Option<Interval> {
    result.measured().map(|measured| measured.loss_by(metric))
}

/// What came of a row, in a word or a sentence.
fn state(result: &RowState) -> Cell {
    match result {
        RowState::Failed { reason } => Cell::words(format!("failed: {}", cut(reason))),
        RowState::Open
        | RowState::Partial(_)
        | RowState::Decided(_)
        | RowState::Harmful(_)
        | RowState::Done(_) => Cell::words(result.as_str()),
    }
}

/// The beginning of a text that may be long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(PROSE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a bit config changes, as far as there is room.
fn changes(changes: &BTreeMap<String, Bits>) -> String {
    let mut words: Vec<String> =
        changes.iter().take(CHANGES_MAX).map(|(point, bits)| format!("{point}={bits}")).collect();
    if changes.len() > CHANGES_MAX {
        words.push(format!("and {} more", changes.len() - CHANGES_MAX));
    }
    if words.is_empty() { "the baseline".to_owned() } else { words.join(" ") }
}

/// Percent of the intervals of drops: of rows decided on some of the images it is the experiment's own.
fn confidence_percent(material: &Material) -> f64 {
    match material.report.evaluation.adaptive() {
        Some(adaptive) => f64::from(adaptive.confidence_ppm) / 1e4,
        None => CONFIDENCE * 100.0,
    }
}

/// At most so many of the items, evenly spread, with the first and the last.
fn spread<T>(items: Vec<T>, most: usize) -> Vec<T> {
    let count = items.len();
    if count <= most {
        return items;
    }
    let keeps = |index: usize| index * most / count != (index + 1) * most / count;
    items.into_iter().enumerate().filter(|(index, _)| keeps(*index)).map(|(_, item)| item).collect()
}

/// KiB of so many bits.
fn kib(bits: u64) -> f64 {
    bits as f64 / 8.0 / 1024.0
}

/// Millions.
fn millions(count: u64) -> f64 {
    count as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_as_large_as_there_is_room() {
        for (count, most) in [(0, 3), (3, 3), (4, 3), (1_000, 7), (1_001, 1_000)] {
            let kept = spread((0..count).collect(), most);
            assert_eq!(kept.len(), count.min(most));
            assert!(kept.is_sorted());
        }
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let text = "ä".repeat(PROSE_CHARS_MAX + 1);
        assert_eq!(cut(&text).chars().count(), PROSE_CHARS_MAX + 1);
        assert_eq!(cut("short"), "short");
    }
}
