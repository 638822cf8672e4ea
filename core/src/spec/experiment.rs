use std::str::FromStr;

use super::{DataSpec, ModelSpec, PrepareRules, StageSpec};
use crate::bits::Bits;
use crate::device::Requirements;
use crate::evaluation::EvaluationMode;
use crate::placement::Placement;
use crate::trial::{ActivationRule, Calibration, Granularity, Numerics, Scheme, WeightRule};

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

/// An experiment as written, checked as far as the text goes.
#[derive(Clone, Debug, PartialEq)]
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
    /// The candidates; none where the stages train, which have their own.
    pub quantization: Option<QuantizationSpec>,
    /// How many of the selection images a candidate is measured on.
    pub evaluation: EvaluationMode,
    /// The parts, in order; at least one.
    pub stages: Vec<StageSpec>,
    /// What stages ask of workers that say nothing of their own.
    pub requires: Requirements,
    /// What each stage asks of workers, where it says so.
    pub stage_requires: Vec<Option<Requirements>>,
    /// Experiments with a higher one go first.
    pub priority: i32,
}
