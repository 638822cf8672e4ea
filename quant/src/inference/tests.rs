use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candle_core::Device;

use super::*;
use crate::engine::tests::everything;
use crate::evaluate::EvaluateError;
use crate::evaluate::tests::{composed_logits, images};
use crate::executor;
use crate::prepare::Prepared;

const IMAGES: usize = 5;

fn all(prepared: &Prepared, width: Option<u32>) -> BTreeMap<String, Option<u32>> {
    prepared.points.iter().map(|point| (point.name.clone(), width)).collect()
}

fn network(width: Option<u32>) -> Quantized {
    let prepared = everything();
    let widths = all(&prepared, width);
    Quantized::new(prepared, &widths).unwrap()
}

fn inference(network: &Quantized, images: usize, threads: usize) -> Inference {
    Inference::new(network, Setting { images, threads }).unwrap()
}

/// The first images of the tests' data set, as bytes and as the network's input.
fn pictures(network: &Quantized) -> (Vec<u8>, Vec<f32>) {
    let pixels = images().pixels_of(0..IMAGES).to_vec();
    let input = &network.prepared().model.graph.input;
    let values = executor::normalize(input, &pixels, IMAGES, &Device::Cpu).unwrap();
    (pixels, values.flatten_all().unwrap().to_vec1().unwrap())
}

#[test]
fn an_inference_gives_the_logits_that_an_evaluation_has() {
    for width in [None, Some(8), Some(16)] {
        let network = network(width);
        let (pixels, _) = pictures(&network);
        let found = inference(&network, 1, 1).outputs_of(&pixels).unwrap();

        let choices: Vec<_> =
            (0..network.prepared().points.len()).map(|index| network.choice(index)).collect();
        let expected = composed_logits(&network.shared(), &choices, IMAGES);

        assert_eq!(found.len(), expected.len());
        let spread = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
        let differs = |(found, expected): &(&f32, &f32)| (*found - *expected).abs() > 1e-3 * spread;
        let different = found.iter().zip(&expected).filter(differs).count();
        assert!(different * 10 < expected.len(), "{width:?}: {different} of {}", expected.len());
    }
}

#[test]
fn what_this_machine_lacks_is_told_from_what_no_machine_computes() {
    assert!(InferenceError::Kernels.is_of_this_machine());
    assert!(InferenceError::from(EvaluateError::Exact).is_of_this_machine());
    assert!(!InferenceError::from(EvaluateError::UnknownPoint { index: 9, points: 3 }).is_of_this_machine());
    assert!(!InferenceError::MissingPoint("conv.weight".to_owned()).is_of_this_machine());
}

#[test]
fn threads_share_the_images_and_change_no_bit() {
    let network = network(Some(8));
    let bits = |threads| {
        let mut inference = inference(&network, IMAGES, threads);
        inference.run(2);
        let parts: Vec<usize> = inference.parts.iter().map(|part| part.images).collect();
        (parts, inference)
    };

    let (alone, one) = bits(1);
    let (shared, several) = bits(3);
    let (most, _) = bits(9);

    assert_eq!((alone, shared, most), (vec![5], vec![2, 2, 1], vec![1; 5]));
    assert_eq!(one.outputs().len(), several.outputs().len());
    // Each part has pixels of its own, so that the same ones are compared here.
    let pixels: Vec<u8> = several.parts.iter().flat_map(|part| part.pixels.clone()).collect();
    let (mut one, several) = (one, several);
    assert_eq!(one.outputs_of(&pixels).unwrap(), several.outputs());
}

#[test]
fn drawn_pixels_are_the_same_every_time_and_not_of_one_colour() {
    let network = network(Some(8));
    let (first, second) = (inference(&network, 2, 1), inference(&network, 2, 1));

    assert_eq!(first.parts[0].pixels, second.parts[0].pixels);
    assert!(first.parts[0].pixels.iter().collect::<BTreeSet<_>>().len() > 50);
}

#[test]
fn every_kernel_is_told_with_its_node_and_changes_nothing() {
    for (width, threads) in [(Some(8), 1), (None, 1), (Some(8), 2)] {
        let network = network(width);
        let mut inference = inference(&network, 2, threads);
        inference.run(1);
        let expected = inference.outputs();
        let mut seen = Vec::new();

        inference.run_watched(&mut |node| seen.push(node));

        assert_eq!(inference.outputs(), expected);
        assert_eq!(seen.first(), Some(&0));
        assert_eq!(seen.len(), inference.node_of.len() + 1, "every step once, and the start");
        let names: BTreeSet<&str> = seen.iter().map(|node| inference.nodes()[*node].as_str()).collect();
        let graph = &network.prepared().model.graph;
        assert!(names.iter().all(|name| name.is_empty() || graph.node(name).is_some()), "{names:?}");
        // Layers stand for what is joined to them.
        for layer in ["stem", "depthwise", "grouped", "branch", "dense"] {
            assert!(names.contains(layer), "{layer} is not in {names:?}");
        }
        assert!(!names.contains("norm") && !names.contains("relu6") && !names.contains("input"), "{names:?}");
    }
}

#[test]
fn the_output_of_a_node_is_that_of_the_walk() {
    let network = network(Some(8));
    let (pixels, values) = pictures(&network);
    let walk = Walk::new(network.clone(), 1, &Device::Cpu).unwrap();
    for node in ["stem", "relu", "sum", "swish", "largest", "dense"] {
        let mut until = Inference::until(&network, node, Setting { images: 1, threads: 1 }).unwrap();
        let found = until.outputs_of(&pixels).unwrap();

        let expected = walk.outputs_of(Some(node), values.clone()).unwrap();

        assert_eq!(found.len(), expected.len(), "{node}");
        let spread = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
        let differs = |(found, expected): &(&f32, &f32)| (*found - *expected).abs() > 1e-3 * spread;
        let different = found.iter().zip(&expected).filter(differs).count();
        assert!(different * 10 < expected.len(), "{node}: {different} of {}", expected.len());
    }
}

#[test]
fn a_walk_computes_its_own_images_and_the_logits_of_others() {
    let network = network(None);
    let (_, values) = pictures(&network);
    let walk = Walk::new(network.clone(), 2, &Device::Cpu).unwrap();

    walk.run(2).unwrap();

    let choices: Vec<_> = (0..network.prepared().points.len()).map(|index| network.choice(index)).collect();
    let expected = composed_logits(&network.shared(), &choices, IMAGES);
    assert_eq!(walk.outputs_of(None, values).unwrap(), expected);
}

#[test]
fn pixels_are_found_back_and_other_values_refused() {
    let network = network(Some(8));
    let (pixels, mut values) = pictures(&network);

    assert_eq!(network.pixels(&values).unwrap(), pixels);
    for wrong in [f32::NAN, f32::INFINITY, 100.0, values[3] + 0.3 / (255.0 * 0.3)] {
        values[3] = wrong;
        let refused = network.pixels(&values);
        assert!(matches!(refused, Err(InferenceError::NoPixel { index: 3, .. })), "{wrong}");
    }
    assert!(matches!(network.pixels(&values[1..]), Err(InferenceError::Images { .. })));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let prepared = everything();
    let error = |widths: &BTreeMap<String, Option<u32>>| {
        Quantized::new(Arc::clone(&prepared), widths).map(|_| ()).unwrap_err().to_string()
    };
    let mut widths = all(&prepared, Some(8));
    let (name, _) = widths.pop_first().unwrap();
    assert!(error(&widths).contains(&format!("says nothing of point `{name}`")));
    for (bits, message) in [(1, "cannot have 1 bits"), (300, "cannot have 300 bits"), (7, "7 bits")] {
        widths.insert(name.clone(), Some(bits));
        assert!(error(&widths).contains(message), "{}", error(&widths));
    }
    widths.insert(name, None);
    widths.insert("nowhere.output".to_owned(), Some(8));
    assert!(error(&widths).contains("names point `nowhere.output`"));

    let network = network(Some(8));
    let new = |images, threads| Inference::new(&network, Setting { images, threads }).map(|_| ());
    assert!(matches!(new(0, 1), Err(InferenceError::Setting { .. })));
    assert!(matches!(new(1, 0), Err(InferenceError::Setting { .. })));
    let nowhere = Inference::until(&network, "nowhere", Setting { images: 1, threads: 1 }).map(|_| ());
    assert!(matches!(nowhere, Err(InferenceError::UnknownNode(_))));
    let walk = Walk::new(network.clone(), 1, &Device::Cpu).unwrap();
    assert!(matches!(walk.outputs_of(Some("nowhere"), Vec::new()), Err(InferenceError::UnknownNode(_))));
    assert!(matches!(walk.outputs_of(None, vec![0.0; 3]), Err(InferenceError::Images { .. })));
}
