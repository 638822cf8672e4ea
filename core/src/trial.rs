//! A trial: one unit of work, described completely by its [`TrialSpec`], and what it gave.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bits::{BitConfig, Choice};
use crate::canonical::Encoder;
use crate::digest::Digest;
use crate::evaluation::EvaluationMode;

mod prepare;
mod probe;
mod rule;
mod train;

pub use prepare::{
    BiasCorrection, Biases, Candidates, Guard, PrepareSpec, PreparedStep, StepState, Transform,
};
pub use probe::{
    Energy, Fidelity, LayerDifference, Measured, ProbeSetting, ProbeSpec, ProbeSubject, ProbeTarget, Reading,
};
pub use rule::{
    ActivationRule, Calibration, Granularity, Percentile, Scheme, UnsupportedPercentile, WeightRule,
};
pub use train::{ImagesOf, NodeQuantizers, RateSchedule, Recipe, Start, Trained, Training};

/// Version of the canonical form of a trial; a change makes every trial a new one.
pub const KEY_SCHEMA: u64 = 3;

/// The name of a trial: blake3 of the canonical form of its [`TrialSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrialKey(pub Digest);

impl fmt::Display for TrialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.short())
    }
}

/// With which arithmetic a quantized network is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numerics {
    /// Codes of up to 8 bits, multiplied and summed as integers: the same bits on every CPU.
    Exact,
    /// Fake quantization in f32.
    Float,
}

impl Numerics {
    /// The word used in experiment files and results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Float => "float",
        }
    }
}

/// Which images of a data artifact a trial sees: `start..start + len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageRange {
    /// First image.
    pub start: u64,
    /// Number of images.
    pub len: u64,
}

/// All that evaluations of one sweep share; an evaluation is this and a [`BitConfig`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluateContext {
    /// The artifact that a prepare trial gave: transformed model, points, encodings.
    pub prepared: Digest,
    /// The images.
    pub data: Digest,
    /// Which of them.
    pub images: ImageRange,
    /// The arithmetic.
    pub numerics: Numerics,
    /// What a point gets that a bit config does not name, and what outcomes are paired with.
    pub baseline: Choice,
    /// Names of the points, so that an index in a bit config means the same everywhere.
    pub points: Vec<String>,
}

impl EvaluateContext {
    /// All of its images as a part of them.
    pub fn whole(&self) -> ImageRange {
        ImageRange { start: 0, len: self.images.len }
    }

    /// The evaluations of a config on all of the images, in the parts of a mode.
    pub fn trials<'a>(
        &'a self,
        config: &'a BitConfig,
        mode: EvaluationMode,
    ) -> impl Iterator<Item = TrialSpec> + 'a {
        let context = self.digest();
        let parts = (0..).map_while(move |index| mode.part(self.images.len, index));
        parts.map(move |part| TrialSpec::Evaluate { context, config: config.clone(), part })
    }

    /// The context's own name: the digest of its canonical form.
    pub fn digest(&self) -> Digest {
        let mut encoder = Encoder::new("bitloop.evaluate_context", KEY_SCHEMA);
        encoder
            .digest(&self.prepared)
            .digest(&self.data)
            .number(self.images.start)
            .number(self.images.len)
            .text(self.numerics.as_str());
        write_choice(&mut encoder, self.baseline);
        encoder.list(&self.points, |encoder, point| {
            encoder.text(point);
        });
        Digest::of(&encoder.finish())
    }
}

/// What trials must have in common to be leased together: evaluations differ in their bit configs alone, measurements of
/// devices need the same of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Company {
    /// Digest of the [`EvaluateContext`], or of the [`ProbeTarget`].
    pub context: Digest,
    /// Which of its images; one for what looks at none.
    pub part: ImageRange,
}

/// A unit of work, completely described.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialSpec {
    /// Makes a model ready.
    Prepare(Box<PrepareSpec>),
    /// Evaluates one bit config on some of the context's images.
    Evaluate {
        /// Digest of the [`EvaluateContext`].
        context: Digest,
        /// What differs from the context's baseline.
        config: BitConfig,
        /// Which of the context's images, counted from its first one.
        part: ImageRange,
    },
    /// Trains a network with quantizers.
    Train(Box<Training>),
    /// Measures a network on a device.
    Probe(Box<ProbeSpec>),
}

impl TrialSpec {
    /// With what it is measured together; none for preparations and trainings, which go alone.
    pub fn company(&self) -> Option<Company> {
        match self {
            Self::Prepare(_) | Self::Train(_) => None,
            Self::Evaluate { context, part, .. } => Some(Company { context: *context, part: *part }),
            Self::Probe(probe) => {
                Some(Company { context: probe.target.digest(), part: ImageRange { start: 0, len: 1 } })
            }
        }
    }

    /// The digest of the context that a worker must know to measure it.
    pub fn context(&self) -> Option<Digest> {
        match self {
            Self::Evaluate { context, .. } => Some(*context),
            Self::Prepare(_) | Self::Train(_) | Self::Probe(_) => None,
        }
    }

    /// Whether a worker measures both together.
    pub fn goes_with(&self, other: &Self) -> bool {
        self.company().is_some() && self.company() == other.company()
    }

    /// Whether a result can be this trial's: it is of its kind, and about as many images. Every trial may fail.
    pub fn may_give(&self, result: &TrialResult) -> bool {
        match (self, result) {
            (_, TrialResult::Failed { .. })
            | (Self::Prepare(_), TrialResult::Prepared { .. })
            | (Self::Train(_), TrialResult::Trained(_)) => true,
            (Self::Evaluate { part, .. }, TrialResult::Evaluated(sums)) => sums.n == part.len,
            (Self::Probe(probe), TrialResult::Measured(measured)) => measured.is_of(&probe.subject),
            (
                Self::Prepare(_),
                TrialResult::Evaluated(_) | TrialResult::Trained(_) | TrialResult::Measured(_),
            )
            | (
                Self::Evaluate { .. },
                TrialResult::Prepared { .. } | TrialResult::Trained(_) | TrialResult::Measured(_),
            )
            | (
                Self::Train(_),
                TrialResult::Prepared { .. } | TrialResult::Evaluated(_) | TrialResult::Measured(_),
            )
            | (
                Self::Probe(_),
                TrialResult::Prepared { .. } | TrialResult::Evaluated(_) | TrialResult::Trained(_),
            ) => false,
        }
    }

    /// The trial's content-addressed name.
    pub fn key(&self) -> TrialKey {
        let mut encoder = Encoder::new("bitloop.trial", KEY_SCHEMA);
        match self {
            Self::Prepare(prepare) => {
                encoder.number(0).text(&prepare.to_document());
            }
            Self::Evaluate { context, config, part } => {
                encoder.number(1).digest(context).number(part.start).number(part.len);
                let changes: Vec<_> = config.changes().collect();
                encoder.list(&changes, |encoder, (point, choice)| {
                    encoder.number(u64::from(point.0));
                    write_choice(encoder, *choice);
                });
            }
            Self::Train(training) => {
                encoder.number(2).text(&training.to_document());
            }
            Self::Probe(probe) => {
                encoder.number(3).text(&probe.to_document());
            }
        }
        TrialKey(Digest::of(&encoder.finish()))
    }
}

fn write_choice(encoder: &mut Encoder, choice: Choice) {
    encoder.number(match choice {
        Choice::Float => 0,
        Choice::Bits(bits) => u64::from(bits.get()),
    });
}

/// Sums over the images of one evaluation; sums of disjoint ranges of images add up to those of their union.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Images.
    pub n: u64,
    /// Images whose largest logit is the label's.
    pub correct: u64,
    /// Images whose label is among the five largest logits.
    pub correct_top5: u64,
    /// Images that the baseline gets right and this config wrong.
    pub lost: u64,
    /// Images that the baseline gets wrong and this config right.
    pub gained: u64,
    /// Sum of cross-entropies, in nats.
    pub loss_sum: f64,
    /// Sum of (cross-entropy - the baseline's cross-entropy on the same image), in nats.
    pub loss_difference_sum: f64,
    /// Sum of the squares of those differences.
    pub loss_difference_squares: f64,
    /// Sum of KL divergences from the float network's class probabilities, in nats.
    pub kl_sum: f64,
    /// Sum of squared float logits.
    pub signal_sum: f64,
    /// Sum of squared differences between float logits and these.
    pub noise_sum: f64,
}

impl Evaluation {
    /// Adds the sums of other images.
    pub fn add(&mut self, other: &Self) {
        // Every field is named, so that a new one cannot be forgotten.
        let Self {
            n,
            correct,
            correct_top5,
            lost,
            gained,
            loss_sum,
            loss_difference_sum,
            loss_difference_squares,
            kl_sum,
            signal_sum,
            noise_sum,
        } = self;
        *n += other.n;
        *correct += other.correct;
        *correct_top5 += other.correct_top5;
        *lost += other.lost;
        *gained += other.gained;
        *loss_sum += other.loss_sum;
        *loss_difference_sum += other.loss_difference_sum;
        *loss_difference_squares += other.loss_difference_squares;
        *kl_sum += other.kl_sum;
        *signal_sum += other.signal_sum;
        *noise_sum += other.noise_sum;
    }
}

/// What a finished trial says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialResult {
    /// The model is ready.
    Prepared {
        /// Digest of the artifact with the transformed model, its points and their encodings.
        artifact: Digest,
        /// What the transforms came to, in order; empty if none had to be judged.
        steps: Vec<PreparedStep>,
    },
    /// The sums.
    Evaluated(Evaluation),
    /// A network was trained.
    Trained(Trained),
    /// A network was measured on a device.
    Measured(Box<Measured>),
    /// The trial cannot be done, wherever it is tried; this is data, not an error.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

impl TrialResult {
    /// The artifact that it is worth nothing without.
    pub fn artifact(&self) -> Option<Digest> {
        match self {
            Self::Prepared { artifact, .. } => Some(*artifact),
            Self::Trained(trained) => trained.artifact,
            Self::Evaluated(_) | Self::Measured(_) | Self::Failed { .. } => None,
        }
    }
}

/// The kernels of what nobody measured.
const NO_KERNELS: &str = "none";

/// With what a trial was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Program and version.
    pub engine: String,
    /// Class of the device, such as the CPU's model.
    pub device: String,
    /// Which kernels ran.
    pub kernels: String,
}

impl Provenance {
    /// Of what was not measured at all: the device that could not.
    pub fn of_nobody(device: String) -> Self {
        Self { engine: "bitloop".to_owned(), device, kernels: NO_KERNELS.to_owned() }
    }
}

/// Multiply-adds that evaluations took, over all their images; zeros where nobody counted.
///
/// Trials that are measured together bear equal shares of what was computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Computed.
    pub macs: u64,
    /// What the same evaluations take one by one.
    pub macs_alone: u64,
}

impl Work {
    /// Adds other work.
    pub fn add(&mut self, other: Self) {
        self.macs = self.macs.saturating_add(other.macs);
        self.macs_alone = self.macs_alone.saturating_add(other.macs_alone);
    }

    /// One of `count` equal shares, without the remainder.
    pub fn share(self, count: usize) -> Self {
        let count = count.max(1) as u64;
        Self { macs: self.macs / count, macs_alone: self.macs_alone / count }
    }

    /// Whether nobody counted.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// A trial's result and how it came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What came out.
    pub result: TrialResult,
    /// With what.
    pub provenance: Provenance,
    /// At what cost. It depends on what the trial was measured together with.
    #[serde(default, skip_serializing_if = "Work::is_unknown")]
    pub work: Work,
}

/// Largest relative difference of two sums of the same evaluation on different classes of device.
const FLOAT_TOLERANCE: f64 = 1e-3;

impl Outcome {
    /// Whether it only says that nobody could measure the trial: then a result is welcome still.
    pub fn is_given_up(&self) -> bool {
        matches!(self.result, TrialResult::Failed { .. }) && self.provenance.kernels == NO_KERNELS
    }

    /// Whether two outcomes of one trial with this arithmetic say the same.
    ///
    /// On one class of device results must be equal, with exact arithmetic on any. Between classes `float` results may differ
    /// by rounding: sums by one part in a thousand, counts by as much of the images, and by one in any case.
    pub fn agrees_with(&self, other: &Self, numerics: Numerics) -> bool {
        if self.result == other.result || numerics == Numerics::Exact {
            return self.result == other.result;
        }
        let (TrialResult::Evaluated(a), TrialResult::Evaluated(b)) = (&self.result, &other.result) else {
            return false;
        };
        let same_class = self.provenance.device == other.provenance.device;
        let near = |a: f64, b: f64| (a - b).abs() <= FLOAT_TOLERANCE * a.abs().max(b.abs());
        !same_class
            && a.n == b.n
            && a.correct.abs_diff(b.correct) as f64 <= (FLOAT_TOLERANCE * a.n as f64).max(1.0)
            && near(a.loss_sum, b.loss_sum)
    }
}

#[cfg(test)]
mod tests;
