mod autoqkeras;
mod autoscale;
mod damage;
mod data;
mod evaluation;
mod experiment;
mod layout;
mod model;
mod placement;
mod probes;
mod requires;
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

/// A search that trains, with every key of its mode.
const SEARCH: &str = "\
version: 1
name: fashion-mnist-blocks
model: { checkpoint: fashion_mnist.safetensors }
data: { dataset: fashion_mnist, split: test, training: 20000, selection: 2500, report: rest, seed: 1 }
stages:
  - autoqkeras:
      goal:
        type: energy
        params:
          { delta_p: 2, delta_n: 3, rate: 4, stress: 0.5, process: horowitz, parameters_on_memory: [sram, sram],
            activations_on_memory: [dram, fixed], rd_wr_on_io: [false, false], min_sram_size: [0, 64],
            source_quantizers: int8, reference_internal: int8, reference_accumulator: int32, trained_model: false }
      constraints: { accuracy_drop: 2 }
      quantization_config:
        kernel: { ternary: 2, binary: 1, \"quantized_bits(4,0,1)\": 4 }
        bias: { \"quantized_bits(8,3,1)\": 8 }
        activation: { \"quantized_relu(4,2)\": 4 }
        linear: { binary: 1 }
      limit:
        { Dense: [4], Conv2D: [4, 8, 4], \"^conv2d_[12]$\": [[binary, ternary], 8, 4], Activation: [4],
          BatchNormalization: [], default: 8 }
      mode: bayesian
      max_trials: 40
      initial: 6
      in_flight: 2
      blocks: [\"^conv\", \"^dense$\"]
      schedule_block: cost
      tune_filters: layer
      tune_filters_exceptions: \"^dense$\"
      learning_rate_optimizer: true
      transfer_weights: false
      layer_indexes: [1, 2, 3]
      activation_bits: 5
      finished_learning_rate: 0.25
      compat: bitloop
      seed: 7
      training:
        { epochs: 3, patience: 2, batch: 64, optimizer: { adam: { learning_rate: 0.002 } }, schedule: cosine, seed: 1,
          clip_norm: 1.0, find_learning_rate: true, label_smoothing: 0.1, augmentation: { shift: 1, flip: true } }
      fine_tuning: { epochs: 10, find_learning_rate: false, clip_norm: none }
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
