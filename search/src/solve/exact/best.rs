//! The best choices found so far.

use crate::solve::groups::Compiled;

/// A choice per group, and the objective there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) objective: f64,
    pub(crate) choices: Vec<usize>,
}

/// At most `wanted` different choices, ascending by objective.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    wanted: usize,
    found: Vec<Found>,
    /// Nothing above this is wanted.
    ceiling: f64,
    /// Whether anything below the ceiling will do.
    any: bool,
}

impl Best {
    pub(crate) fn new(wanted: usize) -> Self {
        Self { wanted, found: Vec::with_capacity(wanted + 1), ceiling: f64::INFINITY, any: false }
    }

    /// Any one with an objective of at most `ceiling`.
    pub(crate) fn first_within(ceiling: f64) -> Self {
        Self { ceiling: ceiling.next_up(), any: true, ..Self::new(1) }
    }

    /// Whether nothing better is wanted.
    pub(crate) fn is_enough(&self) -> bool {
        self.any && !self.found.is_empty()
    }

    /// What has to be beaten: the worst of the kept ones once all are there, the ceiling before.
    pub(crate) fn to_beat(&self) -> f64 {
        match self.found.last() {
            Some(last) if self.found.len() == self.wanted => last.objective,
            _ => self.ceiling,
        }
    }

    pub(crate) fn found(&self) -> &[Found] {
        &self.found
    }

    /// Keeps choices if they are new and among the best.
    pub(crate) fn offer(&mut self, objective: f64, choices: &[usize]) {
        if objective >= self.to_beat() || self.found.iter().any(|found| found.choices == choices) {
            return;
        }
        let at = self.found.partition_point(|found| found.objective <= objective);
        self.found.insert(at, Found { objective, choices: choices.to_vec() });
        self.found.truncate(self.wanted);
    }
}

/// The objective of a choice per group.
pub(crate) fn objective(compiled: &Compiled, choices: &[usize]) -> f64 {
    let values: f64 = choices.iter().map(|choice| compiled.value[*choice]).sum();
    let changed: usize = choices.iter().map(|choice| compiled.changed[*choice]).sum();
    let place = |group: usize| choices[group] - compiled.start[group];
    let pairs = compiled
        .pairs
        .iter()
        .map(|pair| pair.values[place(pair.a) * compiled.choices(pair.b).len() + place(pair.b)]);
    compiled.constant + values + pairs.sum::<f64>() + compiled.table.get(changed).copied().unwrap_or(0.0)
}

/// Whether a choice per group keeps all rows.
pub(crate) fn keeps(compiled: &Compiled, choices: &[usize]) -> bool {
    (0..compiled.rows()).all(|row| {
        let used: f64 = choices.iter().map(|choice| compiled.costs(*choice)[row]).sum();
        used <= compiled.at_most[row] + rounding(compiled.at_most[row])
    })
}

/// What sums of costs may be off by rounding, where costs are at most about 1.
pub(crate) fn rounding(room: f64) -> f64 {
    1e-13 * (1.0 + room.abs())
}
