use serde::{Deserialize, Serialize};

use super::Dataset;

/// How the blocks of a [`ConvBlock`] network convolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separable {
    /// One dense convolution.
    None,
    /// A depthwise convolution, batch norm, rectifier and a 1x1 convolution.
    Mobilenet,
    /// A 1xk and a kx1 convolution.
    Dsp,
}

/// Distribution that the first weights are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initializer {
    /// Normal with variance `2 / fan_in`, truncated at two deviations.
    HeNormal,
    /// Uniform with variance `2 / fan_in`.
    HeUniform,
    /// Uniform with variance `2 / (fan_in + fan_out)`.
    GlorotUniform,
}

/// AutoQKeras's `ConvBlockNetwork`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvBlock {
    /// Filters of each convolution, block by block; a number in the file is a block of one.
    pub filters: Vec<Vec<usize>>,
    /// Height and width of the kernels.
    pub kernel: usize,
    /// Max pooling behind each block, or else a stride of two in its last convolution.
    pub max_pooling: bool,
    /// How blocks convolve.
    pub separable: Separable,
    /// Batch norm and rectifier behind the pooling rather than before it.
    pub xnornet_trick: bool,
    /// Batch norm behind every convolution.
    pub batch_norm: bool,
    /// A convolution as classifier (needs a 1x1 image there).
    pub all_conv: bool,
    /// Probability of dropout behind each block; 0 for none.
    pub dropout: f32,
    /// Of the convolutions and the classifier.
    pub initializer: Initializer,
}

/// A CIFAR-style residual network.
#[derive(Clone, Debug, PartialEq)]
pub struct ResNet {
    /// Layers: 8, 14 or 20.
    pub depth: usize,
    /// Channels of the first stage; the others have twice and four times as many.
    pub width: usize,
    /// Stride of the first convolution: 1, or 2 for a quarter of the work.
    pub stem_stride: usize,
}

/// The network to be trained.
#[derive(Clone, Debug, PartialEq)]
pub enum Architecture {
    /// AutoQKeras's family.
    ConvBlock(ConvBlock),
    /// He et al.'s family for small images.
    ResNet(ResNet),
}

/// How weights change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Stochastic gradient descent with Nesterov momentum.
    Sgd {
        /// Peak learning rate.
        learning_rate: f64,
        /// Momentum in 0..1.
        momentum: f64,
        /// Added to the gradient, times the weight; not for biases and batch norms.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// Peak learning rate.
        learning_rate: f64,
        /// Decay per step, times the learning rate; not for biases and batch norms.
        weight_decay: f64,
    },
}

impl Optimizer {
    /// The peak learning rate.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd { learning_rate, .. } | Self::AdamW { learning_rate, .. } => *learning_rate,
        }
    }

    /// The same with another peak learning rate.
    pub fn with_learning_rate(&self, rate: f64) -> Self {
        let mut changed = self.clone();
        match &mut changed {
            Self::Sgd { learning_rate, .. } | Self::AdamW { learning_rate, .. } => *learning_rate = rate,
        }
        changed
    }
}

/// Random changes to training images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Largest shift in pixels, in both axes.
    pub shift: usize,
    /// Mirrors half of the images.
    pub flip: bool,
}

/// Training images.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainData {
    /// Where the images come from; its training file is used.
    pub dataset: Dataset,
    /// Images held back to choose the epoch by.
    pub validation: usize,
}

/// A training as written, checked as far as the text goes.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSpec {
    /// Name for people; also of the model.
    pub name: String,
    /// What is trained.
    pub architecture: Architecture,
    /// On what.
    pub data: TrainData,
    /// How.
    pub optimizer: Optimizer,
    /// Passes over the training images.
    pub epochs: usize,
    /// Epochs over which the learning rate rises from zero; then it falls along a cosine.
    pub warmup_epochs: f64,
    /// Images per step.
    pub batch: usize,
    /// Share of the target spread over all classes, in 0..1.
    pub label_smoothing: f64,
    /// Random changes.
    pub augmentation: Augmentation,
    /// Seed of weights, order, dropout and augmentation.
    pub seed: u64,
    /// Where the best checkpoint goes; relative paths start at the training file.
    pub out: String,
}
