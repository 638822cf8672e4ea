//! `bitloop inspect --energy`: what an inference of a model costs.

use std::fs;
use std::path::Path;

use bitloop_core::digest::Digest;
use bitloop_core::graph::Graph;
use bitloop_core::qkeras::Grammar;
use bitloop_search::energy::{Profile, ValueCounts};
use bitloop_search::goal::{EnergyGoal, reference_profile, trial_profile};
use bitloop_search::network::{Network, QuantizerDictionary};
use serde_json::{Value, json};

use crate::args::{EnergyArguments, Output};
use crate::failure::{Failure, Outcome};
use crate::show;

/// Width of activations inside layers that a dictionary says nothing of. A graph's activations are nodes of their own.
const INLINE_BITS: u32 = 4;

/// A model's profiles.
struct Priced {
    reference: Profile,
    /// With quantizers, if there are any.
    trial: Option<Profile>,
}

pub(super) fn execute(graph: &Graph, digest: &Digest, settings: &EnergyArguments, output: Output) -> Outcome {
    let priced = Priced::of(graph, settings)?;
    match output {
        Output::Json => show::json(&json!({
            "digest": digest,
            "model": graph.name,
            "settings": described(settings),
            "reference": profile_json(&priced.reference),
            "trial": priced.trial.as_ref().map(profile_json),
        })),
        Output::Text => show::data(&show::energy(&priced.reference, priced.trial.as_ref())),
    }
}

impl Priced {
    fn of(graph: &Graph, settings: &EnergyArguments) -> Result<Self, Failure> {
        let network = Network::of_graph(graph)?;
        let (goal, qkeras) = (goal(settings), settings.compat.is_some());
        let refused = |error: &dyn std::error::Error| Failure::usage(error.to_string());
        let reference = reference_profile(&goal, &network, qkeras).map_err(|error| refused(&error))?;
        let Some(path) = &settings.quantizers else {
            return Ok(Self { reference, trial: None });
        };
        let in_file = |error: &dyn std::error::Error| Failure::usage(format!("{}: {error}", path.display()));
        let grammar = if qkeras { Grammar::Qkeras } else { Grammar::Strict };
        let quantized = network.quantized(&dictionary(path)?, INLINE_BITS, grammar);
        let quantized = quantized.map_err(|error| in_file(&error))?;
        let trial = trial_profile(&goal, &quantized, &ValueCounts::new(), qkeras);
        Ok(Self { reference, trial: Some(trial.map_err(|error| in_file(&error))?) })
    }
}

/// The goal of a search that would compare the same profiles.
fn goal(settings: &EnergyArguments) -> EnergyGoal {
    EnergyGoal {
        process: settings.process,
        parameters_on_memory: [settings.weights_in; 2],
        activations_on_memory: [settings.activations_in; 2],
        min_sram_size: [settings.min_sram_bits; 2],
        rd_wr_on_io: [settings.read_write_on_io; 2],
        source_quantizers: settings.trial_input.iter().cloned().collect(),
        reference_internal: settings.reference_weights,
        reference_accumulator: settings.reference_accumulators,
        ..EnergyGoal::default()
    }
}

fn dictionary(path: &Path) -> Result<QuantizerDictionary, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| {
        let form = "write quantizers by layer, such as {\"dense\": {\"kernel_quantizer\": \"quantized_bits(4,0,1)\"}}";
        Failure::usage(format!("{}: {error}; {form}", path.display()))
    })
}

fn described(settings: &EnergyArguments) -> Value {
    json!({
        "process": settings.process,
        "weights_in": settings.weights_in,
        "activations_in": settings.activations_in,
        "min_sram_bits": settings.min_sram_bits,
        "read_write_on_io": settings.read_write_on_io,
        "reference_weights": settings.reference_weights,
        "reference_accumulators": settings.reference_accumulators,
        "trial_input": settings.trial_input,
        "compat": settings.compat.map(|_| "qkeras"),
    })
}

fn profile_json(profile: &Profile) -> Value {
    let assumed = profile.layers.iter().filter(|layer| layer.types.is_assumed());
    json!({
        "layers": profile.layers,
        "energy_sum": profile.energy_sum,
        "total_cost": profile.total_cost,
        "assumed": assumed.map(|layer| &layer.types.name).collect::<Vec<_>>(),
    })
}
