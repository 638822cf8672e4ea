//! Trials as tuners see them.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// Where a trial stands in its tuner's plan; none stands at the same place as another.
///
/// Its order is canonical: it does not depend on when trials were asked for or settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The group of trials that compete; 0 where there is but one.
    pub bracket: u32,
    /// How often the trial's assignment was promoted to more epochs.
    pub rung: u32,
    /// The number of the assignment in its bracket; a promoted one keeps it.
    pub slot: u32,
}

impl Place {
    /// The place of the trial whose weights this one goes on from; none if it starts anew.
    pub fn before(self) -> Option<Self> {
        self.rung.checked_sub(1).map(|rung| Self { rung, ..self })
    }
}

/// The epochs that a trial trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epochs {
    /// How many its assignment was trained before: 0, or what the trial at [`Place::before`] came to.
    pub from: u32,
    /// How many it is trained afterwards, all together.
    pub to: u32,
}

/// A trial that is to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Where it stands.
    pub place: Place,
    /// The level of each hyperparameter.
    pub levels: Vec<u8>,
    /// How long it trains; none if that is not the tuner's to say.
    pub epochs: Option<Epochs>,
}

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
    trials.iter().filter(|trial| trial.score().is_some()).min_by(better_first)
}
