//! The hyperparameters of a search, in QKeras's order.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::collect::{Collected, collect};
use super::{Settings, SpaceError, SpaceWarning, lookup};
use crate::network::Network;

/// Factors of filter counts.
pub const FILTER_FACTORS: [f64; 5] = [0.5, 0.75, 1.0, 1.5, 2.0];
/// The level of the factor 1.
pub(super) const FILTER_DEFAULT: u8 = 2;

/// A value of a hyperparameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A factor of filter counts, a learning rate, or a place in the range of learning rates.
    Number(f64),
    /// A quantizer's string.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Something that is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hyperparameter {
    /// Such as `conv2d_0_kernel_quantizer` or `^conv2d_[12]$_kernel_quantizer`; none has the same as another.
    pub name: String,
    /// At least one; with one it is fixed.
    pub values: Vec<Value>,
    /// The level of the value that a first trial has.
    pub default: u8,
}

/// What is chosen for a layer, as indices of hyperparameters.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// A layer with a kernel.
    Weighted {
        kernel: usize,
        bias: Option<usize>,
        /// None where there is no choice, or it is ignored.
        activation: Option<usize>,
        filters: Option<usize>,
    },
    /// An activation by itself.
    Activation(usize),
    /// A layer that becomes its quantized twin without quantizers.
    Listed,
}

/// The hyperparameters of a search over a network; an *assignment* is a slice of levels, one per hyperparameter.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchSpace {
    /// In QKeras's order: of first use.
    pub hyperparameters: Vec<Hyperparameter>,
    /// What is odd about it.
    pub warnings: Vec<SpaceWarning>,
    /// The network that trials start from.
    pub(super) base: Network,
    /// What is chosen of which layer.
    pub(super) parts: Vec<(usize, Part)>,
    pub(super) activation_bits: u32,
    pub(super) compat: super::Compat,
    /// The hyperparameter of the learning rate.
    pub(super) learning_rate: Option<usize>,
}

impl SearchSpace {
    /// Returns what may be chosen for a network.
    ///
    /// The learning rate is not among it before [`SearchSpace::with_learning_rate`] says what its range is.
    /// Errors: every mistake in the settings, the first of them.
    pub fn of(network: &Network, settings: &Settings) -> Result<Self, SpaceError> {
        lookup::check(&settings.quantization_config, settings.compat.grammar())?;
        let Collected { hyperparameters, parts, warnings } = collect(network, settings)?;
        let space = Self {
            hyperparameters,
            warnings,
            base: network.clone(),
            parts,
            activation_bits: settings.activation_bits,
            compat: settings.compat,
            learning_rate: None,
        };
        space.check_filters()?;
        Ok(space)
    }

    /// The number of levels of each hyperparameter, as tuners want it.
    pub fn sizes(&self) -> Vec<u8> {
        self.hyperparameters.iter().map(|hyperparameter| hyperparameter.values.len() as u8).collect()
    }

    /// The assignment of a first trial: all defaults.
    pub fn defaults(&self) -> Vec<u8> {
        self.hyperparameters.iter().map(|hyperparameter| hyperparameter.default).collect()
    }

    /// Names and values of an assignment, in order.
    pub fn values<'a>(&'a self, levels: &'a [u8]) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.hyperparameters.iter().zip(levels).map(|(hyperparameter, level)| {
            (hyperparameter.name.as_str(), &hyperparameter.values[usize::from(*level)])
        })
    }

    /// Finds the assignment that gives hyperparameters these values; none if one is not given or has no such value.
    pub fn levels<'a>(&self, value: impl Fn(&str) -> Option<&'a Value>) -> Option<Vec<u8>> {
        let level = |hyperparameter: &Hyperparameter| {
            let value = value(&hyperparameter.name)?;
            hyperparameter.values.iter().position(|known| known == value).map(|level| level as u8)
        };
        self.hyperparameters.iter().map(level).collect()
    }
}
