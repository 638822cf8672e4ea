//! How a part is divided, and which prices its choices are judged by.

use super::frame::Frame;
use super::part::{Multipliers, Part};
use super::relaxation::{Relaxed, hull};
use crate::solve::groups::Compiled;

/// A table that is this share of the gap above its convex hull is worth a split.
const WORTH_SPLITTING: f64 = 0.05;
/// What prices are multiplied by, beside the best ones: parts of the tree have more or less room than the whole.
const FACTORS: [f64; 4] = [0.6, 0.85, 1.2, 1.7];

/// The prices and others near them, the best ones first.
pub(super) fn family(best: &Multipliers) -> Vec<Multipliers> {
    let mut family = vec![best.clone()];
    let priced = best.rows.iter().filter(|price| **price > 0.0).count();
    if priced > 0 {
        for factor in FACTORS {
            let rows = best.rows.iter().map(|price| price * factor).collect();
            family.push(Multipliers { rows, count: best.count });
        }
    }
    family
}

/// Halves the interval of changed variables where the relaxation's count lies, if the table is well above its hull there.
pub(super) fn by_count(
    compiled: &Compiled,
    part: &Part,
    relaxed: &Relaxed,
    to_beat: f64,
) -> Option<(Part, Part)> {
    let (low, high) = part.count;
    if compiled.table.is_empty() || low == high {
        return None;
    }
    let shares = part.choice.iter().zip(&relaxed.share);
    let mean: f64 = shares.map(|(choice, share)| share * compiled.changed[*choice] as f64).sum();
    let at = (mean.floor().max(low as f64) as usize).min(high - 1);
    let corners = hull(&compiled.table, part.count);
    let beyond = corners.partition_point(|corner| *corner <= at).min(corners.len() - 1);
    let (from, to) = (corners[beyond - 1], corners[beyond]);
    let lift = |count: usize| {
        let along = (count - from) as f64 / (to - from) as f64;
        compiled.table[count] - (compiled.table[from] * (1.0 - along) + compiled.table[to] * along)
    };
    let lifted = lift(at).max(lift(at + 1));
    if lifted <= WORTH_SPLITTING * (to_beat - relaxed.bound).min(f64::MAX) {
        return None;
    }
    let half = |count| Part { count, rounds: 0, bound: part.bound.max(relaxed.bound), ..part.clone() };
    Some((half((low, at)), half((at + 1, high))))
}

/// Divides the choices of the group where prices matter most, by what they cost at these prices.
pub(super) fn by_group(compiled: &Compiled, frame: &Frame, multipliers: &Multipliers) -> Vec<Part> {
    let part = &frame.part;
    let paid = |choice: usize| -> f64 {
        let costs = compiled.costs(choice).iter().zip(&multipliers.rows).map(|(cost, price)| cost * price);
        costs.sum::<f64>() + multipliers.count * compiled.changed[choice] as f64
    };
    let spread = |group: usize| {
        let of = part.of(group);
        let most = of.iter().map(|choice| paid(*choice)).fold(f64::NEG_INFINITY, f64::max);
        most - of.iter().map(|choice| paid(*choice)).fold(f64::INFINITY, f64::min)
    };
    let free = (0..part.groups()).filter(|group| part.of(*group).len() > 1);
    let Some(widest) = free.max_by(|left, right| spread(*left).total_cmp(&spread(*right))) else {
        return vec![part.clone()];
    };
    // The cheapest choice and its likes against the others; equal prices are divided by position.
    let first = part.of(widest)[0];
    let mut paids: Vec<f64> = part.of(widest).iter().map(|choice| paid(*choice)).collect();
    paids.sort_by(f64::total_cmp);
    let middle = (paids[0] + paids[paids.len() - 1]) / 2.0;
    let halves = if paids[0] < paids[paids.len() - 1] {
        [true, false]
            .map(|low| part.filtered(|group, choice| group != widest || (paid(choice) <= middle) == low))
    } else {
        [true, false].map(|low| part.filtered(|group, choice| group != widest || (choice == first) == low))
    };
    halves.into_iter().flatten().collect()
}
