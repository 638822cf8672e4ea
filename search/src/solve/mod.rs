//! Solvers: the assignment with the least loss within limits on its costs.

use crate::cost::Cost;
use crate::form::Form;
use crate::space::Space;

/// An upper bound on a cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// What is limited.
    pub cost: Cost,
    /// The most it may be, in the cost's unit.
    pub at_most: f64,
}

/// Minimise `objective` over the assignments of `space` that keep all `limits`.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What may be chosen.
    pub space: Space,
    /// What is minimised.
    pub objective: Form,
    /// What must hold.
    pub limits: Vec<Limit>,
}
