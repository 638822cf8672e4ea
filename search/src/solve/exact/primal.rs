//! Good assignments early: rounding at the relaxation's prices, repair, and exchanges.

use super::best::{Best, keeps, objective};
use super::part::Part;
use super::relaxation::Relaxed;
use crate::solve::groups::Compiled;

/// Moves of one group that are made at most, for each group.
const MOVES_MAX: usize = 20;

/// Offers what rounding the relaxation gives, repaired and improved.
pub(super) fn improve(compiled: &Compiled, part: &Part, relaxed: &Relaxed, best: &mut Best) {
    let cheapest = |group: usize| {
        let priced = |choice: usize| relaxed.multipliers.priced(compiled, choice);
        part.of(group).iter().copied().min_by(|left, right| priced(*left).total_cmp(&priced(*right)))
    };
    let Some(choices) = (0..part.groups()).map(cheapest).collect::<Option<Vec<usize>>>() else { return };
    let mut point = Point::new(compiled, choices);
    if point.repair(part, relaxed) {
        point.descend(part);
        if keeps(compiled, &point.choices) {
            best.offer(objective(compiled, &point.choices), &point.choices);
        }
    }
}

/// An assignment with its sums.
struct Point<'a> {
    compiled: &'a Compiled,
    choices: Vec<usize>,
    used: Vec<f64>,
    changed: usize,
}

impl<'a> Point<'a> {
    fn new(compiled: &'a Compiled, choices: Vec<usize>) -> Self {
        let sum = |row: usize| choices.iter().map(|choice| compiled.costs(*choice)[row]).sum();
        let used = (0..compiled.rows()).map(sum).collect();
        let changed = choices.iter().map(|choice| compiled.changed[*choice]).sum();
        Self { compiled, choices, used, changed }
    }

    fn set(&mut self, group: usize, choice: usize) {
        let before = std::mem::replace(&mut self.choices[group], choice);
        let costs = self.compiled.costs(choice).iter().zip(self.compiled.costs(before));
        self.used.iter_mut().zip(costs).for_each(|(used, (new, old))| *used += new - old);
        self.changed = self.changed + self.compiled.changed[choice] - self.compiled.changed[before];
    }

    /// How far rows are passed after a change of one group, each as a share of its room.
    fn excess(&self, group: usize, choice: usize) -> f64 {
        let (new, old) = (self.compiled.costs(choice), self.compiled.costs(self.choices[group]));
        let rows = self.used.iter().zip(&self.compiled.at_most).zip(new.iter().zip(old));
        rows.map(|((used, room), (new, old))| ((used + new - old) - room).max(0.0) / room.abs().max(1e-9))
            .sum()
    }

    fn counted(&self, choice: usize, before: usize) -> f64 {
        let table = &self.compiled.table;
        if table.is_empty() {
            return 0.0;
        }
        table[self.changed + self.compiled.changed[choice] - self.compiled.changed[before]]
            - table[self.changed]
    }

    /// Lowers the excess by the moves that lose least for it; whether all rows are kept then.
    fn repair(&mut self, part: &Part, relaxed: &Relaxed) -> bool {
        let priced = |choice: usize| relaxed.multipliers.priced(self.compiled, choice);
        for _ in 0..MOVES_MAX * part.groups() {
            let excess = self.excess(0, self.choices[0]);
            if excess <= 0.0 {
                return true;
            }
            let mut chosen: Option<(f64, usize, usize)> = None;
            for group in 0..part.groups() {
                let current = priced(self.choices[group]);
                for choice in part.of(group).iter().copied() {
                    let gained = excess - self.excess(group, choice);
                    if gained <= 0.0 {
                        continue;
                    }
                    let score = (priced(choice) - current).max(0.0) / gained;
                    if chosen.is_none_or(|(least, ..)| score < least) {
                        chosen = Some((score, group, choice));
                    }
                }
            }
            let Some((_, group, choice)) = chosen else { return false };
            self.set(group, choice);
        }
        false
    }

    /// Takes the best move of one group, or an exchange of two, while there is any that keeps the rows.
    fn descend(&mut self, part: &Part) {
        for _ in 0..MOVES_MAX * part.groups() {
            let mut chosen: Option<(f64, usize, usize)> = None;
            for group in 0..part.groups() {
                let before = self.choices[group];
                for choice in part.of(group).iter().copied() {
                    let change = self.compiled.value[choice] - self.compiled.value[before]
                        + self.counted(choice, before);
                    if change < chosen.map_or(-1e-12, |(least, ..)| least)
                        && self.excess(group, choice) <= 0.0
                    {
                        chosen = Some((change, group, choice));
                    }
                }
            }
            let Some((_, group, choice)) = chosen else { return };
            self.set(group, choice);
        }
    }
}
