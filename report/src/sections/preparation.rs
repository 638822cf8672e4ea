//! What was done to the float network before it was quantized.

use bitloop_core::trial::PreparedStep;

use crate::document::{Cell, Column, Section, Table};
use crate::material::Material;

pub(super) fn sections(material: &Material) -> Vec<Section> {
    let steps = &material.report.steps;
    if steps.is_empty() {
        return Vec::new();
    }
    let mut section = Section::new("preparation", "What was done to the network first").say(
        "Each transform was measured behind it, and undone where it cost more than the experiment allows.",
    );
    let columns = vec![
        Column::words("transform"),
        Column::words("state"),
        Column::number("groups of layers changed", 0),
        Column::number("images", 0),
        Column::number("float top-1 (%)", 2),
        Column::number("baseline top-1 (%)", 2),
    ];
    section.table =
        Some(Table::new("Transforms in their order", columns).fill(steps.len(), steps.iter().map(row)));
    vec![section]
}

fn row(step: &PreparedStep) -> Vec<Cell> {
    let percent = |correct: u64| correct as f64 / step.n.max(1) as f64 * 100.0;
    let (name, state) = match step.transform {
        Some(transform) => (transform.as_str(), step.state.as_str()),
        None => ("model as given", ""),
    };
    vec![
        Cell::words(name),
        Cell::words(state),
        Cell::count(step.changes),
        Cell::count(step.n),
        Cell::number(percent(step.float_correct)),
        Cell::number(step.baseline_correct.map(percent)),
    ]
}
