//! Whether the limits can be kept at all, and what they say together.
//!
//! Where no assignment is known, the row that is hardest to keep is better minimised than searched for: its own
//! relaxation says soon what can't be.

use super::best::{Best, rounding};
use super::part::Part;
use super::relaxation::relax;
use super::{Tree, enumerate::Nodes};
use crate::solve::groups::Compiled;

/// An answer that may be missing for want of nodes.
pub(super) enum Feasible {
    /// A choice per group that keeps all rows.
    Found(Vec<usize>),
    /// There is none.
    Never,
    /// The nodes were spent.
    Unknown,
}

/// Finds a choice per group that keeps all rows: minimises each within those before it until it is kept.
pub(super) fn find(compiled: &Compiled, nodes: &mut Nodes) -> Feasible {
    let mut found: Option<Vec<usize>> = None;
    for row in 0..compiled.rows() {
        let room = compiled.at_most[row] + rounding(compiled.at_most[row]);
        let kept = |choices: &Vec<usize>| {
            choices.iter().map(|choice| compiled.costs(*choice)[row]).sum::<f64>() <= room
        };
        if found.as_ref().is_some_and(kept) {
            continue;
        }
        let alone = compiled.row_alone(row, row);
        let mut tree = Tree::new(&alone, Best::first_within(room), *nodes);
        tree.search();
        *nodes = tree.nodes;
        found = tree.best.found().first().map(|found| found.choices.clone());
        if found.is_none() {
            return if nodes.are_spent() { Feasible::Unknown } else { Feasible::Never };
        }
    }
    let cheapest = |group: usize| {
        compiled.choices(group).min_by(|left, right| compiled.value[*left].total_cmp(&compiled.value[*right]))
    };
    match found.or_else(|| (0..compiled.groups()).map(cheapest).collect()) {
        Some(choices) => Feasible::Found(choices),
        None => Feasible::Never,
    }
}

/// Weighted sums of rows, each over all rows: what every assignment that keeps the rows must keep within the same sum
/// of their rooms. The weights are the prices at which one row is least within the others, for the rows that have a
/// price in `binding`.
pub(super) fn surrogates(compiled: &Compiled, part: &Part, binding: &[f64]) -> Vec<Vec<f64>> {
    let mut rows: Vec<usize> = (0..compiled.rows()).filter(|row| binding[*row] > PRICE_MIN).collect();
    if compiled.rows() < 2 {
        return Vec::new();
    }
    rows.sort_by(|left, right| binding[*right].total_cmp(&binding[*left]));
    let weights = |row: &usize| {
        let mut alone = compiled.row_alone(*row, compiled.rows());
        // Its own limit must not bind while it is minimised.
        alone.at_most[*row] = compiled.groups() as f64;
        let mut weights = relax(&alone, part, f64::INFINITY).multipliers.rows;
        weights[*row] += 1.0;
        weights
    };
    rows.iter()
        .take(SURROGATES_MAX)
        .map(weights)
        .filter(|weights| weights.iter().all(|weight| weight.is_finite()))
        .collect()
}

/// The most sums that are made; each costs a relaxation.
const SURROGATES_MAX: usize = 3;
/// Prices below this are what the relaxation's rounding leaves.
const PRICE_MIN: f64 = 1e-9;
