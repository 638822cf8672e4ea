//! Which tuner, and how it is set.

use serde::{Deserialize, Serialize};

use super::Tuner;
use super::asha::Asha;
use super::bayesian::Bayesian;
use super::hyperband::Hyperband;
use super::keras_random::KerasRandom;
use super::random::Random;
use crate::autoqkeras::Compat;

/// The registry of tuners: the `mode` of an experiment file, with what that mode is set by.
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

/// The least number of random assignments that a Gaussian process starts from.
const INITIAL_MIN: u32 = 3;
/// Random assignments that KerasTuner begins with, per hyperparameter.
const INITIAL_PER_HYPERPARAMETER: u32 = 3;

/// Why a tuner cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A number is too small.
    #[error("`{name}` is {value}; give at least {least}")]
    TooSmall {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: u32,
        /// The least it may be.
        least: u32,
    },
    /// Hyperparameters without levels.
    #[error("hyperparameter {0} has no level to choose; give it a candidate or leave it out")]
    NoLevels(usize),
}

impl TunerSettings {
    /// Makes the tuner for hyperparameters with so many levels each.
    ///
    /// Errors: `TooSmall`; `NoLevels`.
    pub fn tuner(&self, sizes: Vec<u8>, seed: u64, compat: Compat) -> Result<Box<dyn Tuner>, SettingsError> {
        self.check(&sizes)?;
        Ok(match (*self, compat) {
            (Self::Random { max_trials }, Compat::Bitloop) => Box::new(Random { sizes, seed, max_trials }),
            (Self::Random { max_trials }, Compat::Qkeras) => {
                Box::new(KerasRandom { sizes, seed, max_trials })
            }
            (Self::Bayesian { max_trials, initial, in_flight }, _) => {
                let initial = initial.unwrap_or_else(|| initial_trials(sizes.len(), max_trials));
                Box::new(Bayesian { sizes, seed, max_trials, initial, in_flight })
            }
            (Self::Hyperband { max_epochs, factor, iterations }, _) => {
                Box::new(Hyperband { sizes, seed, max_epochs, factor, iterations })
            }
            (Self::Asha { max_trials, min_epochs, max_epochs, factor }, _) => {
                Box::new(Asha { sizes, seed, max_trials, min_epochs, max_epochs, factor })
            }
        })
    }

    fn check(&self, sizes: &[u8]) -> Result<(), SettingsError> {
        if let Some(at) = sizes.iter().position(|size| *size == 0) {
            return Err(SettingsError::NoLevels(at));
        }
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
            Self::Asha { max_trials, min_epochs, max_epochs, factor } => vec![
                ("max_trials", max_trials, 1),
                ("min_epochs", min_epochs, 1),
                ("max_epochs", max_epochs, min_epochs),
                ("factor", factor, 2),
            ],
        };
        match floors.into_iter().find(|(_, value, least)| value < least) {
            Some((name, value, least)) => Err(SettingsError::TooSmall { name, value, least }),
            None => Ok(()),
        }
    }
}

fn initial_trials(hyperparameters: usize, max_trials: u32) -> u32 {
    let wanted = INITIAL_PER_HYPERPARAMETER.saturating_mul(hyperparameters as u32);
    wanted.min(max_trials / 4).max(INITIAL_MIN)
}
