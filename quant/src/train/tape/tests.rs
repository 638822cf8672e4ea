//! Whole networks against candle's own gradients and against finite differences.

use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Node, Op, Padding, Pool, Shape};
use bitloop_core::qkeras::Quantizer;
use bitloop_core::trial::NodeQuantizers;
use candle_core::{Device, Result, Tensor, Var};

use super::quantized::is_activation;
use super::*;
use crate::executor::{self, forward};
use crate::qkeras::{Channel, Operator, Phase};
use crate::rng::rng;
use crate::train::TrainError;
use crate::zoo;

pub(super) const CLASSES: usize = 5;
pub(super) const SIZE: [usize; 2] = [11, 9];
pub(super) const CHANNELS: usize = 2;
const SMOOTHING: f64 = 0.1;

pub(super) fn conv(out_channels: usize, kernel: [usize; 2], stride: [usize; 2]) -> Conv2d {
    Conv2d {
        out_channels,
        kernel,
        stride,
        padding: Padding { top: 1, left: 0, bottom: 2, right: 1 },
        dilation: [1, 1],
        groups: 1,
        bias: false,
    }
}

pub(super) fn graph() -> Graph {
    let [height, width] = SIZE;
    let input = Input { shape: Shape::image(CHANNELS, height, width), mean: vec![0.0; 2], std: vec![1.0; 2] };
    Graph::new("mixed", input)
}

/// Every kind of layer: two branches, one of them read twice, unequal padding, groups, dilation, both ends of features.
pub(super) fn mixed() -> Graph {
    let mut graph = graph();
    let pool = Pool { kernel: [3, 2], stride: [2, 2], padding: Padding::all(1), count_padding: false };
    let stem = graph.push("stem", Op::Conv2d(Conv2d { bias: true, ..conv(12, [3, 3], [1, 1]) }), &[INPUT]);
    let relu = graph.push("relu", Op::Relu, &[&stem]);
    let depthwise = Conv2d { groups: 12, dilation: [1, 2], ..conv(12, [3, 3], [2, 1]) };
    let left = graph.push("depthwise", Op::Conv2d(depthwise), &[&relu]);
    let left = graph.push("left_norm", Op::BatchNorm { eps: 1e-3 }, &[&left]);
    let left = graph.push("left_relu", Op::Relu6, &[&left]);
    let grouped = Conv2d { groups: 3, ..conv(18, [2, 3], [1, 2]) };
    let left = graph.push("grouped", Op::Conv2d(grouped), &[&left]);
    let dropped = graph.push("dropped", Op::Dropout { rate: 0.0 }, &[&left]);
    let norm = graph.push("norm", Op::BatchNorm { eps: 1e-5 }, &[&dropped]);
    let pointwise = Conv2d { padding: Padding::default(), bias: true, ..conv(18, [1, 1], [1, 1]) };
    let shortcut = graph.push("pointwise", Op::Conv2d(pointwise), &[&dropped]);
    let sum = graph.push("sum", Op::Add, &[&norm, &shortcut]);
    let sum = graph.push("sum_relu", Op::Relu, &[&sum]);
    let pooled = graph.push("pool", Op::MaxPool(pool), &[&sum]);
    let flat = graph.push("flat", Op::Flatten, &[&pooled]);
    let linear = Op::Linear(Linear { out_features: 16, bias: true });
    let features = graph.push("features", linear, &[&flat]);
    let features = graph.push("features_relu", Op::Relu, &[&features]);
    graph.push("dense", Op::Linear(Linear { out_features: CLASSES, bias: true }), &[&features]);
    graph
}

/// What is pooled to one pixel.
pub(super) fn averaged() -> Graph {
    let mut graph = graph();
    let stem = graph.push("stem", Op::Conv2d(conv(20, [3, 3], [2, 2])), &[INPUT]);
    let norm = graph.push("norm", Op::BatchNorm { eps: 1e-3 }, &[&stem]);
    let relu = graph.push("relu", Op::Relu, &[&norm]);
    let pooled = graph.push("pool", Op::GlobalAveragePool, &[&relu]);
    graph.push("dense", Op::Linear(Linear { out_features: CLASSES, bias: true }), &[&pooled]);
    graph
}

/// A value that is read under two names, of which one goes through a rectifier.
fn forked() -> Graph {
    let mut graph = graph();
    let stem = graph.push("stem", Op::Conv2d(conv(3, [3, 3], [2, 2])), &[INPUT]);
    let flat = graph.push("flat", Op::Flatten, &[&stem]);
    let same = graph.push("same", Op::Identity, &[&stem]);
    let relu = graph.push("relu", Op::Relu, &[&flat]);
    let linear = Op::Linear(Linear { out_features: 4, bias: false });
    let left = graph.push("left", linear.clone(), &[&relu]);
    let other = graph.push("other", Op::Flatten, &[&same]);
    let right = graph.push("right", linear, &[&other]);
    let sum = graph.push("sum", Op::Add, &[&left, &right]);
    graph.push("dense", Op::Linear(Linear { out_features: CLASSES, bias: true }), &[&sum]);
    graph
}

/// A network, images and labels.
pub(super) struct Case {
    pub(super) graph: Graph,
    pub(super) quantizers: BTreeMap<String, NodeQuantizers>,
    pub(super) parameters: BTreeMap<String, Parameter>,
    pub(super) running: BTreeMap<String, Vec<f32>>,
    /// `(images, channels, h, w)`.
    pub(super) images: Tensor,
    pub(super) labels: Vec<usize>,
}

/// What a step found.
pub(super) struct Learned {
    pub(super) loss: f64,
    pub(super) logits: Vec<f32>,
    pub(super) gradients: BTreeMap<String, Vec<f32>>,
    pub(super) running: BTreeMap<String, Vec<f32>>,
}

/// Values by the name of what they belong to.
type Named = BTreeMap<String, Vec<f32>>;

impl Case {
    pub(super) fn new(graph: Graph, count: usize) -> Self {
        let mut rng = rng(71, 0);
        let weights = zoo::initial_weights(&graph, bitloop_core::spec::Initializer::HeNormal, 5).unwrap();
        let (mut parameters, mut running) = (BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in weights {
            let mut values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            if name.contains(".running_") {
                running.insert(name, values);
                continue;
            }
            // Biases and the like begin as constants, which would hide mistakes.
            values.iter_mut().for_each(|value| *value += 0.1 * rng.normal() as f32);
            parameters.insert(name, Parameter { shape: tensor.dims().to_vec(), values });
        }
        let pixels = (0..count * CHANNELS * SIZE[0] * SIZE[1]).map(|_| rng.normal() as f32).collect();
        let images = Tensor::from_vec(pixels, (count, CHANNELS, SIZE[0], SIZE[1]), &Device::Cpu).unwrap();
        let labels = (0..count).map(|_| rng.below(CLASSES)).collect();
        Self { graph, quantizers: BTreeMap::new(), parameters, running, images, labels }
    }

    pub(super) fn learn(&self, isa: Isa) -> Learned {
        let mut tape = Tape::new(&self.graph, "dense", &self.quantizers).unwrap();
        let mut last = None;
        // The second time in memory that has been used.
        for _ in 0..2 {
            let (mut running, mut gradients) = (self.running.clone(), BTreeMap::new());
            let mut pass = self.pass(isa, (&mut running, &mut gradients));
            let logits = tape.forward(&mut pass, self.input()).unwrap().to_vec();
            let targets = Targets { labels: &self.labels, classes: CLASSES, smoothing: SMOOTHING };
            let (loss, to_logits) = cross_entropy(&logits, &targets);
            tape.backward(&mut pass, to_logits);
            last = Some(Learned { loss, logits, gradients, running });
        }
        last.unwrap()
    }

    /// A step of a training.
    pub(super) fn pass<'a>(
        &'a self,
        isa: Isa,
        (running, gradients): (&'a mut Named, &'a mut Named),
    ) -> Pass<'a> {
        Pass {
            isa,
            images: self.labels.len(),
            parameters: &self.parameters,
            running,
            gradients,
            fitting: Fitting { phase: Phase::Training, ..Fitting::default() },
            dropout: rng(1, 1),
            draws: Seeded::new(1, 1),
        }
    }

    /// The images with channels last.
    pub(super) fn input(&self) -> Vec<f32> {
        self.images.permute([0, 2, 3, 1]).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn loss(&self) -> f64 {
        self.learn(Isa::best()).loss
    }
}

/// The same network out of candle's tensors, with quantizers of kernels, biases and nodes' outputs.
struct Candle {
    variables: BTreeMap<String, Var>,
    quantizers: BTreeMap<String, NodeQuantizers>,
}

impl Candle {
    fn variable(&self, node: &Node, part: &str) -> Option<Tensor> {
        self.variables.get(&format!("{}.{part}", node.name)).map(|variable| variable.as_tensor().clone())
    }
}

impl executor::Pass for Candle {
    fn weight(&mut self, node: &Node) -> Result<Tensor> {
        let weight = self.variable(node, "weight").unwrap();
        let channel = kernel_channel(
            if let Op::Conv2d(conv) = &node.op { conv.groups } else { 1 },
            weight.dims()[0],
            weight.dims()[1],
        );
        let kernel = self.quantizers.get(&node.name).and_then(|quantizers| quantizers.kernel.clone());
        Ok(quantized(kernel, channel, weight))
    }

    fn bias(&mut self, node: &Node) -> Result<Option<Tensor>> {
        let quantizer = self.quantizers.get(&node.name).and_then(|quantizers| quantizers.bias.clone());
        Ok(self.variable(node, "bias").map(|bias| quantized(quantizer, Channel::Last, bias)))
    }

    fn output(&mut self, node: &str, x: Tensor) -> Result<Tensor> {
        let quantizer = self.quantizers.get(node).and_then(|quantizers| quantizers.activation.clone());
        // Channels are the second axis of images, and the last one of features.
        match x.rank() {
            4 => quantized(quantizer, Channel::Last, x.permute([0, 2, 3, 1])?).permute([0, 3, 1, 2]),
            _ => Ok(quantized(quantizer, Channel::Last, x)),
        }
    }

    fn parameter(&mut self, node: &Node, part: &str) -> Result<Tensor> {
        Ok(self.variable(node, part).unwrap())
    }

    fn batch_norm(&mut self, node: &Node, eps: f64, x: &Tensor) -> Result<Tensor> {
        let along = |part| self.variable(node, part).unwrap().reshape((1, (), 1, 1));
        let mean = |x: &Tensor| x.mean_keepdim(0)?.mean_keepdim(2)?.mean_keepdim(3);
        let centered = x.broadcast_sub(&mean(x)?)?;
        let deviation = (mean(&centered.sqr()?)? + eps)?.sqrt()?;
        centered.broadcast_div(&deviation)?.broadcast_mul(&along("gamma")?)?.broadcast_add(&along("beta")?)
    }
}

/// A quantizer's composition with candle's operators.
fn quantized(quantizer: Option<Quantizer>, channel: Channel, x: Tensor) -> Tensor {
    let Some(quantizer) = quantizer else { return x };
    let fitting = Fitting { phase: Phase::Training, ..Fitting::default() };
    Operator { quantizer, channel, fitting }.apply(&x, &mut Seeded::new(0, 0)).unwrap().0
}

/// The graph without the activation functions that quantizers take the place of.
fn replaced(case: &Case) -> Graph {
    let mut graph = case.graph.clone();
    for node in &mut graph.nodes {
        let quantizers = case.quantizers.get(&node.name);
        if quantizers.is_some_and(|quantizers| quantizers.activation.is_some()) && is_activation(&node.op) {
            node.op = Op::Identity;
        }
    }
    graph
}

pub(super) fn candle(case: &Case) -> (f64, Vec<f32>, BTreeMap<String, Vec<f32>>) {
    let variable = |(name, Parameter { shape, values }): (&String, &Parameter)| {
        let tensor = Tensor::from_slice(values, shape.as_slice(), &Device::Cpu).unwrap();
        (name.clone(), Var::from_tensor(&tensor).unwrap())
    };
    let mut pass = Candle {
        variables: case.parameters.iter().map(variable).collect(),
        quantizers: case.quantizers.clone(),
    };
    let logits = forward(&replaced(case), &case.images, "dense", &mut pass).unwrap();
    let images = case.labels.len();
    let everywhere = SMOOTHING as f32 / CLASSES as f32;
    let mut targets = vec![everywhere; images * CLASSES];
    for (image, label) in case.labels.iter().enumerate() {
        targets[image * CLASSES + label] += 1.0 - SMOOTHING as f32;
    }
    let targets = Tensor::from_vec(targets, (images, CLASSES), &Device::Cpu).unwrap();
    let log_probabilities = candle_nn::ops::log_softmax(&logits, 1).unwrap();
    let loss = (log_probabilities * targets).unwrap().sum_all().unwrap();
    let loss = (loss * (-1.0 / images as f64)).unwrap();
    let gradients = loss.backward().unwrap();
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let named = pass.variables.iter();
    let named = named.map(|(name, variable)| (name.clone(), values(gradients.get(variable).unwrap())));
    (f64::from(loss.to_scalar::<f32>().unwrap()), values(&logits), named.collect())
}

#[track_caller]
pub(super) fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        // Sums in another order; small ones are what is left of large ones.
        let tolerance = 2e-3 * expected.abs() + 2e-4 * largest + 1e-6;
        assert!((found - expected).abs() <= tolerance, "{what}[{index}]: {found} is not {expected}");
    }
}

#[test]
fn loss_and_gradients_equal_those_of_candle() {
    for (graph, images) in [(mixed(), 37), (mixed(), 2), (averaged(), 19), (forked(), 5)] {
        let case = Case::new(graph, images);

        let Learned { loss, logits, gradients, .. } = case.learn(Isa::best());

        let (expected_loss, expected_logits, expected) = candle(&case);
        assert!((loss - expected_loss).abs() < 1e-4, "{loss} is not {expected_loss}");
        assert_close(&logits, &expected_logits, "logits");
        assert_eq!(gradients.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, gradient) in &gradients {
            assert_close(gradient, &expected[name], name);
        }
    }
}

#[test]
fn gradients_are_what_the_loss_changes_by() {
    let mut case = Case::new(averaged(), 16);
    let gradients = case.learn(Isa::best()).gradients;
    for (name, gradient) in gradients {
        // Along the gradient the loss grows by its length.
        let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let step = 2e-3;
        let mut moved = |direction: f64| {
            let before = case.parameters[&name].values.clone();
            let parameter = case.parameters.get_mut(&name).unwrap();
            for (value, g) in parameter.values.iter_mut().zip(&gradient) {
                *value += (direction * step * f64::from(*g) / length) as f32;
            }
            let loss = case.loss();
            case.parameters.get_mut(&name).unwrap().values = before;
            loss
        };
        let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
        assert!((slope - length).abs() < 0.02 * length + 1e-4, "{name}: {slope} is not {length}");
    }
}

#[test]
fn threads_and_instruction_sets_do_not_show_in_the_bits() {
    let case = Case::new(mixed(), 21);
    let learn = |threads: usize, isa: Isa| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let Learned { loss, logits, gradients, running } = pool.install(|| case.learn(isa));
        let values = gradients.into_values().chain(running.into_values()).flatten().chain(logits);
        (loss.to_bits(), values.map(f32::to_bits).collect::<Vec<_>>())
    };

    let expected = learn(1, Isa::Scalar);

    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        for threads in [1, 3] {
            assert!(learn(threads, isa) == expected, "{isa:?} on {threads} threads");
        }
    }
}

#[test]
fn running_statistics_move_a_tenth_towards_those_of_the_batch() {
    let case = Case::new(averaged(), 12);
    let running = case.learn(Isa::best()).running;

    let weight = &case.parameters["stem.weight"];
    let weight = Tensor::from_slice(&weight.values, weight.shape.as_slice(), &Device::Cpu).unwrap();
    let Op::Conv2d(stem) = &case.graph.nodes[0].op else { panic!("the stem is a convolution") };
    let x = crate::kernels::conv2d(&case.images, &weight, stem).unwrap();
    let x = x.transpose(0, 1).unwrap().flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
    for (channel, values) in x.iter().enumerate() {
        let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let variance = squares / (values.len() - 1) as f64;
        assert!((f64::from(running["norm.running_mean"][channel]) - 0.1 * mean).abs() < 1e-5);
        assert!((f64::from(running["norm.running_var"][channel]) - (0.9 + 0.1 * variance)).abs() < 1e-4);
    }
}

#[test]
fn dropout_drops_its_share_and_keeps_the_mean() {
    let mut graph = graph();
    let dropped = graph.push("dropped", Op::Dropout { rate: 0.25 }, &[INPUT]);
    let flat = graph.push("flat", Op::Flatten, &[&dropped]);
    graph.push("dense", Op::Linear(Linear { out_features: CLASSES, bias: true }), &[&flat]);
    let (mut gradients, mut running) = (BTreeMap::new(), BTreeMap::new());
    let case = Case::new(graph, 40);
    let ones = vec![1.0; case.images.elem_count()];
    let mut tape = Tape::new(&case.graph, "dropped", &BTreeMap::new()).unwrap();
    let mut pass = case.pass(Isa::best(), (&mut running, &mut gradients));

    let y = tape.forward(&mut pass, ones.clone()).unwrap().to_vec();
    pass.fitting.phase = Phase::Inference;
    let kept = tape.forward(&mut pass, ones.clone()).unwrap().to_vec();

    assert_eq!(kept, ones);
    let kept = y.iter().filter(|value| **value > 0.0).count() as f64 / y.len() as f64;
    assert!((kept - 0.75).abs() < 0.02, "{kept}");
    assert!(y.iter().all(|value| *value == 0.0 || *value == 1.0 / 0.75));
}

#[test]
fn no_more_memory_is_kept_than_a_step_takes() {
    let mut buffers = Buffers::default();
    let taken = [buffers.take(3), buffers.take(3)];

    for buffer in taken.into_iter().chain([vec![0.0; 3], vec![0.0; 4]]) {
        buffers.give(buffer);
    }

    let kept: Vec<(usize, usize)> = buffers.0.iter().map(|(len, shelf)| (*len, shelf.free.len())).collect();
    assert_eq!(kept, [(3, 2)]);
}

#[test]
fn an_operator_without_gradients_is_refused_by_name() {
    let mut graph = graph();
    let swish = graph.push("swish", Op::HardSwish, &[INPUT]);
    let flat = graph.push("flat", Op::Flatten, &[&swish]);
    graph.push("dense", Op::Linear(Linear { out_features: CLASSES, bias: true }), &[&flat]);

    let error = Tape::new(&graph, "dense", &BTreeMap::new()).err().unwrap();

    assert!(matches!(error, TrainError::Operator { ref node } if node == "swish"), "{error}");
}
