//! How a search is set, as the tutorial's dictionary of arguments says it.

use serde::{Deserialize, Serialize};

use super::{Limit, QuantizationConfig};
use crate::qkeras::Grammar;

/// Whose behaviour is followed where QKeras does not do what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compat {
    /// What QKeras's tutorial promises.
    #[default]
    Bitloop,
    /// What QKeras 0.9.0 does, for results that can be compared with it.
    Qkeras,
}

impl Compat {
    /// Whether it is our own, which documents leave out.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How quantizers' strings are read.
    pub fn grammar(self) -> Grammar {
        match self {
            Self::Bitloop => Grammar::Strict,
            Self::Qkeras => Grammar::Qkeras,
        }
    }
}

/// Whether the numbers of filters and units are chosen too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TuneFilters {
    /// They stay.
    #[default]
    None,
    /// A factor for each layer.
    Layer,
    /// One factor for all layers.
    Block,
}

/// What a search chooses from, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Bounds by class and pattern.
    pub limit: Limit,
    /// The candidates.
    pub quantization_config: QuantizationConfig,
    /// Whether filter counts are chosen too.
    #[serde(default)]
    pub tune_filters: TuneFilters,
    /// Layers whose names have a match of this regular expression keep their filters.
    #[serde(default)]
    pub tune_filters_exceptions: Option<String>,
    /// Whether the learning rate is chosen too.
    #[serde(default)]
    pub learning_rate_optimizer: bool,
    /// The layers that are quantized, by their places in the network; all if not given.
    #[serde(default)]
    pub layer_indexes: Option<Vec<usize>>,
    /// Bits of activations inside layers for which nothing is chosen.
    #[serde(default = "activation_bits")]
    pub activation_bits: u32,
    /// Whose behaviour is followed.
    #[serde(default)]
    pub compat: Compat,
}

impl Settings {
    /// Whether the layer at an index is quantized.
    pub fn includes(&self, index: usize) -> bool {
        self.layer_indexes.as_ref().is_none_or(|indexes| indexes.contains(&index))
    }
}

/// QKeras's own default.
fn activation_bits() -> u32 {
    4
}

/// How a network is taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSettings {
    /// A pattern of layer names for each block.
    pub blocks: Vec<String>,
    /// Which block is first.
    #[serde(default)]
    pub schedule_block: BlockOrder,
    /// Trials of all blocks together; none given leaves it to each block's tuner.
    #[serde(default)]
    pub max_trials: Option<u32>,
}

/// Which block is first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockOrder {
    /// In the order of the patterns.
    #[default]
    Sequential,
    /// The costliest first; equal ones in the order of the patterns.
    Cost,
}
