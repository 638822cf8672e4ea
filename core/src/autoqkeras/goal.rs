//! What a search is for: what counts as a network's size, and what less of it is worth.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DEFAULT, ForgivingFactor, MeasuredGoal};
use crate::qkeras::Quantizer;

/// What a network's size is, and how much accuracy a smaller one may cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "params", rename_all = "snake_case")]
pub enum Goal {
    /// Bits of weights and activations.
    Bits(BitsGoal),
    /// QTools's energy of an inference.
    Energy(EnergyGoal),
    /// What an inference takes on a device.
    Measured(MeasuredGoal),
}

impl Default for Goal {
    /// AutoQKeras's goal where none is given: bits of all weights and activations.
    fn default() -> Self {
        Self::Bits(BitsGoal::default())
    }
}

impl Goal {
    /// How sizes become factors.
    pub fn factor(&self) -> &ForgivingFactor {
        match self {
            Self::Bits(goal) => &goal.factor,
            Self::Energy(goal) => &goal.factor,
            Self::Measured(goal) => &goal.factor,
        }
    }

    /// What is measured on a device, if sizes are.
    pub fn measured(&self) -> Option<&MeasuredGoal> {
        match self {
            Self::Bits(_) | Self::Energy(_) => None,
            Self::Measured(goal) => Some(goal),
        }
    }
}

/// A part of a layer that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Weights.
    Parameters,
    /// Values of the output for one image.
    Activations,
}

/// The bits of a network's weights and activations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BitsGoal {
    /// What fewer bits are worth.
    #[serde(flatten)]
    pub factor: ForgivingFactor,
    /// Width of the network's input.
    pub input_bits: u64,
    /// Width of what a softmax or sigmoid gives.
    pub output_bits: u64,
    /// Width of what has no quantizer.
    pub ref_bits: u64,
    /// What is counted of layers of a class, by its name; `default` is for all others. What has no entry is not counted.
    pub config: BTreeMap<String, Vec<Part>>,
}

impl Default for BitsGoal {
    fn default() -> Self {
        Self {
            factor: ForgivingFactor::default(),
            input_bits: 8,
            output_bits: 8,
            ref_bits: 8,
            config: BTreeMap::from([(DEFAULT.to_owned(), vec![Part::Parameters, Part::Activations])]),
        }
    }
}

/// The technology that operations and memories are priced in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// 45 nm, from Horowitz's survey, as QTools fits it.
    #[default]
    Horowitz,
}

/// Where tensors of a kind are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Off the chip.
    Dram,
    /// On the chip.
    Sram,
    /// In the circuit itself: nothing is read.
    Fixed,
}

/// The energy that QTools finds for one inference. Of each pair the first is for the reference, the second for trials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnergyGoal {
    /// What less energy is worth.
    #[serde(flatten)]
    pub factor: ForgivingFactor,
    /// The technology.
    pub process: Process,
    /// Where weights are kept.
    pub parameters_on_memory: [Placement; 2],
    /// Where activations are kept.
    pub activations_on_memory: [Placement; 2],
    /// Smallest SRAM in bits.
    pub min_sram_size: [u64; 2],
    /// Whether what is in DRAM passes through SRAM, and input and output of the network are in DRAM.
    pub rd_wr_on_io: [bool; 2],
    /// Types of the network's inputs in trials; none is `quantized_bits(8,0,1)`. Inputs of the reference have its internal
    /// type.
    #[serde(deserialize_with = "sources")]
    pub source_quantizers: Vec<SourceNumber>,
    /// Whether weights are trained, so that their values may be counted.
    pub trained_model: bool,
    /// Type of the reference's weights, and of plain layers' in trials.
    pub reference_internal: PlainNumber,
    /// Type of the reference's results, and of plain layers' in trials.
    pub reference_accumulator: PlainNumber,
    /// What layers were measured to take, in the place of what QTools finds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<MeasuredEnergy>,
}

/// What a layer took on a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredEnergy {
    /// The layer's name.
    pub layer: String,
    /// Bits of its kernel; any if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<u64>,
    /// Bits of its first input; any if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<u64>,
    /// Picojoules for one image.
    pub energy: f64,
}

impl Default for EnergyGoal {
    fn default() -> Self {
        Self {
            factor: ForgivingFactor::default(),
            process: Process::Horowitz,
            parameters_on_memory: [Placement::Fixed; 2],
            activations_on_memory: [Placement::Dram; 2],
            min_sram_size: [0; 2],
            rd_wr_on_io: [true; 2],
            source_quantizers: Vec::new(),
            trained_model: false,
            reference_internal: PlainNumber::Fp32,
            reference_accumulator: PlainNumber::Fp32,
            measured: Vec::new(),
        }
    }
}

/// QKeras writes none as `null`.
fn sources<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<SourceNumber>, D::Error> {
    Option::<Vec<SourceNumber>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A number type that plain layers can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlainNumber {
    /// 8 bits with a sign, all of them integer.
    Int8,
    /// 16 bits with a sign, 7 of them integer.
    Int16,
    /// 32 bits with a sign, 10 of them integer.
    Int32,
    /// Half precision.
    Fp16,
    /// Single precision.
    Fp32,
}

/// The number type of a network's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SourceNumber {
    /// By its word.
    Plain(PlainNumber),
    /// What a quantizer gives.
    Quantizer(Quantizer),
}
