mod biases;
mod chains;
mod folding;
mod high_bias;
mod scaling;

use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding, Shape};
use candle_core::{Device, Tensor};

use super::*;
use crate::executor::{self, FloatPass};
use crate::model::expected_tensors;
use crate::rng::{Rng, rng};

/// Rounding of two ways to compute the same network, relative to its largest output.
const ROUNDING: f32 = 1e-4;

/// A square convolution with stride 1.
#[derive(Clone, Copy)]
pub(super) struct Conv {
    pub(super) out: usize,
    pub(super) kernel: usize,
    pub(super) padding: usize,
    pub(super) groups: usize,
    pub(super) bias: bool,
}

impl Conv {
    pub(super) fn op(self) -> Op {
        Op::Conv2d(Conv2d {
            out_channels: self.out,
            kernel: [self.kernel; 2],
            stride: [1, 1],
            padding: Padding::all(self.padding),
            dilation: [1, 1],
            groups: self.groups,
            bias: self.bias,
        })
    }
}

pub(super) fn dense(out: usize, kernel: usize) -> Op {
    Conv { out, kernel, padding: 0, groups: 1, bias: true }.op()
}

pub(super) fn depthwise(channels: usize) -> Op {
    Conv { out: channels, kernel: 3, padding: 1, groups: channels, bias: true }.op()
}

pub(super) fn linear(out_features: usize) -> Op {
    Op::Linear(Linear { out_features, bias: false })
}

pub(super) fn norm() -> Op {
    Op::BatchNorm { eps: 1e-3 }
}

/// Nodes in a row on images of 3 x 9 x 9.
pub(super) fn chain(nodes: &[(&str, Op)]) -> Graph {
    let input = Input { shape: Shape::image(3, 9, 9), mean: vec![0.5; 3], std: vec![0.25; 3] };
    let mut graph = Graph::new("chain", input);
    let mut before = INPUT.to_owned();
    for (name, op) in nodes {
        before = graph.push(*name, op.clone(), &[&before]);
    }
    graph
}

/// Random weights whose ranges differ between channels by orders of magnitude.
pub(super) fn model(graph: Graph, seed: u64) -> Model {
    let mut rng = rng(seed, 0);
    let mut weights = BTreeMap::new();
    for (name, shape) in expected_tensors(&graph).unwrap() {
        let channels = shape.first().copied().unwrap_or(1);
        let per_channel = shape.iter().product::<usize>() / channels;
        let values = (0..channels).flat_map(|_| {
            let size = (rng.uniform() * 3.0 - 2.0).exp2();
            let values = (0..per_channel).map(|_| match name.ends_with("running_var") {
                true => (0.2 + rng.uniform()) as f32,
                false => (rng.normal() * size) as f32,
            });
            values.collect::<Vec<_>>()
        });
        let values: Vec<f32> = values.collect();
        weights.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    }
    Model::new(graph, weights).unwrap()
}

pub(super) fn images(graph: &Graph, count: usize, rng: &mut Rng) -> Tensor {
    let values: Vec<f32> = (0..count * graph.input.shape.elements()).map(|_| rng.normal() as f32).collect();
    let shape = [&[count], graph.input.shape.0.as_slice()].concat();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub(super) fn output(model: &Model, images: &Tensor) -> Vec<f32> {
    let output = &model.graph.output().unwrap().name;
    let mut pass = FloatPass { weights: &model.weights };
    values(&executor::forward(&model.graph, images, output, &mut pass).unwrap())
}

pub(super) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

pub(super) fn weight(model: &Model, name: &str) -> Vec<f32> {
    values(&model.weights[name])
}

pub(super) fn set(model: &mut Model, name: &str, values: &[f32]) {
    let shape = model.weights[name].dims().to_vec();
    let tensor = Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap();
    model.weights.insert(name.to_owned(), tensor);
}

/// Asserts that two networks give the same outputs up to rounding.
pub(super) fn assert_same_function(what: &str, before: &Model, after: &Model) {
    let images = images(&before.graph, 3, &mut rng(99, 0));
    let (before, after) = (output(before, &images), output(after, &images));
    let largest = before.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    assert!(largest > 0.0, "{what}: a network that gives zeros shows nothing");
    assert_eq!(before.len(), after.len(), "{what}");
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        let difference = (before - after).abs();
        assert!(difference <= ROUNDING * largest, "{what}: output {index} was {before}, is {after}");
    }
}
