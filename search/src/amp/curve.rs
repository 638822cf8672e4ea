//! The curve: the entries of the list applied one after another.

use super::list::Entry;
use super::{Problem, Walk};
use crate::set_search::Score;

/// An assignment on the curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The entry of the list that leads here.
    pub entry: usize,
    /// The assignment.
    pub levels: Vec<u8>,
    /// Its cost beside the baseline's.
    pub relative_cost: f64,
    /// Its score, where it was measured.
    pub score: Option<Score>,
    /// Whether its score is above that of the measured point before it, as scores of a falling curve should not be.
    pub rises: bool,
}

/// Why an entry of the list has no point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It raises a width of its group again that an entry before it lowered.
    Raises(usize),
    /// It changes nothing.
    ChangesNothing(usize),
}

/// The points behind a baseline in the list's order, and the entries left out, which only [`Walk::Complete`] does.
pub(crate) fn curve(
    problem: &Problem,
    baseline: &[u8],
    list: &[Entry],
    walk: Walk,
) -> (Vec<Point>, Vec<Skipped>) {
    let whole = problem.cost(baseline);
    let mut levels = baseline.to_vec();
    let (mut points, mut skipped) = (Vec::with_capacity(list.len()), Vec::new());
    for (place, entry) in list.iter().enumerate() {
        let before = levels.clone();
        problem.apply(&mut levels, entry.group, entry.candidate);
        // Levels ascend with the width.
        let raises = levels.iter().zip(&before).any(|(after, before)| after > before);
        if walk == Walk::Complete && (raises || levels == before) {
            skipped.push(if raises { Skipped::Raises(place) } else { Skipped::ChangesNothing(place) });
            levels = before;
            continue;
        }
        let relative_cost = problem.cost(&levels) / whole;
        points.push(Point { entry: place, levels: levels.clone(), relative_cost, score: None, rises: false });
    }
    (points, skipped)
}

/// Flags measured points whose score is above that of the measured point before them.
pub(crate) fn flag_rises(points: &mut [Point]) {
    let mut before = f64::INFINITY;
    for point in points {
        if let Some(score) = point.score {
            point.rises = score.value > before;
            before = score.value;
        }
    }
}
