use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Conv2d, Graph, GraphError, INPUT, Node, Op, Padding, Pool};

mod layout;

/// Values in a tensor at most, so that no count overflows however a file describes a network.
const ELEMENTS_MAX: usize = 1 << 31;

/// Channels and features at most.
const CHANNELS_MAX: usize = 1 << 20;

/// Extents of kernels, strides, dilations and paddings at most.
const WINDOW_MAX: usize = 1 << 10;

/// Axes of a tensor at most, beside the batch.
const RANK_MAX: usize = 6;

/// The extent of a tensor without its batch: `(channels, height, width)` or `(features,)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(pub Vec<usize>);

impl Shape {
    /// An image.
    pub fn image(channels: usize, height: usize, width: usize) -> Self {
        Self(vec![channels, height, width])
    }

    /// Number of values.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// First extent: channels of an image, or features.
    pub fn channels(&self) -> usize {
        self.0.first().copied().unwrap_or(0)
    }

    fn as_image(&self) -> Option<[usize; 3]> {
        self.0.as_slice().try_into().ok()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(f, "{}", parts.join("x"))
    }
}

fn checked_elements(shape: &Shape) -> Option<usize> {
    shape.0.iter().try_fold(1_usize, |product, extent| product.checked_mul(*extent))
}

pub(super) fn infer(graph: &Graph) -> Result<Vec<Shape>, GraphError> {
    let input = &graph.input;
    if input.mean.len() != input.shape.channels() || input.std.len() != input.shape.channels() {
        return Err(GraphError::Normalization {
            channels: input.shape.channels(),
            mean: input.mean.len(),
            std: input.std.len(),
        });
    }
    if graph.nodes.is_empty() {
        return Err(GraphError::Empty);
    }
    let elements = checked_elements(&input.shape);
    if input.shape.0.is_empty() || elements.is_none_or(|elements| elements == 0 || elements > ELEMENTS_MAX) {
        return Err(GraphError::Input { shape: input.shape.clone() });
    }
    let mut names = BTreeSet::from([INPUT]);
    let mut known: BTreeMap<&str, Shape> = BTreeMap::from([(INPUT, input.shape.clone())]);
    let mut shapes = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        if !names.insert(&node.name) {
            return Err(GraphError::DuplicateName(node.name.clone()));
        }
        let inputs = node
            .inputs
            .iter()
            .map(|name| {
                known
                    .get(name.as_str())
                    .ok_or_else(|| GraphError::UnknownInput { node: node.name.clone(), input: name.clone() })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let shape = node.output_shape(&inputs)?;
        known.insert(&node.name, shape.clone());
        shapes.push(shape);
    }
    Ok(shapes)
}

impl Node {
    /// Returns the shape of the output for inputs of these shapes.
    ///
    /// Errors: `InputCount`, `Shape`, `Parameter`, naming the node.
    pub fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, GraphError> {
        let shape = output_shape(self, inputs)?;
        // A constant may be a single number that others are scaled with; everything else has its channels.
        if shape.0.is_empty() && !matches!(self.op, Op::Constant { .. }) {
            return Err(parameter(self, "it leaves no axis; keep one, of extent 1"));
        }
        if checked_elements(&shape).is_none_or(|elements| elements > ELEMENTS_MAX) {
            let reason = format!("its output of shape {shape} would be larger than 2^31 values");
            return Err(parameter(self, &reason));
        }
        Ok(shape)
    }
}

fn output_shape(node: &Node, inputs: &[&Shape]) -> Result<Shape, GraphError> {
    check_input_count(node, inputs.len())?;
    if let Op::Constant { shape } = &node.op {
        return constant_shape(node, shape);
    }
    let input = inputs[0];
    match &node.op {
        Op::Conv2d(conv) => conv_shape(node, conv, input),
        Op::Linear(linear) => match input.0.as_slice() {
            [_] if (1..=CHANNELS_MAX).contains(&linear.out_features) => Ok(Shape(vec![linear.out_features])),
            [_] => Err(parameter(node, "out_features must be 1 to 2^20")),
            _ => Err(wrong_shape(node, input, "a linear layer takes one axis; put a flatten before it")),
        },
        Op::BatchNorm { eps } if eps.is_nan() || *eps <= 0.0 => Err(parameter(node, "eps is not positive")),
        Op::Dropout { rate } if !(0.0..1.0).contains(rate) => Err(parameter(node, "rate is not in 0..1")),
        Op::LeakyRelu { slope } if !slope.is_finite() => Err(parameter(node, "slope is not a number")),
        Op::HardSigmoid { alpha, beta } if !alpha.is_finite() || !beta.is_finite() => {
            Err(parameter(node, "alpha and beta must be numbers"))
        }
        Op::Clip { min, max } if min.is_nan() || max.is_nan() || min > max => {
            Err(parameter(node, "min must not be above max"))
        }
        Op::Lrn { size, alpha, beta, bias } => lrn_shape(node, *size, &[*alpha, *beta, *bias], input),
        Op::Softmax { axis } => axis_of(node, *axis, input).map(|_| input.clone()),
        Op::BatchNorm { .. }
        | Op::Relu
        | Op::Relu6
        | Op::LeakyRelu { .. }
        | Op::PRelu
        | Op::HardSwish
        | Op::HardSigmoid { .. }
        | Op::Sigmoid
        | Op::Clip { .. }
        | Op::Identity
        | Op::Dropout { .. } => Ok(input.clone()),
        Op::Add | Op::Mul => broadcast_shape(node, input, inputs[1]),
        Op::Constant { shape } => Ok(Shape(shape.clone())),
        Op::MaxPool(pool) | Op::AveragePool(pool) => pool_shape(node, pool, input),
        Op::GlobalAveragePool => {
            let [channels, _, _] = image(node, input)?;
            Ok(Shape(vec![channels]))
        }
        Op::Mean { axes, keep } => layout::mean(node, axes, *keep, input),
        Op::Concat { axis } => layout::concat(node, *axis, inputs),
        Op::Flatten => Ok(Shape(vec![input.elements()])),
        Op::Reshape { shape } => layout::reshape(node, shape, input),
        Op::Transpose { perm } => layout::transpose(node, perm, input),
        Op::Slice { axis, start, end, step } => layout::slice(node, *axis, [*start, *end, *step], input),
        Op::Pad { before, after, .. } => layout::pad(node, [before, after], input),
    }
}

fn check_input_count(node: &Node, got: usize) -> Result<(), GraphError> {
    let (is_right, expected) = match node.op {
        Op::Add | Op::Mul => (got == 2, "2"),
        Op::Concat { .. } => (got >= 2, "2 or more"),
        Op::Constant { .. } => (got == 0, "0"),
        _ => (got == 1, "1"),
    };
    if is_right { Ok(()) } else { Err(GraphError::InputCount { node: node.name.clone(), expected, got }) }
}

fn constant_shape(node: &Node, shape: &[usize]) -> Result<Shape, GraphError> {
    let shape = Shape(shape.to_vec());
    match checked_elements(&shape) {
        Some(1..=ELEMENTS_MAX) if shape.0.len() <= RANK_MAX => Ok(shape),
        Some(_) | None => Err(parameter(node, &format!("a constant of shape {shape} makes no sense"))),
    }
}

fn lrn_shape(node: &Node, size: usize, numbers: &[f32], input: &Shape) -> Result<Shape, GraphError> {
    image(node, input)?;
    if !(1..=CHANNELS_MAX).contains(&size) || numbers.iter().any(|number| !number.is_finite()) {
        return Err(parameter(node, "size must be 1 to 2^20, and alpha, beta and bias numbers"));
    }
    Ok(input.clone())
}

/// Aligns the shapes at their last axes; an extent of 1 repeats.
fn broadcast_shape(node: &Node, left: &Shape, right: &Shape) -> Result<Shape, GraphError> {
    let rank = left.0.len().max(right.0.len());
    let extent = |shape: &Shape, axis: usize| match (axis + shape.0.len()).checked_sub(rank) {
        Some(axis) => shape.0[axis],
        None => 1,
    };
    let extents = (0..rank).map(|axis| match (extent(left, axis), extent(right, axis)) {
        (one, other) if one == other => Some(one),
        (1, other) | (other, 1) => Some(other),
        _ => None,
    });
    match extents.collect() {
        Some(extents) => Ok(Shape(extents)),
        None => Err(wrong_shape(node, right, &format!("the other input has shape {left}"))),
    }
}

fn conv_shape(node: &Node, conv: &Conv2d, input: &Shape) -> Result<Shape, GraphError> {
    let [channels, height, width] = image(node, input)?;
    if conv.groups == 0 || conv.out_channels == 0 || conv.out_channels > CHANNELS_MAX {
        return Err(parameter(node, "groups and out_channels must be 1 to 2^20"));
    }
    if !channels.is_multiple_of(conv.groups) || !conv.out_channels.is_multiple_of(conv.groups) {
        let reason = format!("{} groups divide neither {channels} nor {}", conv.groups, conv.out_channels);
        return Err(parameter(node, &reason));
    }
    let [height, width] = windows(
        node,
        input,
        [height, width],
        Window { kernel: conv.kernel, stride: conv.stride, dilation: conv.dilation, padding: conv.padding },
    )?;
    Ok(Shape::image(conv.out_channels, height, width))
}

fn pool_shape(node: &Node, pool: &Pool, input: &Shape) -> Result<Shape, GraphError> {
    let [channels, height, width] = image(node, input)?;
    let padding = pool.padding;
    // A window of padding alone would have no value to take the maximum or mean of.
    if padding.top.max(padding.bottom) >= pool.kernel[0] || padding.left.max(padding.right) >= pool.kernel[1]
    {
        return Err(parameter(node, "padding is not smaller than the kernel"));
    }
    let window = Window { kernel: pool.kernel, stride: pool.stride, dilation: [1, 1], padding };
    let [height, width] = windows(node, input, [height, width], window)?;
    Ok(Shape::image(channels, height, width))
}

struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
}

fn windows(node: &Node, input: &Shape, size: [usize; 2], window: Window) -> Result<[usize; 2], GraphError> {
    let Window { kernel, stride, dilation, padding } = window;
    if [kernel, stride, dilation].as_flattened().contains(&0) {
        return Err(parameter(node, "kernel, stride and dilation must be at least 1"));
    }
    let sides = [padding.top, padding.left, padding.bottom, padding.right];
    if [kernel, stride, dilation].as_flattened().iter().chain(&sides).any(|extent| *extent > WINDOW_MAX) {
        return Err(parameter(node, "kernel, stride, dilation and padding must be at most 1024"));
    }
    let padded = [size[0] + padding.top + padding.bottom, size[1] + padding.left + padding.right];
    let reach = [0, 1].map(|axis| (kernel[axis] - 1) * dilation[axis] + 1);
    if padded[0] < reach[0] || padded[1] < reach[1] {
        let reason = format!("it is smaller than the {}x{} window", reach[0], reach[1]);
        return Err(wrong_shape(node, input, &reason));
    }
    Ok([0, 1].map(|axis| (padded[axis] - reach[axis]) / stride[axis] + 1))
}

fn image(node: &Node, shape: &Shape) -> Result<[usize; 3], GraphError> {
    shape.as_image().ok_or_else(|| wrong_shape(node, shape, "it takes (channels, height, width)"))
}

fn axis_of(node: &Node, axis: usize, shape: &Shape) -> Result<usize, GraphError> {
    match shape.0.get(axis) {
        Some(extent) => Ok(*extent),
        None => Err(wrong_shape(node, shape, &format!("it has no axis {axis}"))),
    }
}

fn wrong_shape(node: &Node, shape: &Shape, reason: &str) -> GraphError {
    GraphError::Shape { node: node.name.clone(), shape: shape.clone(), reason: reason.to_owned() }
}

fn parameter(node: &Node, reason: &str) -> GraphError {
    GraphError::Parameter { node: node.name.clone(), reason: reason.to_owned() }
}
