use std::str::FromStr;

use super::{ModelSpec, PrepareRules};
use crate::bits::Bits;
use crate::placement::Placement;
use crate::trial::{ActivationRule, Calibration, Granularity, Numerics, Scheme, WeightRule};

/// A data set that bitloop can find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataset {
    /// Fashion-MNIST: 28x28 grey images of clothes in ten classes.
    FashionMnist,
}

/// Which of a data set's two files the images come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The training images.
    Train,
    /// The test images.
    Test,
}

/// How many images a part gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageCount {
    /// So many.
    Count(u64),
    /// What the other parts leave.
    Rest,
}

/// The images of an experiment and how they are split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSpec {
    /// Where the images come from.
    pub dataset: Dataset,
    /// Which of its files.
    pub split: Split,
    /// Images for calibration.
    pub calibration: u64,
    /// Images that searches see.
    pub selection: ImageCount,
    /// Images touched only by a final verification.
    pub report: ImageCount,
    /// Seed of the split.
    pub seed: u64,
}

/// Which widths weights are tried at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightQuantization {
    /// Widths, ascending and without repetition.
    pub bits: Vec<Bits>,
    /// Where zero lies on the grid.
    pub scheme: Scheme,
    /// Scales per tensor or per channel; where none is given, the placement says it.
    pub granularity: Option<Granularity>,
    /// How ranges are found.
    pub calibration: Calibration,
}

/// Which widths activations are tried at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationQuantization {
    /// Widths, ascending and without repetition.
    pub bits: Vec<Bits>,
    /// How encodings are found.
    pub rule: ActivationRule,
}

/// Where the rules come from by which points are placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlacementSource {
    /// Built-in rules, by their name.
    Preset(&'static str),
    /// The path of a rules file; relative paths start at the experiment file.
    File(String),
}

/// A text that is neither the name of built-in rules nor a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are no rules `{0}`; write `default`, `per_tensor`, `pairwise_mpq` or the path of a `.yaml` file"
)]
pub struct UnknownRules(pub String);

impl FromStr for PlacementSource {
    type Err = UnknownRules;

    /// Anything with a `/` or a YAML file's ending is a path.
    fn from_str(text: &str) -> Result<Self, UnknownRules> {
        if text.contains('/') || [".yaml", ".yml"].iter().any(|ending| text.ends_with(ending)) {
            return Ok(Self::File(text.to_owned()));
        }
        let preset = Placement::PRESETS.into_iter().find(|name| *name == text);
        preset.map(Self::Preset).ok_or_else(|| UnknownRules(text.to_owned()))
    }
}

/// The candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantizationSpec {
    /// Where quantizers stand.
    pub placement: PlacementSource,
    /// Of weights.
    pub weights: WeightQuantization,
    /// Of activations.
    pub activations: ActivationQuantization,
    /// The width that every point has in the baseline.
    pub baseline: Bits,
}

impl QuantizationSpec {
    /// How encodings of weights are found with the rules that `placement` names; a granularity in the experiment goes
    /// before theirs.
    pub fn weight_rule(&self, placement: &Placement) -> WeightRule {
        let WeightQuantization { scheme, granularity, calibration, .. } = self.weights;
        WeightRule { scheme, granularity: granularity.unwrap_or(placement.weights.granularity), calibration }
    }
}

/// Which points are lowered alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Single {
    /// Every point.
    All,
    /// Points whose names match one of these patterns (`*` stands for any text).
    Matching(Vec<String>),
}

/// A sensitivity sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SensitivitySpec {
    /// The points lowered alone.
    pub single: Single,
}

/// One part of an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageSpec {
    /// Lowers points and measures the damage.
    Sensitivity(SensitivitySpec),
}

/// An experiment as written, checked as far as the text goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentSpec {
    /// Name for people and file names: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The arithmetic.
    pub numerics: Numerics,
    /// The model.
    pub model: ModelSpec,
    /// The images.
    pub data: DataSpec,
    /// What is done to the model first.
    pub prepare: PrepareRules,
    /// The candidates.
    pub quantization: QuantizationSpec,
    /// The parts, in order; at least one.
    pub stages: Vec<StageSpec>,
}
