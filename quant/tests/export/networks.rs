//! Networks with weights and encodings to export.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::{Bits, Choice};
use bitloop_core::digest::Digest;
use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding, Pool, Shape};
use bitloop_core::trial::{Biases, Candidates, Guard, ImageRange, PrepareSpec, Transform};
use bitloop_quant::data::Images;
use bitloop_quant::model::{Model, expected_tensors};
use bitloop_quant::prepare::{Materials, Prepared, prepare};
use bitloop_quant::rng::rng;
use candle_core::{Device, Tensor};

const IMAGES: usize = 2;

pub(crate) fn bits(bits: u8) -> Bits {
    Bits::new(bits).unwrap()
}

/// A convolution that keeps the size.
fn conv(out_channels: usize, groups: usize, bias: bool) -> Op {
    Op::Conv2d(Conv2d {
        out_channels,
        kernel: [3, 3],
        stride: [1, 1],
        padding: Padding::all(1),
        dilation: [1, 1],
        groups,
        bias,
    })
}

/// A graph with every operator that an import keeps.
pub(crate) fn every_operator() -> Graph {
    let input = Input { shape: Shape::image(2, 8, 8), mean: vec![0.4, 0.125], std: vec![0.25, 0.3] };
    let mut graph = Graph::new("everything", input);
    let padding = Padding { top: 1, left: 0, bottom: 2, right: 1 };
    let strided = Op::Conv2d(Conv2d {
        out_channels: 4,
        kernel: [3, 2],
        stride: [2, 1],
        padding,
        dilation: [1, 2],
        groups: 2,
        bias: true,
    });
    let window = Pool { kernel: [3, 3], stride: [1, 1], padding: Padding::all(1), count_padding: false };
    let counting = Pool { count_padding: true, ..window };
    let operators = [
        ("stem", strided),
        ("norm", Op::BatchNorm { eps: 1e-3 }),
        ("relu", Op::Relu),
        ("conv", conv(6, 1, true)),
        ("relu6", Op::Relu6),
        ("depthwise", conv(6, 6, false)),
        ("leaky", Op::LeakyRelu { slope: 0.2 }),
        ("pointwise", conv(6, 1, true)),
        ("slopes", Op::PRelu),
        ("hard_swish", Op::HardSwish),
        ("hard_sigmoid", Op::HardSigmoid { alpha: 0.3, beta: 0.4 }),
        ("clip", Op::Clip { min: 0.1, max: 0.75 }),
        ("largest", Op::MaxPool(window.clone())),
        ("mean", Op::AveragePool(window)),
        ("mean_of_padded", Op::AveragePool(counting)),
        ("padded", Op::Pad { before: vec![0, 1, 0], after: vec![1, 0, 2], value: 0.5 }),
        ("part", Op::Slice { axis: 1, start: 1, end: 5, step: 2 }),
        ("turned", Op::Transpose { perm: vec![0, 2, 1] }),
        ("local", Op::Lrn { size: 3, alpha: 0.1, beta: 0.75, bias: 1.5 }),
        ("soft", Op::Softmax { axis: 1 }),
        ("mean_row", Op::Mean { axes: vec![2], keep: true }),
    ];
    let mut last = INPUT.to_owned();
    for (name, op) in operators {
        last = graph.push(name, op, &[&last]);
    }
    let shapes = graph.shapes().unwrap();
    let [channels, height, width] = shapes.last().unwrap().0[..] else { panic!("still an image") };
    graph.push("reshaped", Op::Reshape { shape: vec![channels, width, height] }, &["mean_row"]);
    graph.push("joined", Op::Concat { axis: 1 }, &["reshaped", "reshaped"]);
    graph.push("factor", Op::Constant { shape: vec![channels, 1, 1] }, &[]);
    graph.push("scaled", Op::Mul, &["joined", "factor"]);
    graph.push("gate", Op::Sigmoid, &["scaled"]);
    graph.push("gated", Op::Mul, &["scaled", "gate"]);
    graph.push("sum", Op::Add, &["gated", "joined"]);
    graph.push("pool", Op::GlobalAveragePool, &["sum"]);
    graph.push("flat", Op::Flatten, &["sum"]);
    graph.push("features", Op::Concat { axis: 0 }, &["pool", "flat"]);
    graph.push("hidden", Op::Linear(Linear { out_features: 7, bias: true }), &["features"]);
    graph.push("fc", Op::Linear(Linear { out_features: 5, bias: false }), &["hidden"]);
    graph
}

/// Two layers, with what an import drops between them.
pub(crate) fn small() -> Graph {
    let input = Input { shape: Shape::image(2, 6, 6), mean: vec![0.5; 2], std: vec![0.25; 2] };
    let mut graph = Graph::new("small", input);
    graph.push("conv", conv(3, 1, true), &[INPUT]);
    graph.push("relu", Op::Relu, &["conv"]);
    graph.push("same", Op::Identity, &["relu"]);
    graph.push("pool", Op::GlobalAveragePool, &["same"]);
    graph.push("dropped", Op::Dropout { rate: 0.5 }, &["pool"]);
    graph.push("fc", Op::Linear(Linear { out_features: 4, bias: true }), &["dropped"]);
    graph
}

/// Gives a graph random weights.
pub(crate) fn with_weights(graph: Graph) -> Model {
    let mut rng = rng(11, 0);
    let weights = expected_tensors(&graph).unwrap().into_iter().map(|(name, shape)| {
        let fan_in: usize = shape.iter().skip(1).product();
        let mut value = || match name.rsplit_once('.') {
            Some((_, "running_var" | "gamma")) => 0.5 + rng.uniform() as f32,
            Some((_, "weight")) => rng.normal() as f32 * (2.0 / fan_in as f32).sqrt(),
            _ => 0.3 * rng.normal() as f32,
        };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| value()).collect();
        (name.clone(), Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    });
    let weights = weights.collect();
    Model::new(graph, weights).unwrap()
}

/// Images of random pixels.
pub(crate) fn images(shape: &Shape) -> Images {
    let mut rng = rng(9, 0);
    let pixels = (0..IMAGES * shape.elements()).map(|_| rng.below(256) as u8).collect();
    Images { shape: shape.clone(), pixels, labels: vec![0; IMAGES], classes: 1 }
}

/// What to prepare a network for.
pub(crate) struct Wanted {
    pub(crate) widths: Vec<u8>,
    pub(crate) biases: Biases,
    pub(crate) transforms: Vec<Transform>,
    pub(crate) is_per_channel: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { widths: vec![8], biases: Biases::Float, transforms: Vec::new(), is_per_channel: true }
    }
}

impl Wanted {
    /// Prepares a network at the standard points of what its transforms make of it.
    pub(crate) fn prepare(&self, model: &Model, images: Images) -> Prepared {
        let widths: Vec<Bits> = self.widths.iter().map(|width| bits(*width)).collect();
        let any = Digest::of(b"any");
        let range = ImageRange { start: 0, len: images.labels.len() as u64 };
        let mut candidates = Candidates::with_default_rules(widths.clone(), widths.clone(), widths[0]);
        candidates.biases = self.biases;
        if !self.is_per_channel {
            candidates.weights.granularity = bitloop_core::trial::Granularity::PerTensor;
        }
        let graph = match self.transforms.contains(&Transform::FoldBatchNorm) {
            true => model.graph.without_folded_batch_norms(),
            false => model.graph.clone(),
        };
        let spec = PrepareSpec {
            model: any,
            data: any,
            images: range,
            transforms: self.transforms.clone(),
            guard: Guard { data: any, images: range, drop_max_ppm: 0 },
            candidates,
            points: graph.points().unwrap(),
        };
        let images = Arc::new(images);
        let materials = Materials { model, calibration: &images, guard: &images, spec: &spec };
        prepare(&materials, 1, &AtomicBool::new(false)).unwrap().unwrap().0
    }
}

/// The same width for every point.
pub(crate) fn all(prepared: &Prepared, width: u8) -> Vec<Choice> {
    vec![Choice::Bits(bits(width)); prepared.points.len()]
}

/// All weights as numbers.
pub(crate) fn values(weights: &BTreeMap<String, Tensor>) -> BTreeMap<String, Vec<f32>> {
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    weights.iter().map(|(name, tensor)| (name.clone(), values(tensor))).collect()
}
