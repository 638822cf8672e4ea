use bitloop_core::qkeras::Quantizer;
use serde::{Deserialize, Serialize};

use super::{ForgivingFactor, GoalError, Size};
use crate::energy::{
    EnergyOptions, Memory, NumberType, Placement, Process, Profile, ValueCounts, View, types,
};
use crate::network::Network;

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
    /// [`NumberType::INT8`].
    Int8,
    /// [`NumberType::INT16`].
    Int16,
    /// [`NumberType::INT32`].
    Int32,
    /// [`NumberType::FP16`].
    Fp16,
    /// [`NumberType::FP32`].
    Fp32,
}

impl PlainNumber {
    /// The type.
    pub fn number(self) -> NumberType {
        match self {
            Self::Int8 => NumberType::INT8,
            Self::Int16 => NumberType::INT16,
            Self::Int32 => NumberType::INT32,
            Self::Fp16 => NumberType::FP16,
            Self::Fp32 => NumberType::FP32,
        }
    }
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

impl SourceNumber {
    /// Returns the type.
    ///
    /// Errors: `Source` for a quantizer that QTools does not know, if `qkeras` is set.
    pub fn number(&self, qkeras: bool) -> Result<NumberType, GoalError> {
        match self {
            Self::Plain(plain) => Ok(plain.number()),
            Self::Quantizer(quantizer) => NumberType::of_quantizer(quantizer, qkeras)
                .ok_or_else(|| GoalError::Source(quantizer.to_string())),
        }
    }
}

impl EnergyGoal {
    /// Returns the profile of the network that trials are compared with: quantizers do not count, sources have the internal
    /// type.
    ///
    /// Errors: those of [`types`] and of [`TypedNetwork::profile`](crate::energy::TypedNetwork::profile).
    pub fn reference_profile(&self, network: &Network, qkeras: bool) -> Result<Profile, GoalError> {
        let options = EnergyOptions {
            view: View::Reference,
            sources: vec![self.reference_internal.number()],
            ..self.options(qkeras)
        };
        Ok(types(network, &options)?.profile(self.process, &self.memory(0))?)
    }

    /// Returns a trial's profile; the counts of values are looked at if models are trained.
    ///
    /// Errors: as [`EnergyGoal::reference_profile`], and `Source`.
    pub fn trial_profile(
        &self,
        network: &Network,
        values: &ValueCounts,
        qkeras: bool,
    ) -> Result<Profile, GoalError> {
        let sources = self.source_quantizers.iter().map(|source| source.number(qkeras));
        let options = EnergyOptions {
            view: View::Trial,
            sources: sources.collect::<Result<_, _>>()?,
            values: if self.trained_model { values.clone() } else { ValueCounts::new() },
            ..self.options(qkeras)
        };
        Ok(types(network, &options)?.profile(self.process, &self.memory(1))?)
    }

    pub(super) fn reference(&self, network: &Network, qkeras: bool) -> Result<Size, GoalError> {
        self.reference_profile(network, qkeras).map(|profile| size(&profile))
    }

    pub(super) fn trial(
        &self,
        network: &Network,
        values: &ValueCounts,
        qkeras: bool,
    ) -> Result<Size, GoalError> {
        self.trial_profile(network, values, qkeras).map(|profile| size(&profile))
    }

    fn options(&self, qkeras: bool) -> EnergyOptions {
        EnergyOptions {
            plain_weights: self.reference_internal.number(),
            plain_accumulator: self.reference_accumulator.number(),
            qkeras,
            ..EnergyOptions::default()
        }
    }

    fn memory(&self, side: usize) -> Memory {
        Memory {
            parameters: self.parameters_on_memory[side],
            activations: self.activations_on_memory[side],
            min_sram_bits: self.min_sram_size[side],
            read_write_on_io: self.rd_wr_on_io[side],
        }
    }
}

fn size(profile: &Profile) -> Size {
    let layers = profile.layers.iter().map(|layer| (layer.types.name.clone(), layer.total));
    Size { total: profile.energy_sum as f64, layers: layers.collect() }
}
