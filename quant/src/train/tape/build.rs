//! From a graph to a tape.

use std::collections::BTreeMap;

use bitloop_core::graph::{Graph, INPUT, Node, Op};
use bitloop_core::trial::NodeQuantizers;

use super::conv::Convolution;
use super::norm::Normalization;
use super::quantized::{FittedActivation, Function, is_activation};
use super::shapes::{conv_shape, image, linear_shape, pool_window};
use super::simple::{Dropout, GlobalAverage, LargestOf, Sum};
use super::{Buffers, Layer, Step, Tape};
use crate::kernels::nhwc::Activation;
use crate::train::TrainError;

impl Tape {
    /// Plans the layers up to the node `logits`, with the quantizers of nodes by name.
    ///
    /// A quantizer takes the place of an activation function; behind any other node it stands.
    ///
    /// Errors: `Operator` naming the first node that has no gradients here; `Unquantizable` naming one whose quantizers have no
    /// place; `Graph`.
    pub(in crate::train) fn new(
        graph: &Graph,
        logits: &str,
        quantizers: &BTreeMap<String, NodeQuantizers>,
    ) -> Result<Self, TrainError> {
        let shapes = graph.shapes()?;
        check_quantizers(graph, logits, quantizers)?;
        let mut builder = Builder {
            steps: Vec::new(),
            values: BTreeMap::new(),
            readers: BTreeMap::new(),
            quantizers,
            none: NodeQuantizers::default(),
        };
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

/// Checks that every quantizer has a place.
fn check_quantizers(
    graph: &Graph,
    logits: &str,
    quantizers: &BTreeMap<String, NodeQuantizers>,
) -> Result<(), TrainError> {
    let end = graph.nodes.iter().position(|node| node.name == logits).unwrap_or(0);
    for (name, NodeQuantizers { kernel, bias, activation: _ }) in quantizers {
        let reason = match graph.nodes.iter().take(end + 1).find(|node| node.name == *name) {
            None => "no node of this name leads to the logits",
            Some(node) if kernel.is_some() && !node.op.has_weight() => "it has no kernel",
            Some(Node { op: Op::Conv2d(conv), .. }) if bias.is_some() && !conv.bias => "it has no bias",
            Some(Node { op: Op::Linear(linear), .. }) if bias.is_some() && !linear.bias => "it has no bias",
            Some(node) if bias.is_some() && !node.op.has_weight() => "it has no bias",
            Some(_) => continue,
        };
        return Err(TrainError::Unquantizable { node: name.clone(), reason });
    }
    Ok(())
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
    quantizers: &'a BTreeMap<String, NodeQuantizers>,
    none: NodeQuantizers,
}

impl<'a> Builder<'a> {
    /// Adds a node's layer and its quantizer, if there is a layer for it.
    fn add(&mut self, node: &'a Node, out: [usize; 3]) -> Option<()> {
        let operands: Option<Vec<Value>> =
            node.inputs.iter().map(|name| self.values.get(name.as_str()).copied()).collect();
        let operands = operands?;
        let x = *operands.first()?;
        let quantizer = self.quantizers.get(&node.name).and_then(|quantizers| quantizers.activation.as_ref());
        let function = match (&node.op, quantizer) {
            (op, Some(quantizer)) if is_activation(op) => Some(Function::of(quantizer)),
            (Op::Relu, None) => Some(Function::Plain(Activation::Rectifier { upper: f32::INFINITY })),
            (Op::Relu6, None) => Some(Function::Plain(Activation::Rectifier { upper: 6.0 })),
            _ => None,
        };
        if let Some(function) = function {
            let is_read_here_only = self.readers.get(node.inputs[0].as_str()) == Some(&1) && !x.is_renamed;
            let value = self.activate(node, (x, is_read_here_only), function);
            self.values.insert(&node.name, value);
            return Some(());
        }
        let value = match &node.op {
            // Values keep their places; what reads features takes them as the image they are.
            Op::Flatten | Op::Identity => Value { is_renamed: true, ..x },
            _ => self.layer(node, &operands, out)?,
        };
        let value = match quantizer {
            Some(quantizer) => self.activate(node, (value, !value.is_renamed), Function::of(quantizer)),
            None => value,
        };
        self.values.insert(&node.name, value);
        Some(())
    }

    /// Puts a function behind a value: into the layer that gives it, if nobody else wants the value, or as its own.
    fn activate(&mut self, node: &Node, (x, is_ours): (Value, bool), function: Function) -> Value {
        let before = x.number.checked_sub(1).map(|step| &mut self.steps[step].layer);
        let layer: Box<dyn Layer> = match function {
            Function::Plain(activation) => {
                if is_ours && before.is_some_and(|layer| layer.bend(activation)) {
                    return Value { is_renamed: true, ..x };
                }
                Box::new(activation)
            }
            Function::Fitted(quantizer) => {
                Box::new(FittedActivation::new(node.name.clone(), quantizer, x.image))
            }
        };
        self.push(layer, &[x], x.image)
    }

    fn push(&mut self, layer: Box<dyn Layer>, operands: &[Value], image: [usize; 3]) -> Value {
        let operands = operands.iter().map(|operand| operand.number).collect();
        self.steps.push(Step { layer, operands, elements: image.iter().product() });
        Value { number: self.steps.len(), image, is_renamed: false }
    }

    /// Adds the layer of a node that has one.
    fn layer(&mut self, node: &Node, operands: &[Value], out: [usize; 3]) -> Option<Value> {
        let x = *operands.first()?;
        let name = node.name.clone();
        let quantizers = self.quantizers.get(&name).unwrap_or(&self.none);
        let layer: Box<dyn Layer> = match &node.op {
            Op::Conv2d(conv) => {
                Box::new(Convolution::new(name, conv_shape(conv, x.image, out), conv.bias, quantizers))
            }
            Op::Linear(linear) => {
                let shape = linear_shape(x.image, linear.out_features);
                Box::new(Convolution::new(name, shape, linear.bias, quantizers))
            }
            Op::BatchNorm { eps } => Box::new(Normalization::new(name, x.image[0], *eps)),
            Op::Add if operands.len() == 2 && operands[1].image == x.image => Box::new(Sum),
            Op::MaxPool(pool) => LargestOf::new(pool_window(pool, x.image, out), x.image[0]).map(Box::new)?,
            Op::GlobalAveragePool => Box::new(GlobalAverage { channels: x.image[0] }),
            Op::Dropout { rate } => Box::new(Dropout::new(*rate)),
            Op::Relu
            | Op::Relu6
            | Op::Flatten
            | Op::Identity
            | Op::Add
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
            Op::Add | Op::Dropout { .. } | Op::BatchNorm { .. } => x.image,
            _ => out,
        };
        // Its channels are the features only where an image is one pixel.
        if matches!(node.op, Op::BatchNorm { .. }) && out[0] != x.image[0] {
            return None;
        }
        Some(self.push(layer, operands, image))
    }
}
