mod means;
mod memory;
mod sharing;

use std::sync::Arc;

use bitloop_core::bits::{Bits, Choice};
use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding, PointKind, Pool, Shape};
use bitloop_core::trial::{Biases, ImageRange, Numerics};
use candle_core::{Device, Tensor};

use super::*;
use crate::evaluate::tests::{composed_logits, images, prepared};
use crate::model::{Model, expected_tensors};
use crate::rng::rng;

const IMAGES: usize = 70;
const CLASSES: usize = 6;

fn conv(out_channels: usize, groups: usize, stride: usize) -> Op {
    let padding = Padding { top: 1, left: 1, bottom: 1, right: 1 };
    let (kernel, dilation) = ([3, 3], [1, 1]);
    Op::Conv2d(Conv2d { out_channels, kernel, stride: [stride; 2], padding, dilation, groups, bias: true })
}

fn pool(count_padding: bool) -> Pool {
    Pool { kernel: [3, 3], stride: [2, 2], padding: Padding::all(1), count_padding }
}

/// Every operator at least once, on 1x8x8 images.
fn graph() -> Graph {
    let input = Input { shape: Shape::image(1, 8, 8), mean: vec![0.4], std: vec![0.3] };
    let mut graph = Graph::new("everything", input);
    graph.push("stem", conv(8, 1, 1), &[INPUT]);
    graph.push("norm", Op::BatchNorm { eps: 1e-3 }, &["stem"]);
    graph.push("relu", Op::Relu, &["norm"]);
    graph.push("depthwise", conv(8, 8, 1), &["relu"]);
    graph.push("relu6", Op::Relu6, &["depthwise"]);
    graph.push("sum", Op::Add, &["relu6", "relu"]);
    graph.push("clip", Op::Clip { min: -0.5, max: 5.0 }, &["sum"]);
    graph.push("grouped", conv(8, 2, 1), &["clip"]);
    graph.push("swish", Op::HardSwish, &["grouped"]);
    // Squeeze and excite.
    graph.push("squeeze", Op::Mean { axes: vec![1, 2], keep: true }, &["swish"]);
    graph.push("gate", Op::HardSigmoid { alpha: 0.2, beta: 0.5 }, &["squeeze"]);
    graph.push("excite", Op::Mul, &["gate", "swish"]);
    // A channel shuffle, of which one half goes through a branch.
    graph.push("split", Op::Reshape { shape: vec![2, 4, 8, 8] }, &["excite"]);
    graph.push("swap", Op::Transpose { perm: vec![1, 0, 2, 3] }, &["split"]);
    graph.push("shuffle", Op::Reshape { shape: vec![8, 8, 8] }, &["swap"]);
    graph.push("left", Op::Slice { axis: 0, start: 0, end: 4, step: 1 }, &["shuffle"]);
    graph.push("right", Op::Slice { axis: 0, start: 4, end: 8, step: 1 }, &["shuffle"]);
    graph.push("branch", conv(4, 1, 1), &["right"]);
    graph.push("leaky", Op::LeakyRelu { slope: 0.1 }, &["branch"]);
    graph.push("joined", Op::Concat { axis: 0 }, &["left", "leaky"]);
    graph.push("lrn", Op::Lrn { size: 3, alpha: 0.1, beta: 0.75, bias: 1.0 }, &["joined"]);
    graph.push("prelu", Op::PRelu, &["lrn"]);
    graph.push("largest", Op::MaxPool(pool(false)), &["prelu"]);
    graph.push("mean", Op::AveragePool(pool(false)), &["prelu"]);
    graph.push("counted", Op::AveragePool(pool(true)), &["prelu"]);
    graph.push("stacked", Op::Concat { axis: 1 }, &["largest", "mean", "counted"]);
    graph.push("padded", Op::Pad { before: vec![0, 1, 0], after: vec![0, 0, 1], value: 0.0 }, &["stacked"]);
    graph.push("rows", Op::Softmax { axis: 2 }, &["padded"]);
    graph.push("columns", Op::Mean { axes: vec![1], keep: false }, &["rows"]);
    graph.push("offset", Op::Constant { shape: vec![8, 1] }, &[]);
    graph.push("moved", Op::Add, &["columns", "offset"]);
    graph.push("sigmoid", Op::Sigmoid, &["moved"]);
    graph.push("same", Op::Identity, &["sigmoid"]);
    graph.push("flat", Op::Flatten, &["same"]);
    graph.push("dense", Op::Linear(Linear { out_features: CLASSES, bias: true }), &["flat"]);
    graph.push("softmax", Op::Softmax { axis: 0 }, &["dense"]);
    graph
}

pub(crate) fn everything() -> Arc<Prepared> {
    random(graph())
}

/// A network with drawn weights.
fn random(graph: Graph) -> Arc<Prepared> {
    let mut rng = rng(7, 0);
    let tensors = expected_tensors(&graph).unwrap().into_iter().map(|(name, shape)| {
        let values = (0..shape.iter().product()).map(|_| rng.normal() as f32 * 0.4);
        let positive = name.ends_with("running_var");
        let values: Vec<f32> = values.map(|value| if positive { value.abs() + 0.5 } else { value }).collect();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    });
    let model = Model::new(graph, tensors.collect()).unwrap();
    Arc::new(prepared(&model, ImageRange { start: 0, len: IMAGES as u64 }))
}

fn bits(bits: u8) -> Choice {
    Choice::Bits(Bits::new(bits).unwrap())
}

/// What the points of a config get.
type Config = Vec<Choice>;

/// The baseline, and for every point a config that differs in it.
fn sweep(points: usize, baseline: u8, other: u8) -> Vec<Config> {
    let baseline = vec![bits(baseline); points];
    let single = (0..points).map(|point| {
        let mut config = baseline.clone();
        config[point] = bits(other);
        config
    });
    std::iter::once(baseline.clone()).chain(single).collect()
}

/// Logits of every config, computed together in blocks of so many images, and the plan.
fn computed(engine: &Engine, configs: &[Config], block: usize, budget: usize) -> (Vec<Vec<f32>>, Plan) {
    let choices: Vec<_> = configs.iter().map(|config| |index: usize| config[index]).collect();
    let choices: Vec<&(dyn Fn(usize) -> Choice + Sync)> =
        choices.iter().map(|choice| choice as &(dyn Fn(usize) -> Choice + Sync)).collect();
    let plan = engine.plan(&choices, budget).unwrap();
    let (images, mut workspace) = (images(), Workspace::default());
    let mut logits = vec![Vec::new(); configs.len()];
    for block in crate::network::blocks(0..IMAGES, block) {
        plan.run((block.len(), images.pixels_of(block)), &mut workspace, |config, values| {
            logits[config].extend_from_slice(values);
        });
    }
    (logits, plan)
}

fn engine(prepared: &Arc<Prepared>, numerics: Numerics, isa: Isa) -> Engine {
    Engine::new(Arc::clone(prepared), "dense", numerics, isa).unwrap()
}

fn equal_bits(left: &[Vec<f32>], right: &[Vec<f32>]) -> bool {
    let bits = |logits: &[Vec<f32>]| logits.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
    bits(left) == bits(right)
}

const PLENTY: usize = 1 << 30;

#[test]
fn float_logits_are_those_of_the_walk_over_the_graph() {
    let prepared = everything();
    let float = vec![Choice::Float; prepared.points.len()];

    let (found, _) =
        computed(&engine(&prepared, Numerics::Float, Isa::best()), std::slice::from_ref(&float), 32, PLENTY);
    let expected = composed_logits(&prepared, &float, IMAGES);

    assert_eq!(found[0].len(), IMAGES * CLASSES);
    let spread = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
    for (found, expected) in found[0].iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-5 * spread, "{found} {expected}");
    }
}

#[test]
fn quantized_logits_differ_from_the_walk_by_rounding_ties_alone() {
    let prepared = everything();
    let configs = [16, 8, 4].map(|width| vec![bits(width); prepared.points.len()]);
    for config in &configs {
        let expected = composed_logits(&prepared, config, IMAGES);
        let spread = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
        for numerics in [Numerics::Float, Numerics::Exact] {
            let (found, _) =
                computed(&engine(&prepared, numerics, Isa::best()), std::slice::from_ref(config), 32, PLENTY);
            let differs = |(found, expected): &(&f32, &f32)| (*found - *expected).abs() > 1e-3 * spread;
            let different = found[0].iter().zip(&expected).filter(differs).count();
            // A code that falls on the other side of a tie moves what follows by a step, in a few images.
            assert!(
                different * 20 < expected.len(),
                "{numerics:?} {config:?}: {different} of {}",
                expected.len()
            );
        }
    }
}

#[test]
fn instructions_blocks_and_company_change_no_bit() {
    let prepared = everything();
    let configs = sweep(prepared.points.len(), 8, 4);
    for numerics in [Numerics::Exact, Numerics::Float] {
        let scalar = engine(&prepared, numerics, Isa::Scalar);
        let alone: Vec<Vec<f32>> = configs
            .iter()
            .map(|config| computed(&scalar, std::slice::from_ref(config), 64, PLENTY).0.remove(0))
            .collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let engine = engine(&prepared, numerics, isa);
            for block in [1, 7, 64] {
                let (together, _) = computed(&engine, &configs, block, PLENTY);
                assert!(equal_bits(&together, &alone), "{numerics:?} {isa:?} in blocks of {block}");
            }
        }
    }
}

#[test]
fn a_bias_is_rounded_to_the_width_of_the_point_that_its_input_is_said_to_be_on() {
    let mut prepared = Arc::unwrap_or_clone(everything());
    prepared.biases = Biases::Int32;
    // The stem's input takes its step from a point that changes nothing in the input itself.
    let position = |name: &str| prepared.points.iter().position(|point| point.name == name);
    let point = position("lrn.output").expect("a normalization has a point");
    let input = position("input.output").expect("the input has a point");
    assert!(input < point, "what comes later wins");
    prepared.points[point].passed_on.push(INPUT.to_owned());
    let prepared = Arc::new(prepared);
    let mut low = vec![bits(8); prepared.points.len()];
    low[point] = bits(2);
    let configs = [vec![bits(8); prepared.points.len()], low];
    let engine = engine(&prepared, Numerics::Exact, Isa::best());

    let (together, _) = computed(&engine, &configs, 32, PLENTY);

    let alone: Vec<Vec<f32>> = configs
        .iter()
        .map(|config| computed(&engine, std::slice::from_ref(config), 32, PLENTY).0.remove(0))
        .collect();
    assert!(equal_bits(&together, &alone));
}

#[test]
fn a_sweep_shares_work_within_its_memory_and_a_tight_budget_costs_time_alone() {
    let prepared = everything();
    let configs = sweep(prepared.points.len(), 8, 4);
    let engine = engine(&prepared, Numerics::Exact, Isa::best());

    let (expected, plan) = computed(&engine, &configs, 64, PLENTY);
    let (macs, alone) = plan.macs();
    assert!(macs * 3 < alone * 2, "{macs} of {alone}");
    let needed = plan.bytes(1);

    let (found, tight) = computed(&engine, &configs, 64, 0);
    assert!(equal_bits(&found, &expected));
    assert!(tight.bytes(1) < needed, "{} {needed}", tight.bytes(1));
    assert!(tight.macs().0 > macs && tight.macs().1 == alone, "{:?} {macs}", tight.macs());
    // A config by itself has what it needs, whatever the budget.
    for config in &configs {
        let (_, single) = computed(&engine, std::slice::from_ref(config), 64, 0);
        assert_eq!(single.macs().0, single.macs().1);
    }
}

#[test]
fn exact_arithmetic_multiplies_codes_wherever_both_sides_have_them() {
    let prepared = everything();
    let all = [vec![bits(8); prepared.points.len()]];

    let (_, exact) = computed(&engine(&prepared, Numerics::Exact, Isa::best()), &all, 64, PLENTY);
    let (_, float) = computed(&engine(&prepared, Numerics::Float, Isa::best()), &all, 64, PLENTY);

    assert_eq!(exact.layers(), [5, 5], "integer layers of all");
    assert_eq!(float.layers(), [0, 5]);
}

#[test]
fn no_image_gives_no_logits() {
    let prepared = everything();
    let engine = engine(&prepared, Numerics::Exact, Isa::best());
    let config = |_: usize| bits(8);
    let plan = engine.plan(&[&config], PLENTY).unwrap();
    let mut calls = 0;

    plan.run((0, &[]), &mut Workspace::default(), |_, logits| {
        assert!(logits.is_empty());
        calls += 1;
    });

    assert_eq!(calls, 1);
}
