//! The zoo against torchvision: names and shapes of all weights, counts, and what networks with known weights compute.
//!
//! `data/torchvision_reference.json` is made by `data/torchvision_reference.py`, which says from what.

#![expect(clippy::unwrap_used, reason = "a reference that cannot be read must fail the test")]

use std::collections::BTreeMap;

use bitloop_core::graph::{Graph, Shape};
use bitloop_quant::executor::{FloatPass, forward};
use bitloop_quant::zoo::{Zoo, architecture, keys};
use candle_core::{Device, Tensor};
use serde_json::Value;

/// Of the largest logit. Ours are computed in f32 and torchvision's in f64; 53 layers lose a few digits.
const RELATIVE: f64 = 2e-5;

fn reference() -> Value {
    serde_json::from_str(include_str!("data/torchvision_reference.json")).unwrap()
}

fn models(reference: &Value) -> impl Iterator<Item = (&String, &Value)> {
    reference["models"].as_object().unwrap().iter()
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize).collect()
}

fn zoo(name: &str, classes: usize, shape: Shape) -> Zoo {
    let architecture = architecture(name).unwrap();
    Zoo { classes: Some(classes), input: Some(architecture.input(shape)), ..Zoo::published(architecture) }
}

fn macs(graph: &Graph) -> u64 {
    graph.layer_costs().unwrap().iter().map(|layer| layer.macs).sum()
}

/// Numbers in -1..1 that depend on a name and a position alone, as in the script.
fn noise(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let start = name.bytes().fold(0_u32, |start, byte| start.wrapping_mul(31).wrapping_add(u32::from(byte)));
    (0..count as u32).map(move |index| {
        let mut x = index.wrapping_mul(2_654_435_761).wrapping_add(start);
        x ^= x >> 16;
        x = x.wrapping_mul(0x85eb_ca6b);
        x ^= x >> 13;
        f64::from(x) / f64::from(1_u32 << 31) - 1.0
    })
}

/// The weights of the script, by PyTorch's names.
fn state_dict(shapes: &BTreeMap<String, Vec<usize>>) -> BTreeMap<String, Tensor> {
    let tensors = shapes.iter().map(|(name, shape)| {
        let noise = noise(name, shape.iter().product());
        let spread = match shape.as_slice() {
            [_, inputs @ ..] if !inputs.is_empty() => (6.0 / inputs.iter().product::<usize>() as f64).sqrt(),
            _ => 0.3,
        };
        let is_scale = shape.len() == 1 && (name.ends_with(".weight") || name.ends_with(".running_var"));
        let middle = if is_scale { 1.0 } else { 0.0 };
        let values: Vec<f32> = noise.map(|value| (middle + spread * value) as f32).collect();
        (name.clone(), Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).unwrap())
    });
    tensors.collect()
}

fn shapes(model: &Value) -> BTreeMap<String, Vec<usize>> {
    let tensors = model["tensors"].as_object().unwrap().iter();
    tensors.map(|(name, shape)| (name.clone(), numbers(shape))).collect()
}

#[test]
fn golden_torchvision_parameters_and_multiplications() {
    let reference = reference();
    for (name, model) in models(&reference) {
        let published = Zoo::published(architecture(name).unwrap()).graph().unwrap();
        let small = zoo(name, 10, Shape::image(3, 32, 32)).graph().unwrap();

        assert_eq!(published.parameters().unwrap() as u64, model["parameters"].as_u64().unwrap(), "{name}");
        assert_eq!(macs(&published), model["macs"].as_u64().unwrap(), "{name}");
        assert_eq!(macs(&small), model["macs_32x32"].as_u64().unwrap(), "{name} at 32x32");
    }
}

#[test]
fn golden_torchvision_names_and_shapes_of_weights() {
    let reference = reference();
    for (name, model) in models(&reference) {
        let zoo = Zoo::published(architecture(name).unwrap());

        let result = keys::load(&zoo, state_dict(&shapes(model)));

        assert!(result.is_ok(), "{name}: {}", result.unwrap_err());
    }
}

#[test]
fn golden_torchvision_logits() {
    let reference = reference();
    let image = numbers(&reference["image"]);
    let pixels: Vec<f32> = noise("image", image.iter().product()).map(|value| value as f32).collect();
    let pixels = Tensor::from_vec(pixels, [&[1], image.as_slice()].concat(), &Device::Cpu).unwrap();
    for (name, model) in models(&reference) {
        let expected: Vec<f64> =
            model["logits"].as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap()).collect();
        let mut shapes = shapes(model);
        for shape in shapes.values_mut().filter(|shape| shape[0] == 1000) {
            shape[0] = expected.len();
        }
        let zoo = zoo(name, expected.len(), Shape(image.clone()));
        let loaded = keys::load(&zoo, state_dict(&shapes)).unwrap();

        let mut pass = FloatPass { weights: &loaded.weights };
        let logits = forward(&loaded.graph, &pixels, loaded.graph.logits().unwrap(), &mut pass).unwrap();

        let largest = expected.iter().fold(0.0_f64, |largest, logit| largest.max(logit.abs()));
        for (logit, expected) in
            logits.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().zip(expected)
        {
            let error = (f64::from(logit) - expected).abs() / largest;
            assert!(error < RELATIVE, "{name}: {logit} is not {expected}");
        }
    }
}
