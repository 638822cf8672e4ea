use serde::{Deserialize, Serialize};

/// Zeros (or, for max pooling, minus infinities) put around an image before a window slides over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// The same number on all four sides.
    pub fn all(padding: usize) -> Self {
        Self { top: padding, left: padding, bottom: padding, right: padding }
    }

    /// TensorFlow's "same": the output has `ceil(size / stride)` rows and columns, the odd zero goes below and right.
    pub fn same(size: [usize; 2], kernel: [usize; 2], stride: [usize; 2]) -> Self {
        let [(top, bottom), (left, right)] = [0, 1].map(|axis| {
            let out = size[axis].div_ceil(stride[axis]);
            let needed = ((out.max(1) - 1) * stride[axis] + kernel[axis]).saturating_sub(size[axis]);
            (needed / 2, needed - needed / 2)
        });
        Self { top, left, bottom, right }
    }
}

/// A 2-d convolution; weight `(out, in / groups, kh, kw)`, bias `(out,)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// Output channels.
    pub out_channels: usize,
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Steps down and right.
    pub stride: [usize; 2],
    /// Zeros around the image.
    pub padding: Padding,
    /// Groups of channels that do not see each other; equal to the channels for a depthwise convolution.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// A fully connected layer; weight `(out, in)`, bias `(out,)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// Output features.
    pub out_features: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// The window of a pooling operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Steps down and right.
    pub stride: [usize; 2],
    /// What is put around the image; average pooling does not count it.
    pub padding: Padding,
}

/// What a node computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Op {
    /// Convolution.
    Conv2d(Conv2d),
    /// Matrix product.
    Linear(Linear),
    /// `(x - mean) / sqrt(variance + eps) * gamma + beta` per channel, with running statistics.
    BatchNorm {
        /// Added to the variance.
        eps: f64,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// Sum of two tensors of one shape.
    Add,
    /// Largest value of a window.
    MaxPool(Pool),
    /// Mean of a window, over the values inside the image.
    AveragePool(Pool),
    /// Mean over the image, giving `(channels,)`.
    GlobalAveragePool,
    /// Joins tensors along the channels.
    Concat,
    /// All values in one axis, channels first.
    Flatten,
    /// `exp(x) / sum(exp(x))` over the channels.
    Softmax,
    /// The input.
    Identity,
    /// The input when evaluating; when training, values are zeroed with probability `rate` and the rest scaled up.
    Dropout {
        /// Probability in 0..1.
        rate: f32,
    },
}

impl Op {
    /// The operator's name, as in a model file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conv2d(_) => "conv2d",
            Self::Linear(_) => "linear",
            Self::BatchNorm { .. } => "batch_norm",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Add => "add",
            Self::MaxPool(_) => "max_pool",
            Self::AveragePool(_) => "average_pool",
            Self::GlobalAveragePool => "global_average_pool",
            Self::Concat => "concat",
            Self::Flatten => "flatten",
            Self::Softmax => "softmax",
            Self::Identity => "identity",
            Self::Dropout { .. } => "dropout",
        }
    }

    /// Whether the operator has a weight that can carry a quantizer.
    pub fn has_weight(&self) -> bool {
        matches!(self, Self::Conv2d(_) | Self::Linear(_))
    }

    /// Whether every value that comes out went in, so that the input's grid is the output's.
    pub fn preserves_grid(&self) -> bool {
        matches!(self, Self::MaxPool(_) | Self::Flatten | Self::Identity | Self::Dropout { .. })
    }

    /// Whether a quantizer on the output may move behind a following `next`, as hardware fuses the two.
    ///
    /// Source: the supergroups of common inference runtimes: layer + batch norm, layer / sum + rectifier.
    pub fn fuses_with(&self, next: &Op) -> bool {
        match next {
            Op::Relu | Op::Relu6 => {
                matches!(self, Self::Conv2d(_) | Self::Linear(_) | Self::BatchNorm { .. } | Self::Add)
            }
            Op::BatchNorm { .. } => self.has_weight(),
            _ => false,
        }
    }
}
