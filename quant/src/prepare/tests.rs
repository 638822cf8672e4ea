mod golden;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bitloop_core::digest::Digest;
use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding, Shape};
use bitloop_core::trial::{Biases, Calibration, Candidates, Guard, ImageRange, StepState, Transform};
use candle_core::Device;

use super::*;
use crate::model::expected_tensors;
use crate::quantizer::Grid;
use crate::rng::rng;

const IMAGES: usize = 60;

fn bits(bits: u8) -> Bits {
    Bits::new(bits).unwrap()
}

fn conv(out_channels: usize, groups: usize) -> Op {
    Op::Conv2d(Conv2d {
        out_channels,
        kernel: [3, 3],
        stride: [1, 1],
        padding: Padding::all(1),
        dilation: [1, 1],
        groups,
        bias: false,
    })
}

/// conv - bn - relu6 - depthwise - bn - relu6 - conv - bn - pool - linear.
fn graph() -> Graph {
    let input = Input { shape: Shape::image(2, 6, 6), mean: vec![0.5; 2], std: vec![0.25; 2] };
    let mut graph = Graph::new("separable", input);
    let mut last = INPUT.to_owned();
    for (index, op) in [conv(6, 1), conv(6, 6), conv(5, 1)].into_iter().enumerate() {
        let layer = graph.push(format!("conv{index}"), op, &[&last]);
        let norm = graph.push(format!("bn{index}"), Op::BatchNorm { eps: 1e-3 }, &[&layer]);
        last = graph.push(format!("act{index}"), Op::Relu6, &[&norm]);
    }
    graph.push("pool", Op::GlobalAveragePool, &[&last]);
    graph.push("fc", Op::Linear(Linear { out_features: 4, bias: true }), &["pool"]);
    graph
}

fn model() -> Model {
    let mut rng = rng(7, 0);
    let graph = graph();
    let weights = expected_tensors(&graph).unwrap().into_iter().map(|(name, shape)| {
        let mut value = || match name.rsplit_once('.') {
            Some((_, "running_var")) => 0.3 + rng.uniform() as f32,
            // Channels of very different range, which is what equalization is for: some hardly leave their bias, so that
            // there is something to absorb, and some pass the limit of ReLU6.
            Some((_, "gamma")) => 0.05 + 4.0 * (rng.uniform() as f32).powi(3),
            Some((_, "beta")) => 1.0 + rng.normal() as f32,
            _ => rng.normal() as f32,
        };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| value()).collect();
        (name.clone(), Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    });
    let mut model = Model::new(graph, weights.collect()).unwrap();
    // Without their mean the logits of images differ in which class is ahead.
    let mean = logits(&model, &pixels()).mean(0).unwrap();
    let centred = (&model.weights["fc.bias"] - mean).unwrap();
    model.weights.insert("fc.bias".to_owned(), centred);
    model
}

/// Images of one grey per channel with a little noise, as means over plain noise are all alike.
fn pixels() -> Vec<u8> {
    let mut rng = rng(9, 0);
    let mut pixels = Vec::new();
    for _ in 0..IMAGES * 2 {
        let grey = rng.below(226);
        pixels.extend((0..36).map(|_| (grey + rng.below(30)) as u8));
    }
    pixels
}

fn logits(model: &Model, pixels: &[u8]) -> Tensor {
    let x = crate::executor::normalize(&model.graph.input, pixels, IMAGES, &Device::Cpu).unwrap();
    let mut pass = crate::executor::FloatPass { weights: &model.weights };
    crate::executor::forward(&model.graph, &x, "fc", &mut pass).unwrap()
}

/// Images with the labels that the float network gives them, so that every change of its mind costs accuracy.
fn images(model: &Model) -> Images {
    let pixels = pixels();
    let labels = logits(model, &pixels).argmax(1).unwrap().to_vec1::<u32>().unwrap();
    Images { shape: Shape::image(2, 6, 6), pixels, labels, classes: 4 }
}

fn spec(transforms: &[Transform], drop_max_ppm: u32) -> PrepareSpec {
    let whole = ImageRange { start: 0, len: IMAGES as u64 };
    let any = Digest::of(b"any");
    let graph = match transforms.contains(&Transform::FoldBatchNorm) {
        true => graph().without_folded_batch_norms(),
        false => graph(),
    };
    PrepareSpec {
        model: any,
        data: any,
        images: whole,
        transforms: transforms.to_vec(),
        guard: Guard { data: any, images: whole, drop_max_ppm },
        candidates: Candidates::with_default_rules(vec![bits(2), bits(4)], vec![bits(4)], bits(8)),
        points: graph.points().unwrap(),
    }
}

fn prepared(spec: &PrepareSpec, threads: usize) -> (Prepared, Vec<PreparedStep>) {
    let model = model();
    let images = Arc::new(images(&model));
    let materials = Materials { model: &model, calibration: &images, guard: &images, spec };
    prepare(&materials, threads, &AtomicBool::new(false)).unwrap().unwrap()
}

const CHAIN: [Transform; 5] = [
    Transform::FoldBatchNorm,
    Transform::ReplaceRelu6,
    Transform::Equalize,
    Transform::HighBiasFold,
    Transform::BiasCorrection(BiasCorrection::Empirical),
];

#[test]
fn every_point_has_an_encoding_at_every_width_it_is_tried_at() {
    let (prepared, steps) = prepared(&spec(&[Transform::FoldBatchNorm], 0), 1);

    for (index, point) in prepared.points.iter().enumerate() {
        let widths: &[u8] = match point.kind {
            PointKind::Weight => &[2, 4, 8],
            PointKind::Activation => &[4, 8],
        };
        for width in 2..=8 {
            let found = prepared.encoding(index, bits(width));
            assert_eq!(found.is_ok(), widths.contains(&width), "{} at {width}", point.name);
        }
    }
    // Folding keeps the function, so nobody has to wait for it to be judged.
    assert_eq!(steps, []);
    assert!(!prepared.model.graph.nodes.iter().any(|node| matches!(node.op, Op::BatchNorm { .. })));
}

#[test]
fn each_transform_is_judged_and_named() {
    let (prepared, steps) = prepared(&spec(&CHAIN, 1_000_000), 2);

    let transforms: Vec<_> = steps.iter().map(|step| step.transform).collect();
    let expected: Vec<_> = std::iter::once(None).chain(CHAIN.map(Some)).collect();
    assert_eq!(transforms, expected);
    assert!(
        steps.iter().all(|step| step.state == StepState::Applied && step.n == IMAGES as u64),
        "{steps:?}"
    );
    assert_eq!((steps[0].float_correct, steps[0].baseline_correct), (IMAGES as u64, None));
    assert_eq!(steps[1].float_correct, IMAGES as u64, "folding keeps the function");
    assert!(steps[1..].iter().all(|step| step.baseline_correct.is_some()));
    assert!(!prepared.model.graph.nodes.iter().any(|node| node.op == Op::Relu6));
    assert!(prepared.corrected_bias("conv0", bits(2)).is_some());
    assert!(prepared.corrected_bias("fc", bits(8)).is_some());
}

#[test]
fn a_transform_that_costs_too_much_is_undone() {
    let (_, free) = prepared(&spec(&CHAIN[..2], 1_000_000), 1);
    let cost = free[1].float_correct - free[2].float_correct;
    assert!(cost > 0, "the network must depend on the limit of 6 for this test to say anything");

    let (prepared, steps) = prepared(&spec(&CHAIN[..3], 0), 1);

    assert_eq!(steps[2].state, StepState::Undone);
    assert_eq!(steps[2].float_correct, free[2].float_correct, "what was measured is still reported");
    assert!(prepared.model.graph.nodes.iter().any(|node| node.op == Op::Relu6));
    // With ReLU6 in place there is nothing that could be scaled.
    assert_eq!((steps[3].state, steps[3].changes), (StepState::Idle, 0));
    assert_eq!(steps[3].float_correct, steps[1].float_correct);
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let spec = spec(&CHAIN, 1_000_000);
    let (one, one_steps) = prepared(&spec, 1);
    let (three, three_steps) = prepared(&spec, 3);

    assert_eq!(one_steps, three_steps);
    assert!(one.to_bytes().unwrap() == three.to_bytes().unwrap());
}

#[test]
fn threads_that_are_not_the_preparations_own_take_no_part() {
    let mut spec = spec(&CHAIN, 1_000_000);
    // Weights too are searched for, channel by channel.
    spec.candidates.weights.calibration = Calibration::Sqnr;
    spec.candidates.activations.calibration = Calibration::TfEnhanced;
    // Before the gate is closed, as the network runs for the labels.
    let model = model();
    let images = Arc::new(images(&model));
    let materials = Materials { model: &model, calibration: &images, guard: &images, spec: &spec };
    let (gate, waiting) = (Mutex::new(()), AtomicUsize::new(0));
    let (done, is_done) = std::sync::mpsc::sync_channel(1);

    let finished = std::thread::scope(|scope| {
        let closed = gate.lock().unwrap();
        // All threads of the global pool wait until the preparation is done.
        scope.spawn(|| {
            rayon::broadcast(|_| {
                waiting.fetch_add(1, Ordering::Relaxed);
                drop(gate.lock());
            })
        });
        while waiting.load(Ordering::Relaxed) < rayon::current_num_threads() {
            std::thread::yield_now();
        }
        scope.spawn(|| {
            let prepared = prepare(&materials, 2, &AtomicBool::new(false));
            done.send(prepared.is_ok_and(|prepared| prepared.is_some()))
        });
        let finished = is_done.recv_timeout(Duration::from_secs(60));
        drop(closed);
        finished
    });

    assert_eq!(finished, Ok(true));
}

#[test]
fn no_threads_are_refused() {
    let model = model();
    let images = Arc::new(images(&model));
    let spec = spec(&[], 0);
    let materials = Materials { model: &model, calibration: &images, guard: &images, spec: &spec };

    let error = prepare(&materials, 0, &AtomicBool::new(false)).unwrap_err();

    assert!(matches!(error, PrepareError::Lanes(_)), "{error}");
}

#[test]
fn an_artifact_survives_its_bytes_and_damaged_ones_are_refused() {
    let mut spec = spec(&CHAIN, 1_000_000);
    spec.candidates.biases = Biases::Int32;
    let (prepared, _) = prepared(&spec, 1);
    let bytes = prepared.to_bytes().unwrap();

    let read = Prepared::from_bytes(&bytes).unwrap();

    assert_eq!((&read.points, read.biases), (&prepared.points, Biases::Int32));
    assert_eq!(read.encodings, prepared.encodings);
    assert_eq!(read.corrected.len(), prepared.corrected.len());
    assert!(read.to_bytes().unwrap() == bytes);
    for end in (0..bytes.len()).step_by(997) {
        assert!(Prepared::from_bytes(&bytes[..end]).is_err());
    }
    let mut rng = rng(3, 0);
    for _ in 0..2_000 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + rng.below(4) {
            let at = rng.below(damaged.len().min(20_000));
            damaged[at] = rng.below(256) as u8;
        }
        // Whatever comes out, it is an answer.
        let _ = Prepared::from_bytes(&damaged);
    }
}

#[test]
fn activations_with_a_scale_per_channel_are_refused() {
    let (mut prepared, _) = prepared(&spec(&CHAIN[..1], 0), 1);
    let is_activation = |point: &Point| point.kind == PointKind::Activation;
    let index = prepared.points.iter().position(is_activation).expect("a network has activations");
    let key = (index, bits(8));
    assert!(Prepared::from_bytes(&prepared.to_bytes().unwrap()).is_ok());
    let grid = Grid::new(0, 255, false).unwrap();
    prepared.encodings.insert(key, Encoding::given(grid, vec![0.1, 0.2], vec![-3, -4]).unwrap());

    let error = Prepared::from_bytes(&prepared.to_bytes().unwrap()).unwrap_err();

    let message = error.to_string();
    assert!(message.contains(&prepared.points[index].name) && message.contains("2 scales"), "{error}");
}

#[test]
fn tensors_that_are_not_finite_are_named() {
    let spec = spec(&CHAIN, 1_000_000);
    let nan = |tensor: &Tensor| (tensor.ones_like().unwrap() * f64::NAN).unwrap();
    let mut model = model();
    let images = Arc::new(images(&model));
    let broken = nan(&model.weights["conv1.weight"]);
    model.weights.insert("conv1.weight".to_owned(), broken);
    let materials = Materials { model: &model, calibration: &images, guard: &images, spec: &spec };
    let error = prepare(&materials, 1, &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("`conv1.weight`"), "{error}");

    let (mut prepared, _) = prepared(&spec, 1);
    let ((layer, bits), bias) = prepared.corrected.iter().next().expect("the chain corrects biases");
    let (key, bias) = ((layer.clone(), *bits), nan(bias));
    prepared.corrected.insert(key.clone(), bias);
    let error = Prepared::from_bytes(&prepared.to_bytes().unwrap()).unwrap_err();
    assert!(error.to_string().contains(&format!("`{}`", key.0)), "{error}");
}

#[test]
fn points_of_another_network_are_refused() {
    let mut spec = spec(&CHAIN[..1], 0);
    spec.points[1].node = "nowhere".to_owned();
    let model = model();
    let images = Arc::new(images(&model));
    let materials = Materials { model: &model, calibration: &images, guard: &images, spec: &spec };

    let error = prepare(&materials, 1, &AtomicBool::new(false)).unwrap_err();

    assert!(error.to_string().contains("`nowhere`"), "{error}");
}

#[test]
fn a_stopped_preparation_gives_nothing() {
    let spec = spec(&CHAIN, 0);
    let model = model();
    let images = Arc::new(images(&model));
    let materials = Materials { model: &model, calibration: &images, guard: &images, spec: &spec };

    assert!(prepare(&materials, 1, &AtomicBool::new(true)).unwrap().is_none());
}

/// An encoding of 8 bits that no calibration would find.
fn own_encoding(symmetric: bool) -> Encoding {
    let grid = if symmetric { Grid::new(-128, 127, true) } else { Grid::new(0, 255, false) };
    Encoding::given(grid.unwrap(), vec![0.12345], vec![if symmetric { 0 } else { -17 }]).unwrap()
}

#[test]
fn encodings_that_came_with_the_network_are_used_at_their_width_while_it_is_unchanged() {
    let own = [("conv1.weight", own_encoding(true)), ("act1.output", own_encoding(false))];
    let own = BTreeMap::from(own.map(|(point, encoding)| (point.to_owned(), encoding)));
    let found = |transforms: &[Transform], own: &BTreeMap<String, Encoding>| {
        let model = model().with_encodings(own.clone()).unwrap();
        let images = Arc::new(images(&model));
        let spec = spec(transforms, 1_000_000);
        let materials = Materials { model: &model, calibration: &images, guard: &images, spec: &spec };
        let prepared = prepare(&materials, 2, &AtomicBool::new(false)).unwrap().unwrap().0;
        assert_eq!(
            Prepared::from_bytes(&prepared.to_bytes().unwrap()).unwrap().encodings,
            prepared.encodings
        );
        prepared
    };

    let (with, without) = (found(&[], &own), found(&[], &BTreeMap::new()));

    for (key, encoding) in &with.encodings {
        let point = &with.points[key.0].name;
        match own.get(point).filter(|_| key.1 == bits(8)) {
            Some(own) => assert!(encoding == own && without.encodings[key] != *own, "{point}"),
            None => assert_eq!(encoding, &without.encodings[key], "{point} at {}", key.1),
        }
    }
    // A correction of biases changes no tensor that an encoding is of; folding does.
    let corrected = found(&CHAIN[4..], &own);
    assert_eq!(corrected.encodings, with.encodings);
    for transforms in [&CHAIN[..1], &CHAIN[1..2]] {
        assert_eq!(found(transforms, &own).encodings, found(transforms, &BTreeMap::new()).encodings);
    }
}
