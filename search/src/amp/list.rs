//! The list of what each group alone costs in score.

use super::Problem;
use crate::set_search::Score;

/// One group at one candidate, everything else in float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// The group.
    pub group: usize,
    /// The candidate.
    pub candidate: usize,
    /// The score.
    pub score: Score,
    /// By how much the cost of the baseline falls when this group has this candidate, in the cost's unit.
    pub reduction: f64,
}

/// Sorts entries by falling score, then falling bits of both widths together, then falling reduction, then by the
/// groups' order in the model.
pub(crate) fn sort(problem: &Problem, entries: &mut [Entry]) {
    let bits = |entry: &Entry| {
        let candidate = problem.candidates[entry.candidate];
        candidate.activation.get() + candidate.weight.get()
    };
    entries.sort_by(|a, b| {
        let score = b.score.value.total_cmp(&a.score.value);
        let order = score.then(bits(b).cmp(&bits(a))).then(b.reduction.total_cmp(&a.reduction));
        order.then(a.group.cmp(&b.group))
    });
}
