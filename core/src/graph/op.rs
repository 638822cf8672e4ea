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
    /// Distance between the taps of the window, down and right; 1 for an ordinary convolution.
    #[serde(default = "dense", skip_serializing_if = "is_dense")]
    pub dilation: [usize; 2],
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
    /// What is put around the image.
    pub padding: Padding,
    /// Whether an average counts the padding as zeros; a maximum never does.
    #[serde(default, skip_serializing_if = "is_false")]
    pub count_padding: bool,
}

// Fields that later versions added are left out where they have their default, so that a graph written before them
// keeps its bytes, and with them the digest that names the model.

fn dense() -> [usize; 2] {
    [1, 1]
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

fn is_dense(dilation: &[usize; 2]) -> bool {
    *dilation == dense()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// What a node computes. Axes and shapes are those of one image, without the batch: axis 0 is the channels.
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
    /// `x` where it is positive, else `slope * x`.
    LeakyRelu {
        /// Steepness below zero.
        slope: f32,
    },
    /// `x` where it is positive, else its channel's `slope` times it; slopes `(channels,)`.
    PRelu,
    /// `x * clamp(x / 6 + 1 / 2, 0, 1)`.
    HardSwish,
    /// `clamp(alpha * x + beta, 0, 1)`.
    HardSigmoid {
        /// Steepness in the middle.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `min(max(x, min), max)`.
    Clip {
        /// Smallest value.
        min: f32,
        /// Largest value.
        max: f32,
    },
    /// Sum of two tensors; extents of 1 repeat, shapes are aligned at their last axes.
    Add,
    /// Product of two tensors; extents of 1 repeat, shapes are aligned at their last axes.
    Mul,
    /// The tensor `value`, the same for every image; takes no input.
    Constant {
        /// Its extents.
        shape: Vec<usize>,
    },
    /// Largest value of a window.
    MaxPool(Pool),
    /// Mean of a window.
    AveragePool(Pool),
    /// Mean over the image, giving `(channels,)`.
    GlobalAveragePool,
    /// Mean over some axes.
    Mean {
        /// The axes, ascending.
        axes: Vec<usize>,
        /// Whether they stay, with extent 1.
        keep: bool,
    },
    /// Joins tensors along an axis.
    Concat {
        /// The axis; channels unless given.
        #[serde(default, skip_serializing_if = "is_zero")]
        axis: usize,
    },
    /// All values in one axis, channels first.
    Flatten,
    /// The values in their order, with other extents.
    Reshape {
        /// The extents; as many values as came in.
        shape: Vec<usize>,
    },
    /// The axes in another order: axis `i` of the output is axis `perm[i]` of the input.
    Transpose {
        /// Each axis once.
        perm: Vec<usize>,
    },
    /// Every `step`-th index of an axis from `start` up to, not including, `end`.
    Slice {
        /// The axis.
        axis: usize,
        /// First index.
        start: usize,
        /// Index behind the last one.
        end: usize,
        /// At least 1.
        step: usize,
    },
    /// The tensor with a constant around it.
    Pad {
        /// Values put before each axis.
        before: Vec<usize>,
        /// Values put behind each axis.
        after: Vec<usize>,
        /// What is put there.
        value: f32,
    },
    /// `exp(x) / sum(exp(x))` along an axis.
    Softmax {
        /// The axis; channels unless given.
        #[serde(default, skip_serializing_if = "is_zero")]
        axis: usize,
    },
    /// `x / (bias + alpha / size * sum(x'^2))^beta` over the `size` nearest channels.
    Lrn {
        /// Channels in the sum.
        size: usize,
        /// Weight of the sum.
        alpha: f32,
        /// Exponent.
        beta: f32,
        /// Added to the sum.
        bias: f32,
    },
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
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::PRelu => "p_relu",
            Self::HardSwish => "hard_swish",
            Self::HardSigmoid { .. } => "hard_sigmoid",
            Self::Sigmoid => "sigmoid",
            Self::Clip { .. } => "clip",
            Self::Add => "add",
            Self::Mul => "mul",
            Self::Constant { .. } => "constant",
            Self::MaxPool(_) => "max_pool",
            Self::AveragePool(_) => "average_pool",
            Self::GlobalAveragePool => "global_average_pool",
            Self::Mean { .. } => "mean",
            Self::Concat { .. } => "concat",
            Self::Flatten => "flatten",
            Self::Reshape { .. } => "reshape",
            Self::Transpose { .. } => "transpose",
            Self::Slice { .. } => "slice",
            Self::Pad { .. } => "pad",
            Self::Softmax { .. } => "softmax",
            Self::Lrn { .. } => "lrn",
            Self::Identity => "identity",
            Self::Dropout { .. } => "dropout",
        }
    }

    /// Whether the operator has a weight that can carry a quantizer.
    pub fn has_weight(&self) -> bool {
        matches!(self, Self::Conv2d(_) | Self::Linear(_))
    }
}
