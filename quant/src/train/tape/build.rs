//! From a graph to a tape.

use std::collections::BTreeMap;

use bitloop_core::graph::{Graph, INPUT, Node, Op};

use super::conv::Convolution;
use super::norm::Normalization;
use super::shapes::{conv_shape, image, linear_shape, pool_window};
use super::simple::{Dropout, GlobalAverage, LargestOf, Rectifier, Sum};
use super::{Buffers, Layer, Step, Tape};
use crate::train::TrainError;

impl Tape {
    /// Plans the layers up to the node `logits`.
    ///
    /// Errors: `Operator` naming the first node that has no gradients here; `Graph`.
    pub(in crate::train) fn new(graph: &Graph, logits: &str) -> Result<Self, TrainError> {
        let shapes = graph.shapes()?;
        let mut builder = Builder { steps: Vec::new(), values: BTreeMap::new(), readers: BTreeMap::new() };
        let refused = |node: &str| TrainError::Operator { node: node.to_owned() };
        let input = image(&graph.input.shape).ok_or_else(|| refused(INPUT))?;
        builder.values.insert(INPUT, Value { number: 0, image: input, is_renamed: false });
        for name in graph.nodes.iter().flat_map(|node| &node.inputs) {
            *builder.readers.entry(name).or_default() += 1;
        }
        for (node, shape) in graph.nodes.iter().zip(&shapes) {
            let added = image(shape).and_then(|out| builder.add(node, out));
            added.ok_or_else(|| refused(&node.name))?;
            if node.name == logits {
                break;
            }
        }
        let logits = builder.values.get(logits).ok_or_else(|| refused(logits))?.number;
        Ok(Self { steps: builder.steps, logits, values: Vec::new(), buffers: Buffers::default() })
    }
}

#[derive(Clone, Copy)]
struct Value {
    number: usize,
    /// Channels, rows, columns.
    image: [usize; 3],
    /// Whether another name for it came first, whose readers see it too.
    is_renamed: bool,
}

struct Builder<'a> {
    steps: Vec<Step>,
    values: BTreeMap<&'a str, Value>,
    /// How many nodes read a value.
    readers: BTreeMap<&'a str, usize>,
}

impl<'a> Builder<'a> {
    /// Adds a node's layer, if there is one for it.
    fn add(&mut self, node: &'a Node, out: [usize; 3]) -> Option<()> {
        let operands: Option<Vec<Value>> =
            node.inputs.iter().map(|name| self.values.get(name.as_str()).copied()).collect();
        let operands = operands?;
        let x = *operands.first()?;
        let name = node.name.clone();
        let layer: Box<dyn Layer> = match &node.op {
            Op::Conv2d(conv) => Box::new(Convolution::new(name, conv_shape(conv, x.image, out), conv.bias)),
            Op::Linear(linear) => {
                let shape = linear_shape(x.image, linear.out_features);
                Box::new(Convolution::new(name, shape, linear.bias))
            }
            Op::BatchNorm { eps } => Box::new(Normalization::new(name, x.image[0], *eps)),
            Op::Relu | Op::Relu6 => {
                let upper = if node.op == Op::Relu { f32::INFINITY } else { 6.0 };
                let is_read_here_only =
                    self.readers.get(node.inputs[0].as_str()) == Some(&1) && !x.is_renamed;
                let before = x.number.checked_sub(1).map(|step| &mut self.steps[step].layer);
                if is_read_here_only && before.is_some_and(|layer| layer.rectify(upper)) {
                    self.values.insert(&node.name, Value { is_renamed: true, ..x });
                    return Some(());
                }
                Box::new(Rectifier { upper })
            }
            Op::Add if operands.len() == 2 && operands[1].image == x.image => Box::new(Sum),
            Op::MaxPool(pool) => LargestOf::new(pool_window(pool, x.image, out), x.image[0]).map(Box::new)?,
            Op::GlobalAveragePool => Box::new(GlobalAverage { channels: x.image[0] }),
            Op::Dropout { rate } => Box::new(Dropout::new(*rate)),
            // Values keep their places; what reads features takes them as the image they are.
            Op::Flatten | Op::Identity => {
                self.values.insert(&node.name, Value { is_renamed: true, ..x });
                return Some(());
            }
            Op::Add
            | Op::LeakyRelu { .. }
            | Op::PRelu
            | Op::HardSwish
            | Op::HardSigmoid { .. }
            | Op::Sigmoid
            | Op::Clip { .. }
            | Op::Mul
            | Op::Constant { .. }
            | Op::AveragePool(_)
            | Op::Mean { .. }
            | Op::Concat { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Softmax { .. }
            | Op::Lrn { .. } => return None,
        };
        // Behind `Flatten` a value is still an image; layers that only see values one by one keep it so.
        let image = match &node.op {
            Op::Relu | Op::Relu6 | Op::Add | Op::Dropout { .. } | Op::BatchNorm { .. } => x.image,
            _ => out,
        };
        // Its channels are the features only where an image is one pixel.
        if matches!(node.op, Op::BatchNorm { .. }) && out[0] != x.image[0] {
            return None;
        }
        let operands = operands.iter().map(|operand| operand.number).collect();
        self.steps.push(Step { layer, operands, elements: image.iter().product() });
        self.values.insert(&node.name, Value { number: self.steps.len(), image, is_renamed: false });
        Some(())
    }
}
