//! Numbers that are known, computed on a device: whether it can be trusted with those that are not.

use std::collections::BTreeMap;

use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Node, Op, Padding, Shape};
use candle_core::{Device, Result, Tensor};

use crate::executor::{self, FloatPass, Pass};
use crate::kernels::Kernels;
use crate::model;
use crate::quantizer::{Encoding, Grid, fake_quantize_with};
use crate::rng::rng;

/// Sums of a few hundred products of numbers around 1, taken in another order and with other roundings.
const TOLERANCE: f32 = 1e-3;
const IMAGES: usize = 3;

/// Computes a small network and quantizers of both kinds on a device, and compares with the CPU.
///
/// Errors: what candle or the driver says, or a message naming what differs.
pub(super) fn check(device: &Device, kernels: Kernels) -> Result<()> {
    let known = Numbers::drawn()?;
    let expected = known.computed(&Device::Cpu, Kernels::default())?;
    let found = known.computed(device, kernels)?;
    for ((what, expected), (_, found)) in expected.iter().zip(&found) {
        if let Some((found, expected)) = difference(found, expected) {
            candle_core::bail!("{what} gives {found} where it should give {expected}");
        }
    }
    Ok(())
}

/// Returns the first pair of values that differ by more than rounding.
fn difference(found: &[f32], expected: &[f32]) -> Option<(f32, f32)> {
    let mut pairs = found.iter().copied().zip(expected.iter().copied());
    let is_near = |found: f32, expected: f32| (found - expected).abs() <= TOLERANCE * (1.0 + expected.abs());
    // NaN is near to nothing.
    pairs.find(|(found, expected)| !is_near(*found, *expected))
}

struct Numbers {
    graph: Graph,
    weights: BTreeMap<String, Tensor>,
    images: Tensor,
}

impl Numbers {
    fn drawn() -> Result<Self> {
        let graph = graph();
        let mut rng = rng(0, 0);
        let mut random = |shape: &[usize]| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32 * 0.5).collect();
            Tensor::from_vec(values, shape, &Device::Cpu)
        };
        let mut weights = BTreeMap::new();
        for (name, shape) in model::expected_tensors(&graph).map_err(candle_core::Error::wrap)? {
            weights.insert(name, random(&shape)?);
        }
        let images = random(&[&[IMAGES], graph.input.shape.0.as_slice()].concat())?;
        Ok(Self { graph, weights, images })
    }

    /// Values by what computed them.
    fn computed(&self, device: &Device, kernels: Kernels) -> Result<Vec<(&str, Vec<f32>)>> {
        let moved = self.weights.iter().map(|(name, weight)| Ok((name.clone(), weight.to_device(device)?)));
        let weights = moved.collect::<Result<BTreeMap<_, _>>>()?;
        let mut pass = With(FloatPass { weights: &weights }, kernels);
        let images = self.images.to_device(device)?;
        let mut all = Vec::new();
        for node in &self.graph.nodes {
            let y = executor::forward(&self.graph, &images, &node.name, &mut pass)?;
            all.push((node.name.as_str(), values(&y)?));
        }
        let channel = |index: usize| [(-1.0 - index as f32, 0.5), (0.0, 2.0), (-0.1, 0.1)][index];
        let grid = Grid::new(0, 15, false).map_err(candle_core::Error::wrap)?;
        let tensor = Encoding::from_stored(&[(-0.7, 1.1)], grid).map_err(candle_core::Error::wrap)?;
        let ranges: Vec<_> = (0..IMAGES).map(channel).collect();
        let channels = Encoding::from_stored(&ranges, grid).map_err(candle_core::Error::wrap)?;
        for (what, encoding) in [("a quantizer", tensor), ("a quantizer per channel", channels)] {
            let y = fake_quantize_with(&images, &encoding, kernels).map_err(candle_core::Error::wrap)?;
            all.push((what, values(&y)?));
        }
        Ok(all)
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// A convolution, depthwise ones with everything uneven, and a linear layer on 3x11x9 images.
fn graph() -> Graph {
    let input = Input { shape: Shape(vec![3, 11, 9]), mean: vec![0.0; 3], std: vec![1.0; 3] };
    let conv = |out_channels, groups, stride| {
        let padding = Padding { top: 1, left: 0, bottom: 2, right: 1 };
        let (kernel, dilation) = ([3, 2], if groups == 1 { [1, 1] } else { [1, 2] });
        Op::Conv2d(Conv2d { out_channels, kernel, stride, padding, dilation, groups, bias: true })
    };
    let mut graph = Graph::new("known", input);
    graph.push("conv", conv(8, 1, [1, 1]), &[INPUT]);
    graph.push("rectifier", Op::Relu6, &["conv"]);
    graph.push("depthwise", conv(8, 8, [2, 1]), &["rectifier"]);
    graph.push("multiplied", conv(16, 8, [1, 2]), &["depthwise"]);
    graph.push("pool", Op::GlobalAveragePool, &["multiplied"]);
    graph.push("flat", Op::Flatten, &["pool"]);
    graph.push("linear", Op::Linear(Linear { out_features: 5, bias: true }), &["flat"]);
    graph
}

/// The float network by certain kernels.
struct With<'a>(FloatPass<'a>, Kernels);

impl Pass for With<'_> {
    fn kernels(&self) -> Kernels {
        self.1
    }

    fn weight(&mut self, node: &Node) -> Result<Tensor> {
        self.0.weight(node)
    }

    fn bias(&mut self, node: &Node) -> Result<Option<Tensor>> {
        self.0.bias(node)
    }

    fn parameter(&mut self, node: &Node, part: &str) -> Result<Tensor> {
        self.0.parameter(node, part)
    }

    fn batch_norm(&mut self, node: &Node, eps: f64, x: &Tensor) -> Result<Tensor> {
        self.0.batch_norm(node, eps, x)
    }

    fn sees(&self, node: &str) -> bool {
        self.0.sees(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_computes_like_a_cpu_passes() {
        for kernels in Kernels::available() {
            check(&Device::Cpu, kernels).unwrap();
        }
    }

    #[test]
    fn every_wrong_number_is_seen() {
        assert_eq!(difference(&[1.0, 2.0], &[1.0001, 2.0]), None);
        assert_eq!(difference(&[1.0, 2.0], &[1.0, 2.01]), Some((2.0, 2.01)));
        assert!(difference(&[f32::NAN], &[0.0]).is_some());
        // Nothing that is compared is trivially zero, which a device that does nothing would give.
        let known = Numbers::drawn().unwrap();
        for (what, values) in known.computed(&Device::Cpu, Kernels::default()).unwrap() {
            assert!(difference(&vec![0.0; values.len()], &values).is_some(), "{what}");
        }
    }
}
