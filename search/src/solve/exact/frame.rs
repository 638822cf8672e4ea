//! A part as budgets: what a choice takes from each of them, and how much there is.
//!
//! With prices fixed, the Lagrangian bound of a partial assignment is the bound of the part plus what each choice costs
//! beyond the cheapest of its group. A row of a limit, and the interval of changed variables, have the same form. So the
//! assignments that may still be wanted are those whose choices stay within several budgets at once, and checking one
//! more choice is a handful of additions. Choices that pass a budget by themselves are gone at once.

use super::best::rounding;
use super::part::{Multipliers, Part};
use crate::solve::groups::Compiled;

/// Budgets are padded to a multiple of this, so that their sums are whole vectors.
const LANES: usize = 4;
/// How often choices are dropped and minima taken anew.
const PASSES_MAX: usize = 6;
/// Resolution of the estimate.
const BINS: usize = 64;

/// What choices are judged by.
#[derive(Clone, Debug)]
pub(crate) struct Judges {
    /// Prices for the bound, the best ones first.
    pub(crate) prices: Vec<Multipliers>,
    /// Weighted sums of rows, as weights by row.
    pub(crate) surrogates: Vec<Vec<f64>>,
}

/// A part whose choices may each be part of an assignment below the threshold.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// What is left; choices of a group ascend by what they take from the first budget.
    pub(crate) part: Part,
    /// Number of budgets, padded.
    pub(crate) width: usize,
    /// By choice of the part, then budget.
    pub(crate) takes: Vec<f64>,
    /// Room by budget; unused ones have no end.
    pub(crate) room: Vec<f64>,
    /// The bounds at each of the prices; the first budgets belong to them.
    pub(crate) bounds: Vec<f64>,
}

impl Frame {
    /// Drops what can't be below `threshold` at any of the prices; none if nothing is left.
    pub(crate) fn new(compiled: &Compiled, part: &Part, judges: &Judges, threshold: f64) -> Option<Self> {
        let mut part = part.clone();
        for _ in 0..PASSES_MAX {
            let frame = Self::of(compiled, &part, judges, threshold);
            if frame.room.iter().any(|room| *room < 0.0) {
                return None;
            }
            let fits = |at: usize| frame.taken(at).iter().zip(&frame.room).all(|(takes, room)| takes <= room);
            let mut at = 0;
            let fitting = part.filtered(|_, _| {
                at += 1;
                fits(at - 1)
            })?;
            if fitting.choice.len() == part.choice.len() {
                return Some(frame.narrowed().sorted());
            }
            part = fitting;
        }
        Some(Self::of(compiled, &part, judges, threshold).narrowed().sorted())
    }

    /// What a choice of the part takes.
    pub(crate) fn taken(&self, at: usize) -> &[f64] {
        &self.takes[at * self.width..(at + 1) * self.width]
    }

    fn of(compiled: &Compiled, part: &Part, judges: &Judges, threshold: f64) -> Self {
        let counted = !compiled.table.is_empty();
        let Judges { prices, surrogates } = judges;
        let rows_end = prices.len() + compiled.rows();
        let used = rows_end + surrogates.len() + if counted { 2 } else { 0 };
        let weighted = |weights: &[f64], costs: &[f64]| {
            weights.iter().zip(costs).map(|(weight, cost)| weight * cost).sum()
        };
        let width = used.next_multiple_of(LANES);
        let mut takes = vec![0.0; part.choice.len() * width];
        let changes = |choice: usize| compiled.changed[choice] as f64;
        for (choice, takes) in part.choice.iter().zip(takes.chunks_exact_mut(width)) {
            for (price, takes) in prices.iter().zip(&mut *takes) {
                *takes = price.priced(compiled, *choice);
            }
            takes[prices.len()..][..compiled.rows()].copy_from_slice(compiled.costs(*choice));
            for (takes, weights) in takes[rows_end..].iter_mut().zip(surrogates) {
                *takes = weighted(weights, compiled.costs(*choice));
            }
            if counted {
                takes[used - 2] = changes(*choice);
                takes[used - 1] = -changes(*choice);
            }
        }
        let mut least = vec![0.0; width];
        let mut group_least = vec![0.0; width];
        for group in 0..part.groups() {
            let lines = &mut takes[part.start[group] * width..part.start[group + 1] * width];
            group_least.fill(f64::INFINITY);
            for line in lines.chunks_exact(width) {
                group_least.iter_mut().zip(line).for_each(|(least, takes)| *least = least.min(*takes));
            }
            for line in lines.chunks_exact_mut(width) {
                line.iter_mut().zip(&group_least).for_each(|(takes, least)| *takes -= least);
            }
            least.iter_mut().zip(&group_least).for_each(|(sum, least)| *sum += least);
        }
        let mut room = vec![f64::INFINITY; width];
        let mut bounds = Vec::with_capacity(prices.len());
        for (at, price) in prices.iter().enumerate() {
            let bound = least[at] + part.at_prices(compiled, price);
            bounds.push(bound);
            room[at] = threshold - bound + 1e-12 * (1.0 + bound.abs());
        }
        for row in 0..compiled.rows() {
            let most = compiled.at_most[row];
            room[prices.len() + row] = most + rounding(most) - least[prices.len() + row];
        }
        for (at, weights) in surrogates.iter().enumerate() {
            let most: f64 = weighted(weights, &compiled.at_most);
            let total: f64 = weights.iter().sum();
            room[rows_end + at] = most + (1.0 + total) * rounding(most) - least[rows_end + at];
        }
        if counted {
            room[used - 2] = part.count.1 as f64 - least[used - 2];
            room[used - 1] = -(part.count.0 as f64) - least[used - 1];
        }
        Self { part: part.clone(), width, takes, room, bounds }
    }

    /// Leaves out budgets that no assignment can pass, but for the first.
    fn narrowed(self) -> Self {
        let mut most = vec![0.0; self.width];
        let mut group_most = vec![0.0; self.width];
        for group in 0..self.part.groups() {
            group_most.fill(0.0_f64);
            for at in self.part.start[group]..self.part.start[group + 1] {
                group_most.iter_mut().zip(self.taken(at)).for_each(|(most, takes)| *most = most.max(*takes));
            }
            most.iter_mut().zip(&group_most).for_each(|(sum, most)| *sum += most);
        }
        let kept: Vec<usize> = (0..self.width).filter(|at| *at == 0 || most[*at] > self.room[*at]).collect();
        let width = kept.len().next_multiple_of(LANES);
        let mut takes = vec![0.0; self.part.choice.len() * width];
        for (at, line) in takes.chunks_exact_mut(width).enumerate() {
            line.iter_mut().zip(&kept).for_each(|(takes, budget)| *takes = self.taken(at)[*budget]);
        }
        let mut room = vec![f64::INFINITY; width];
        room.iter_mut().zip(&kept).for_each(|(room, budget)| *room = self.room[*budget]);
        let bounds = kept.iter().filter_map(|budget| self.bounds.get(*budget).copied()).collect();
        Self { part: self.part, width, takes, room, bounds }
    }

    fn sorted(mut self) -> Self {
        for group in 0..self.part.groups() {
            let (from, to) = (self.part.start[group], self.part.start[group + 1]);
            let mut order: Vec<usize> = (from..to).collect();
            order.sort_by(|left, right| self.taken(*left)[0].total_cmp(&self.taken(*right)[0]));
            let takes: Vec<f64> = order.iter().flat_map(|at| self.taken(*at).iter().copied()).collect();
            let choices: Vec<usize> = order.iter().map(|at| self.part.choice[*at]).collect();
            self.takes[from * self.width..to * self.width].copy_from_slice(&takes);
            self.part.choice[from..to].copy_from_slice(&choices);
        }
        self
    }

    /// About how many assignments stay within `room` of the first budget.
    pub(crate) fn estimate(&self, room: f64) -> f64 {
        let mut counts = [0.0; BINS + 1];
        counts[0] = 1.0;
        for group in 0..self.part.groups() {
            let (from, to) = (self.part.start[group], self.part.start[group + 1]);
            if to - from == 1 {
                continue;
            }
            let mut next = [0.0; BINS + 1];
            for at in from..to {
                let takes = self.taken(at)[0];
                if takes > room {
                    break;
                }
                let shift = if takes > 0.0 { (takes / room * BINS as f64) as usize } else { 0 };
                for (count, next) in counts[..=BINS - shift].iter().zip(&mut next[shift..]) {
                    *next += count;
                }
            }
            counts = next;
        }
        counts.iter().sum()
    }

    /// The largest room of the first budget for which about `wanted` assignments are within it.
    pub(crate) fn room_for(&self, wanted: f64) -> f64 {
        let least = self
            .takes
            .iter()
            .step_by(self.width)
            .copied()
            .filter(|takes| *takes > 0.0)
            .fold(f64::INFINITY, f64::min);
        let mut room = least.min(self.room[0]);
        if room.is_infinite() {
            return room;
        }
        while room < self.room[0] && self.estimate(room * 1.5) <= wanted {
            room *= 1.5;
            if self.takes.iter().step_by(self.width).sum::<f64>() < room {
                return f64::INFINITY;
            }
        }
        room.min(self.room[0])
    }
}
