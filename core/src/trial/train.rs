//! Training a network with quantizers in place: what is asked for, and what it came to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ImageRange;
use crate::autoqkeras::Compat;
use crate::digest::Digest;
use crate::qkeras::Quantizer;
use crate::spec::{Augmentation, Optimizer};

/// The quantizers of one node; none where its values stay floats.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeQuantizers {
    /// Of the weight of a convolution or linear layer, promoted as a kernel's already ([`Quantizer::as_kernel`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Quantizer>,
    /// Of its bias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<Quantizer>,
    /// What replaces an activation function, or stands behind any other node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Quantizer>,
}

/// Where weights start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the model's; those whose shapes have changed are drawn.
    #[default]
    Model,
    /// All are drawn.
    Drawn,
}

/// Some images of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesOf {
    /// The data artifact.
    pub data: Digest,
    /// Which of its images.
    pub images: ImageRange,
}

/// How the learning rate goes on from its first value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateSchedule {
    /// It stays.
    #[default]
    Constant,
    /// It falls to zero along half a cosine.
    Cosine,
}

impl RateSchedule {
    /// Every schedule.
    pub const ALL: [Self; 2] = [Self::Constant, Self::Cosine];

    /// The word used in experiment files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Cosine => "cosine",
        }
    }
}

/// How a network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Passes over the training images, at most.
    pub epochs: u32,
    /// Epochs of earlier trainings that it goes on from: orders and random changes are those of the epochs behind them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_epoch: u32,
    /// Epochs without a lower validation loss after which it ends; none goes through all.
    pub patience: Option<u32>,
    /// Images per step.
    pub batch: u32,
    /// How weights change; its learning rate is the first one.
    pub optimizer: Optimizer,
    /// How the learning rate goes on.
    pub schedule: RateSchedule,
    /// Whether the first learning rate is looked for, below the optimizer's: where the loss falls fastest while the rate
    /// rises.
    pub finds_rate: bool,
    /// What the learning rate of a node's parameters is multiplied by; 1 for nodes that are not there.
    pub slower: BTreeMap<String, f64>,
    /// The largest norm of all gradients together.
    pub clip_norm: Option<f64>,
    /// Share of the target spread over all classes.
    pub label_smoothing: f64,
    /// Random changes to training images.
    pub augmentation: Augmentation,
    /// Of drawn weights, order, augmentation and quantizers that draw.
    pub seed: u64,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Epochs for each epoch that AutoQKeras's early stopping waits, and the most that it does.
const EPOCHS_PER_PATIENCE: u32 = 5;
const PATIENCE_MAX: u32 = 20;

impl Recipe {
    /// The patience that AutoQKeras gives so many epochs.
    pub fn patience_for(epochs: u32) -> u32 {
        (epochs / EPOCHS_PER_PATIENCE).min(PATIENCE_MAX)
    }
}

/// A network that is trained with quantizers, or, with a recipe of no epochs, only looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Graph and weights: a float checkpoint, or what an earlier training left.
    pub model: Digest,
    /// Output channels (features) of nodes that are to have others than in the model's graph.
    pub outputs: BTreeMap<String, usize>,
    /// Where weights start.
    pub start: Start,
    /// By node.
    pub quantizers: BTreeMap<String, NodeQuantizers>,
    /// What it learns from; not looked at without epochs.
    pub training: ImagesOf,
    /// What each epoch is judged by.
    pub validation: ImagesOf,
    /// How.
    pub recipe: Recipe,
    /// Whose arithmetic quantizers have where QKeras does what it does not say.
    #[serde(default, skip_serializing_if = "Compat::is_default")]
    pub compat: Compat,
}

impl Training {
    /// Its JSON form, the same for equal trainings.
    pub fn to_document(&self) -> String {
        serde_json::to_string(self).expect("a training has only text keys and finite numbers")
    }

    /// Reads its JSON form.
    ///
    /// Errors: what is wrong with the text.
    pub fn from_document(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

/// What a training came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// The model as of its best epoch, by the validation images; none if nothing was trained.
    pub artifact: Option<Digest>,
    /// Epochs that were trained.
    pub epochs: u32,
    /// The best one, counted from 1; 0 if nothing was trained.
    pub best_epoch: u32,
    /// Validation images.
    pub n: u64,
    /// Validation images whose largest logit is the label's, after the best epoch.
    pub correct: u64,
    /// Sum of their cross-entropies, in nats, after the best epoch.
    pub loss_sum: f64,
    /// The first learning rate, given or found.
    pub learning_rate: f64,
}

impl Trained {
    /// Whether its numbers can be those of one training: a network where there were epochs, the best of them among these, no
    /// more images recognized than seen.
    pub fn is_consistent(&self) -> bool {
        self.artifact.is_some() == (self.epochs > 0)
            && self.best_epoch <= self.epochs
            && (self.best_epoch > 0) == (self.epochs > 0)
            && self.correct <= self.n
    }

    /// Share of the validation images that are recognized.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.n.max(1) as f64
    }
}
