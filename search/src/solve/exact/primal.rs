//! Good assignments early: rounding at the relaxation's prices, repaired and improved.

use super::best::{Best, keeps, objective};
use super::part::Part;
use super::point::{Point, Reach};
use super::relaxation::Relaxed;
use crate::solve::groups::Compiled;

/// Offers what each group is cheapest with at the relaxation's prices, after steps of one group.
pub(super) fn round(compiled: &Compiled, part: &Part, relaxed: &Relaxed, best: &mut Best) {
    let cheapest = |group: usize| {
        let priced = |choice: usize| relaxed.multipliers.priced(compiled, choice);
        part.of(group).iter().copied().min_by(|left, right| priced(*left).total_cmp(&priced(*right)))
    };
    if let Some(choices) = (0..part.groups()).map(cheapest).collect() {
        offer(compiled, (part, Reach::Single), choices, best);
    }
}

/// Offers what exchanges between the choices of a part make of the best assignment.
pub(super) fn exchange(compiled: &Compiled, part: &Part, best: &mut Best) {
    if let Some(choices) = best.found().first().map(|found| found.choices.clone()) {
        offer(compiled, (part, Reach::Double), choices, best);
    }
}

fn offer(compiled: &Compiled, (part, reach): (&Part, Reach), choices: Vec<usize>, best: &mut Best) {
    let mut point = Point::new(compiled, None, choices);
    point.descend(part, reach);
    if keeps(compiled, &point.choices) {
        best.offer(objective(compiled, &point.choices), &point.choices);
    }
}
