//! KerasTuner's random search against its recorded sequences.

#[path = "common/qkeras_file.rs"]
mod qkeras_file;

use std::collections::BTreeMap;

use bitloop_core::autoqkeras::TunerSettings;
use bitloop_search::autoqkeras::Compat;
use bitloop_search::autoqkeras::tuners::{Proposal, first_uniform, tuner};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Search {
    cases: Vec<Case>,
    random_search_oracle: Oracle,
}

#[derive(Deserialize)]
struct Case {
    search_space: Vec<Hyperparameter>,
}

#[derive(Deserialize)]
struct Hyperparameter {
    name: String,
    #[serde(default)]
    values: Vec<Value>,
    value: Option<Value>,
}

#[derive(Deserialize)]
struct Oracle {
    first_uniform_of_seed: Vec<Uniform>,
    runs: Vec<Sequence>,
}

#[derive(Deserialize)]
struct Uniform {
    seed: u64,
    first_uniform: f64,
}

#[derive(Deserialize)]
struct Sequence {
    search_case: usize,
    seed: u64,
    trials: Vec<BTreeMap<String, Value>>,
}

impl Hyperparameter {
    fn all(&self) -> Vec<Value> {
        self.value.iter().chain(&self.values).cloned().collect()
    }
}

#[test]
fn golden_first_uniform_numbers_of_seeds_are_reproduced() {
    let Some(search) = qkeras_file::golden::<Search>("search.json") else { return };
    let uniforms = search.random_search_oracle.first_uniform_of_seed;

    assert!(!uniforms.is_empty());
    for Uniform { seed, first_uniform: expected } in uniforms {
        assert_eq!(first_uniform(seed).to_bits(), expected.to_bits(), "seed {seed}");
    }
}

#[test]
fn golden_sequences_of_random_search_are_reproduced() {
    let Some(search) = qkeras_file::golden::<Search>("search.json") else { return };

    assert!(!search.random_search_oracle.runs.is_empty());
    for sequence in search.random_search_oracle.runs {
        let space = &search.cases[sequence.search_case].search_space;
        let sizes = space.iter().map(|hyperparameter| hyperparameter.all().len() as u8).collect();
        let max_trials = sequence.trials.len() as u32;
        let settings = TunerSettings::Random { max_trials };
        let tuner = tuner(&settings, sizes, sequence.seed, Compat::Qkeras).expect("the settings are good");

        let Proposal::Trials(asks) = tuner.propose(&[], sequence.trials.len()) else {
            panic!("there are trials to propose");
        };
        assert_eq!(asks.len(), sequence.trials.len());
        for (ask, expected) in asks.iter().zip(&sequence.trials) {
            let named: BTreeMap<String, Value> = (space.iter().zip(&ask.levels))
                .map(|(hyperparameter, level)| {
                    (hyperparameter.name.clone(), hyperparameter.all()[usize::from(*level)].clone())
                })
                .collect();
            assert_eq!(named, *expected, "case {}, seed {}", sequence.search_case, sequence.seed);
        }
    }
}
