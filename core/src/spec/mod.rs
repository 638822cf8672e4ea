//! What the user writes: experiment, training, rules, autoscale and probes files, read from YAML text.
//!
//! Reading finds every mistake at once, each with its path in the file and a hint. The types here mirror the
//! files and have passed every check that needs nothing but the text.

mod autoqkeras;
mod autoscale;
mod autoscale_reader;
mod data;
mod data_reader;
mod error;
mod evaluation_reader;
mod experiment;
mod experiment_reader;
mod file;
mod model;
mod node;
mod pattern;
mod placement_reader;
mod probe_reader;
mod probes;
mod probes_reader;
mod reader;
mod requires_reader;
mod shared;
mod stage;
mod stage_reader;
mod suggestion;
#[cfg(test)]
mod tests;
mod train;
mod train_reader;

use crate::trial::Granularity;

pub use autoscale::{
    AUTOSCALE_LABEL, AutoscaleSpec, Offers, PauseSpec, PbsSpec, SlurmSpec, SubmissionSpec, WorkerClass,
};
pub use data::{DataSpec, Dataset, Fit, ImageCount, ImageSource, Normalization, Resize, Split};
pub use error::{Mistake, SpecError};
pub use experiment::{
    ActivationQuantization, ExperimentSpec, PlacementSource, QuantizationSpec, UnknownRules,
    WeightQuantization,
};
pub use experiment_reader::PRIORITY_MAX;
pub use model::{ModelSpec, PrepareRules, StridesSpec};
pub use pattern::matches;
pub use probes::{ExternalProbe, PROBE_KINDS, ProbesSpec, is_probe_name};
pub use requires_reader::{LABEL_BYTES_MAX, LABELS_MAX, is_label};
pub(crate) use stage::misplaced;
pub use stage::{SensitivitySpec, Single, StageSpec};
pub use train::{
    Architecture, Augmentation, ConvBlock, Initializer, Optimizer, ResNet, Separable, TrainData, TrainSpec,
};

const GRANULARITIES: [(&str, Granularity); 2] =
    [("per_channel", Granularity::PerChannel), ("per_tensor", Granularity::PerTensor)];
