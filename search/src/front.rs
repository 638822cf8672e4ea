//! Which of several points are worth having: Pareto dominance, fronts, and how far from the front others are.
//!
//! Everything is minimised. Nothing here knows what the numbers mean; start at [`standings`] for measured losses and at
//! [`non_dominated_sort`] for objectives of an optimiser.

use std::cmp::Ordering;

use bitloop_core::report::Interval;

/// Says whether `a` is nowhere worse than `b` and somewhere better.
///
/// Shapes: `a`, `b` `(objectives,)`, none NaN.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    let mut better = false;
    for (a, b) in a.iter().zip(b) {
        if a > b {
            return false;
        }
        better |= a < b;
    }
    better
}

/// Compares points by their first objective, then the second and so on; both zeros are one number.
pub fn lexicographic(a: &[f64], b: &[f64]) -> Ordering {
    let compare = |(a, b): (&f64, &f64)| a.partial_cmp(b).unwrap_or_else(|| a.total_cmp(b));
    let different = a.iter().zip(b).map(compare).find(|order| order.is_ne());
    different.unwrap_or(Ordering::Equal)
}

/// Sorts points into fronts: the first is dominated by no point, each further one only by points of fronts before it.
///
/// Equal points share a front. Indices within a front are in the [`lexicographic`] order of their points.
///
/// Shapes: `points` `(points, objectives)`, none NaN.
///
/// Points are taken in lexicographic order, so that none is dominated by a later one, and the front of each is found
/// by bisection. With two objectives the last member of a front is the only one that can dominate; with more all are
/// compared, the latest first.
///
/// Source: Zhang, Tian, Cheng and Jin, "An Efficient Approach to Nondominated Sorting for Evolutionary Multiobjective
/// Optimization", IEEE Transactions on Evolutionary Computation 19, 2015 (ENS-BS, the variant that bisects).
pub fn non_dominated_sort<P: AsRef<[f64]>>(points: &[P]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| lexicographic(points[*a].as_ref(), points[*b].as_ref()).then(a.cmp(b)));
    let mut fronts: Vec<Vec<usize>> = Vec::new();
    for point in order {
        let objectives = points[point].as_ref();
        let compared = if objectives.len() <= 2 { 1 } else { usize::MAX };
        let dominated = |front: &Vec<usize>| {
            let mut latest = front.iter().rev().take(compared);
            latest.any(|other| dominates(points[*other].as_ref(), objectives))
        };
        let place = fronts.partition_point(dominated);
        match fronts.get_mut(place) {
            Some(front) => front.push(point),
            None => fronts.push(vec![point]),
        }
    }
    fronts
}

/// How alone each member of a front is: the sum over objectives of the distance between its neighbours, each
/// objective scaled to the front's range; infinite for the first and the last of any objective.
///
/// Shapes: `points` `(points, objectives)`, `front` indices into it -> `(front,)`. An objective that is the same
/// everywhere or infinite somewhere counts for nothing but its ends.
///
/// Source: Deb, Pratap, Agarwal and Meyarivan, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE
/// Transactions on Evolutionary Computation 6, 2002, section III B (crowding distance).
pub fn crowding<P: AsRef<[f64]>>(points: &[P], front: &[usize]) -> Vec<f64> {
    let mut distances = vec![0.0; front.len()];
    let objectives = front.first().map_or(0, |point| points[*point].as_ref().len());
    let mut order: Vec<usize> = (0..front.len()).collect();
    for objective in 0..objectives {
        let value = |member: usize| points[front[member]].as_ref()[objective];
        order.sort_by(|a, b| value(*a).total_cmp(&value(*b)).then(a.cmp(b)));
        let (first, last) = (order[0], order[order.len() - 1]);
        let range = value(last) - value(first);
        if range > 0.0 && range.is_finite() {
            for around in order.windows(3) {
                distances[around[1]] += (value(around[2]) - value(around[0])) / range;
            }
        }
        distances[first] = f64::INFINITY;
        distances[last] = f64::INFINITY;
    }
    distances
}

/// Area between points of two objectives and a reference point that is worse than them.
///
/// Points that are not better than the reference in both objectives add nothing; dominated points neither.
pub fn hypervolume(points: &[[f64; 2]], reference: [f64; 2]) -> f64 {
    let better = |point: &&[f64; 2]| point[0] < reference[0] && point[1] < reference[1];
    let mut points: Vec<[f64; 2]> = points.iter().filter(better).copied().collect();
    points.sort_by(|a, b| lexicographic(a, b));
    let mut ceiling = reference[1];
    let mut area = 0.0;
    for [first, second] in points {
        if second < ceiling {
            area += (reference[0] - first) * (ceiling - second);
            ceiling = second;
        }
    }
    area
}

/// A measured point: what it costs and what it loses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The cost, in any unit; less is better.
    pub cost: f64,
    /// The loss with its interval; less is better.
    pub loss: Interval,
}

/// Where a measured point stands beside the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No other point costs no more and loses no more while being better in one of the two.
    Front,
    /// A point is better by the estimates, but the intervals overlap: measuring more may turn it round.
    Dominated {
        /// The least losing point that costs no more.
        by: usize,
    },
    /// A point that costs no more loses less even if it is as bad, and this one as good, as the intervals allow.
    DominatedBeyondDoubt {
        /// The point that costs no more whose upper end is least.
        by: usize,
    },
}

/// A measured point is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cost, loss or interval of point {0} is not a number; leave out what was not measured")]
pub struct NotANumber(pub usize);

/// Says of each point whether it is on the Pareto front of cost and loss, and how surely not.
///
/// Points that are equal in cost and loss are on the front together. A point that the estimates put on the front can't
/// be dominated beyond doubt, as intervals hold their estimates.
///
/// Shapes: `(points,)` -> `(points,)`, in the same order. Takes `n log n` steps.
///
/// Errors: [`NotANumber`] naming the first such point.
pub fn standings(points: &[Measured]) -> Result<Vec<Standing>, NotANumber> {
    let numbers = |point: &Measured| [point.cost, point.loss.value, point.loss.low, point.loss.high];
    if let Some(index) = points.iter().position(|point| numbers(point).iter().any(|n| n.is_nan())) {
        return Err(NotANumber(index));
    }
    let mut order: Vec<usize> = (0..points.len()).collect();
    let key = |index: usize| [points[index].cost, points[index].loss.value];
    order.sort_by(|a, b| lexicographic(&key(*a), &key(*b)).then(a.cmp(b)));
    let mut standings = vec![Standing::Front; points.len()];
    // The best of the points that cost less, or as much.
    let (mut least, mut surest): (Option<usize>, Option<usize>) = (None, None);
    for group in order.chunk_by(|a, b| points[*a].cost == points[*b].cost) {
        for &index in group {
            if surest.is_none_or(|by| points[index].loss.high < points[by].loss.high) {
                surest = Some(index);
            }
        }
        for &index in group {
            let loss = points[index].loss;
            let doubtless = surest.filter(|by| points[*by].loss.high < loss.low);
            let better = least.filter(|by| dominates(&key(*by), &key(index)));
            standings[index] = match (doubtless, better) {
                (Some(by), _) => Standing::DominatedBeyondDoubt { by },
                (None, Some(by)) => Standing::Dominated { by },
                (None, None) => Standing::Front,
            };
            if least.is_none_or(|by| loss.value < points[by].loss.value) {
                least = Some(index);
            }
        }
    }
    Ok(standings)
}

#[cfg(test)]
mod tests;
