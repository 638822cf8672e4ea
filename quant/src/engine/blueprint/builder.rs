//! From nodes to blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitloop_core::graph::{Conv2d, Graph, INPUT, Node, Op, Pool};
use candle_core::Tensor;

use super::{Block, Blueprint, EVERYTHING, Mean, Places, Work};
use crate::engine::error::EngineError;
use crate::engine::moves::Map;
use crate::executor;
use crate::kernels::nhwc::{ConvShape, Curve, Lrn, Repeats, Window};
use crate::prepare::Prepared;

/// Where a tensor of the graph is found.
#[derive(Clone)]
enum Bound {
    /// A block's output, as it is.
    Whole(usize),
    /// A block's output, of this shape, moved; no block does it as long as only moves follow, and `made` does it where
    /// something else has read it.
    Moved { block: usize, shape: Vec<usize>, map: Map, made: Option<usize> },
}

/// Joins nodes into blocks, one after another.
pub(in crate::engine) struct Builder<'a> {
    prepared: &'a Prepared,
    nodes: Vec<&'a Node>,
    shapes: BTreeMap<&'a str, Vec<usize>>,
    readers: BTreeMap<&'a str, Vec<&'a Node>>,
    places: Places,
    /// Layers with the position of the activation point that their input is on.
    layer_inputs: BTreeMap<String, Option<usize>>,
    bound: BTreeMap<&'a str, Bound>,
    blocks: Vec<Block>,
}

type Result<T> = std::result::Result<T, EngineError>;

impl<'a> Builder<'a> {
    pub(super) fn new(prepared: &'a Prepared, until: &str) -> Result<Self> {
        let graph = &prepared.model.graph;
        let nodes = leading_to(graph, until);
        let inferred = graph.shapes()?;
        let shapes = graph.nodes.iter().zip(inferred).map(|(node, shape)| (node.name.as_str(), shape.0));
        let mut shapes: BTreeMap<&str, Vec<usize>> = shapes.collect();
        shapes.insert(INPUT, graph.input.shape.0.clone());
        let mut readers: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
        for node in &nodes {
            for input in &node.inputs {
                readers.entry(input).or_default().push(node);
            }
        }
        let places = Places::new(&prepared.points);
        let layer_inputs = prepared.layer_inputs()?.into_iter().collect();
        let (bound, blocks) = (BTreeMap::new(), Vec::new());
        Ok(Self { prepared, nodes, shapes, readers, places, layer_inputs, bound, blocks })
    }

    pub(super) fn finish(mut self, until: &str) -> Result<Blueprint> {
        let input = Block::new(INPUT, Work::Pixels, Vec::new(), self.elements(INPUT));
        let input = Block { output: self.places.outputs.get(INPUT).copied(), ..input };
        self.blocks.push(input);
        self.bound.insert(INPUT, Bound::Whole(0));
        for node in self.nodes.clone() {
            if !self.bound.contains_key(node.name.as_str()) {
                self.bind(node)?;
            }
        }
        // Results are read in the order of their axes.
        let (source, shape) = (self.whole(until), self.shapes[until].clone());
        let result = self.moved(until, source, Map::to_logical(&shape));
        Ok(Blueprint { blocks: self.blocks, result })
    }

    fn elements(&self, tensor: &str) -> usize {
        self.shapes[tensor].iter().product()
    }

    /// Returns the block that holds a tensor in its stored order, making one if values have to move for it.
    fn whole(&mut self, tensor: &str) -> usize {
        match self.bound[tensor].clone() {
            Bound::Whole(block) | Bound::Moved { made: Some(block), .. } => block,
            Bound::Moved { block, map, made: None, .. } => {
                let moved = self.moved(tensor, block, map);
                if let Some(Bound::Moved { made, .. }) = self.bound.get_mut(tensor) {
                    *made = Some(moved);
                }
                moved
            }
        }
    }

    fn moved(&mut self, tensor: &str, source: usize, map: Map) -> usize {
        let before = self.blocks[source].elements;
        if map.is_identity(before) {
            return source;
        }
        let pixels = self.shapes[tensor].iter().skip(1).product();
        let elements = map.from.len();
        let work = match map.channels(pixels, before) {
            Some(from) => Work::Permute { from: from.into(), channels: before / pixels.max(1) },
            None => Work::Move { map: Arc::new(map), source: before },
        };
        self.push(Block::new(tensor, work, vec![source], elements))
    }

    fn push(&mut self, block: Block) -> usize {
        self.blocks.push(block);
        self.blocks.len() - 1
    }

    fn bind(&mut self, node: &'a Node) -> Result<()> {
        match &node.op {
            Op::Identity | Op::Dropout { .. } => self.alias(node),
            Op::Flatten | Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Pad { .. } => {
                self.follow(node);
            }
            _ => self.compute(node)?,
        }
        Ok(())
    }

    /// Binds a node that changes nothing.
    fn alias(&mut self, node: &'a Node) {
        let bound = self.bound[node.inputs[0].as_str()].clone();
        self.bound.insert(&node.name, bound);
        self.quantize(node);
    }

    /// Binds a node that moves values.
    fn follow(&mut self, node: &'a Node) {
        let (input, output) = (node.inputs[0].as_str(), node.name.as_str());
        let own = Map::of(&node.op, &self.shapes[input], &self.shapes[output]);
        let own = own.expect("the caller passes operators that move values");
        let joined = match &self.bound[input] {
            Bound::Whole(block) => Some((*block, self.shapes[input].clone(), own.clone())),
            Bound::Moved { block, shape, map, .. } => map.then(&own).map(|map| (*block, shape.clone(), map)),
        };
        let (block, shape, map) = match joined {
            Some(joined) => joined,
            None => (self.whole(input), self.shapes[input].clone(), own),
        };
        self.bound.insert(output, Bound::Moved { block, shape, map, made: None });
        self.quantize(node);
    }

    /// Puts a node's own quantizer behind it, if it has one.
    fn quantize(&mut self, node: &'a Node) {
        let Some(point) = self.places.outputs.get(&node.name).copied() else { return };
        let source = self.whole(&node.name);
        let elements = self.elements(&node.name);
        let block = Block::new(&node.name, Work::Pass, vec![source], elements);
        let block = self.push(Block { output: Some(point), ..block });
        self.bound.insert(&node.name, Bound::Whole(block));
    }

    /// Binds a node that computes something, together with what follows it alone.
    fn compute(&mut self, node: &'a Node) -> Result<()> {
        let (work, inputs) = self.work(node)?;
        let takes_norm = matches!(work, Work::Conv { .. } | Work::Norm);
        let macs = match &work {
            Work::Conv { shape, .. } => shape.macs(),
            _ => 0,
        };
        let mut block = Block::new(&node.name, work, inputs, self.elements(&node.name));
        block.macs = macs;
        block.weight = self.places.weights.get(&node.name).copied();
        block.input = self.layer_inputs.get(&node.name).copied().flatten();
        if let Op::BatchNorm { eps } = node.op {
            block.norm = Some(self.norm(node, eps)?);
        }
        if let Some([lo, hi]) = rectifier(&node.op) {
            block.range = [lo, hi];
        }
        let mut last = node;
        let mut names = vec![node.name.as_str()];
        while let Some(next) = self.next_in_block(last) {
            match (&next.op, rectifier(&next.op)) {
                (Op::BatchNorm { eps }, _) if takes_norm && block.norm.is_none() && !block.is_clamped() => {
                    block.norm = Some(self.norm(next, *eps)?);
                }
                (_, Some(range)) if block.takes_range() && !block.is_clamped() => block.range = range,
                _ => break,
            }
            names.push(&next.name);
            last = next;
        }
        block.output = self.places.outputs.get(&last.name).copied();
        let index = self.push(block);
        for name in names {
            self.bound.insert(name, Bound::Whole(index));
        }
        Ok(())
    }

    /// The node that alone reads `node`, where no quantizer stands between them.
    fn next_in_block(&self, node: &Node) -> Option<&'a Node> {
        let has_quantizer = self.places.outputs.contains_key(&node.name);
        match self.readers.get(node.name.as_str()).map(Vec::as_slice) {
            Some([next]) if !has_quantizer && next.inputs.len() == 1 => Some(next),
            _ => None,
        }
    }

    fn norm(&self, node: &Node, eps: f64) -> Result<[Vec<f32>; 2]> {
        let norm = executor::folded_batch_norm(&self.prepared.model.weights, &node.name, eps)?;
        Ok([norm.scale.to_vec1()?, norm.shift.to_vec1()?])
    }

    fn parameter(&self, name: &str) -> Result<&Tensor> {
        match self.prepared.model.weights.get(name) {
            Some(tensor) => Ok(tensor),
            None => Err(candle_core::Error::msg(format!("the model has no weight `{name}`")).into()),
        }
    }

    /// Returns what a node does, and the blocks it reads.
    fn work(&mut self, node: &'a Node) -> Result<(Work, Vec<usize>)> {
        let shape = node.inputs.first().map(|input| self.shapes[input.as_str()].clone()).unwrap_or_default();
        let channels = shape.first().copied().unwrap_or(1);
        let work = match &node.op {
            Op::Conv2d(conv) => convolution(conv, &shape, &self.shapes[node.name.as_str()]),
            Op::Linear(linear) => return Ok(self.linear(node, linear.out_features)),
            Op::Add | Op::Mul => {
                let (inputs, repeats) = self.aligned(node);
                let work = if node.op == Op::Add { Work::Add(repeats) } else { Work::Multiply(repeats) };
                return Ok((work, inputs));
            }
            Op::BatchNorm { .. } => Work::Norm,
            Op::Relu | Op::Relu6 | Op::Clip { .. } => Work::Pass,
            Op::MaxPool(pool) => Work::MaxPool { window: window(pool, &shape, self.out(node)), channels },
            Op::AveragePool(pool) => Work::Mean(Arc::new(average(pool, &shape, self.out(node)))),
            Op::GlobalAveragePool => Work::Mean(Arc::new(Mean::whole([shape[1], shape[2]], channels))),
            Op::Mean { axes, keep } => return Ok(self.mean(node, axes, *keep)),
            Op::LeakyRelu { slope } => Work::Curve(Curve::LeakyRelu { slope: *slope }),
            Op::HardSwish => Work::Curve(Curve::HardSwish),
            Op::HardSigmoid { alpha, beta } => Work::Curve(Curve::HardSigmoid { alpha: *alpha, beta: *beta }),
            Op::Sigmoid => Work::Curve(Curve::Sigmoid),
            Op::PRelu => Work::PRelu,
            Op::Softmax { axis: 0 } => Work::Softmax { channels },
            Op::Softmax { axis } => return Ok(self.softmax(node, *axis)),
            Op::Lrn { size, alpha, beta, bias } => {
                Work::Lrn { channels, lrn: Lrn { size: *size, alpha: *alpha, beta: *beta, bias: *bias } }
            }
            Op::Concat { axis } => return Ok(self.concat(node, *axis)),
            Op::Constant { shape } => {
                let values: Vec<f32> =
                    self.parameter(&format!("{}.value", node.name))?.flatten_all()?.to_vec1()?;
                let stored = Map::of(&Op::Flatten, &[values.len()], shape).expect("flattening moves values");
                Work::Constant(stored.from.iter().map(|from| values[*from as usize]).collect())
            }
            Op::Identity
            | Op::Dropout { .. }
            | Op::Flatten
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Slice { .. }
            | Op::Pad { .. } => unreachable!("nodes that compute nothing are bound without a block"),
        };
        let inputs = node.inputs.iter().map(|input| self.whole(input)).collect();
        Ok((work, inputs))
    }

    fn out(&self, node: &Node) -> &[usize] {
        &self.shapes[node.name.as_str()]
    }

    /// A linear layer behind a flattened image is a convolution whose window is the image.
    fn linear(&mut self, node: &'a Node, out_features: usize) -> (Work, Vec<usize>) {
        let input = node.inputs[0].as_str();
        let (block, window, channels) = match &self.bound[input] {
            Bound::Moved { block, shape, map, .. } if shape.len() == 3 && *map == Map::to_logical(shape) => {
                (*block, Window::covering([shape[1], shape[2]]), shape[0])
            }
            _ => (self.whole(input), Window::pixelwise([1, 1]), self.elements(input)),
        };
        let shape = ConvShape { window, channels, out_channels: out_features, groups: 1 };
        (Work::Conv { shape, is_depthwise: false }, vec![block])
    }

    /// The inputs of a sum or product, repeated to the output's shape where they are smaller.
    ///
    /// Which one comes first makes no difference; what the kernel repeats for every pixel comes second.
    fn aligned(&mut self, node: &'a Node) -> (Vec<usize>, Repeats) {
        let output = self.out(node).to_vec();
        if let [left, right] = node.inputs.as_slice() {
            let shape = |input: &String| self.shapes[input.as_str()].clone();
            let (large, small) = if shape(left) == output { (left, right) } else { (right, left) };
            if let [channels, height, width] = output[..]
                && shape(large) == output
                && shape(small) == [channels, 1, 1]
                && height * width > 1
            {
                let repeats = Repeats::Pixels { pixels: height * width, channels };
                return (vec![self.whole(large), self.whole(small)], repeats);
            }
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for input in &node.inputs {
            let (source, shape) = (self.whole(input), self.shapes[input.as_str()].clone());
            let is_equal = shape == output;
            inputs.push(match is_equal {
                true => source,
                false => self.moved(&node.name, source, Map::broadcast(&shape, &output)),
            });
        }
        (inputs, Repeats::Never)
    }

    fn mean(&mut self, node: &'a Node, axes: &[usize], keep: bool) -> (Work, Vec<usize>) {
        let input = node.inputs[0].as_str();
        let shape = self.shapes[input].clone();
        let source = self.whole(input);
        if shape.len() == 3 && axes == [1, 2] {
            return (Work::Mean(Arc::new(Mean::whole([shape[1], shape[2]], shape[0]))), vec![source]);
        }
        // Every mean is that of one channel over a column of pixels.
        let count: usize = axes.iter().map(|axis| shape[*axis]).product();
        let rows = self.elements(input) / count.max(1);
        let moved = self.moved(&node.name, source, Map::last_axes(&shape, axes, keep));
        let window = Window {
            size: [rows * count, 1],
            kernel: [count, 1],
            stride: [count, 1],
            ..Window::pixelwise([1, 1])
        };
        let window = Window { out_size: [rows, 1], ..window };
        (
            Work::Mean(Arc::new(Mean {
                window,
                channels: 1,
                reciprocal: 1.0 / count as f64,
                by_position: None,
            })),
            vec![moved],
        )
    }

    fn softmax(&mut self, node: &'a Node, axis: usize) -> (Work, Vec<usize>) {
        let input = node.inputs[0].as_str();
        let (shape, source) = (self.shapes[input].clone(), self.whole(input));
        let map = Map::last_axes(&shape, &[axis], true);
        let back = map.inverted().expect("axes in another order lose no value");
        let elements = self.elements(input);
        let moved = self.moved(&node.name, source, map);
        let work = Work::Softmax { channels: shape[axis] };
        let softmax = self.push(Block::new(&node.name, work, vec![moved], elements));
        (Work::Move { map: Arc::new(back), source: elements }, vec![softmax])
    }

    fn concat(&mut self, node: &'a Node, axis: usize) -> (Work, Vec<usize>) {
        let inputs: Vec<usize> = node.inputs.iter().map(|input| self.whole(input)).collect();
        let shapes: Vec<Vec<usize>> =
            node.inputs.iter().map(|input| self.shapes[input.as_str()].clone()).collect();
        if axis == 0 {
            return (Work::Concat { channels: shapes.iter().map(|shape| shape[0]).collect() }, inputs);
        }
        let elements = self.elements(&node.name);
        let joined = self.push(Block::new(&node.name, Work::Join, inputs, elements));
        (Work::Move { map: Arc::new(Map::along(axis, &shapes)), source: elements }, vec![joined])
    }
}

impl Block {
    fn new(name: &str, work: Work, inputs: Vec<usize>, elements: usize) -> Self {
        let name = name.to_owned();
        let (norm, weight, input, output) = (None, None, None, None);
        Self { name, work, inputs, elements, macs: 0, norm, range: EVERYTHING, weight, input, output }
    }

    fn is_clamped(&self) -> bool {
        self.range != EVERYTHING
    }

    /// Whether the kernel clamps what it stores.
    fn takes_range(&self) -> bool {
        matches!(
            self.work,
            Work::Conv { .. } | Work::Add(_) | Work::Multiply(_) | Work::Norm | Work::Mean(_) | Work::Pass
        )
    }
}

impl Mean {
    fn whole(size: [usize; 2], channels: usize) -> Self {
        let count = size[0] * size[1];
        let reciprocal = 1.0 / count as f64;
        Self { window: Window::covering(size), channels, reciprocal, by_position: None }
    }
}

/// The nodes that lead to `until`, in order; what nothing reads takes no part.
fn leading_to<'a>(graph: &'a Graph, until: &str) -> Vec<&'a Node> {
    let mut needed = BTreeSet::from([until]);
    let mut nodes = Vec::new();
    for node in graph.nodes.iter().rev() {
        if needed.contains(node.name.as_str()) {
            needed.extend(node.inputs.iter().map(String::as_str));
            nodes.push(node);
        }
    }
    nodes.reverse();
    nodes
}

/// What a rectifier clamps to.
fn rectifier(op: &Op) -> Option<[f32; 2]> {
    match op {
        Op::Relu => Some([0.0, f32::INFINITY]),
        Op::Relu6 => Some([0.0, 6.0]),
        Op::Clip { min, max } => Some([*min, *max]),
        _ => None,
    }
}

fn convolution(conv: &Conv2d, input: &[usize], output: &[usize]) -> Work {
    let window = Window {
        size: [input[1], input[2]],
        kernel: conv.kernel,
        stride: conv.stride,
        dilation: conv.dilation,
        before: [conv.padding.top, conv.padding.left],
        out_size: [output[1], output[2]],
    };
    let shape =
        ConvShape { window, channels: input[0], out_channels: conv.out_channels, groups: conv.groups };
    let is_depthwise = conv.groups == input[0] && conv.groups == conv.out_channels && conv.groups > 1;
    Work::Conv { shape, is_depthwise }
}

fn window(pool: &Pool, input: &[usize], output: &[usize]) -> Window {
    Window {
        size: [input[1], input[2]],
        kernel: pool.kernel,
        stride: pool.stride,
        dilation: [1, 1],
        before: [pool.padding.top, pool.padding.left],
        out_size: [output[1], output[2]],
    }
}

fn average(pool: &Pool, input: &[usize], output: &[usize]) -> Mean {
    let window = window(pool, input, output);
    let whole = pool.kernel[0] * pool.kernel[1];
    let inside = |axis: usize, position: usize| {
        (0..window.kernel[axis]).filter(|tap| window.source(axis, position, *tap).is_some()).count()
    };
    let positions =
        (0..window.out_size[0]).flat_map(|row| (0..window.out_size[1]).map(move |column| [row, column]));
    let counts = positions.map(|[row, column]| match pool.count_padding {
        true => whole,
        false => inside(0, row) * inside(1, column),
    });
    let counts: Vec<usize> = counts.map(|count| count.max(1)).collect();
    let channels = input[0];
    if counts.iter().all(|count| *count == counts[0]) {
        return Mean { window, channels, reciprocal: 1.0 / counts[0] as f64, by_position: None };
    }
    let by_position = counts.iter().map(|count| 1.0 / *count as f32).collect();
    Mean { window, channels, reciprocal: 1.0, by_position: Some(by_position) }
}
