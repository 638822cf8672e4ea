//! What AutoQKeras searches for: accuracy, forgiven some of its loss for every halving of a network's size.
//!
//! A [`Goal`] sizes a network, in bits or in picojoules; [`ForgivingFactor`] turns the sizes of the reference and of a trial
//! into the factor of the trial's score. It knows nothing of how trials are chosen. Start reading at [`Goal`].

mod bits;
mod energy;
mod factor;

use bitloop_core::qkeras::ParseError;
use serde::{Deserialize, Serialize};

use crate::energy::{EnergyError, ValueCounts};
use crate::network::Network;

pub use bits::{BitsGoal, LayerBits, Part};
pub use energy::{EnergyGoal, PlainNumber, SourceNumber};
pub use factor::{Comparison, ForgivingFactor};

/// What a network's size is, and how much accuracy a smaller one may cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "params", rename_all = "snake_case")]
pub enum Goal {
    /// Bits of weights and activations.
    Bits(BitsGoal),
    /// QTools's energy of an inference.
    Energy(EnergyGoal),
}

impl Default for Goal {
    /// AutoQKeras's goal where none is given: bits of all weights and activations.
    fn default() -> Self {
        Self::Bits(BitsGoal::default())
    }
}

/// A network's size, as a goal counts it: in bits, or in picojoules.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Size {
    /// The whole network's; whole picojoules for energy.
    pub total: f64,
    /// Each layer's, in order; layers that are not counted are left out.
    pub layers: Vec<(String, f64)>,
}

impl Size {
    /// The size of one layer, 0 if it is not counted.
    pub fn of_layer(&self, name: &str) -> f64 {
        self.layers.iter().find(|(layer, _)| layer == name).map_or(0.0, |(_, size)| *size)
    }
}

impl Goal {
    /// How sizes become factors.
    pub fn factor(&self) -> &ForgivingFactor {
        match self {
            Self::Bits(goal) => &goal.factor,
            Self::Energy(goal) => &goal.factor,
        }
    }

    /// Returns the size that trials are compared with, without stress; `qkeras` as in [`EnergyOptions`](crate::energy::EnergyOptions).
    ///
    /// Errors: `Factor`; what the size of the network finds wrong.
    pub fn reference(&self, network: &Network, qkeras: bool) -> Result<Size, GoalError> {
        self.factor().check()?;
        match self {
            Self::Bits(goal) => goal.size(network, qkeras),
            Self::Energy(goal) => goal.reference(network, qkeras),
        }
    }

    /// Returns a trial's size. The counts of values are looked at where the goal is for trained models.
    ///
    /// Errors: as [`Goal::reference`].
    pub fn trial(&self, network: &Network, values: &ValueCounts, qkeras: bool) -> Result<Size, GoalError> {
        self.factor().check()?;
        match self {
            Self::Bits(goal) => goal.size(network, qkeras),
            Self::Energy(goal) => goal.trial(network, values, qkeras),
        }
    }
}

/// Why a size cannot be told.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GoalError {
    /// A number of the forgiving factor makes no sense.
    #[error("the goal's {name} of {value} makes no sense; {rule}")]
    Factor {
        /// Which number.
        name: &'static str,
        /// What it is.
        value: f64,
        /// What it has to be.
        rule: &'static str,
    },
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
    /// The energy cannot be told.
    #[error(transparent)]
    Energy(#[from] EnergyError),
}

#[cfg(test)]
mod tests;
