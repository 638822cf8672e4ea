//! Networks that are prepared, and what is simulated of them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::digest::Digest;
use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding, PointKind, Shape};
use bitloop_core::spec::Initializer;
use bitloop_core::trial::{
    Biases, Candidates, EvaluateContext, Guard, ImageRange, Numerics, PrepareSpec, Transform,
};
use bitloop_quant::data::Images;
use bitloop_quant::device;
use bitloop_quant::evaluate::{Evaluator, Materials};
use bitloop_quant::executor::normalize;
use bitloop_quant::model::Model;
use bitloop_quant::prepare::{self, Prepared, prepare};
use bitloop_quant::rng::rng;
use bitloop_quant::zoo::initial_weights;

pub(crate) const BASELINE: Choice = Choice::Float;

pub(crate) fn bits(width: u8) -> Choice {
    Choice::Bits(Bits::new(width).unwrap())
}

fn conv(out_channels: usize, size: usize, stride: usize, groups: usize) -> Op {
    Op::Conv2d(Conv2d {
        out_channels,
        kernel: [size, size],
        stride: [stride, stride],
        padding: Padding::all(size / 2),
        dilation: [1, 1],
        groups,
        bias: true,
    })
}

/// What mobile networks are made of, in small, with random weights.
pub(crate) fn blocks(seed: u64) -> Model {
    let input = Input { shape: Shape::image(3, 16, 16), mean: vec![0.5; 3], std: vec![0.25; 3] };
    let mut graph = Graph::new("blocks", input);
    graph.push("stem", conv(16, 3, 2, 1), &[INPUT]);
    graph.push("stem_relu", Op::Relu6, &["stem"]);
    graph.push("depthwise", conv(16, 3, 1, 16), &["stem_relu"]);
    graph.push("depthwise_relu", Op::Relu, &["depthwise"]);
    graph.push("project", conv(16, 1, 1, 1), &["depthwise_relu"]);
    graph.push("sum", Op::Add, &["project", "stem_relu"]);
    graph.push("head", conv(32, 1, 1, 1), &["sum"]);
    graph.push("head_relu", Op::Relu6, &["head"]);
    graph.push("pool", Op::GlobalAveragePool, &["head_relu"]);
    graph.push("fc", Op::Linear(Linear { out_features: 10, bias: true }), &["pool"]);
    let mut weights = initial_weights(&graph, Initializer::HeNormal, seed).unwrap();
    for node in &graph.nodes {
        let Some(weight) = weights.get(&format!("{}.weight", node.name)) else { continue };
        // Biases of the size of the weights; initial ones are 0.
        let bias = weight.flatten_from(1).unwrap().mean(1).unwrap().affine(2.0, 0.05).unwrap();
        weights.insert(format!("{}.bias", node.name), bias);
    }
    Model::new(graph, weights).unwrap()
}

/// Images of random pixels, of one class.
pub(crate) fn noise(shape: &Shape, count: usize) -> Images {
    let mut rng = rng(9, 0);
    let pixels = (0..count * shape.elements()).map(|_| rng.below(256) as u8).collect();
    Images { shape: shape.clone(), pixels, labels: vec![0; count], classes: 10 }
}

/// Prepares a network for widths of weights and activations, with biases as integers.
pub(crate) fn prepared(model: &Model, images: &Arc<Images>, [weights, activations]: [&[u8]; 2]) -> Prepared {
    let widths = |widths: &[u8]| widths.iter().map(|width| Bits::new(*width).unwrap()).collect::<Vec<_>>();
    let any = Digest::of(b"any");
    let range = ImageRange { start: 0, len: images.len() as u64 };
    let mut candidates =
        Candidates::with_default_rules(widths(weights), widths(activations), Bits::new(8).unwrap());
    candidates.biases = Biases::Int32;
    let spec = PrepareSpec {
        model: any,
        data: any,
        images: range,
        transforms: vec![Transform::FoldBatchNorm],
        guard: Guard { data: any, images: range, drop_max_ppm: 0 },
        candidates,
        points: model.graph.without_folded_batch_norms().points().unwrap(),
    };
    let materials = prepare::Materials { model, calibration: images, guard: images, spec: &spec };
    prepare(&materials, 2, &AtomicBool::new(false)).unwrap().unwrap().0
}

/// One width for all weights, another one for all activations; none is float.
pub(crate) fn config(prepared: &Prepared, weight: Choice, activation: Choice) -> BitConfig {
    let choices = (0_u32..).zip(&prepared.points).map(|(index, point)| match point.kind {
        PointKind::Weight => (PointIndex(index), weight),
        PointKind::Activation => (PointIndex(index), activation),
    });
    BitConfig::against(BASELINE, choices)
}

/// Logits as they are simulated.
pub(crate) fn simulated(
    prepared: &Prepared,
    images: &Arc<Images>,
    config: &BitConfig,
    numerics: Numerics,
) -> Vec<f32> {
    let any = Digest::of(b"any");
    let whole = ImageRange { start: 0, len: images.len() as u64 };
    let context = EvaluateContext {
        prepared: any,
        data: any,
        images: whole,
        numerics,
        baseline: bits(8),
        points: prepared.points.iter().map(|point| point.name.clone()).collect(),
    };
    // The same choices, said against another baseline.
    let choices = (0_u32..).zip(&prepared.points);
    let choices = choices.map(|(index, _)| (PointIndex(index), config.choice(PointIndex(index), BASELINE)));
    let config = BitConfig::against(bits(8), choices);
    let materials = Materials { prepared: Arc::new(prepared.clone()), images: Arc::clone(images), context };
    let cpu = device::open("cpu").unwrap().device;
    let evaluator = Evaluator::new(materials, 2, &cpu).unwrap();
    evaluator.logits(&config, whole, &AtomicBool::new(false)).unwrap().unwrap()
}

/// Images, of which these are the pixels, as the network reads them.
pub(crate) fn normalized(model: &Model, pixels: &[u8]) -> Vec<f32> {
    let cpu = device::open("cpu").unwrap().device;
    let input = &model.graph.input;
    let tensor = normalize(input, pixels, pixels.len() / input.shape.elements(), &cpu).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}
