//! Sizes of trials and costs of layers, from a search's choices to a goal's numbers, against those of QKeras.

#[path = "common/qkeras_file.rs"]
mod qkeras_file;

use std::collections::BTreeMap;

use bitloop_search::autoqkeras::{
    Compat, LayerCosts, Limit, QuantizationConfig, SearchSpace, Settings, TuneFilters, Value,
};
use bitloop_search::energy::ValueCounts;
use bitloop_search::goal::{self, Goal};
use bitloop_search::network::Network;
use serde::Deserialize;

/// What deltas may differ by: QKeras computes them partly in 32 bits.
const DELTA_ROUNDING: f64 = 2e-6;
/// What costs may differ by: they are sums of rounded parts.
const COST_ROUNDING: f64 = 1e-6;

#[derive(Deserialize)]
struct Search {
    quantization_config: QuantizationConfig,
    cases: Vec<SearchCase>,
}

#[derive(Deserialize)]
struct SearchCase {
    model: String,
    limit: Limit,
    goal: Goal,
    tune_filters: TuneFilters,
    tune_filters_exceptions: Option<String>,
    layer_indexes: Option<Vec<usize>>,
    activation_bits: u32,
    reference_size: f64,
    trials: Vec<Trial>,
}

#[derive(Deserialize)]
struct Trial {
    hyperparameters: BTreeMap<String, Value>,
    trial_size: f64,
    delta: f64,
    total_factor: f64,
}

#[derive(Deserialize)]
struct Scheduler {
    cases: Vec<ScheduleCase>,
}

#[derive(Deserialize)]
struct ScheduleCase {
    model: String,
    goal: Goal,
    reference_size: f64,
    layer_costs: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Energy {
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    model: String,
    layers: Network,
}

fn network(name: &str) -> Network {
    let energy = qkeras_file::golden::<Energy>("energy.json").expect("it lies beside the others");
    let model = energy.models.into_iter().find(|model| model.model == name);
    model.expect("the model stands in the energy file").layers
}

fn near(a: f64, b: f64, rounding: f64) -> bool {
    (a - b).abs() <= rounding * b.abs()
}

#[test]
fn golden_sizes_of_trials_are_reproduced() {
    let Some(search) = qkeras_file::golden::<Search>("search.json") else { return };
    for (number, case) in search.cases.into_iter().enumerate() {
        let network = network(&case.model);
        let settings = Settings {
            limit: case.limit,
            quantization_config: search.quantization_config.clone(),
            tune_filters: case.tune_filters,
            tune_filters_exceptions: case.tune_filters_exceptions,
            layer_indexes: case.layer_indexes,
            activation_bits: case.activation_bits,
            compat: Compat::Qkeras,
            ..Settings::default()
        };
        let space = SearchSpace::of(&network, &settings).expect("QKeras searched it");
        let reference = goal::reference(&case.goal, &network, true).expect("QKeras sized it");
        for (at, trial) in case.trials.iter().enumerate() {
            let levels = space.levels(|name| trial.hyperparameters.get(name)).expect("values are known");
            let built = space.network(&levels).expect("QKeras built it");
            let size =
                goal::trial(&case.goal, &built, &ValueCounts::default(), true).expect("QKeras sized it");

            let compared = case.goal.factor().compare(&reference, &size);

            let context = format!("case {number}, trial {at}: {compared:?}");
            assert_eq!(compared.reference, case.reference_size, "{context}");
            assert_eq!(compared.trial, trial.trial_size, "{context}");
            assert!(near(compared.delta, trial.delta, DELTA_ROUNDING), "{context} {}", trial.delta);
            assert!(near(compared.total_factor, trial.total_factor, DELTA_ROUNDING), "{context}");
        }
    }
}

#[test]
fn golden_costs_of_layers_are_reproduced() {
    let Some(scheduler) = qkeras_file::golden::<Scheduler>("scheduler.json") else { return };
    for case in scheduler.cases {
        let reference = goal::reference(&case.goal, &network(&case.model), true).expect("QKeras sized it");

        let costs = LayerCosts::of(&reference, case.goal.factor().stress);

        assert!(near(costs.reference, case.reference_size, COST_ROUNDING), "{}", costs.reference);
        for (layer, told) in &case.layer_costs {
            let own = costs.of_layer.get(layer).copied().unwrap_or(0.0);
            assert!(near(own, *told, COST_ROUNDING) || (own - told).abs() < 0.01, "{layer}: {own} {told}");
        }
        assert!(
            costs.of_layer.iter().all(|(layer, cost)| case.layer_costs.contains_key(layer) || *cost == 0.0)
        );
    }
}
