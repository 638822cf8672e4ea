//! Which tuner, and how it is set.

use serde::{Deserialize, Serialize};

/// Which tuner: the `mode` of an experiment file, with what that mode is set by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum TunerSettings {
    /// Random assignments.
    Random {
        /// How many, at most.
        max_trials: u32,
    },
    /// A Gaussian process says where improvement is to be expected.
    Bayesian {
        /// How many trials, at most.
        max_trials: u32,
        /// Random ones to begin with; three per hyperparameter, but at most a quarter of the trials, if not given.
        #[serde(default)]
        initial: Option<u32>,
        /// Trials under way at a time: what a proposal does not wait for.
        #[serde(default = "in_flight")]
        in_flight: u32,
    },
    /// Brackets of successive halving that wait for every trial of a rung.
    Hyperband {
        /// Epochs of the trials that get furthest.
        #[serde(default = "max_epochs")]
        max_epochs: u32,
        /// One in so many is promoted, to so many times the epochs.
        #[serde(default = "factor")]
        factor: u32,
        /// How often all brackets are gone through.
        #[serde(default = "iterations")]
        iterations: u32,
    },
    /// Successive halving that never waits. Its decisions depend on the order in which trials are settled.
    Asha {
        /// Assignments that are begun, at most.
        max_trials: u32,
        /// Epochs of every assignment.
        #[serde(default = "iterations")]
        min_epochs: u32,
        /// Epochs of those that get furthest.
        #[serde(default = "max_epochs")]
        max_epochs: u32,
        /// One in so many is promoted, to so many times the epochs.
        #[serde(default = "factor")]
        factor: u32,
        /// Trials under way at a time.
        #[serde(default = "in_flight")]
        in_flight: u32,
    },
}

/// Enough for a few workers without much guesswork.
fn in_flight() -> u32 {
    4
}

/// What KerasTuner's Hyperband has by default.
fn max_epochs() -> u32 {
    100
}

/// What KerasTuner's Hyperband has by default.
fn factor() -> u32 {
    3
}

fn iterations() -> u32 {
    1
}

/// A number of a tuner is too small.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is {value}; give at least {least}")]
pub struct TooSmall {
    /// The setting.
    pub name: &'static str,
    /// Its value.
    pub value: u32,
    /// The least it may be.
    pub least: u32,
}

/// What decisions depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Scores alone: any number of workers, however fast, leads to the same trials.
    #[default]
    Canonical,
    /// Also on which trials were settled first. The decisions are stored, and are the same when those are replayed.
    Arrival,
}

impl TunerSettings {
    /// What its decisions depend on.
    pub fn order(&self) -> Order {
        match self {
            Self::Random { .. } | Self::Bayesian { .. } | Self::Hyperband { .. } => Order::Canonical,
            Self::Asha { .. } => Order::Arrival,
        }
    }

    /// The word used in experiment files.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Random { .. } => "random",
            Self::Bayesian { .. } => "bayesian",
            Self::Hyperband { .. } => "hyperband",
            Self::Asha { .. } => "asha",
        }
    }

    /// The most assignments that it begins, where that is its setting.
    pub fn max_trials(&self) -> Option<u32> {
        match self {
            Self::Random { max_trials }
            | Self::Bayesian { max_trials, .. }
            | Self::Asha { max_trials, .. } => Some(*max_trials),
            Self::Hyperband { .. } => None,
        }
    }

    /// The same tuner for another number of assignments, where that is its setting.
    pub fn with_max_trials(self, trials: u32) -> Self {
        let mut changed = self;
        match &mut changed {
            Self::Random { max_trials }
            | Self::Bayesian { max_trials, .. }
            | Self::Asha { max_trials, .. } => *max_trials = trials,
            Self::Hyperband { .. } => {}
        }
        changed
    }

    /// Says whether the numbers make sense.
    ///
    /// Errors: the first that is too small.
    pub fn check(&self) -> Result<(), TooSmall> {
        let floors: Vec<(&'static str, u32, u32)> = match *self {
            Self::Random { max_trials } => vec![("max_trials", max_trials, 1)],
            Self::Bayesian { max_trials, initial, in_flight } => vec![
                ("max_trials", max_trials, 1),
                ("initial", initial.unwrap_or(1), 1),
                ("in_flight", in_flight, 1),
            ],
            Self::Hyperband { max_epochs, factor, iterations } => {
                vec![("max_epochs", max_epochs, 1), ("factor", factor, 2), ("iterations", iterations, 1)]
            }
            Self::Asha { max_trials, min_epochs, max_epochs, factor, in_flight } => vec![
                ("max_trials", max_trials, 1),
                ("in_flight", in_flight, 1),
                ("min_epochs", min_epochs, 1),
                ("max_epochs", max_epochs, min_epochs),
                ("factor", factor, 2),
            ],
        };
        match floors.into_iter().find(|(_, value, least)| value < least) {
            Some((name, value, least)) => Err(TooSmall { name, value, least }),
            None => Ok(()),
        }
    }
}
