mod damage;
mod data;
mod evaluation;
mod experiment;
mod layout;
mod model;
mod placement;
mod stages;
mod train;

use super::{ExperimentSpec, TrainSpec};

/// The experiment that docs and tests start from.
const EXPERIMENT: &str = "\
version: 1
name: fashion-mnist-convblock
numerics: float
model: { checkpoint: quickstart/convblock.safetensors }
data: { dataset: fashion_mnist, split: test, calibration: 512, selection: 2000, report: rest, seed: 1 }
quantization:
  weights: { bits: [4, 2, 3], scheme: symmetric, granularity: per_channel }
  activations: { bits: [2, 3, 4], scheme: asymmetric, calibration: min_max }
  baseline: 8
stages:
  - sensitivity: { single: all }
";

/// A training file with every key.
const TRAINING: &str = "\
version: 1
name: convblock
architecture:
  conv_block:
    filters: [16, [32, 32]]
    kernel: 3
    max_pooling: true
    separable: none
    xnornet_trick: false
    batch_norm: true
    all_conv: false
    dropout: 0.0
    initializer: he_uniform
data: { dataset: fashion_mnist, validation: 5000 }
optimizer: { sgd: { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4 } }
epochs: 20
warmup_epochs: 1.5
batch: 256
label_smoothing: 0.1
augmentation: { shift: 2, flip: true }
seed: 7
out: convblock.safetensors
";

/// `text` with one occurrence of `from` replaced.
fn with(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` must occur once");
    text.replace(from, to)
}

/// The lines of an experiment's mistakes; none if it has none.
fn experiment_mistakes(text: &str) -> Vec<String> {
    match ExperimentSpec::parse(text) {
        Ok(_) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

/// The lines of a training's mistakes; none if it has none.
fn training_mistakes(text: &str) -> Vec<String> {
    match TrainSpec::parse(text) {
        Ok(_) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}
