//! Trials as tuners see them.

use std::cmp::Ordering;

use bitloop_core::autoqkeras::Ask;
use serde::{Deserialize, Serialize};

/// How far a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was asked for and is not settled.
    Running,
    /// Its score; more is better.
    Scored(f64),
    /// It came to nothing.
    Failed,
}

/// A trial that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// What was asked for.
    pub ask: Ask,
    /// What it came to so far.
    pub outcome: Outcome,
}

impl Trial {
    /// Whether nothing more will be known of it.
    pub fn is_settled(&self) -> bool {
        !matches!(self.outcome, Outcome::Running)
    }

    /// Its score, if it has one that is a number: networks whose training diverged count as failed.
    pub fn score(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Scored(score) if !score.is_nan() => Some(score),
            Outcome::Scored(_) | Outcome::Running | Outcome::Failed => None,
        }
    }
}

/// Orders the better trial first: by score, those without any last; ties by place.
pub(super) fn better_first(a: &&Trial, b: &&Trial) -> Ordering {
    let worst = f64::NEG_INFINITY;
    let scores = b.score().unwrap_or(worst).total_cmp(&a.score().unwrap_or(worst));
    scores.then(b.score().is_some().cmp(&a.score().is_some())).then(a.ask.place.cmp(&b.ask.place))
}

/// Returns the trial with the highest score; of equal ones the first in canonical order.
pub fn best(trials: &[Trial]) -> Option<&Trial> {
    let mut ordered: Vec<&Trial> = trials.iter().collect();
    ordered.sort_by_key(|trial| trial.ask.place);
    bitloop_core::autoqkeras::best(ordered.iter().map(|trial| trial.score())).map(|index| ordered[index])
}
