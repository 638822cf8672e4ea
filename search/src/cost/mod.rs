//! What a bit config costs: each model gives a form that solvers can limit.

use crate::form::Form;
use crate::space::Space;

/// A price of an assignment: the largest of one or more forms.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// The word by which experiment files and reports call it, such as `size_kib`; its unit is its ending.
    pub name: String,
    /// At least one. Peak memory has one per moment, everything else one alone.
    pub rows: Vec<Form>,
}

impl Cost {
    /// Its value at an assignment of `space`.
    pub fn value(&self, space: &Space, levels: &[u8]) -> f64 {
        self.rows.iter().map(|row| row.value(space, levels)).fold(f64::NEG_INFINITY, f64::max)
    }
}
