//! Walks a graph over tensors, one node after another, on whatever device the input lies.
//!
//! What evaluation and calibration do differently stands behind [`Pass`]: where weights come from, how
//! batch norm works, and what happens to a node's output. Nothing here knows of quantizers, files or optimizers.

mod chain;
mod float;
mod layout;
mod operators;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bitloop_core::graph::{Graph, INPUT, Input, Node, Op};
use candle_core::{Device, Result, Tensor};

use chain::chain;
pub use float::FloatPass;
use operators::{After, Compute};

use crate::kernels::{Curve, Kernels};

/// What a walk over the graph asks of its caller: evaluation and calibration differ only here.
pub trait Pass {
    /// What operators are computed with, where the device can run it.
    fn kernels(&self) -> Kernels {
        Kernels::default()
    }

    /// Gives the weight of a convolution `(out, in / groups, kh, kw)` or of a linear layer `(out, in)`.
    fn weight(&mut self, node: &Node) -> Result<Tensor>;

    /// Gives the bias `(out,)` of a layer, if it has one.
    fn bias(&mut self, node: &Node) -> Result<Option<Tensor>>;

    /// Gives another tensor of a node: the `slope` of a `PRelu`, the `value` of a constant.
    fn parameter(&mut self, node: &Node, part: &str) -> Result<Tensor>;

    /// Gives the batch norm of `x`.
    fn batch_norm(&mut self, node: &Node, eps: f64, x: &Tensor) -> Result<Tensor>;

    /// Gives batch norm `node` as a scale and a shift, if a walk may apply it together with the layer before it.
    fn folded_batch_norm(&mut self, _node: &Node, _eps: f64) -> Result<Option<ScaleShift>> {
        Ok(None)
    }

    /// Whether [`Pass::output`] has a use for the output of `node`; what a pass does not see may never be made.
    fn sees(&self, _node: &str) -> bool {
        true
    }

    /// Sees, and may replace, the output of a node (or of the input, named [`INPUT`]).
    fn output(&mut self, _node: &str, x: Tensor) -> Result<Tensor> {
        Ok(x)
    }
}

/// Returns the output of node `until` for a batch of images.
///
/// Every tensor is freed behind its last consumer. The result does not depend on the number of threads.
///
/// Shapes: `input` `(n, channels, height, width)` f32, normalized -> `(n, ...)` with the shape of `until`.
/// Errors: those of candle and of `pass`, and a message if `until` or a node's input is no earlier node.
pub fn forward(graph: &Graph, input: &Tensor, until: &str, pass: &mut dyn Pass) -> Result<Tensor> {
    let mut live: BTreeMap<&str, Tensor> = BTreeMap::new();
    live.insert(INPUT, pass.output(INPUT, input.clone())?);
    let last = match graph.nodes.iter().position(|node| node.name == until) {
        Some(last) => last,
        None if until == INPUT => return Ok(live.remove(INPUT).expect("the input was just inserted")),
        None => candle_core::bail!("the graph has no node `{until}`"),
    };
    let nodes = &graph.nodes[..=last];
    let last_use = last_uses(nodes);
    let mut next = 0;
    while let Some(node) = nodes.get(next) {
        let index = next;
        let inputs = node
            .inputs
            .iter()
            .map(|name| match live.get(name.as_str()) {
                Some(tensor) => Ok(tensor.clone()),
                None => candle_core::bail!("node `{}` reads `{name}`, which is no earlier node", node.name),
            })
            .collect::<Result<Vec<_>>>()?;
        for name in &node.inputs {
            if last_use[name.as_str()] == index {
                live.remove(name.as_str());
            }
        }
        let (after, last) = chain(nodes, index, &last_use, pass)?;
        let computed = compute(node, inputs, after, pass)
            .map_err(|error| error.context(format!("in node `{}`", node.name)))?;
        let name = &nodes[last].name;
        live.insert(name, pass.output(name, computed)?);
        next = last + 1;
    }
    Ok(live.remove(until).expect("the last node's output has no later consumer"))
}

/// Returns the output of one node alone, for walks that keep the tensors between nodes themselves.
///
/// Nothing is fused, and `pass` does not see the output.
///
/// Errors: those of candle and of `pass`, with the node's name.
pub(crate) fn node_output(node: &Node, inputs: Vec<Tensor>, pass: &mut dyn Pass) -> Result<Tensor> {
    compute(node, inputs, After::default(), pass)
        .map_err(|error| error.context(format!("in node `{}`", node.name)))
}

/// Returns pixels as the network's input: `(value / 255 - mean) / std` per channel.
///
/// Shapes: `pixels` `n * channels * height * width` -> `(n, channels, height, width)` f32.
/// Errors: a message if the number of pixels or channels does not fit.
pub fn normalize(input: &Input, pixels: &[u8], n: usize, device: &Device) -> Result<Tensor> {
    let per_image = input.shape.elements();
    let channels = input.shape.channels();
    if pixels.len() != n * per_image || channels == 0 {
        candle_core::bail!("{} pixels are not {n} images of shape {}", pixels.len(), input.shape);
    }
    let tables = pixel_values(input)?;
    let plane = per_image / channels;
    let mut values = Vec::with_capacity(pixels.len());
    for (index, chunk) in pixels.chunks_exact(plane.max(1)).enumerate() {
        let table = &tables[index % channels];
        values.extend(chunk.iter().map(|value| table[usize::from(*value)]));
    }
    let mut shape = vec![n];
    shape.extend(&input.shape.0);
    Tensor::from_vec(values, shape, device)
}

/// Returns what each of the 256 values of a pixel becomes, per channel: one subtraction and one division per possible
/// value, not per pixel.
///
/// Errors: a message if the number of means or deviations is not that of the channels.
pub(crate) fn pixel_values(input: &Input) -> Result<Vec<[f32; 256]>> {
    let channels = input.shape.channels();
    if input.mean.len() != channels || input.std.len() != channels {
        candle_core::bail!("the input has {channels} channel(s) but not as many means and deviations");
    }
    let table = |c| std::array::from_fn(|value| (value as f32 / 255.0 - input.mean[c]) / input.std[c]);
    Ok((0..channels).map(table).collect())
}

/// A batch norm with fixed statistics, as one multiplication and one addition per channel.
#[derive(Clone, Debug)]
pub struct ScaleShift {
    /// `gamma / sqrt(variance + eps)`, `(channels,)`.
    pub scale: Tensor,
    /// `beta - mean * scale`, `(channels,)`.
    pub shift: Tensor,
}

impl ScaleShift {
    /// Returns `x * scale + shift` along the channels.
    ///
    /// Shapes: `x` `(n, channels, ...)`, kept. Errors: those of candle.
    pub fn apply(&self, x: &Tensor, kernels: Kernels) -> Result<Tensor> {
        Compute(kernels).after(x, &After { norm: Some(self.clone()), ..After::default() })
    }
}

/// Folds the four weights of batch norm `node` (`gamma`, `beta`, `running_mean`, `running_var`) into a scale and a shift.
///
/// Errors: a message naming the first weight that is missing.
pub fn folded_batch_norm(weights: &BTreeMap<String, Tensor>, node: &str, eps: f64) -> Result<ScaleShift> {
    let weight = |part: &str| match weights.get(&format!("{node}.{part}")) {
        Some(tensor) => Ok(tensor),
        None => candle_core::bail!("the model has no weight `{node}.{part}`"),
    };
    let deviation = (weight("running_var")? + eps)?.sqrt()?;
    let scale = (weight("gamma")? / deviation)?;
    let shift = (weight("beta")? - (weight("running_mean")? * &scale)?)?;
    Ok(ScaleShift { scale, shift })
}

fn last_uses(nodes: &[Node]) -> BTreeMap<&str, usize> {
    let uses = nodes
        .iter()
        .enumerate()
        .flat_map(|(index, node)| node.inputs.iter().map(move |name| (name.as_str(), index)));
    uses.collect()
}

/// Computes a node, and with it what follows in its chain.
fn compute(node: &Node, inputs: Vec<Tensor>, after: After, pass: &mut dyn Pass) -> Result<Tensor> {
    let x = match (inputs.first(), &node.op) {
        (_, Op::Constant { .. }) => return pass.parameter(node, "value")?.unsqueeze(0),
        (Some(x), _) => x,
        (None, _) => candle_core::bail!("it has no input"),
    };
    let operators = Compute(pass.kernels());
    match &node.op {
        Op::Conv2d(conv) => {
            let after = After { bias: pass.bias(node)?, ..after };
            operators.conv2d([x, &pass.weight(node)?], conv, &after)
        }
        Op::Linear(_) => {
            let after = After { bias: pass.bias(node)?, ..after };
            operators.linear(x, &pass.weight(node)?, &after)
        }
        Op::BatchNorm { eps } => pass.batch_norm(node, *eps, x),
        Op::Relu => operators.relu(x, f32::INFINITY),
        Op::Relu6 => operators.relu(x, 6.0),
        Op::LeakyRelu { slope } => operators.curve(x, Curve::LeakyRelu { slope: *slope }),
        Op::PRelu => operators::p_relu(x, &pass.parameter(node, "slope")?),
        Op::HardSwish => operators.curve(x, Curve::HardSwish),
        Op::HardSigmoid { alpha, beta } => {
            operators.curve(x, Curve::HardSigmoid { alpha: *alpha, beta: *beta })
        }
        Op::Sigmoid => operators.curve(x, Curve::Sigmoid),
        Op::Clip { min, max } => operators.curve(x, Curve::Clip { min: *min, max: *max }),
        Op::Add | Op::Mul => match inputs.as_slice() {
            [left, right] if node.op == Op::Add => operators.add(left, right, &after),
            [left, right] => operators::multiply(left, right),
            _ => candle_core::bail!("it takes 2 inputs, not {}", inputs.len()),
        },
        Op::Constant { .. } => candle_core::bail!("a constant takes no input"),
        Op::MaxPool(pool) => operators.max_pool(x, pool),
        Op::AveragePool(pool) => operators.average_pool(x, pool),
        Op::GlobalAveragePool => operators::global_average_pool(x),
        Op::Mean { axes, keep } => layout::mean(x, axes, *keep),
        Op::Concat { axis } => Tensor::cat(&inputs, axis + 1),
        Op::Flatten => x.flatten_from(1),
        Op::Reshape { shape } => layout::reshape(x, shape),
        Op::Transpose { perm } => layout::transpose(x, perm),
        Op::Slice { axis, start, end, step } => layout::slice(x, *axis, [*start, *end, *step]),
        Op::Pad { before, after, value } => layout::pad(x, [before, after], *value),
        Op::Softmax { axis } => candle_nn::ops::softmax(x, axis + 1),
        Op::Lrn { size, alpha, beta, bias } => operators::lrn(x, *size, [*alpha, *beta, *bias]),
        // Nothing is dropped but in training, which has ways of its own.
        Op::Identity | Op::Dropout { .. } => Ok(x.clone()),
    }
}
