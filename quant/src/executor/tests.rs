use bitloop_core::graph::{Conv2d, Linear, Padding, Pool, Shape};
use candle_core::DType;

use super::*;
use crate::rng::rng;

/// Sums of a few dozen products of numbers around 1, taken in another order.
const TOLERANCE: f32 = 1e-4;

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = rng(seed, 0);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(found: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    for (f, e) in values(found).iter().zip(values(expected)) {
        assert!((f - e).abs() <= TOLERANCE * (1.0 + e.abs()), "{what}: {f} is not {e}");
    }
}

fn image_input(channels: usize, size: usize) -> Input {
    Input { shape: Shape::image(channels, size, size), mean: vec![0.5; channels], std: vec![0.25; channels] }
}

const UNEVEN: Padding = Padding { top: 0, left: 1, bottom: 2, right: 1 };

#[test]
fn kernels_equal_what_other_devices_run() {
    let x = random(&[3, 4, 7, 6], 1);
    for (stride, groups) in [([1, 1], 1), ([2, 2], 1), ([1, 2], 1), ([2, 2], 2), ([2, 2], 4), ([3, 1], 4)] {
        let conv = Conv2d {
            out_channels: 4,
            kernel: [3, 2],
            stride,
            padding: UNEVEN,
            dilation: [groups.min(2), stride[0].min(2)],
            groups,
            bias: false,
        };
        let weight = random(&[4, 4 / groups, 3, 2], 2);
        let found = operators::Compute(Kernels::default())
            .conv2d([&x, &weight], &conv, &operators::After::default())
            .unwrap();
        assert_close(&found, &operators::conv2d_composed(&x, &weight, &conv).unwrap(), "conv2d");

        let pool = Pool { kernel: [3, 2], stride, padding: UNEVEN, count_padding: groups > 1 };
        let found = operators::Compute(Kernels::default()).max_pool(&x, &pool).unwrap();
        assert_close(&found, &operators::max_pool_composed(&x, &pool).unwrap(), "max pool");
        let found = operators::Compute(Kernels::default()).average_pool(&x, &pool).unwrap();
        assert_close(&found, &operators::average_pool_composed(&x, &pool).unwrap(), "average pool");
    }
}

#[test]
fn curves_equal_what_other_devices_run_and_what_their_formulas_give() {
    let x = Tensor::new(&[[-7.0_f32, -3.0, -1.5, -0.5], [0.0, 1.0, 2.5, 6.5]], &Device::Cpu).unwrap();
    let cases: [(Curve, [f32; 8]); 5] = [
        (Curve::LeakyRelu { slope: 0.1 }, [-0.7, -0.3, -0.15, -0.05, 0.0, 1.0, 2.5, 6.5]),
        (Curve::HardSwish, [0.0, 0.0, -0.375, -0.208_333, 0.0, 0.666_667, 2.291_667, 6.5]),
        (Curve::HardSigmoid { alpha: 0.2, beta: 0.5 }, [0.0, 0.0, 0.2, 0.4, 0.5, 0.7, 1.0, 1.0]),
        (Curve::Sigmoid, [0.000_911, 0.047_426, 0.182_426, 0.377_541, 0.5, 0.731_059, 0.924_142, 0.998_499]),
        (Curve::Clip { min: -1.0, max: 2.0 }, [-1.0, -1.0, -1.0, -0.5, 0.0, 1.0, 2.0, 2.0]),
    ];
    for (curve, expected) in cases {
        let expected = Tensor::from_slice(&expected, (2, 4), &Device::Cpu).unwrap();
        assert_close(
            &operators::Compute(Kernels::default()).curve(&x, curve).unwrap(),
            &expected,
            &format!("{curve:?}"),
        );
        assert_close(&operators::curve_composed(&x, curve).unwrap(), &expected, &format!("{curve:?}"));
    }
}

#[test]
fn operators_that_move_values_skip_the_batch() {
    let mut graph = Graph::new("layout", image_input(2, 3));
    graph.push("transpose", Op::Transpose { perm: vec![1, 2, 0] }, &[INPUT]);
    graph.push("slice", Op::Slice { axis: 1, start: 0, end: 3, step: 2 }, &["transpose"]);
    graph.push("pad", Op::Pad { before: vec![0, 1, 0], after: vec![0, 0, 1], value: 5.0 }, &["slice"]);
    graph.push("mean", Op::Mean { axes: vec![0, 2], keep: true }, &["pad"]);
    graph.push("reshape", Op::Reshape { shape: vec![3, 1] }, &["mean"]);
    graph.push("value", Op::Constant { shape: vec![3, 2] }, &[]);
    graph.push("mul", Op::Mul, &["reshape", "value"]);
    graph.push("concat", Op::Concat { axis: 1 }, &["mul", "reshape"]);
    let shapes: Vec<Vec<usize>> = graph.shapes().unwrap().into_iter().map(|shape| shape.0).collect();
    let value = Tensor::new(&[[1.0_f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu).unwrap();
    let weights = BTreeMap::from([("value.value".to_owned(), value)]);
    // Image 1 is image 0 plus 100: what leaks from one to the other would show.
    let pixels: Vec<f32> = (0..36).map(|i| (i % 18) as f32 + if i < 18 { 0.0 } else { 100.0 }).collect();
    let x = Tensor::from_vec(pixels, (2, 2, 3, 3), &Device::Cpu).unwrap();

    let y = forward(&graph, &x, "concat", &mut FloatPass { weights: &weights }).unwrap();

    let [a, b, c] = [5.0, (7.5 + 7.5 + 5.0) / 3.0, (9.5 + 9.5 + 5.0) / 3.0];
    let [b1, c1] = [(107.5 * 2.0 + 5.0) / 3.0, (109.5 * 2.0 + 5.0) / 3.0];
    let expected: Vec<f32> = [[a, b, c], [a, b1, c1]]
        .iter()
        .flat_map(|[a, b, c]| [*a, 2.0 * a, *a, 3.0 * b, 4.0 * b, *b, 5.0 * c, 6.0 * c, *c])
        .collect();
    assert_eq!(shapes.last().unwrap(), &[3, 3]);
    assert_close(&y, &Tensor::from_vec(expected, (2, 3, 3), &Device::Cpu).unwrap(), "concat");
}

#[test]
fn normalization_over_channels_and_slopes_equal_their_definition() {
    let mut graph = Graph::new("lrn", image_input(4, 1));
    graph.push("slopes", Op::PRelu, &[INPUT]);
    graph.push("lrn", Op::Lrn { size: 2, alpha: 0.5, beta: 2.0, bias: 1.0 }, &["slopes"]);
    let slope = Tensor::new(&[1.0_f32, 0.5, 0.25, 0.0], &Device::Cpu).unwrap();
    let weights = BTreeMap::from([("slopes.slope".to_owned(), slope)]);
    let x = Tensor::new(&[-1.0_f32, -2.0, 3.0, -4.0], &Device::Cpu).unwrap().reshape((1, 4, 1, 1)).unwrap();

    let y = forward(&graph, &x, "lrn", &mut FloatPass { weights: &weights }).unwrap();

    // Behind the slopes: -1, -1, 3, 0; each sum is over the channel and the next one.
    let expected = [-1.0 / 1.5_f32.powi(2), -1.0 / 3.5_f32.powi(2), 3.0 / 3.25_f32.powi(2), 0.0];
    assert_close(&y.flatten_all().unwrap(), &Tensor::new(&expected, &Device::Cpu).unwrap(), "lrn");
}

/// The operators of a plain network once each, on a 2x6x6 image.
fn all_operators() -> Graph {
    let mut graph = Graph::new("all", image_input(2, 6));
    let conv = Conv2d {
        out_channels: 3,
        kernel: [3, 3],
        stride: [1, 1],
        padding: Padding::all(1),
        dilation: [1, 1],
        groups: 1,
        bias: true,
    };
    let pool = Pool { kernel: [2, 2], stride: [2, 2], padding: Padding::default(), count_padding: false };
    graph.push("conv", Op::Conv2d(conv), &[INPUT]);
    graph.push("bn", Op::BatchNorm { eps: 1e-3 }, &["conv"]);
    graph.push("relu", Op::Relu, &["bn"]);
    graph.push("relu6", Op::Relu6, &["conv"]);
    graph.push("add", Op::Add, &["relu", "relu6"]);
    graph.push("max", Op::MaxPool(pool.clone()), &["add"]);
    graph.push("average", Op::AveragePool(pool), &["add"]);
    graph.push("concat", Op::Concat { axis: 0 }, &["max", "average"]);
    graph.push("same", Op::Identity, &["concat"]);
    graph.push("drop", Op::Dropout { rate: 0.5 }, &["same"]);
    graph.push("flatten", Op::Flatten, &["drop"]);
    let dense = Linear { out_features: 4, bias: true };
    graph.push("dense", Op::Linear(dense), &["flatten"]);
    graph.push("softmax", Op::Softmax { axis: 0 }, &["dense"]);
    graph
}

fn weights_of(graph: &Graph) -> BTreeMap<String, Tensor> {
    let tensors = crate::model::expected_tensors(graph).unwrap();
    let named = tensors.into_iter().enumerate().map(|(index, (name, shape))| {
        let tensor = random(&shape, 10 + index as u64);
        let is_variance = name.ends_with("running_var");
        (name, if is_variance { tensor.sqr().unwrap() } else { tensor })
    });
    named.collect()
}

#[test]
fn a_walk_computes_every_operator_with_its_inferred_shape() {
    let graph = all_operators();
    let weights = weights_of(&graph);
    let x = random(&[5, 2, 6, 6], 3);

    for (node, shape) in graph.nodes.iter().zip(graph.shapes().unwrap()) {
        let y = forward(&graph, &x, &node.name, &mut FloatPass { weights: &weights }).unwrap();
        assert_eq!(y.dims(), [&[5], shape.0.as_slice()].concat(), "{}", node.name);
    }

    let at = |name: &str| forward(&graph, &x, name, &mut FloatPass { weights: &weights }).unwrap();
    let conv = x.conv2d(&weights["conv.weight"], 1, 1, 1, 1).unwrap();
    let conv = conv.broadcast_add(&weights["conv.bias"].reshape((1, 3, 1, 1)).unwrap()).unwrap();
    assert_close(&at("conv"), &conv, "conv");
    let add = (at("bn").relu().unwrap() + conv.clamp(0f32, 6f32).unwrap()).unwrap();
    assert_close(&at("add"), &add, "add");
    let dense = at("flatten").matmul(&weights["dense.weight"].t().unwrap()).unwrap();
    assert_close(&at("dense"), &dense.broadcast_add(&weights["dense.bias"]).unwrap(), "dense");
    let sums = values(&at("softmax").sum(1).unwrap());
    assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
}

#[test]
fn a_folded_batch_norm_is_its_formula() {
    let weights = weights_of(&all_operators());
    let x = random(&[2, 3, 2, 2], 4);

    let found = folded_batch_norm(&weights, "bn", 1e-3).unwrap().apply(&x, Kernels::default()).unwrap();

    let part = |name: &str| values(&weights[&format!("bn.{name}")]);
    let expected = values(&x).into_iter().enumerate().map(|(index, value)| {
        let c = index / 4 % 3;
        let deviation = (part("running_var")[c] + 1e-3).sqrt();
        (value - part("running_mean")[c]) / deviation * part("gamma")[c] + part("beta")[c]
    });
    assert_close(
        &found,
        &Tensor::from_iter(expected, &Device::Cpu).unwrap().reshape((2, 3, 2, 2)).unwrap(),
        "bn",
    );
    assert!(folded_batch_norm(&weights, "nowhere", 1e-3).is_err());
}

/// Sees every output, so that nothing is computed together.
struct Watching<'a>(FloatPass<'a>);

impl Pass for Watching<'_> {
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
}

/// Chains of every kind, among them some that must not be joined.
fn chains() -> Graph {
    let mut graph = Graph::new("chains", image_input(2, 6));
    let conv = |groups| Conv2d {
        out_channels: 4,
        kernel: [3, 3],
        stride: [1, 1],
        padding: Padding::all(1),
        dilation: [1, 1],
        groups,
        bias: groups == 1,
    };
    graph.push("conv1", Op::Conv2d(conv(1)), &[INPUT]);
    graph.push("bn1", Op::BatchNorm { eps: 1e-3 }, &["conv1"]);
    graph.push("relu1", Op::Relu6, &["bn1"]);
    graph.push("conv2", Op::Conv2d(conv(4)), &["relu1"]);
    graph.push("relu2", Op::Relu, &["conv2"]);
    graph.push("bn2", Op::BatchNorm { eps: 1e-3 }, &["relu2"]);
    graph.push("conv3", Op::Conv2d(conv(1)), &["bn2"]);
    graph.push("bn3", Op::BatchNorm { eps: 1e-3 }, &["conv3"]);
    graph.push("add", Op::Add, &["bn3", "conv3"]);
    graph.push("relu3", Op::Relu, &["add"]);
    graph.push("relu4", Op::Relu6, &["relu3"]);
    graph.push("flatten", Op::Flatten, &["relu4"]);
    graph.push("dense", Op::Linear(Linear { out_features: 5, bias: true }), &["flatten"]);
    graph.push("relu5", Op::Relu, &["dense"]);
    graph
}

#[test]
fn nodes_computed_together_give_the_same_bits_as_one_by_one() {
    let graph = chains();
    let weights = weights_of(&graph);
    let x = random(&[9, 2, 6, 6], 7);

    for node in &graph.nodes {
        let together = forward(&graph, &x, &node.name, &mut FloatPass { weights: &weights }).unwrap();
        let alone = forward(&graph, &x, &node.name, &mut Watching(FloatPass { weights: &weights })).unwrap();

        let bits = |x: &Tensor| values(x).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(&together), bits(&alone), "{}", node.name);
    }
}

#[test]
fn what_follows_a_layer_equals_what_other_devices_run() {
    let (x, other) = (random(&[3, 4, 5, 3], 8), random(&[3, 4, 5, 3], 9));
    let norm = || Some(ScaleShift { scale: random(&[4], 10), shift: random(&[4], 11) });
    let bias = || Some(random(&[4], 12));
    for (bias, norm, upper) in [
        (None, None, None),
        (bias(), None, None),
        (None, norm(), Some(6.0)),
        (bias(), norm(), Some(f32::INFINITY)),
    ] {
        let after = operators::After { bias, norm, upper };

        let expected = after.composed(x.clone()).unwrap();
        assert_close(&operators::Compute(Kernels::default()).after(&x, &after).unwrap(), &expected, "after");
        let expected = after.composed((&x + &other).unwrap()).unwrap();
        assert_close(
            &operators::Compute(Kernels::default()).add(&x, &other, &after).unwrap(),
            &expected,
            "after a sum",
        );
    }
}

/// Doubles one node's output and counts what it sees.
struct Doubling<'a> {
    float: FloatPass<'a>,
    seen: Vec<String>,
}

impl Pass for Doubling<'_> {
    fn weight(&mut self, node: &Node) -> Result<Tensor> {
        self.float.weight(node)
    }

    fn bias(&mut self, node: &Node) -> Result<Option<Tensor>> {
        self.float.bias(node)
    }

    fn parameter(&mut self, node: &Node, part: &str) -> Result<Tensor> {
        self.float.parameter(node, part)
    }

    fn batch_norm(&mut self, node: &Node, eps: f64, x: &Tensor) -> Result<Tensor> {
        self.float.batch_norm(node, eps, x)
    }

    fn output(&mut self, node: &str, x: Tensor) -> Result<Tensor> {
        self.seen.push(node.to_owned());
        if node == INPUT { x * 2.0 } else { Ok(x) }
    }
}

#[test]
fn a_pass_sees_and_replaces_outputs_up_to_the_last_node() {
    let graph = all_operators();
    let weights = weights_of(&graph);
    let x = random(&[1, 2, 6, 6], 5);
    let mut pass = Doubling { float: FloatPass { weights: &weights }, seen: Vec::new() };

    let found = forward(&graph, &x, "conv", &mut pass).unwrap();

    let doubled = (&x * 2.0).unwrap();
    let expected = forward(&graph, &doubled, "conv", &mut FloatPass { weights: &weights }).unwrap();
    assert_eq!(values(&found), values(&expected));
    assert_eq!(pass.seen, ["input", "conv"]);
}

#[test]
fn mistakes_name_the_node() {
    let graph = all_operators();
    let mut weights = weights_of(&graph);
    weights.remove("dense.weight");
    let x = random(&[1, 2, 6, 6], 6);

    let error = |until: &str| {
        let result = forward(&graph, &x, until, &mut FloatPass { weights: &weights });
        result.unwrap_err().to_string()
    };
    assert!(error("nowhere").contains("`nowhere`"));
    assert!(error("dense").contains("`dense`"));
}

#[test]
fn pixels_are_normalized_per_channel() {
    let mut input = image_input(2, 1);
    input.mean = vec![0.0, 0.5];
    input.std = vec![1.0, 0.5];

    let x = normalize(&input, &[0, 255, 255, 0], 2, &Device::Cpu).unwrap();

    assert_eq!((x.dims(), x.dtype()), ([2, 2, 1, 1].as_slice(), DType::F32));
    assert_eq!(values(&x), [0.0, 1.0, 1.0, -1.0]);
    assert!(normalize(&input, &[0, 255, 255], 2, &Device::Cpu).is_err());
}
