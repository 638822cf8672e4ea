//! A function of an assignment that solvers can take apart.

use crate::space::Space;

/// `constant + sum of one-variable terms + sum of two-variable terms + a term by the number of changed variables`.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// Added to everything.
    pub constant: f64,
    /// Shapes: `(variables, levels of each)`; a variable without a term has an empty list.
    pub one: Vec<Vec<f64>>,
    /// Terms of two variables; no pair stands twice.
    pub two: Vec<Two>,
    /// By the number of variables that are not at their reference: `0..=variables`; empty if there is no such term.
    pub by_changed: Vec<f64>,
}

/// A term of two different variables.
#[derive(Clone, Debug, PartialEq)]
pub struct Two {
    /// The first variable.
    pub a: usize,
    /// The second variable.
    pub b: usize,
    /// Shapes: `(levels of a, levels of b)`, row by row.
    pub values: Vec<f64>,
}

impl Form {
    /// The form that is `constant` everywhere.
    pub fn constant(constant: f64, space: &Space) -> Self {
        Self {
            constant,
            one: vec![Vec::new(); space.variables.len()],
            two: Vec::new(),
            by_changed: Vec::new(),
        }
    }

    /// Its value at an assignment of `space`.
    pub fn value(&self, space: &Space, levels: &[u8]) -> f64 {
        let one = self.one.iter().zip(levels).filter_map(|(term, level)| term.get(*level as usize));
        let two = self.two.iter().map(|Two { a, b, values }| {
            let across = space.variables[*b].widths.len();
            values[levels[*a] as usize * across + levels[*b] as usize]
        });
        let changed = self.by_changed.get(space.changed(levels)).copied().unwrap_or(0.0);
        self.constant + one.sum::<f64>() + two.sum::<f64>() + changed
    }
}
