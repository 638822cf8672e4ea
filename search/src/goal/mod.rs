//! What AutoQKeras searches for: accuracy, forgiven some of its loss for every halving of a network's size.
//!
//! A [`Goal`] says how networks are sized, in bits or in picojoules ([`reference()`], [`trial`]), or that a device says it, of which nothing
//! is known here; [`ForgivingFactor`] turns the sizes of the reference and of a trial
//! into the factor of the trial's score. It knows nothing of how trials are chosen. Start reading at [`Goal`].

mod bits;
mod energy;
mod measured;

use crate::energy::{EnergyError, ValueCounts};
use crate::network::Network;
use bitloop_core::qkeras::ParseError;

pub use bitloop_core::autoqkeras::{
    BitsGoal, Comparison, EnergyGoal, FactorError, ForgivingFactor, Goal, MeasuredEnergy, Part, PlainNumber,
    Size, SourceNumber,
};
pub use bits::{LayerBits, layers as bits_of_layers};
pub use energy::{plain_number, reference_profile, source_number, trial_profile};

/// Returns the size that trials are compared with, without stress, or, of a goal that is measured, the network's bits: blocks are
/// weighed by them before anything is measured. `qkeras` as in [`EnergyOptions`](crate::energy::EnergyOptions).
///
/// Errors: `Factor`; what the size of the network finds wrong.
pub fn reference(goal: &Goal, network: &Network, qkeras: bool) -> Result<Size, GoalError> {
    goal.factor().check()?;
    match goal {
        Goal::Bits(goal) => bits::size(goal, network, qkeras),
        Goal::Energy(goal) => {
            let profile = reference_profile(goal, network, qkeras)?;
            match goal.measured.is_empty() {
                true => Ok(energy::size(&profile)),
                false => measured::size(goal, &profile, &profile),
            }
        }
        Goal::Measured(_) => bits::size(&BitsGoal::default(), network, qkeras),
    }
}

/// Returns a trial's size, or its bits as [`reference()`]. The counts of values are looked at where the goal is for trained models. What is measured holds
/// for the filter counts that it was measured with, which trials are to have too.
///
/// Errors: as [`reference()`].
pub fn trial(goal: &Goal, network: &Network, values: &ValueCounts, qkeras: bool) -> Result<Size, GoalError> {
    goal.factor().check()?;
    match goal {
        Goal::Bits(goal) => bits::size(goal, network, qkeras),
        Goal::Energy(goal) => {
            let profile = trial_profile(goal, network, values, qkeras)?;
            match goal.measured.is_empty() {
                true => Ok(energy::size(&profile)),
                // The reference does not look at a trial's quantizers.
                false => measured::size(goal, &reference_profile(goal, network, qkeras)?, &profile),
            }
        }
        Goal::Measured(_) => bits::size(&BitsGoal::default(), network, qkeras),
    }
}

/// Why a size cannot be told.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GoalError {
    /// A number of the forgiving factor makes no sense.
    #[error(transparent)]
    Factor(#[from] FactorError),
    /// A quantizer cannot be read.
    #[error("the layer `{layer}` has a quantizer that cannot be read: {error}")]
    Quantizer {
        /// The layer.
        layer: String,
        /// What is wrong in it.
        error: ParseError,
    },
    /// QTools does not know the number type of a source.
    #[error("QTools does not know the source quantizer `{0}`; price it without `qkeras`")]
    Source(String),
    /// A measured layer is not in the network.
    #[error(
        "the network has no layer `{0}`, of which `measured` has an energy; `bitloop inspect MODEL --energy` lists its layers"
    )]
    UnknownMeasured(String),
    /// Nothing measured can be compared with the model.
    #[error(
        "no row of `measured` is of a layer at the reference's widths, to which the model is to be scaled; measure one such \
         layer at least (`bitloop inspect MODEL --energy --output json` has the widths)"
    )]
    UnmeasuredReference,
    /// The energy cannot be told.
    #[error(transparent)]
    Energy(#[from] EnergyError),
}

#[cfg(test)]
mod tests;
