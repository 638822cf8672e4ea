use std::sync::atomic::AtomicBool;

use bitloop_core::bits::Bits;
use bitloop_core::trial::{Calibration, Granularity, ImageRange, Scheme, WeightRule};

use super::*;
use crate::calibration::Sample;
use crate::data::Images;
use crate::quantizer::{Encoding, fake_quantize};

fn quantized(model: &Model, bits: u8) -> BTreeMap<String, Tensor> {
    let layers = model.graph.nodes.iter().filter(|node| node.op.has_weight());
    let names = layers.map(|node| format!("{}.weight", node.name));
    let nearest = names.map(|name| {
        let weight = &model.weights[&name];
        let bits = Bits::new(bits).unwrap();
        let rule = WeightRule {
            scheme: Scheme::Symmetric,
            granularity: Granularity::PerChannel,
            calibration: Calibration::MinMax,
        };
        let encoding = Encoding::of_weight(weight, rule, bits).unwrap();
        (name, fake_quantize(weight, &encoding).unwrap())
    });
    nearest.collect()
}

/// A folded network with a branch, a standalone batch norm and layers with and without bias.
fn network() -> Transformed {
    let mut graph = chain(&[
        ("conv", Conv { out: 4, kernel: 3, padding: 1, groups: 1, bias: false }.op()),
        ("norm", norm()),
        ("relu", Op::Relu6),
        ("depthwise", Conv { out: 4, kernel: 3, padding: 1, groups: 4, bias: false }.op()),
        ("relu_2", Op::Relu),
        ("alone", norm()),
        ("padded", Conv { out: 4, kernel: 3, padding: 1, groups: 1, bias: true }.op()),
    ]);
    graph.push("sum", Op::Add, &["padded", "relu_2"]);
    graph.push("pool", Op::GlobalAveragePool, &["sum"]);
    graph.push("dense", linear(5), &["pool"]);
    fold_batch_norm(&Transformed::new(model(graph, 21))).unwrap().0
}

fn blocks(network: &Transformed, sizes: &[usize]) -> Vec<Tensor> {
    let count = sizes.iter().sum();
    let all = images(&network.model.graph, count, &mut rng(31, 0));
    let mut start = 0;
    let block = |size: &usize| {
        start += size;
        all.narrow(0, start - size, *size).unwrap()
    };
    sizes.iter().map(block).collect()
}

fn correct(
    network: &Transformed,
    quantized: &BTreeMap<String, Tensor>,
    mode: Mode,
    blocks: Vec<Tensor>,
) -> Result<BTreeMap<String, Tensor>, TransformError> {
    let request = BiasCorrection { network, quantized, input: None, mode };
    Ok(bias_correction(&request, blocks, 2, &AtomicBool::new(false))?.unwrap())
}

/// Mean of a node's output per channel, with the given weights.
fn means(model: &Model, node: &str, blocks: &[Tensor]) -> Vec<f32> {
    let mut pass = FloatPass { weights: &model.weights };
    let all = Tensor::cat(blocks, 0).unwrap();
    let output = executor::forward(&model.graph, &all, node, &mut pass).unwrap();
    let output = output.transpose(0, 1).unwrap().contiguous().unwrap().flatten_from(1).unwrap();
    values(&output.mean(1).unwrap())
}

#[test]
fn every_layer_has_the_float_mean_once_the_ones_before_it_are_corrected() {
    let network = network();
    let quantized = quantized(&network.model, 3);
    let blocks = blocks(&network, &[5, 5, 2]);

    let biases = correct(&network, &quantized, Mode::Empirical, blocks.clone()).unwrap();

    let mut corrected = with_biases(&network.model, &biases).unwrap();
    corrected.weights.extend(quantized.clone());
    let mut uncorrected = network.model.clone();
    uncorrected.weights.extend(quantized);
    assert_eq!(biases.keys().collect::<Vec<_>>(), ["conv", "dense", "depthwise", "padded"]);
    for layer in biases.keys() {
        let float = means(&network.model, layer, &blocks);
        let distance = |model: &Model| {
            let means = means(model, layer, &blocks);
            means.iter().zip(&float).map(|(mean, float)| (mean - float).abs()).fold(0.0, f32::max)
        };
        assert!(distance(&corrected) < 2e-5, "{layer} {}", distance(&corrected));
        assert!(distance(&uncorrected) > 1e-3, "{layer}: there was nothing to correct");
    }
}

#[test]
fn float_weights_need_no_correction() {
    let network = network();
    for mode in [Mode::Empirical, Mode::Analytic] {
        let biases = correct(&network, &BTreeMap::new(), mode, blocks(&network, &[4])).unwrap();

        for (layer, bias) in &biases {
            let before = network.model.weights.get(&format!("{layer}.bias"));
            let before = before.map_or_else(|| vec![0.0; bias.elem_count()], values);
            assert_eq!(values(bias), before, "{layer} {mode:?}");
        }
    }
}

#[test]
fn the_result_depends_neither_on_threads_nor_on_blocks() {
    let network = network();
    let quantized = quantized(&network.model, 4);
    for mode in [Mode::Empirical, Mode::Analytic] {
        let request = BiasCorrection { network: &network, quantized: &quantized, input: None, mode };
        let run = |threads, sizes: &[usize]| {
            let blocks = blocks(&network, sizes);
            let biases = bias_correction(&request, blocks, threads, &AtomicBool::new(false));
            biases.unwrap().unwrap().into_values().flat_map(|bias| values(&bias)).collect::<Vec<f32>>()
        };

        let one = run(1, &[3, 3, 3]);

        assert_eq!(run(3, &[3, 3, 3]), one);
        for (left, right) in run(2, &[1, 8]).iter().zip(&one) {
            assert!((left - right).abs() < 1e-6, "{left} {right}");
        }
    }
}

#[test]
fn the_closed_form_agrees_with_measuring_whatever_the_sign_of_gamma() {
    // The first layer passes normal inputs on, so that what its batch norm says of its outputs is true.
    for activation in [Op::Identity, Op::Relu, Op::Relu6] {
        let mut nodes = vec![("first", dense(3, 1)), ("norm", norm())];
        nodes.extend(matches!(activation, Op::Relu | Op::Relu6).then_some(("clip", activation.clone())));
        nodes.push(("second", dense(6, 1)));
        let mut before = model(chain(&nodes), 4);
        set(&mut before, "first.weight", &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        set(&mut before, "first.bias", &[0.0; 3]);
        set(&mut before, "norm.running_mean", &[0.0; 3]);
        set(&mut before, "norm.running_var", &[1.0 - 1e-3; 3]);
        set(&mut before, "norm.gamma", &[1.5, -2.0, -0.5]);
        set(&mut before, "norm.beta", &[4.0, 0.7, -0.2]);
        let (network, _) = fold_batch_norm(&Transformed::new(before)).unwrap();
        let mut quantized = quantized(&network.model, 2);
        quantized.remove("first.weight");
        let blocks = blocks(&network, &[200]);

        let measured = correct(&network, &quantized, Mode::Empirical, blocks.clone()).unwrap();
        let computed = correct(&network, &quantized, Mode::Analytic, Vec::new()).unwrap();

        let was = weight(&network.model, "second.bias");
        let (measured, computed) = (values(&measured["second"]), values(&computed["second"]));
        let moved = was.iter().zip(&measured).map(|(was, is)| (was - is).abs()).fold(0.0, f32::max);
        assert!(moved > 0.1, "{activation:?}: there was nothing to correct");
        for (measured, computed) in measured.iter().zip(&computed) {
            // 16200 samples of deviation 2 at most, times a weight's error: five standard errors are below this.
            assert!((measured - computed).abs() < 0.1 * moved, "{activation:?}: {measured} {computed}");
        }
    }
}

#[test]
fn a_forward_fold_is_computed_from_the_running_mean() {
    let nodes = [("first", dense(3, 1)), ("relu", Op::Relu), ("norm", norm()), ("second", dense(4, 1))];
    let (network, _) = fold_batch_norm(&Transformed::new(model(chain(&nodes), 4))).unwrap();
    let quantized = quantized(&network.model, 2);

    let biases = correct(&network, &quantized, Mode::Analytic, Vec::new()).unwrap();

    let difference = (&network.model.weights["second.weight"] - &quantized["second.weight"]).unwrap();
    let mean = &network.norms.input_means["second"];
    let was = weight(&network.model, "second.bias");
    for (output, row) in difference.flatten_from(1).unwrap().to_vec2::<f32>().unwrap().iter().enumerate() {
        let expected: f32 = was[output] + row.iter().zip(mean).map(|(w, mean)| w * mean).sum::<f32>();
        assert!((values(&biases["second"])[output] - expected).abs() < 1e-5);
    }
}

#[test]
fn the_error_of_a_quantized_input_is_corrected_too() {
    let network = network();
    let grid = Encoding::from_range(-1.0, 3.0, Bits::new(2).unwrap(), false).unwrap();
    let none = BTreeMap::new();
    let request =
        BiasCorrection { network: &network, quantized: &none, input: Some(&grid), mode: Mode::Empirical };

    let biases = bias_correction(&request, blocks(&network, &[4]), 1, &AtomicBool::new(false));

    let conv = &biases.unwrap().unwrap()["conv"];
    assert_ne!(values(conv), weight(&network.model, "conv.bias"));
}

#[test]
fn a_stop_gives_nothing() {
    let network = network();
    let none = BTreeMap::new();
    let request = BiasCorrection { network: &network, quantized: &none, input: None, mode: Mode::Empirical };

    let biases = bias_correction(&request, blocks(&network, &[4]), 1, &AtomicBool::new(true));

    assert!(biases.unwrap().is_none());
}

#[test]
fn what_cannot_be_corrected_is_refused() {
    let network = network();
    let weight = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let refused = |name: &str, shape: &[usize]| {
        let quantized = BTreeMap::from([(name.to_owned(), weight(shape))]);
        correct(&network, &quantized, Mode::Empirical, blocks(&network, &[1])).unwrap_err().to_string()
    };
    assert!(refused("nowhere.weight", &[1]).contains("`nowhere.weight`"));
    assert!(refused("dense.weight", &[5, 3]).contains("5x3"));

    let none = correct(&network, &BTreeMap::new(), Mode::Empirical, Vec::new());
    assert!(matches!(none, Err(TransformError::NoImages)));

    let broken = BTreeMap::from([("conv.weight".into(), (weight(&[4, 3, 3, 3]) / 0.0).unwrap())]);
    let broken = correct(&network, &broken, Mode::Empirical, blocks(&network, &[1]));
    assert!(matches!(broken, Err(TransformError::NotFinite { layer }) if layer == "conv"));

    for (layer, len) in [("dense", 4), ("relu", 4), ("nowhere", 1)] {
        let biases = BTreeMap::from([(layer.to_owned(), weight(&[len]))]);
        let error = with_biases(&network.model, &biases).unwrap_err().to_string();
        assert!(error.contains(&format!("`{layer}`")), "{error}");
    }
}

#[test]
fn blocks_are_the_normalized_images_of_the_range() {
    let network = network();
    let shape = network.model.graph.input.shape.clone();
    let per_image = shape.elements();
    let pixels: Vec<u8> = (0..50 * per_image).map(|index| (index % 251) as u8).collect();
    let images = Images { shape, pixels, labels: vec![0; 50], classes: 1 };

    let sample = Sample {
        images: &images,
        range: ImageRange { start: 10, len: 40 },
        detail: crate::quantizer::Detail::RANGE,
    };
    let blocks = calibration_blocks(&network.model, sample).unwrap();

    assert_eq!(blocks.iter().map(|block| block.dims()[0]).collect::<Vec<_>>(), [32, 8]);
    let first = values(&blocks[0])[0];
    assert!((first - ((10 * per_image % 251) as f32 / 255.0 - 0.5) / 0.25).abs() < 1e-6, "{first}");
}

#[test]
fn the_memory_bound_counts_what_is_live_together() {
    let mut graph = chain(&[("conv", dense(4, 1)), ("relu", Op::Relu)]);
    graph.push("sum", Op::Add, &["relu", "conv"]);
    graph.push("pool", Op::GlobalAveragePool, &["sum"]);

    // Both inputs of the sum and its output, in two networks, in f32.
    assert_eq!(live_bytes_per_image(&graph).unwrap(), 3 * (4 * 9 * 9) * 2 * 4);
    // A layer's input, its output, and the quantized output once more.
    let alone = chain(&[("conv", dense(4, 1))]);
    assert_eq!(live_bytes_per_image(&alone).unwrap(), (2 * (3 + 4) + 4) * 9 * 9 * 4);
}
