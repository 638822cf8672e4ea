//! Shifts terms of two groups into the values of their ends, which raises the bound and never changes an assignment's
//! objective.
//!
//! Source: Globerson and Jaakkola, "Fixing Max-Product: Convergent Message Passing Algorithms for MAP LP-Relaxations",
//! NIPS 2007 (the updates edge by edge).

use super::dense::Dense;
use super::part::{Multipliers, Part};
use crate::solve::groups::Compiled;

/// Goes once over all pairs of groups with more than one choice.
///
/// With `A = term + priced value of a + priced value of b`, each end gets half of the least `A` over the other end, and
/// the term keeps the rest, which is at least 0.
pub(super) fn pass(compiled: &Compiled, part: &Part, prices: &Multipliers, of: (&mut [f64], &mut Dense)) {
    let (value, terms) = of;
    let price = |choice: &usize| {
        let costs = compiled.costs(*choice).iter().zip(&prices.rows).map(|(cost, price)| cost * price);
        costs.sum::<f64>() + prices.count * compiled.changed[*choice] as f64
    };
    let paid: Vec<f64> = part.choice.iter().map(price).collect();
    value.iter_mut().zip(&paid).for_each(|(value, paid)| *value += paid);
    let groups: Vec<_> = (0..part.groups()).map(|group| part.start[group]..part.start[group + 1]).collect();
    let free: Vec<_> = groups.into_iter().filter(|range| range.len() > 1).collect();
    let mut least = vec![0.0; part.choice.len()];
    for (at, a) in free.iter().enumerate() {
        for b in &free[at + 1..] {
            let size = terms.size;
            least[b.clone()].fill(f64::INFINITY);
            for first in a.clone() {
                let row = &mut terms.values[first * size..(first + 1) * size];
                let mut smallest = f64::INFINITY;
                for second in b.clone() {
                    row[second] += value[first] + value[second];
                    smallest = smallest.min(row[second]);
                    least[second] = least[second].min(row[second]);
                }
                least[first] = smallest;
            }
            for first in a.clone() {
                for second in b.clone() {
                    let rest = terms.values[first * size + second] - (least[first] + least[second]) / 2.0;
                    terms.values[first * size + second] = rest;
                    terms.values[second * size + first] = rest;
                }
            }
            a.clone().chain(b.clone()).for_each(|at| value[at] = least[at] / 2.0);
        }
    }
    value.iter_mut().zip(&paid).for_each(|(value, paid)| *value -= paid);
}
