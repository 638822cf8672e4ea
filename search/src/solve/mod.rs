//! Solvers: the assignment with the least loss within limits on its costs.

use crate::cost::Cost;
use crate::form::Form;
use crate::space::Space;

pub(crate) mod check;
mod error;
mod exact;
pub mod greedy;
mod groups;
pub mod nsga2;
mod pareto;
mod price;
mod terms;

pub use error::{Reach, SolveError};
pub use exact::{ExactOptions, PROOF, Solution, exact};
pub use pareto::{FrontOptions, FrontPoint, pareto_front};
pub use price::{Change, ShadowPrice, shadow_prices};

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

/// An assignment that a solver found, with what it comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// A level per variable.
    pub levels: Vec<u8>,
    /// The objective's value.
    pub objective: f64,
    /// The cost of each limit, in the order of the limits.
    pub costs: Vec<f64>,
}

impl Candidate {
    /// Values an assignment of a problem.
    pub fn of(problem: &Problem, levels: Vec<u8>) -> Self {
        Self {
            objective: problem.objective.value(&problem.space, &levels),
            costs: problem.limits.iter().map(|limit| limit.cost.value(&problem.space, &levels)).collect(),
            levels,
        }
    }

    /// Whether every cost is within its limit, but for [`EXCESS`].
    pub fn keeps(&self, limits: &[Limit]) -> bool {
        self.costs.iter().zip(limits).all(|(cost, limit)| *cost <= limit.at_most + slack(limit.at_most))
    }
}

/// Share of a limit by which a cost may pass it, for sums that were rounded in another order.
pub const EXCESS: f64 = 1e-9;

/// The absolute excess that a limit of this value allows.
pub(crate) fn slack(at_most: f64) -> f64 {
    EXCESS * at_most.abs()
}

#[cfg(test)]
mod tests;
