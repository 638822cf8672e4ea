//! A [`Form`] laid out for evaluating it very often.

use crate::cost::Cost;
use crate::form::{Form, Two};
use crate::space::Space;

use super::Limit;

/// What a limit may be exceeded by, as a share of it: room for sums taken in another order, no more.
pub(crate) const LIMIT_SLACK: f64 = 1e-9;

/// A form whose terms stand in flat arrays, with the two-variable terms of each variable at hand.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    constant: f64,
    /// Where each variable's levels begin in `one`.
    first: Vec<usize>,
    one: Vec<f64>,
    two: Vec<Pair>,
    two_values: Vec<f64>,
    /// Variable -> its places in `two`.
    touching: Vec<Vec<usize>>,
    by_changed: Vec<f64>,
    reference: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    a: usize,
    b: usize,
    /// Number of levels of `b`.
    across: usize,
    first: usize,
}

impl Terms {
    /// Lays out a form.
    ///
    /// Panics: the form's shapes are not those of `space`.
    pub(crate) fn new(space: &Space, form: &Form) -> Self {
        let levels = |variable: usize| space.variables[variable].widths.len();
        let mut terms = Self {
            constant: form.constant,
            first: Vec::with_capacity(space.variables.len()),
            one: Vec::new(),
            two: Vec::with_capacity(form.two.len()),
            two_values: Vec::new(),
            touching: vec![Vec::new(); space.variables.len()],
            by_changed: form.by_changed.clone(),
            reference: space.reference(),
        };
        assert_eq!(form.one.len(), space.variables.len(), "a form has one entry per variable");
        for (variable, values) in form.one.iter().enumerate() {
            terms.first.push(terms.one.len());
            match values.len() {
                0 => terms.one.resize(terms.one.len() + levels(variable), 0.0),
                _ => terms.one.extend(values),
            }
            assert_eq!(terms.one.len(), terms.first[variable] + levels(variable), "one value per level");
        }
        for Two { a, b, values } in &form.two {
            assert_eq!(values.len(), levels(*a) * levels(*b), "one value per pair of levels");
            terms.touching[*a].push(terms.two.len());
            terms.touching[*b].push(terms.two.len());
            terms.two.push(Pair { a: *a, b: *b, across: levels(*b), first: terms.two_values.len() });
            terms.two_values.extend(values);
        }
        terms
    }

    /// The form's value at an assignment.
    pub(crate) fn value(&self, levels: &[u8]) -> f64 {
        let one = self.first.iter().zip(levels).map(|(first, level)| self.one[first + usize::from(*level)]);
        let two = self.two.iter().map(|pair| self.pair(pair, levels[pair.a], levels[pair.b]));
        let changed = if self.by_changed.is_empty() { 0.0 } else { self.by_count(self.changed(levels)) };
        self.constant + one.sum::<f64>() + two.sum::<f64>() + changed
    }

    /// How many variables of an assignment are not at their reference.
    pub(crate) fn changed(&self, levels: &[u8]) -> usize {
        self.reference.iter().zip(levels).filter(|(reference, level)| reference != level).count()
    }

    /// What is added to the value when one variable of an assignment, `changed` of which are not at their reference,
    /// goes to another level.
    pub(crate) fn change(&self, levels: &[u8], changed: usize, variable: usize, to: u8) -> f64 {
        let (from, first) = (levels[variable], self.first[variable]);
        let mut sum = self.one[first + usize::from(to)] - self.one[first + usize::from(from)];
        for pair in self.touching[variable].iter().map(|place| &self.two[*place]) {
            sum += if pair.a == variable {
                self.pair(pair, to, levels[pair.b]) - self.pair(pair, from, levels[pair.b])
            } else {
                self.pair(pair, levels[pair.a], to) - self.pair(pair, levels[pair.a], from)
            };
        }
        if !self.by_changed.is_empty() {
            let reference = self.reference[variable];
            let after = changed + usize::from(to != reference) - usize::from(from != reference);
            sum += self.by_count(after) - self.by_count(changed);
        }
        sum
    }

    fn pair(&self, pair: &Pair, a: u8, b: u8) -> f64 {
        self.two_values[pair.first + usize::from(a) * pair.across + usize::from(b)]
    }

    fn by_count(&self, changed: usize) -> f64 {
        self.by_changed.get(changed).copied().unwrap_or(0.0)
    }
}

/// A limit whose forms are laid out; its cost is the largest of `rows`.
#[derive(Clone, Debug)]
pub(crate) struct LimitTerms {
    pub(crate) rows: Vec<Terms>,
    pub(crate) at_most: f64,
    /// What excesses are divided by: the limit, or one of the cost's units where the limit is zero.
    pub(crate) scale: f64,
}

impl LimitTerms {
    pub(crate) fn new(space: &Space, limit: &Limit) -> Self {
        let Cost { rows, .. } = &limit.cost;
        let scale = if limit.at_most == 0.0 { 1.0 } else { limit.at_most.abs() };
        Self { rows: rows.iter().map(|row| Terms::new(space, row)).collect(), at_most: limit.at_most, scale }
    }

    /// The cost of an assignment.
    pub(crate) fn value(&self, levels: &[u8]) -> f64 {
        self.rows.iter().map(|row| row.value(levels)).fold(f64::NEG_INFINITY, f64::max)
    }

    /// By how much of the limit a cost exceeds it; 0 within [`LIMIT_SLACK`].
    pub(crate) fn excess(&self, value: f64) -> f64 {
        let excess = (value - self.at_most) / self.scale;
        if excess <= LIMIT_SLACK { 0.0 } else { excess }
    }
}
