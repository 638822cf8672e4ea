use super::{EnergyGoal, GoalError, PlainNumber, Size, SourceNumber};
use crate::energy::{EnergyOptions, Memory, NumberType, Profile, ValueCounts, View, types};
use crate::network::Network;

/// The type that a word names.
pub fn plain_number(number: PlainNumber) -> NumberType {
    match number {
        PlainNumber::Int8 => NumberType::INT8,
        PlainNumber::Int16 => NumberType::INT16,
        PlainNumber::Int32 => NumberType::INT32,
        PlainNumber::Fp16 => NumberType::FP16,
        PlainNumber::Fp32 => NumberType::FP32,
    }
}

/// Returns the type of a source.
///
/// Errors: `Source` for a quantizer that QTools does not know, if `qkeras` is set.
pub fn source_number(source: &SourceNumber, qkeras: bool) -> Result<NumberType, GoalError> {
    match source {
        SourceNumber::Plain(plain) => Ok(plain_number(*plain)),
        SourceNumber::Quantizer(quantizer) => NumberType::of_quantizer(quantizer, qkeras)
            .ok_or_else(|| GoalError::Source(quantizer.to_string())),
    }
}

/// Returns the profile of the network that trials are compared with: quantizers do not count, sources have the internal
/// type.
///
/// Errors: those of [`types`] and of [`TypedNetwork::profile`](crate::energy::TypedNetwork::profile).
pub fn reference_profile(goal: &EnergyGoal, network: &Network, qkeras: bool) -> Result<Profile, GoalError> {
    let options = EnergyOptions {
        view: View::Reference,
        sources: vec![plain_number(goal.reference_internal)],
        ..options(goal, qkeras)
    };
    Ok(types(network, &options)?.profile(goal.process, &memory(goal, 0))?)
}

/// Returns a trial's profile; the counts of values are looked at if models are trained.
///
/// Errors: as [`reference_profile`], and `Source`.
pub fn trial_profile(
    goal: &EnergyGoal,
    network: &Network,
    values: &ValueCounts,
    qkeras: bool,
) -> Result<Profile, GoalError> {
    let sources = goal.source_quantizers.iter().map(|source| source_number(source, qkeras));
    let options = EnergyOptions {
        view: View::Trial,
        sources: sources.collect::<Result<_, _>>()?,
        values: if goal.trained_model { values.clone() } else { ValueCounts::new() },
        ..options(goal, qkeras)
    };
    Ok(types(network, &options)?.profile(goal.process, &memory(goal, 1))?)
}

fn options(goal: &EnergyGoal, qkeras: bool) -> EnergyOptions {
    EnergyOptions {
        plain_weights: plain_number(goal.reference_internal),
        plain_accumulator: plain_number(goal.reference_accumulator),
        qkeras,
        ..EnergyOptions::default()
    }
}

fn memory(goal: &EnergyGoal, side: usize) -> Memory {
    Memory {
        parameters: goal.parameters_on_memory[side],
        activations: goal.activations_on_memory[side],
        min_sram_bits: goal.min_sram_size[side],
        read_write_on_io: goal.rd_wr_on_io[side],
    }
}

pub(super) fn size(profile: &Profile) -> Size {
    let layers = profile.layers.iter().map(|layer| (layer.types.name.clone(), layer.total));
    Size { total: profile.energy_sum as f64, layers: layers.collect() }
}
