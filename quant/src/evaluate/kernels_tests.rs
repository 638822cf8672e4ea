//! What a GPU is asked for, computed on this CPU: by candle's operators, and by these with our CUDA kernels' part done by
//! other means. Compared with our own kernels for every operator, every family of networks and several configs at once.

use std::sync::atomic::AtomicBool;

use bitloop_core::bits::{BitConfig, Bits, Choice};
use bitloop_core::digest::Digest;
use bitloop_core::graph::{Conv2d, Graph, Op, PointKind, Shape};
use bitloop_core::trial::ImageRange;
use candle_core::Tensor;

use super::tests::{images, logits_by, prepared};
use super::*;
use crate::engine::tests::everything;
use crate::model::expected_tensors;
use crate::rng::rng;
use crate::zoo::{Strides, Zoo, architecture};

/// What runs on a GPU: by default, and where candle is forced.
const ON_DEVICES: [Kernels; 2] = [Kernels::CUDA, Kernels::CANDLE];
/// Sums in another order, over a network's depth, relative to the largest logit.
const ROUNDING: f32 = 1e-4;
const CLASSES: usize = 6;
/// One architecture of every family; the others differ from these in widths and depth.
const FAMILIES: [&str; 5] =
    ["resnet18", "mobilenet_v1", "mobilenet_v2", "shufflenet_v2_x0_5", "efficientnet_lite0"];

fn bits(bits: u8) -> Choice {
    Choice::Bits(Bits::new(bits).unwrap())
}

/// Every logit's distance from what our own kernels give, relative to the largest logit.
fn distances(prepared: &Arc<Prepared>, config: &[Choice], kernels: Kernels, count: usize) -> Vec<f32> {
    let own = Kernels::named("scalar").unwrap();
    let expected = logits_by(own, prepared, config, count);
    let found = logits_by(kernels, prepared, config, count);
    assert_eq!(found.len(), expected.len());
    let spread = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
    assert!(spread > 0.0, "the logits say nothing");
    found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs() / spread).collect()
}

#[test]
fn every_operator_gives_the_same_on_every_device_s_kernels() {
    let prepared = everything();
    for kernels in ON_DEVICES {
        let far = |choice| {
            let config = vec![choice; prepared.points.len()];
            let distances = distances(&prepared, &config, kernels, 70);
            let near = distances.iter().filter(|distance| **distance <= ROUNDING).count();
            // NaN is near to nothing.
            (distances.len() - near, distances.len())
        };

        assert_eq!(far(Choice::Float).0, 0, "{kernels:?}");
        for width in [8, 4] {
            // A code that falls on the other side of a tie moves what follows by a step, in a few images.
            let (far, all) = far(bits(width));
            assert!(far * 20 < all, "{kernels:?} at {width} bits: {far} of {all}");
        }
    }
}

/// A published architecture for 8x8 images, with weights that keep every layer's values of one size.
fn network(name: &str) -> Arc<Prepared> {
    let architecture = architecture(name).unwrap();
    let input = Some(architecture.input(Shape::image(1, 8, 8)));
    let zoo = Zoo { architecture, classes: Some(CLASSES), input, strides: Strides::SmallImages };
    let graph = zoo.graph().unwrap();
    let mut rng = rng(51, 0);
    let tensors = expected_tensors(&graph).unwrap().into_iter().map(|(name, shape)| {
        let fan_in: usize = shape.iter().skip(1).product();
        let (mean, deviation) = match name.rsplit('.').next() {
            Some("weight") => (0.0, (2.0 / fan_in as f64).sqrt()),
            Some("gamma" | "running_var") => (1.0, 0.1),
            _ => (0.0, 0.1),
        };
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|_| (mean + deviation * rng.normal()) as f32).collect();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    });
    let model = Model::new(graph, tensors.collect()).unwrap();
    Arc::new(prepared(&model, ImageRange { start: 0, len: 4 }))
}

#[test]
fn every_family_gives_the_same_on_every_device_s_kernels() {
    for name in FAMILIES {
        let prepared = network(name);
        let of_kind = |weights, activations| -> Vec<Choice> {
            let kinds = prepared.points.iter().map(|point| point.kind);
            kinds.map(|kind| if kind == PointKind::Weight { weights } else { activations }).collect()
        };
        let (float, weights) = (of_kind(Choice::Float, Choice::Float), of_kind(bits(4), Choice::Float));
        let all = of_kind(bits(8), bits(8));
        for kernels in ON_DEVICES {
            for config in [&float, &weights] {
                let distances = distances(&prepared, config, kernels, 4);
                assert!(
                    distances.iter().all(|distance| *distance <= ROUNDING),
                    "{name} {kernels:?}: {distances:?}"
                );
            }
            // Codes on the other side of a tie add up over dozens of layers, but never to another network.
            let distances = distances(&prepared, &all, kernels, 4);
            let mean = distances.iter().sum::<f32>() / distances.len() as f32;
            assert!(mean <= 0.03, "{name} {kernels:?}: {distances:?}");
        }
    }
}

#[test]
fn several_configs_at_once_give_the_same_sums_on_every_device_s_kernels() {
    let prepared = network("mobilenet_v2");
    let points = prepared.points.len() as u32;
    let config = |choice: Choice, from: u32| {
        BitConfig::against(bits(8), (from..points).step_by(3).map(|point| (PointIndex(point), choice)))
    };
    let configs = [config(bits(4), 0), BitConfig::baseline(), config(Choice::Float, 1), config(bits(3), 2)];
    let configs: Vec<&BitConfig> = configs.iter().collect();
    let digest = Digest::of(b"any");
    let sums = |kernels| {
        let context = EvaluateContext {
            prepared: digest,
            data: digest,
            images: ImageRange { start: 0, len: 8 },
            numerics: Numerics::Float,
            baseline: bits(8),
            points: prepared.points.iter().map(|point| point.name.clone()).collect(),
        };
        let materials = Materials { prepared: Arc::clone(&prepared), images: Arc::new(images()), context };
        let evaluator = Evaluator::with_kernels(materials, 2, &Device::Cpu, kernels).unwrap();
        let whole = evaluator.context().whole();
        let (sums, _) = evaluator.evaluate_all(&configs, whole, &AtomicBool::new(false)).unwrap().unwrap();
        sums.into_iter().map(Result::unwrap).collect::<Vec<Evaluation>>()
    };

    let expected = sums(Kernels::named("scalar").unwrap());
    for kernels in ON_DEVICES {
        for (found, expected) in sums(kernels).iter().zip(&expected) {
            let near = |found: f64, expected: f64| (found - expected).abs() <= 0.02 * expected.abs();
            assert_eq!(found.n, expected.n);
            assert!(near(found.loss_sum, expected.loss_sum), "{kernels:?}: {found:?} {expected:?}");
            assert!(near(found.signal_sum, expected.signal_sum), "{kernels:?}: {found:?} {expected:?}");
            assert!(found.correct.abs_diff(expected.correct) <= 2, "{kernels:?}: {found:?} {expected:?}");
        }
    }
}

#[test]
fn blocks_of_a_gpu_are_as_large_as_their_unfolded_images_allow() {
    let graph = |channels, size| {
        let architecture = architecture("resnet18").unwrap();
        let input = architecture.input(Shape::image(channels, size, size));
        Graph::new("blocks", input)
    };
    let convolved = |size| {
        let mut graph = graph(64, size);
        let conv = Conv2d {
            out_channels: 8,
            kernel: [3, 3],
            stride: [1, 1],
            padding: bitloop_core::graph::Padding::all(1),
            dilation: [1, 1],
            groups: 1,
            bias: false,
        };
        graph.push("conv", Op::Conv2d(conv), &[bitloop_core::graph::INPUT]);
        composed::block_images(&graph).unwrap()
    };

    // 56x56 pixels of 64 channels, nine times: 1,806,336 values of 2^28.
    assert_eq!(convolved(56), 148);
    assert_eq!(convolved(8), 500);
    assert_eq!(convolved(1024), 1);
}
