use crate::graph::{Op, Shape};

/// What rules call an operator: its kind, where two kinds of convolution and of padding are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operator(&'static str);

/// A convolution with one filter per channel.
const DEPTHWISE: &str = "depthwise_conv2d";
/// Padding with something else than zeros, which need not be on the input's grid.
const PAD_WITH_VALUE: &str = "pad_with_value";

impl Operator {
    /// Every operator, by its name.
    pub(crate) const ALL: [(&'static str, Self); 30] = named([
        "conv2d",
        DEPTHWISE,
        "linear",
        "batch_norm",
        "relu",
        "relu6",
        "leaky_relu",
        "p_relu",
        "hard_swish",
        "hard_sigmoid",
        "sigmoid",
        "clip",
        "add",
        "mul",
        "constant",
        "max_pool",
        "average_pool",
        "global_average_pool",
        "mean",
        "concat",
        "flatten",
        "reshape",
        "transpose",
        "slice",
        "pad",
        PAD_WITH_VALUE,
        "softmax",
        "lrn",
        "identity",
        "dropout",
    ]);

    /// Those with a weight that can carry a quantizer.
    pub(crate) const LAYERS: [(&'static str, Self); 3] = named(["conv2d", DEPTHWISE, "linear"]);

    /// Those whose output holds nothing but values of their only input, and zeros.
    pub(crate) const MOVING: [(&'static str, Self); 9] =
        named(["max_pool", "flatten", "reshape", "transpose", "slice", "pad", "identity", "dropout", "relu"]);

    /// Those whose output has about the range of their only input.
    pub(crate) const SHARING: [(&'static str, Self); 9] = named([
        "relu",
        "relu6",
        "clip",
        "leaky_relu",
        "p_relu",
        "average_pool",
        "global_average_pool",
        "mean",
        PAD_WITH_VALUE,
    ]);

    /// Those with several inputs.
    pub(crate) const JOINING: [(&'static str, Self); 2] = named(["concat", "add"]);

    /// What rules call `op` on an input of this shape.
    pub(crate) fn of(op: &Op, input: Option<&Shape>) -> Self {
        match op {
            Op::Conv2d(conv) if conv.groups > 1 && input.is_some_and(|x| x.channels() == conv.groups) => {
                Self(DEPTHWISE)
            }
            Op::Pad { value, .. } if *value != 0.0 => Self(PAD_WITH_VALUE),
            _ => Self(op.kind()),
        }
    }

    /// The name, as in a rules file.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

const fn named<const N: usize>(names: [&'static str; N]) -> [(&'static str, Operator); N] {
    let mut operators = [("", Operator("")); N];
    let mut index = 0;
    while index < N {
        operators[index] = (names[index], Operator(names[index]));
        index += 1;
    }
    operators
}
