//! Networks with quantizers against compositions of candle's operators, and the tape's inference against the executor.

use bitloop_core::graph::{INPUT, Linear, Op};
use bitloop_core::qkeras::Quantizer;
use bitloop_core::trial::NodeQuantizers;
use candle_core::Tensor;

use super::quantized::Function;
use super::tests::{CLASSES, Case, Learned, assert_close, averaged, candle, conv, graph, mixed};
use super::*;
use crate::executor::{FloatPass, forward};
use crate::qkeras::{Channel, Phase, Values, fit};
use crate::rng::rng;

fn quantizer(text: &str) -> Option<Quantizer> {
    (!text.is_empty()).then(|| text.parse().unwrap())
}

/// Quantizers of nodes: kernel, bias, activation; the kernel's as a layer makes it.
fn quantizers(nodes: &[(&str, [&str; 3])]) -> BTreeMap<String, NodeQuantizers> {
    let of = |[kernel, bias, activation]: [&str; 3]| NodeQuantizers {
        kernel: quantizer(kernel).map(|kernel| kernel.as_kernel()),
        bias: quantizer(bias),
        activation: quantizer(activation),
    };
    nodes.iter().map(|(node, texts)| ((*node).to_owned(), of(*texts))).collect()
}

/// Quantizers at kernels of all kinds, before and behind batch norms, in place of rectifiers and behind other nodes.
fn everywhere() -> BTreeMap<String, NodeQuantizers> {
    quantizers(&[
        ("stem", ["quantized_bits(4,0,1)", "quantized_bits(6,1,1)", ""]),
        ("relu", ["", "", "quantized_relu(4,2)"]),
        ("depthwise", ["quantized_bits(3,0,1)", "", "quantized_bits(6,3,1,alpha=1.0)"]),
        ("left_relu", ["", "", "quantized_relu(4,2,negative_slope=0.25)"]),
        ("grouped", ["ternary", "", ""]),
        ("norm", ["", "", "quantized_bits(5,2,1,alpha='auto')"]),
        ("pointwise", ["quantized_po2(4)", "quantized_po2(4)", ""]),
        ("sum_relu", ["", "", "quantized_relu_po2(4,4)"]),
        ("flat", ["", "", "quantized_bits(8,4,1)"]),
        ("features", ["binary", "", "quantized_tanh(6)"]),
        ("dense", ["quantized_linear(6,0,alpha='auto_po2')", "quantized_bits(8,2,1)", ""]),
    ])
}

#[test]
fn gradients_pass_quantizers_as_in_their_composition() {
    let relu = quantizers(&[
        ("stem", ["quantized_bits(4,0,1)", "", ""]),
        ("relu", ["", "", "quantized_relu(4,1)"]),
        ("dense", ["quantized_bits(4,0,1)", "quantized_bits(4)", ""]),
    ]);
    for (graph, quantizers, images) in [(mixed(), everywhere(), 3), (averaged(), relu, 7)] {
        let case = Case { quantizers, ..Case::new(graph, images) };

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
fn quantizers_keep_threads_and_instruction_sets_out_of_the_bits() {
    let mut drawn = everywhere();
    drawn.extend(quantizers(&[
        ("grouped", ["stochastic_ternary", "", "quantized_bits(5,2,1,use_stochastic_rounding=True)"]),
        ("features_relu", ["", "", "quantized_relu(3,1,use_stochastic_rounding=True)"]),
    ]));
    let case = Case { quantizers: drawn, ..Case::new(mixed(), 21) };
    let learn = |threads: usize, isa: Isa| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let Learned { loss, logits, gradients, running } = pool.install(|| case.learn(isa));
        let values = gradients.into_values().chain(running.into_values()).flatten().chain(logits);
        (loss.to_bits(), values.map(f32::to_bits).collect::<Vec<_>>())
    };

    let expected = learn(1, Isa::Scalar);

    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        for threads in [1, 2, 4] {
            assert!(learn(threads, isa) == expected, "{isa:?} on {threads} threads");
        }
    }
}

/// Values of every size, with ties of codes and both ends among them.
fn values() -> Vec<f32> {
    let mut rng = rng(5, 0);
    let edges = [0.0, -0.0, 1e-40, -1e-40, 1e30, -1e30, 0.9375, 0.96875, 1.875, -1.0, 6.0];
    let halves = (-80..80).map(|half| half as f32 / 32.0);
    let normal = (0..3000).map(|index| (rng.normal() * f64::from(index % 7 + 1) / 2.0) as f32);
    edges.into_iter().chain(halves).chain(normal).collect()
}

#[test]
fn kernels_of_fixed_point_have_the_bits_of_the_quantizers() {
    let texts = [
        "quantized_relu(4)",
        "quantized_relu(8,3)",
        "quantized_relu(2,-1)",
        "quantized_relu(1)",
        "quantized_relu(4,2,negative_slope=0.25)",
        "quantized_relu(6,1,0,0.5,qnoise_factor=0.5)",
        "quantized_relu(4,2,relu_upper_bound=1.5,is_quantized_clip=False)",
        "quantized_relu(4,2,is_quantized_clip=False)",
        "quantized_bits(4)",
        "quantized_bits(4,1,1)",
        "quantized_bits(2,0,1,alpha=0.3)",
        "quantized_bits(8,2,0,keep_negative=False)",
        "quantized_bits(5,1,qnoise_factor=0.25)",
        "quantized_bits(16,6,1,alpha=1.0)",
    ];
    let x = values();
    let mut rng = rng(6, 0);
    let dy: Vec<f32> = x.iter().map(|_| rng.normal() as f32).collect();
    let shape = [x.len()];
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for text in texts {
        let quantizer: Quantizer = text.parse().unwrap();
        let Function::Plain(activation) = Function::of(&quantizer) else { panic!("{text} has a kernel") };
        let at = Values { data: &x, shape: &shape, channel: Channel::Last };
        let fitted = fit(&quantizer, at, Fitting::default(), &mut Seeded::new(0, 0)).unwrap();
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        fitted.forward(&x, &mut y);
        fitted.backward(&x, &dy, &mut dx);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let (mut found, mut passed) = (vec![0.0; x.len()], dy.clone());

            activation.forward(isa, &x, &mut found);
            activation.backward(isa, &x, &mut passed);

            assert_eq!(bits(&found), bits(&y), "{text} with {isa:?}");
            assert_eq!(bits(&passed), bits(&dx), "{text} with {isa:?}");
        }
    }
}

#[test]
fn what_draws_or_looks_at_all_values_has_no_such_kernel() {
    for text in ["quantized_bits(4,alpha='auto')", "quantized_relu(4,use_stochastic_rounding=True)", "binary"]
    {
        let function = Function::of(&text.parse().unwrap());
        assert!(matches!(function, Function::Fitted(_)), "{text}");
    }
}

#[test]
fn inference_gives_the_logits_of_the_executor() {
    let mut dropping = graph();
    let stem = dropping.push("stem", Op::Conv2d(conv(8, [3, 3], [2, 2])), &[INPUT]);
    let dropped = dropping.push("dropped", Op::Dropout { rate: 0.5 }, &[&stem]);
    let flat = dropping.push("flat", Op::Flatten, &[&dropped]);
    dropping.push("dense", Op::Linear(Linear { out_features: CLASSES, bias: true }), &[&flat]);
    for graph in [mixed(), averaged(), dropping] {
        let mut case = Case::new(graph, 9);
        // Statistics that are not those of the batch.
        let mut rng = rng(8, 0);
        case.running.values_mut().flatten().for_each(|value| *value += rng.uniform() as f32);
        let before = case.running.clone();
        let (mut running, mut gradients) = (case.running.clone(), BTreeMap::new());
        let mut tape = Tape::new(&case.graph, "dense", &case.quantizers).unwrap();
        let mut pass = case.pass(Isa::best(), (&mut running, &mut gradients));
        pass.fitting.phase = Phase::Inference;

        let logits = tape.forward(&mut pass, case.input()).unwrap().to_vec();

        let mut weights = BTreeMap::new();
        for (name, Parameter { shape, values }) in &case.parameters {
            let tensor = Tensor::from_slice(values, shape.as_slice(), case.images.device()).unwrap();
            weights.insert(name.clone(), tensor);
        }
        for (name, values) in &case.running {
            weights.insert(name.clone(), Tensor::new(values.as_slice(), case.images.device()).unwrap());
        }
        let pass = &mut FloatPass { weights: &weights };
        let expected = forward(&case.graph, &case.images, "dense", pass).unwrap();
        let expected = expected.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_close(&logits, &expected, "logits");
        assert_eq!(running, before);
    }
}

#[test]
fn quantizers_without_a_place_are_refused_by_name() {
    let refusals = [
        ("nowhere", ["", "", "quantized_relu(4)"], "no node"),
        ("relu", ["quantized_bits(4,0,1)", "", ""], "no kernel"),
        ("depthwise", ["", "quantized_bits(4)", ""], "no bias"),
        ("pool", ["", "quantized_bits(4)", ""], "no bias"),
    ];
    for (node, texts, expected) in refusals {
        let error = Tape::new(&mixed(), "dense", &quantizers(&[(node, texts)])).err().unwrap().to_string();
        assert!(error.contains(expected) && error.contains(node), "{error}");
    }

    let case = Case {
        quantizers: quantizers(&[("stem", ["quantized_bits(1,0,1)", "", ""])]),
        ..Case::new(mixed(), 2)
    };
    let mut tape = Tape::new(&case.graph, "dense", &case.quantizers).unwrap();
    let (mut running, mut gradients) = (BTreeMap::new(), BTreeMap::new());
    let error = tape.forward(&mut case.pass(Isa::best(), (&mut running, &mut gradients)), case.input());
    assert!(error.unwrap_err().to_string().contains("the weight quantizer of node `stem`"));
}
