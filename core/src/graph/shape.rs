use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Conv2d, Graph, GraphError, INPUT, Node, Op, Padding, Pool};

/// Values in a tensor at most, so that no count overflows however a file describes a network.
const ELEMENTS_MAX: usize = 1 << 31;

/// Channels and features at most.
const CHANNELS_MAX: usize = 1 << 20;

/// Extents of kernels, strides and paddings at most.
const WINDOW_MAX: usize = 1 << 10;

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
    if checked_elements(&input.shape).is_none_or(|elements| elements == 0 || elements > ELEMENTS_MAX) {
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
        let shape = output_shape(node, &inputs)?;
        if checked_elements(&shape).is_none_or(|elements| elements > ELEMENTS_MAX) {
            return Err(wrong_shape(node, inputs[0], "its output would be larger than 2^31 values"));
        }
        known.insert(&node.name, shape.clone());
        shapes.push(shape);
    }
    Ok(shapes)
}

fn output_shape(node: &Node, inputs: &[&Shape]) -> Result<Shape, GraphError> {
    let count_is_right = match node.op {
        Op::Add => inputs.len() == 2,
        Op::Concat => inputs.len() >= 2,
        _ => inputs.len() == 1,
    };
    if !count_is_right {
        let expected = match node.op {
            Op::Add => "2",
            Op::Concat => "2 or more",
            _ => "1",
        };
        return Err(GraphError::InputCount { node: node.name.clone(), expected, got: inputs.len() });
    }
    let input = inputs[0];
    match &node.op {
        Op::Conv2d(conv) => conv_shape(node, conv, input),
        Op::Linear(linear) => match input.0.as_slice() {
            [_] if (1..=CHANNELS_MAX).contains(&linear.out_features) => Ok(Shape(vec![linear.out_features])),
            [_] => Err(parameter(node, "out_features must be 1 to 2^20")),
            _ => Err(wrong_shape(node, input, "a linear layer takes one axis; put a flatten before it")),
        },
        Op::BatchNorm { eps } if *eps <= 0.0 => Err(parameter(node, "eps is not positive")),
        Op::BatchNorm { .. } | Op::Relu | Op::Relu6 | Op::Softmax | Op::Identity => Ok(input.clone()),
        Op::Dropout { rate } if !(0.0..1.0).contains(rate) => Err(parameter(node, "rate is not in 0..1")),
        Op::Dropout { .. } => Ok(input.clone()),
        Op::Add if inputs[1] != input => {
            Err(wrong_shape(node, inputs[1], &format!("the other input has shape {input}")))
        }
        Op::Add => Ok(input.clone()),
        Op::MaxPool(pool) | Op::AveragePool(pool) => pool_shape(node, pool, input),
        Op::GlobalAveragePool => {
            let [channels, _, _] = image(node, input)?;
            Ok(Shape(vec![channels]))
        }
        Op::Concat => concat_shape(node, inputs),
        Op::Flatten => Ok(Shape(vec![input.elements()])),
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
        Window { kernel: conv.kernel, stride: conv.stride, padding: conv.padding },
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
    let [height, width] =
        windows(node, input, [height, width], Window { kernel: pool.kernel, stride: pool.stride, padding })?;
    Ok(Shape::image(channels, height, width))
}

fn concat_shape(node: &Node, inputs: &[&Shape]) -> Result<Shape, GraphError> {
    let rest = inputs[0].0.get(1..).unwrap_or_default();
    for other in inputs {
        if other.0.get(1..).unwrap_or_default() != rest {
            let reason = format!("all but the channels must equal those of {}", inputs[0]);
            return Err(wrong_shape(node, other, &reason));
        }
    }
    let channels = inputs.iter().map(|shape| shape.channels()).sum();
    Ok(Shape([&[channels], rest].concat()))
}

struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
}

fn windows(node: &Node, input: &Shape, size: [usize; 2], window: Window) -> Result<[usize; 2], GraphError> {
    let Window { kernel, stride, padding } = window;
    if kernel.contains(&0) || stride.contains(&0) {
        return Err(parameter(node, "kernel and stride must be at least 1"));
    }
    let sides = [padding.top, padding.left, padding.bottom, padding.right];
    if [&kernel[..], &stride[..], &sides[..]].concat().into_iter().any(|extent| extent > WINDOW_MAX) {
        return Err(parameter(node, "kernel, stride and padding must be at most 1024"));
    }
    let padded = [size[0] + padding.top + padding.bottom, size[1] + padding.left + padding.right];
    if padded[0] < kernel[0] || padded[1] < kernel[1] {
        let reason = format!("it is smaller than the {}x{} window", kernel[0], kernel[1]);
        return Err(wrong_shape(node, input, &reason));
    }
    Ok([0, 1].map(|axis| (padded[axis] - kernel[axis]) / stride[axis] + 1))
}

fn image(node: &Node, shape: &Shape) -> Result<[usize; 3], GraphError> {
    shape.as_image().ok_or_else(|| wrong_shape(node, shape, "it takes (channels, height, width)"))
}

fn wrong_shape(node: &Node, shape: &Shape, reason: &str) -> GraphError {
    GraphError::Shape { node: node.name.clone(), shape: shape.clone(), reason: reason.to_owned() }
}

fn parameter(node: &Node, reason: &str) -> GraphError {
    GraphError::Parameter { node: node.name.clone(), reason: reason.to_owned() }
}
