//! Search spaces, the networks of trials and learning rates against what QKeras made of them.

#[path = "common/qkeras_file.rs"]
mod qkeras_file;

use std::collections::BTreeMap;

use bitloop_search::autoqkeras::{
    Compat, Limit, QuantizationConfig, SearchSpace, Settings, SpaceWarning, TuneFilters, Value, padded,
};
use bitloop_search::network::Network;
use serde::Deserialize;
use serde_json::Value as Json;

/// The rate that all models of the file were compiled with.
const RATE: f32 = 0.02;

#[derive(Deserialize)]
struct Search {
    quantization_config: QuantizationConfig,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    model: String,
    limit: Limit,
    limit_after_defaults: Limit,
    tune_filters: TuneFilters,
    tune_filters_exceptions: Option<String>,
    layer_indexes: Option<Vec<usize>>,
    activation_bits: u32,
    learning_rate_optimizer: bool,
    search_space: Vec<Expected>,
    trials: Vec<Trial>,
}

#[derive(Deserialize)]
struct Expected {
    name: String,
    kind: String,
    #[serde(default)]
    values: Vec<Value>,
    default: Option<Value>,
    value: Option<Value>,
}

#[derive(Deserialize)]
struct Trial {
    hyperparameters: BTreeMap<String, Value>,
    total_factor: f64,
    learning_rate: f64,
    model: Vec<Json>,
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

struct Known {
    number: usize,
    case: Case,
    network: Network,
    settings: Settings,
}

impl Known {
    /// The space with the learning rate's range from the first trial, as QKeras gets it.
    fn space(&self) -> SearchSpace {
        let space = SearchSpace::of(&self.network, &self.settings).expect("QKeras searched it");
        match self.settings.learning_rate_optimizer {
            true => space.with_learning_rate(f64::from(RATE), self.case.trials[0].total_factor),
            false => space,
        }
    }
}

fn cases(compat: Compat) -> Vec<Known> {
    let (Some(search), Some(energy)) =
        (qkeras_file::golden::<Search>("search.json"), qkeras_file::golden::<Energy>("energy.json"))
    else {
        return Vec::new();
    };
    assert!(!search.cases.is_empty());
    let known = |(number, case): (usize, Case)| {
        let network = energy.models.iter().find(|model| model.model == case.model);
        let settings = Settings {
            limit: case.limit.clone(),
            quantization_config: search.quantization_config.clone(),
            tune_filters: case.tune_filters,
            tune_filters_exceptions: case.tune_filters_exceptions.clone(),
            learning_rate_optimizer: case.learning_rate_optimizer,
            layer_indexes: case.layer_indexes.clone(),
            activation_bits: case.activation_bits,
            compat,
        };
        let network = network.expect("the model stands in the energy file").layers.clone();
        Known { number, case, network, settings }
    };
    search.cases.into_iter().enumerate().map(known).collect()
}

/// Whether every property that is told of a layer holds; nothing is as good as none.
fn assert_layer(layer: &Json, told: &Json, context: &str) {
    for (key, value) in told.as_object().expect("a layer is a map") {
        let own = layer.get(key).unwrap_or(&Json::Null);
        assert_eq!(own, value, "{context}: {key} of {}", told["name"]);
    }
    let is_quantized = told.get("quantizers").is_some();
    assert_eq!(layer.get("quantizers").is_some(), is_quantized, "{context}: {}", told["name"]);
}

#[test]
fn golden_search_spaces_are_reproduced() {
    for known in cases(Compat::Qkeras) {
        assert_eq!(padded(&known.case.limit), known.case.limit_after_defaults, "case {}", known.number);
        let space = known.space();

        let names: Vec<&str> = space.hyperparameters.iter().map(|own| own.name.as_str()).collect();
        let expected: Vec<&str> = known.case.search_space.iter().map(|told| told.name.as_str()).collect();
        assert_eq!(names, expected, "case {}", known.number);
        for (own, told) in space.hyperparameters.iter().zip(&known.case.search_space) {
            let is_fixed = own.values.len() == 1;
            assert_eq!(told.kind, if is_fixed { "Fixed" } else { "Choice" }, "{}", told.name);
            let values: Vec<Value> = told.values.iter().chain(&told.value).cloned().collect();
            assert_eq!(own.values, values, "case {}: {}", known.number, told.name);
            let default = &own.values[usize::from(own.default)];
            assert_eq!(Some(default), told.default.as_ref().or(told.value.as_ref()), "{}", told.name);
        }
    }
}

#[test]
fn golden_networks_of_trials_are_reproduced() {
    for known in cases(Compat::Qkeras) {
        let space = known.space();
        for (number, trial) in known.case.trials.iter().enumerate() {
            let context = format!("case {}, trial {number}", known.number);
            let levels = space.levels(|name| trial.hyperparameters.get(name)).expect("values are known");
            if number == 0 {
                assert_eq!(levels, space.defaults(), "{context}");
            }

            let network = space.network(&levels).expect("QKeras built it");

            let layers = serde_json::to_value(&network).expect("a network can be written");
            let layers = layers.as_array().expect("a network is a list");
            assert_eq!(layers.len(), trial.model.len(), "{context}");
            for (layer, told) in layers.iter().zip(&trial.model) {
                assert_layer(layer, told, &context);
            }
        }
    }
}

#[test]
fn golden_learning_rates_are_reproduced() {
    for known in cases(Compat::Qkeras) {
        let space = known.space();
        for trial in &known.case.trials {
            let levels = space.levels(|name| trial.hyperparameters.get(name)).expect("values are known");
            let rate = space.learning_rate(&levels, f64::from(RATE), trial.total_factor);

            // Keras keeps it in 32 bits.
            assert_eq!(f64::from(rate as f32), trial.learning_rate, "case {}", known.number);
        }
    }
}

#[test]
fn golden_inline_activations_are_chosen_and_ignored_in_qkeras_and_chosen_here() {
    let known = cases(Compat::Qkeras);
    if known.is_empty() {
        return;
    }
    let mut ignored = 0;
    for (as_qkeras, ours) in known.iter().zip(cases(Compat::Bitloop)) {
        let spaces = [as_qkeras.space(), ours.space()];
        for warning in &spaces[0].warnings {
            let SpaceWarning::Ignored(name) = warning else { continue };
            ignored += 1;
            let layer = name.strip_suffix("_activation_quantizer").expect("such is its name");
            let activations = spaces.each_ref().map(|space| {
                let at = space.hyperparameters.iter().position(|own| own.name == *name);
                let at = at.expect("both choose it");
                let of_level = |level: u8| {
                    let mut levels = space.defaults();
                    levels[at] = level;
                    let network = space.network(&levels).expect("it can be built");
                    network.layer(layer).and_then(|layer| layer.activation_text.clone())
                };
                (of_level(0), of_level(1))
            });
            assert_eq!(activations[0].0, activations[0].1, "no effect in QKeras");
            assert_ne!(activations[1].0, activations[1].1, "an effect here");
        }
    }
    assert!(ignored > 0, "some model has an inline activation");
}
