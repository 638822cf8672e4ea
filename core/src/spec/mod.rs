//! What the user writes: experiment files and training files, read from YAML text.
//!
//! Reading finds every mistake at once, each with its path in the file and a hint. The types here mirror the
//! files and have passed every check that needs nothing but the text.

mod error;
mod experiment;
mod experiment_reader;
mod file;
mod node;
mod pattern;
mod reader;
mod shared;
mod suggestion;
#[cfg(test)]
mod tests;
mod train;
mod train_reader;

pub use error::{Mistake, SpecError};
pub use experiment::{
    ActivationQuantization, DataSpec, Dataset, ExperimentSpec, ImageCount, QuantizationSpec, SensitivitySpec,
    Single, Split, StageSpec, WeightQuantization,
};
pub use pattern::matches;
pub use train::{
    Architecture, Augmentation, ConvBlock, Initializer, Optimizer, ResNet, Separable, TrainData, TrainSpec,
};
