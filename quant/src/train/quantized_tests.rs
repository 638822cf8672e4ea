//! Trainings with quantizers, whole.

use std::sync::atomic::AtomicBool;

use bitloop_core::autoqkeras::Compat;
use bitloop_core::digest::Digest;
use bitloop_core::graph::{Graph, Input, Op};
use bitloop_core::qkeras::Quantizer;
use bitloop_core::spec::{Architecture, Augmentation, ConvBlock, Initializer, Optimizer, Separable};
use bitloop_core::trial::{
    ImageRange, ImagesOf, NodeQuantizers, RateSchedule, Recipe, Start, Trained, Training,
};

use candle_core::Device;

use super::finder::find;
use super::quantized::started;
use super::tests::images;
use super::*;
use crate::data::Images;
use crate::evaluate;
use crate::executor::normalize;
use crate::export::grids;
use crate::model::Model;
use crate::qkeras::{Arithmetic, FitError};
use crate::zoo;

const TRAINING: ImageRange = ImageRange { start: 0, len: 120 };
const VALIDATION: ImageRange = ImageRange { start: 120, len: 40 };

/// A convolution, a depthwise pair and a linear layer on the images of the float trainings' tests.
fn model(batch_norm: bool) -> Model {
    let architecture = Architecture::ConvBlock(ConvBlock {
        filters: vec![vec![4], vec![6]],
        kernel: 3,
        max_pooling: false,
        separable: Separable::Mobilenet,
        xnornet_trick: false,
        batch_norm,
        all_conv: false,
        dropout: 0.0,
        initializer: Initializer::HeNormal,
    });
    let input = Input { shape: images().shape, mean: vec![0.3], std: vec![0.2] };
    let graph = zoo::build(&architecture, "tiny", input, 2).unwrap();
    let weights = zoo::initial_weights(&graph, Initializer::HeNormal, 4).unwrap();
    Model::new(graph, weights).unwrap()
}

/// Four bits everywhere.
fn four_bits(graph: &Graph) -> BTreeMap<String, NodeQuantizers> {
    let [kernel, bias, relu] = ["quantized_bits(4,0,1)", "quantized_bits(4)", "quantized_relu(4,1)"]
        .map(|text| text.parse::<Quantizer>().unwrap());
    let of = |node: &bitloop_core::graph::Node| {
        let layer = |has_bias: bool| NodeQuantizers {
            kernel: Some(kernel.as_kernel()),
            bias: has_bias.then(|| bias.clone()),
            activation: None,
        };
        let quantizers = match &node.op {
            Op::Conv2d(conv) => layer(conv.bias),
            Op::Linear(linear) => layer(linear.bias),
            Op::Relu => NodeQuantizers { activation: Some(relu.clone()), ..NodeQuantizers::default() },
            _ => return None,
        };
        Some((node.name.clone(), quantizers))
    };
    graph.nodes.iter().filter_map(of).collect()
}

fn spec(model: &Model) -> Training {
    let data = Digest::of(b"images");
    Training {
        model: Digest::of(b"model"),
        outputs: BTreeMap::new(),
        start: Start::Model,
        quantizers: four_bits(&model.graph),
        training: ImagesOf { data, images: TRAINING },
        validation: ImagesOf { data, images: VALIDATION },
        recipe: Recipe {
            epochs: 12,
            first_epoch: 0,
            patience: None,
            batch: 15,
            optimizer: Optimizer::AdamW { learning_rate: 0.01, weight_decay: 0.0 },
            schedule: RateSchedule::Cosine,
            finds_rate: false,
            slower: BTreeMap::new(),
            clip_norm: None,
            label_smoothing: 0.0,
            augmentation: Augmentation { shift: 0, flip: false },
            seed: 7,
        },
        compat: Compat::Bitloop,
    }
}

type Fit = Result<Option<(Trained, Option<Model>)>, TrainError>;

fn fit_on(threads: usize, model: &Model, spec: &Training) -> Fit {
    let images = images();
    let materials = Materials { model, training: &images, validation: &images, spec };
    fit_quantized(&materials, threads, &AtomicBool::new(false))
}

fn fitted(model: &Model, spec: &Training) -> (Trained, Model) {
    let (trained, model) = fit_on(2, model, spec).unwrap().unwrap();
    (trained, model.unwrap())
}

fn values(model: &Model, name: &str) -> Vec<f32> {
    model.weights[name].flatten_all().unwrap().to_vec1().unwrap()
}

/// With every node's rate 0 nothing is learned.
fn frozen(model: &Model) -> BTreeMap<String, f64> {
    model.graph.nodes.iter().map(|node| (node.name.clone(), 0.0)).collect()
}

#[test]
fn a_network_of_four_bits_learns_and_its_best_epoch_is_given() {
    let model = model(true);
    let spec = spec(&model);

    let (trained, best) = fitted(&model, &spec);

    assert!(trained.accuracy() > 0.9, "{trained:?}");
    assert_eq!((trained.epochs, trained.n, trained.artifact), (12, 40, None));
    // Judging the given model again finds what its epoch was judged by.
    let mut again = spec;
    again.recipe.epochs = 0;
    let (judged, none) = fit_on(1, &best, &again).unwrap().unwrap();
    assert_eq!((judged.correct, judged.loss_sum), (trained.correct, trained.loss_sum));
    assert_eq!((judged.epochs, judged.best_epoch, none.is_none()), (0, 0, true));
    // Its quantizers are part of the judgement.
    again.quantizers.clear();
    let (float, _) = fit_on(1, &best, &again).unwrap().unwrap();
    assert_ne!(float.loss_sum, trained.loss_sum);
}

#[test]
fn any_number_of_threads_gives_the_same_model() {
    let model = model(true);
    let mut spec = spec(&model);
    spec.recipe.epochs = 3;
    spec.recipe.finds_rate = true;
    spec.recipe.clip_norm = Some(0.5);
    let drawn = "quantized_relu(4,1,use_stochastic_rounding=True)".parse().unwrap();
    let relu = model.graph.nodes.iter().find(|node| node.op == Op::Relu).unwrap();
    spec.quantizers.get_mut(&relu.name).unwrap().activation = Some(drawn);
    let bytes = |threads| {
        let (trained, model) = fit_on(threads, &model, &spec).unwrap().unwrap();
        (trained, model.unwrap().to_bytes().unwrap())
    };

    let expected = bytes(1);

    assert!(bytes(2) == expected && bytes(4) == expected);
    spec.recipe.seed += 1;
    assert!(fit_on(1, &model, &spec).unwrap().unwrap().1.unwrap().to_bytes().unwrap() != expected.1);
}

#[test]
fn parameters_with_a_quantizer_stay_within_its_range() {
    let model = model(true);
    let mut spec = spec(&model);
    spec.recipe.epochs = 2;
    spec.recipe.optimizer = Optimizer::AdamW { learning_rate: 3.0, weight_decay: 0.0 };
    let wide = "quantized_bits(4,1,1)".parse::<Quantizer>().unwrap().as_kernel();
    spec.quantizers.get_mut("dense").unwrap().kernel = Some(wide);

    let (_, model) = fitted(&model, &spec);

    let largest = |name: &str| values(&model, name).iter().fold(0.0_f32, |largest, w| largest.max(w.abs()));
    assert_eq!(largest("dense.weight"), 2.0);
    for (node, quantizers) in spec.quantizers.iter().filter(|(node, _)| *node != "dense") {
        if quantizers.kernel.is_some() {
            assert_eq!(largest(&format!("{node}.weight")), 1.0, "{node}");
        }
    }
    let free = model.weights.keys().find(|name| name.ends_with(".gamma")).unwrap();
    assert!(largest(free) > 1.0);
}

#[test]
fn training_ends_when_the_loss_no_longer_falls() {
    let model = model(false);
    let mut spec = spec(&model);
    spec.recipe.slower = frozen(&model);
    spec.recipe.patience = Some(2);

    let (trained, _) = fitted(&model, &spec);

    assert_eq!((trained.epochs, trained.best_epoch), (3, 1));
}

#[test]
fn a_node_learns_at_its_own_rate() {
    let model = model(true);
    let mut spec = spec(&model);
    spec.recipe.epochs = 1;
    spec.recipe.slower = BTreeMap::from([("dense".to_owned(), 0.0)]);

    let (_, learned) = fitted(&model, &spec);

    assert_eq!(values(&learned, "dense.weight"), values(&model, "dense.weight"));
    let other = model.weights.keys().find(|name| name.ends_with(".gamma")).unwrap();
    assert_ne!(values(&learned, other), values(&model, other));
}

#[test]
fn the_finder_takes_no_higher_rate_and_leaves_the_network_alone() {
    let model = model(true);
    let mut spec = spec(&model);
    spec.recipe.optimizer = Optimizer::Sgd { learning_rate: 50.0, momentum: 0.9, weight_decay: 0.0 };
    let images = images();
    let materials = Materials { model: &model, training: &images, validation: &images, spec: &spec };
    let mut session = started(&materials).unwrap();
    let before = (session.parameters.clone(), session.running.clone(), session.moments.clone());

    let found = find(&mut session, &AtomicBool::new(false)).unwrap().unwrap();

    assert!(found > 0.0 && found <= 50.0, "{found}");
    assert!((session.parameters, session.running, session.moments) == before);
    spec.recipe.epochs = 1;
    spec.recipe.finds_rate = true;
    assert_eq!(fitted(&model, &spec).0.learning_rate, found);
}

#[test]
fn a_loss_that_is_no_number_names_epoch_and_step() {
    let model = model(true);
    let mut spec = spec(&model);
    spec.quantizers.clear();
    spec.recipe.optimizer = Optimizer::Sgd { learning_rate: 1e30, momentum: 0.0, weight_decay: 0.0 };

    let error = fit_on(1, &model, &spec).unwrap_err();

    assert!(matches!(error, TrainError::Diverged { epoch: 1, step, .. } if step > 1), "{error}");
    spec.recipe.batch = 120;
    let error = fit_on(1, &model, &spec).unwrap_err();
    assert!(matches!(error, TrainError::DivergedBehind { epoch: 1, .. }), "{error}");
}

#[test]
fn a_stop_gives_nothing() {
    let (model, images) = (model(true), images());
    for epochs in [0, 2] {
        let mut spec = spec(&model);
        spec.recipe.epochs = epochs;
        let materials = Materials { model: &model, training: &images, validation: &images, spec: &spec };
        assert!(fit_quantized(&materials, 1, &AtomicBool::new(true)).unwrap().is_none());
    }
}

#[test]
fn changed_outputs_are_drawn_and_the_rest_starts_at_the_model() {
    let model = model(true);
    let pointwise = model.graph.nodes.iter().rfind(|node| matches!(node.op, Op::Conv2d(_))).unwrap();
    let first = model.graph.nodes.iter().find(|node| matches!(node.op, Op::Conv2d(_))).unwrap();
    let mut spec = spec(&model);
    spec.outputs = BTreeMap::from([(pointwise.name.clone(), 9)]);
    spec.recipe.epochs = 1;
    spec.recipe.slower = frozen(&model);
    let [first, changed] = [first, pointwise].map(|node| format!("{}.weight", node.name));

    let (_, kept) = fitted(&model, &spec);
    spec.start = Start::Drawn;
    let (_, drawn) = fitted(&model, &spec);

    assert_eq!(kept.weights[&changed].dims()[0], 9);
    assert_eq!(values(&kept, &first), values(&model, &first));
    assert_ne!(values(&drawn, &first), values(&model, &first));
    assert_eq!(values(&drawn, &changed), values(&kept, &changed));
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let model = model(true);
    type Change = fn(&mut Training);
    let changes: [(Change, &str); 7] = [
        (|spec| spec.recipe.batch = 1, "`batch`"),
        (|spec| spec.recipe.batch = 121, "121"),
        (|spec| spec.recipe.clip_norm = Some(0.0), "`clip_norm`"),
        (|spec| spec.recipe.slower = BTreeMap::from([("dense".to_owned(), -1.0)]), "`slower`"),
        (|spec| spec.validation.images.len = 1000, "1120"),
        (|spec| spec.outputs = BTreeMap::from([("dense".to_owned(), 1)]), "2 classes"),
        (
            |spec| spec.recipe.optimizer = Optimizer::AdamW { learning_rate: f64::NAN, weight_decay: 0.0 },
            "NaN",
        ),
    ];
    for (change, expected) in changes {
        let mut spec = spec(&model);
        change(&mut spec);
        let error = fit_on(1, &model, &spec).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(matches!(fit_on(0, &model, &spec(&model)), Err(TrainError::Lanes(_))));
}

#[test]
fn images_to_train_on_are_not_looked_at_without_epochs() {
    let model = model(true);
    let mut spec = spec(&model);
    spec.recipe.epochs = 0;
    let (validation, shape) = (images(), bitloop_core::graph::Shape::image(3, 1, 1));
    let training = Images { shape, pixels: Vec::new(), labels: Vec::new(), classes: 9 };
    let materials = Materials { model: &model, training: &training, validation: &validation, spec: &spec };

    let (trained, _) = fit_quantized(&materials, 1, &AtomicBool::new(false)).unwrap().unwrap();

    assert_eq!(trained.n, 40);
    assert!(trained.loss_sum > 0.0);
}

#[test]
fn quantized_weights_lie_on_their_grids_with_a_scale_per_filter() {
    let model = model(true);
    let quantizers = four_bits(&model.graph);

    let weights = quantized_weights(&model, &quantizers, Arithmetic::Corrected).unwrap();

    for (name, weight) in &weights {
        let (tensor, scale) = (&model.weights[name], weight.scale.as_ref().unwrap());
        let node = model.graph.node(name.rsplit_once('.').unwrap().0).unwrap();
        let is_depthwise = matches!(&node.op, Op::Conv2d(conv) if conv.groups > 1);
        let scales = if is_depthwise || name.ends_with(".bias") { 1 } else { tensor.dims()[0] };
        assert_eq!(scale.data.len(), scales, "{name}");
        let per_scale = weight.values.len() / scales;
        for (values, scale) in weight.values.chunks(per_scale).zip(&scale.data) {
            let codes = values.iter().map(|value| value * 8.0 / scale);
            assert!(
                codes.clone().all(|code| code.abs() <= 8.0 && (code - code.round()).abs() < 1e-4),
                "{name}"
            );
        }
    }
    let kernels = quantizers.values().filter(|quantizers| quantizers.kernel.is_some()).count();
    assert_eq!(weights.keys().filter(|name| name.ends_with(".weight")).count(), kernels);
    let unknown = BTreeMap::from([("nowhere".to_owned(), quantizers["dense"].clone())]);
    assert!(matches!(
        quantized_weights(&model, &unknown, Arithmetic::Corrected),
        Err(TrainError::Unquantizable { .. })
    ));
}

#[test]
fn in_qkeras_s_arithmetic_a_bias_has_a_scale_per_value_and_one_bit_with_a_scale_is_no_number() {
    let model = model(false);
    let mut spec = spec(&model);
    spec.quantizers = four_bits(&model.graph);
    for quantizers in spec.quantizers.values_mut().filter(|quantizers| quantizers.bias.is_some()) {
        quantizers.bias = Some("binary(alpha='auto')".parse().unwrap());
    }
    let corrected = fitted(&model, &spec).1;
    spec.compat = Compat::Qkeras;
    let qkeras = fitted(&model, &spec).1;

    assert_ne!(values(&corrected, "dense.bias"), values(&qkeras, "dense.bias"));
    let scales = |model, arithmetic| {
        let weights = quantized_weights(model, &spec.quantizers, arithmetic).unwrap();
        weights["dense.bias"].scale.as_ref().unwrap().data.len()
    };
    assert_eq!(scales(&corrected, Arithmetic::Corrected), 1);
    assert_eq!(scales(&qkeras, Arithmetic::Qkeras), 2);

    let one_bit = "quantized_bits(1,0,1,alpha='auto')".parse().unwrap();
    spec.quantizers.get_mut("dense").unwrap().kernel = Some(one_bit);
    assert!(matches!(fit_on(1, &model, &spec), Err(TrainError::NoNumbers { .. })));
    spec.compat = Compat::Bitloop;
    let refused = fit_on(1, &model, &spec);
    assert!(matches!(refused, Err(TrainError::Quantizer { source: FitError::OneBit, .. })), "{refused:?}");
}

/// Kernels of several families, and activations with and without a sign.
fn mixed(graph: &Graph) -> BTreeMap<String, NodeQuantizers> {
    let kernels =
        ["quantized_bits(3,0,1,alpha='auto')", "ternary(alpha='auto_po2')", "quantized_linear(4)", "binary"];
    let activations = ["quantized_relu(4,2)", "quantized_bits(5,2,1)", "quantized_tanh(4)"];
    let read = |text: &str| text.parse::<Quantizer>().unwrap();
    let (mut kernel, mut activation) = (kernels.iter().cycle(), activations.iter().cycle());
    let mut quantizers = four_bits(graph);
    for quantizers in quantizers.values_mut() {
        if quantizers.kernel.is_some() {
            quantizers.kernel = kernel.next().map(|text| read(text).as_kernel());
        }
        if quantizers.activation.is_some() {
            quantizers.activation = activation.next().map(|text| read(text));
        }
    }
    quantizers
}

#[test]
fn what_is_exported_recognizes_what_the_trained_network_does() {
    let model = model(true);
    let mut spec = spec(&model);
    for quantizers in [four_bits(&model.graph), mixed(&model.graph)] {
        spec.quantizers = quantizers;
        spec.recipe.epochs = 2;
        let (trained, learned) = fitted(&model, &spec);
        let (prepared, choices) = grids(&learned, &spec.quantizers, Compat::Bitloop).unwrap();

        let images = images();
        let judged = 120..160;
        let image = images.shape.elements();
        let pixels = &images.pixels[judged.start * image..judged.end * image];
        let input = normalize(&learned.graph.input, pixels, judged.len(), &Device::Cpu).unwrap();
        let output = evaluate::output(&prepared, |point| choices[point], &input).unwrap();
        let (mut correct, mut loss_sum) = (0, 0.0);
        for (chances, index) in output.to_vec2::<f32>().unwrap().iter().zip(judged) {
            let label = images.labels[index] as usize;
            let largest = (0..chances.len()).max_by(|a, b| chances[*a].total_cmp(&chances[*b])).unwrap();
            correct += u64::from(largest == label);
            loss_sum -= f64::from(chances[label]).ln();
        }

        assert_eq!(correct, trained.correct);
        assert!(
            (loss_sum - trained.loss_sum).abs() < 1e-3 * trained.loss_sum,
            "{loss_sum} {}",
            trained.loss_sum
        );
    }
}
