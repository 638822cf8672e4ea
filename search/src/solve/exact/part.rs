//! A part of the assignments: some choices of each group, and an interval of the number of changed variables.

use crate::solve::groups::Compiled;

/// What branching and fixing leave of a problem.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Where each group's choices begin in `choice`, and its length at the end.
    pub(crate) start: Vec<usize>,
    /// Choices of the compiled problem, by group.
    pub(crate) choice: Vec<usize>,
    /// The least and the largest number of changed variables.
    pub(crate) count: (usize, usize),
    /// No assignment of the part that is still wanted has a smaller objective.
    pub(crate) bound: f64,
    /// How often it was searched up to a threshold.
    pub(crate) rounds: u32,
}

/// A price for each row, at least 0, and one for the number of changed variables.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Multipliers {
    pub(crate) rows: Vec<f64>,
    pub(crate) count: f64,
}

impl Multipliers {
    /// All prices 0.
    pub(crate) fn zero(rows: usize) -> Self {
        Self { rows: vec![0.0; rows], count: 0.0 }
    }

    /// The value of a choice with its costs and changes at these prices.
    pub(crate) fn priced(&self, compiled: &Compiled, choice: usize) -> f64 {
        let costs = compiled.costs(choice).iter().zip(&self.rows).map(|(cost, price)| cost * price);
        compiled.value[choice] + costs.sum::<f64>() + self.count * compiled.changed[choice] as f64
    }
}

impl Part {
    /// All assignments.
    pub(crate) fn whole(compiled: &Compiled) -> Self {
        let most = |group| compiled.choices(group).map(|choice| compiled.changed[choice]).max().unwrap_or(0);
        Self {
            start: compiled.start.clone(),
            choice: (0..compiled.value.len()).collect(),
            count: (0, (0..compiled.groups()).map(most).sum()),
            bound: f64::NEG_INFINITY,
            rounds: 0,
        }
    }

    /// Number of groups.
    pub(crate) fn groups(&self) -> usize {
        self.start.len() - 1
    }

    /// The choices that a group has left.
    pub(crate) fn of(&self, group: usize) -> &[usize] {
        &self.choice[self.start[group]..self.start[group + 1]]
    }

    /// The part with only those choices of which `keep` says so, given group and choice.
    ///
    /// None if a group has no choice left.
    pub(crate) fn filtered(&self, mut keep: impl FnMut(usize, usize) -> bool) -> Option<Self> {
        let mut start = Vec::with_capacity(self.start.len());
        let mut choice = Vec::with_capacity(self.choice.len());
        start.push(0);
        for group in 0..self.groups() {
            choice.extend(self.of(group).iter().copied().filter(|choice| keep(group, *choice)));
            if choice.len() == start[group] {
                return None;
            }
            start.push(choice.len());
        }
        Some(Self { start, choice, ..*self })
    }

    /// The Lagrangian bound `min (value + prices * costs + price * count) - prices * room + min (table - price * count)`:
    /// no assignment of the part that keeps the limits is below it.
    pub(crate) fn lagrangian(&self, compiled: &Compiled, multipliers: &Multipliers) -> f64 {
        let least = |group| {
            self.of(group)
                .iter()
                .map(|choice| multipliers.priced(compiled, *choice))
                .fold(f64::INFINITY, f64::min)
        };
        (0..self.groups()).map(least).sum::<f64>() + self.at_prices(compiled, multipliers)
    }

    /// What the bound has beside the sum over groups.
    pub(crate) fn at_prices(&self, compiled: &Compiled, multipliers: &Multipliers) -> f64 {
        let room: f64 =
            compiled.at_most.iter().zip(&multipliers.rows).map(|(most, price)| most * price).sum();
        let by_count = |count: usize| compiled.table[count] - multipliers.count * count as f64;
        let table = match compiled.table.is_empty() {
            true => 0.0,
            false => (self.count.0..=self.count.1).map(by_count).fold(f64::INFINITY, f64::min),
        };
        compiled.constant + table - room
    }
}
