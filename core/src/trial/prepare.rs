//! Making a model ready for quantization: what is asked for, and what each step came to.

use serde::{Deserialize, Serialize};

use super::{ActivationRule, Calibration, Granularity, ImageRange, Scheme, WeightRule};
use crate::bits::Bits;
use crate::digest::Digest;
use crate::graph::{Point, PointKind};

/// A rewrite of the float network before it is quantized; the order is that in which they build on each other.
///
/// Source: Nagel, van Baalen, Blankevoort, Welling, "Data-Free Quantization Through Weight Equalization and Bias
/// Correction", 2019.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Batch norms become part of the layers before (or behind) them; the function stays.
    FoldBatchNorm,
    /// ReLU6 becomes ReLU, which scales; outputs above 6 change.
    ReplaceRelu6,
    /// Neighbouring layers are scaled so that their ranges are equal; the function stays.
    Equalize,
    /// Biases that push a layer's output far above zero move on to the next layer; borders change.
    HighBiasFold,
    /// What quantized weights add to the mean of a layer's output is taken off its bias.
    BiasCorrection(BiasCorrection),
}

impl Transform {
    /// The name as written in experiment files and results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FoldBatchNorm => "fold_batch_norm",
            Self::ReplaceRelu6 => "replace_relu6",
            Self::Equalize => "equalize",
            Self::HighBiasFold => "high_bias_fold",
            Self::BiasCorrection(BiasCorrection::Empirical) => "bias_correction",
            Self::BiasCorrection(BiasCorrection::Analytic) => "analytic_bias_correction",
        }
    }
}

/// How the shift of a layer's output is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BiasCorrection {
    /// Measured on the calibration images.
    Empirical,
    /// Computed from the batch norm before the layer where there is one, measured elsewhere.
    Analytic,
}

/// How biases are simulated and exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Biases {
    /// Added in float.
    Float,
    /// Rounded to 32-bit steps of input scale times weight scale.
    Int32,
}

/// The candidate widths and how encodings are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidates {
    /// Widths of weights, ascending.
    pub weight_bits: Vec<Bits>,
    /// Widths of activations, ascending.
    pub activation_bits: Vec<Bits>,
    /// Encodings of weights.
    pub weights: WeightRule,
    /// Encodings of activations.
    pub activations: ActivationRule,
    /// What happens to biases.
    pub biases: Biases,
    /// Width of every point in the baseline.
    pub baseline: Bits,
}

impl Candidates {
    /// Widths with the rules that hold where an experiment names none.
    pub fn with_default_rules(weight_bits: Vec<Bits>, activation_bits: Vec<Bits>, baseline: Bits) -> Self {
        let calibration = Calibration::MinMax;
        let (scheme, granularity) = (Scheme::Symmetric, Granularity::PerChannel);
        Self {
            weight_bits,
            activation_bits,
            weights: WeightRule { scheme, granularity, calibration },
            activations: ActivationRule { scheme: Scheme::Asymmetric, calibration },
            biases: Biases::Float,
            baseline,
        }
    }

    /// The widths a point of this kind is tried at.
    pub fn bits(&self, kind: PointKind) -> &[Bits] {
        match kind {
            PointKind::Weight => &self.weight_bits,
            PointKind::Activation => &self.activation_bits,
        }
    }
}

/// How a transform is judged: on which images, and what it may cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// The images.
    pub data: Digest,
    /// Which of them.
    pub images: ImageRange,
    /// Part of the images, in parts per million, that may be lost by one transform; it is undone if it costs more.
    pub drop_max_ppm: u32,
}

/// Makes a model ready: transforms it, calibrates it once, and finds the encodings of every point and width.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrepareSpec {
    /// The model file.
    pub model: Digest,
    /// The calibration images.
    pub data: Digest,
    /// Which of them.
    pub images: ImageRange,
    /// The rewrites, ascending.
    pub transforms: Vec<Transform>,
    /// How they are judged.
    pub guard: Guard,
    /// Widths and rules.
    pub candidates: Candidates,
    /// Where quantizers stand: points of the graph behind [`Transform::FoldBatchNorm`], if that is asked for.
    pub points: Vec<Point>,
}

impl PrepareSpec {
    /// The specification as a document, which keys hash and the wire carries; equal ones give equal bytes.
    pub fn to_document(&self) -> String {
        serde_json::to_string(self).expect("a prepare specification has only text keys and no floats")
    }

    /// Reads a specification from its document.
    ///
    /// Errors: the reason, when the text is none.
    pub fn from_document(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// Whether a transform is asked for whose cost has to be measured.
    pub fn is_guarded(&self) -> bool {
        self.transforms.iter().any(|transform| *transform != Transform::FoldBatchNorm)
    }
}

/// Whether a transform stayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It did.
    Applied,
    /// It cost more than allowed.
    Undone,
    /// It found nothing to change.
    Idle,
}

impl StepState {
    /// The word used in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Undone => "undone",
            Self::Idle => "nothing to do",
        }
    }
}

/// What one transform came to, measured behind it on the guard's images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreparedStep {
    /// The transform; none for the model as it was given.
    pub transform: Option<Transform>,
    /// Whether it stayed.
    pub state: StepState,
    /// Groups of layers that it changed.
    pub changes: u64,
    /// Images.
    pub n: u64,
    /// Of which the float network gets right.
    pub float_correct: u64,
    /// Of which the network at the baseline's width gets right; none where it cannot be quantized yet.
    pub baseline_correct: Option<u64>,
}
