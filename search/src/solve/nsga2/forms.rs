//! Forms and limits as what NSGA-II evaluates, and the repair that they make possible.

use super::super::greedy::{Greedy, level_counts};
use super::super::terms::{LimitTerms, Terms};
use super::super::{Limit, Problem};
use super::{Evaluate, Repair, Score};
use crate::form::Form;
use crate::space::Space;

/// Objectives and limits that are forms, laid out for evaluating them often.
#[derive(Clone, Debug)]
pub struct Forms {
    counts: Vec<u8>,
    objectives: Vec<Terms>,
    limits: Vec<LimitTerms>,
}

impl Forms {
    /// Lays out objectives and limits.
    ///
    /// Panics: the shapes of a form are not those of `space`.
    pub fn new(space: &Space, objectives: &[Form], limits: &[Limit]) -> Self {
        Self {
            counts: level_counts(space),
            objectives: objectives.iter().map(|form| Terms::new(space, form)).collect(),
            limits: limits.iter().map(|limit| LimitTerms::new(space, limit)).collect(),
        }
    }

    /// How many levels each variable has.
    pub fn counts(&self) -> &[u8] {
        &self.counts
    }
}

impl Evaluate for Forms {
    fn score(&self, levels: &[u8]) -> Score {
        let excess = self.limits.iter().map(|limit| limit.excess(limit.value(levels)));
        Score {
            objectives: self.objectives.iter().map(|objective| objective.value(levels)).collect(),
            violation: excess.sum(),
        }
    }
}

/// Lowers variables greedily until the limits hold, then makes what use it can of the room that is left.
#[derive(Clone, Debug)]
pub struct GreedyRepair(Greedy);

impl GreedyRepair {
    /// A repair that judges damage by the problem's objective.
    pub fn new(problem: &Problem) -> Self {
        Self(Greedy::new(problem))
    }
}

impl Repair for GreedyRepair {
    fn repair(&self, levels: &mut Vec<u8>) {
        *levels = self.0.descend(levels).levels;
    }
}
