//! From settings to a tuner.

use bitloop_core::autoqkeras::{Compat, TooSmall, TunerSettings};

use super::Tuner;
use super::asha::Asha;
use super::bayesian::Bayesian;
use super::hyperband::Hyperband;
use super::keras_random::KerasRandom;
use super::random::Random;

/// The least number of random assignments that a Gaussian process starts from.
const INITIAL_MIN: u32 = 3;
/// Random assignments that KerasTuner begins with, per hyperparameter.
const INITIAL_PER_HYPERPARAMETER: u32 = 3;

/// At most one in so many trials is one of them, so that something is left to learn from them; KerasTuner knows no such limit.
const INITIAL_SHARE: u32 = 4;

/// Why a tuner cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A number is too small.
    #[error(transparent)]
    TooSmall(#[from] TooSmall),
    /// Hyperparameters without levels.
    #[error("hyperparameter {0} has no level to choose; give it a candidate or leave it out")]
    NoLevels(usize),
}

/// Makes the tuner for hyperparameters with so many levels each.
///
/// Errors: `TooSmall`; `NoLevels`.
pub fn tuner(
    settings: &TunerSettings,
    sizes: Vec<u8>,
    seed: u64,
    compat: Compat,
) -> Result<Box<dyn Tuner>, SettingsError> {
    settings.check()?;
    if let Some(at) = sizes.iter().position(|size| *size == 0) {
        return Err(SettingsError::NoLevels(at));
    }
    Ok(match (*settings, compat) {
        (TunerSettings::Random { max_trials }, Compat::Bitloop) => {
            Box::new(Random { sizes, seed, max_trials })
        }
        (TunerSettings::Random { max_trials }, Compat::Qkeras) => {
            Box::new(KerasRandom { sizes, seed, max_trials })
        }
        (TunerSettings::Bayesian { max_trials, initial, in_flight }, compat) => {
            let most = match compat {
                Compat::Bitloop => max_trials / INITIAL_SHARE,
                Compat::Qkeras => max_trials,
            };
            let initial = initial.unwrap_or_else(|| initial_trials(sizes.len(), most));
            Box::new(Bayesian { sizes, seed, max_trials, initial, in_flight })
        }
        (TunerSettings::Hyperband { max_epochs, factor, iterations }, _) => {
            Box::new(Hyperband { sizes, seed, max_epochs, factor, iterations })
        }
        (TunerSettings::Asha { max_trials, min_epochs, max_epochs, factor, in_flight: _ }, _) => {
            Box::new(Asha { sizes, seed, max_trials, min_epochs, max_epochs, factor })
        }
    })
}

fn initial_trials(hyperparameters: usize, most: u32) -> u32 {
    let wanted = INITIAL_PER_HYPERPARAMETER.saturating_mul(hyperparameters as u32);
    wanted.min(most).max(INITIAL_MIN)
}
