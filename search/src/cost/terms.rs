use std::collections::BTreeMap;

use super::Width;
use crate::form::{Form, Two};
use crate::space::Space;

/// A form that is put together from prices of widths.
pub(super) struct Terms<'a> {
    space: &'a Space,
    constant: f64,
    one: Vec<Vec<f64>>,
    two: BTreeMap<(usize, usize), Vec<f64>>,
}

impl<'a> Terms<'a> {
    pub(super) fn new(space: &'a Space) -> Self {
        Self { space, constant: 0.0, one: vec![Vec::new(); space.variables.len()], two: BTreeMap::new() }
    }

    pub(super) fn add_constant(&mut self, value: f64) {
        self.constant += value;
    }

    /// Adds a price that one width decides.
    pub(super) fn add(&mut self, width: Width, price: impl Fn(u32) -> f64) {
        match width {
            Width::Fixed(bits) => self.constant += price(bits),
            Width::Variable(variable) => {
                let widths = &self.space.variables[variable].widths;
                let term = &mut self.one[variable];
                term.resize(widths.len(), 0.0);
                for (sum, bits) in term.iter_mut().zip(widths) {
                    *sum += price(bits.get());
                }
            }
        }
    }

    /// Adds a price that two widths decide.
    pub(super) fn add_two(&mut self, a: Width, b: Width, price: impl Fn(u32, u32) -> f64) {
        match (a, b) {
            (Width::Fixed(bits), other) => self.add(other, |other| price(bits, other)),
            (other, Width::Fixed(bits)) => self.add(other, |other| price(other, bits)),
            (Width::Variable(a), Width::Variable(b)) if a == b => {
                self.add(Width::Variable(a), |bits| price(bits, bits));
            }
            // No pair may stand twice in a form, so each has one order.
            (Width::Variable(a), Width::Variable(b)) if a > b => {
                self.add_ordered(b, a, |first, second| price(second, first));
            }
            (Width::Variable(a), Width::Variable(b)) => self.add_ordered(a, b, price),
        }
    }

    fn add_ordered(&mut self, a: usize, b: usize, price: impl Fn(u32, u32) -> f64) {
        let (down, across) = (&self.space.variables[a].widths, &self.space.variables[b].widths);
        let values = self.two.entry((a, b)).or_insert_with(|| vec![0.0; down.len() * across.len()]);
        let pairs = down.iter().flat_map(|a| across.iter().map(move |b| (a.get(), b.get())));
        for (sum, (a, b)) in values.iter_mut().zip(pairs) {
            *sum += price(a, b);
        }
    }

    pub(super) fn form(self) -> Form {
        let two = self.two.into_iter().map(|((a, b), values)| Two { a, b, values });
        Form { constant: self.constant, one: self.one, two: two.collect(), by_changed: Vec::new() }
    }
}
