//! Local search: moves of one group and exchanges of two, from many starts.

use bitloop_core::rng::rng;

use super::best::{Best, keeps, objective};
use super::dense::Dense;
use super::part::Part;
use super::point::{Point, Reach};
use crate::solve::groups::Compiled;

/// Starts from disturbed copies of the best assignment.
const STARTS: u64 = 30;
/// The share of groups that a disturbance changes.
const DISTURBED: f64 = 0.15;

/// Offers local optima of a problem with terms of two groups.
pub(super) fn improve(compiled: &Compiled, terms: &Dense, part: &Part, best: &mut Best) {
    let mut incumbent = best.found().first().map(|found| (found.objective, found.choices.clone()));
    for start in 0..STARTS {
        let mut random = rng(start, part.groups() as u64);
        let mut choices: Vec<usize> = match &incumbent {
            Some((_, choices)) => choices.clone(),
            None => {
                (0..part.groups()).map(|group| part.of(group)[random.below(part.of(group).len())]).collect()
            }
        };
        if incumbent.is_some() {
            let changes = (part.groups() as f64 * DISTURBED).ceil() as usize + 1;
            for _ in 0..changes {
                let group = random.below(part.groups());
                choices[group] = part.of(group)[random.below(part.of(group).len())];
            }
        }
        let mut point = Point::new(compiled, Some(terms), choices);
        point.descend(part, Reach::Double);
        if keeps(compiled, &point.choices) {
            let value = objective(compiled, &point.choices);
            best.offer(value, &point.choices);
            if incumbent.as_ref().is_none_or(|(least, _)| value < *least) {
                incumbent = Some((value, point.choices));
            }
        }
    }
}
