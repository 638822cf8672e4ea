use std::collections::BTreeSet;

use super::OfflineError;
use crate::cost::{Cost, Subject, cost};
use crate::predict::Prediction;
use crate::solve::{Limit, Problem};

/// Gives the predicted loss of an assignment, or none where nothing was measured that could say.
pub type Predict = Box<dyn Fn(&[u8]) -> Option<Prediction> + Send>;

/// A problem for solvers, with what its answer is told in.
pub struct Question {
    /// What is to be solved.
    pub problem: Problem,
    /// Costs that are told beside the limited ones.
    pub told: Vec<Cost>,
    /// The cost that a front is wanted against.
    pub front: Option<Cost>,
    /// What the objective is, in a few words.
    pub objective: String,
    /// Predicted losses, if the objective comes from measurements.
    pub predict: Option<Predict>,
    /// What a reader should know, as sentences.
    pub notes: Vec<String>,
}

/// Which costs are limited and told, by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Limited costs with the most that they may be.
    pub limits: Vec<(String, f64)>,
    /// Costs that are told too.
    pub told: Vec<String>,
    /// The cost that a front is wanted against.
    pub front: Option<String>,
}

/// The costs that were wanted.
pub(super) struct Costs {
    pub(super) limits: Vec<Limit>,
    pub(super) told: Vec<Cost>,
    pub(super) front: Option<Cost>,
}

impl Wanted {
    /// Finds the costs by their names.
    ///
    /// Errors: `Range` for a limit that is not finite; `LimitedTwice`; those of [`cost`].
    pub(super) fn costs(&self, subject: &Subject<'_>) -> Result<Costs, OfflineError> {
        let mut limits: Vec<Limit> = Vec::new();
        for (name, at_most) in &self.limits {
            if !at_most.is_finite() {
                return Err(OfflineError::Range {
                    what: format!("the limit of {name}"),
                    value: *at_most,
                    expected: "it must be a finite number",
                });
            }
            if limits.iter().any(|limit| limit.cost.name == *name) {
                return Err(OfflineError::LimitedTwice(name.clone()));
            }
            limits.push(Limit { cost: cost(name, subject)?, at_most: *at_most });
        }
        let limited: BTreeSet<&str> = limits.iter().map(|limit| limit.cost.name.as_str()).collect();
        let told = self.told.iter().filter(|name| !limited.contains(name.as_str()));
        let told = told.map(|name| cost(name, subject)).collect::<Result<Vec<Cost>, _>>()?;
        let front = self.front.as_ref().map(|name| cost(name, subject)).transpose()?;
        Ok(Costs { limits, told, front })
    }
}
