//! The linear relaxation of a part by an interior-point method: prices for the Lagrangian bound.
//!
//! Choices become shares that sum to 1 in each group; the table by number of changed variables becomes one more group of
//! the corners of its lower convex hull, tied to the others by one more row. Only the prices matter: whatever they are,
//! [`Part::lagrangian`] is a bound, so rounding can't spoil a proof.
//!
//! Source: Mehrotra, "On the Implementation of a Primal-Dual Interior Point Method", SIAM Journal on Optimization 2,
//! 1992 (predictor and corrector with one factorisation).

use super::part::{Multipliers, Part};
use crate::solve::groups::Compiled;

mod system;

use system::System;

/// Prices with the shares they come from.
#[derive(Clone, Debug)]
pub(crate) struct Relaxed {
    /// The best prices met.
    pub(crate) multipliers: Multipliers,
    /// Their bound.
    pub(crate) bound: f64,
    /// A share per choice of the part.
    pub(crate) share: Vec<f64>,
}

/// The most iterations; about 15 are usual.
const ITERATIONS_MAX: usize = 40;
/// The gap, as a share of the range of values, at which prices are good enough.
const GAP: f64 = 1e-8;
/// The share of what is missing to `enough` at which better prices would hardly drop more.
const WORTHWHILE: f64 = 0.01;

/// Finds prices for a part; stops early when its bound passes `enough`.
pub(crate) fn relax(compiled: &Compiled, part: &Part, enough: f64) -> Relaxed {
    let zero = Multipliers::zero(compiled.rows());
    let mut best = Relaxed { bound: part.lagrangian(compiled, &zero), multipliers: zero, share: Vec::new() };
    let mut system = System::new(compiled, part);
    if system.is_free() {
        best.share = system.shares(part.choice.len());
        return best;
    }
    let mut gap = f64::INFINITY;
    for _ in 0..ITERATIONS_MAX {
        let multipliers = system.multipliers();
        let bound = part.lagrangian(compiled, &multipliers);
        if bound > best.bound {
            (best.bound, best.multipliers) = (bound, multipliers);
        }
        gap = system.gap().min(gap);
        let spare = (enough - best.bound).min(f64::MAX);
        if gap < (GAP * system.range).max(if enough.is_finite() { WORTHWHILE * spare } else { 0.0 })
            || best.bound > enough
            || !system.step()
        {
            break;
        }
    }
    best.share = system.shares(part.choice.len());
    best
}

/// The corners of the lower convex hull of a table on an interval.
pub(crate) fn hull(table: &[f64], (low, high): (usize, usize)) -> Vec<usize> {
    let mut corners: Vec<usize> = Vec::new();
    for at in low..=high {
        while let [.., before, last] = corners[..] {
            let slope = |from: usize, to: usize| (table[to] - table[from]) / (to - from) as f64;
            if slope(before, last) < slope(last, at) {
                break;
            }
            corners.pop();
        }
        corners.push(at);
    }
    corners
}
