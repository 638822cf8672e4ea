//! QKeras's quantizers as the GPU's text maps them, beside the CPU's.

use super::*;
use crate::qkeras::{Arithmetic, Channel as Axis, Fitted, Fitting, Phase, Seeded, Values, fit};

/// Channels, their values, and so all values; no multiple of a block.
const SHAPE: [usize; 2] = [5, 403];

/// Quantizers whose maps are made of sums, products, quotients and roundings alone.
const EXACT: [&str; 37] = [
    "quantized_bits(4,1)",
    "quantized_bits(4,1,1,alpha=0.5)",
    "quantized_bits(5,1,keep_negative=False)",
    "quantized_bits(1,0)",
    "quantized_bits(4,1,alpha='auto')",
    "quantized_bits(3,0,alpha='auto_po2')",
    "quantized_bits(4,0,alpha='auto',elements_per_scale=5)",
    "quantized_bits(4,1,use_stochastic_rounding=1)",
    "quantized_bits(4,1,qnoise_factor=0.4)",
    "quantized_bits(4,1,qnoise_factor=0.4,use_ste=False)",
    "quantized_relu(3,1)",
    "quantized_relu(4,2,negative_slope=0.25)",
    "quantized_relu(4,1,1)",
    "quantized_relu(4,1,1,0.5)",
    "quantized_relu(4,1,use_stochastic_rounding=1)",
    "quantized_relu(4,1,negative_slope=0.5,use_stochastic_rounding=1)",
    "quantized_relu(4,3,relu_upper_bound=1.3,is_quantized_clip=False)",
    "quantized_relu(4,1,enable_fast_inference=True)",
    "binary(alpha=1.0)",
    "binary(alpha='auto',use_01=True)",
    "binary(alpha='auto_po2')",
    "binary(alpha='auto',use_stochastic_rounding=1)",
    "ternary(alpha=1.0,threshold=0.4)",
    "ternary(alpha='auto')",
    "ternary(alpha='auto_po2')",
    "ternary(alpha='auto',use_stochastic_rounding=1)",
    "stochastic_binary(alpha='auto',use_real_sigmoid=False)",
    "stochastic_ternary(alpha='auto',use_real_sigmoid=False)",
    "bernoulli(alpha=1.0,use_real_sigmoid=False)",
    "quantized_tanh(4)",
    "quantized_tanh(4,symmetric=True,use_stochastic_rounding=True)",
    "quantized_sigmoid(4)",
    "quantized_linear(4,1)",
    "quantized_linear(4,1,alpha='auto')",
    "quantized_linear(4,1,keep_negative=False,use_stochastic_rounding=True,qnoise_factor=0.7)",
    "quantized_hswish(5,2)",
    "quantized_hswish(4,1,alpha='auto')",
];

/// Quantizers that take functions which another library computes to the last place but one.
const NEAR: [&str; 17] = [
    "binary",
    "ternary",
    "stochastic_binary(alpha='auto')",
    "stochastic_ternary(alpha='auto')",
    "bernoulli",
    "quantized_tanh(4,use_real_tanh=True)",
    "quantized_sigmoid(4,use_real_sigmoid=True)",
    "quantized_ulaw(4,1)",
    "quantized_ulaw(6,0,1,u=100.0)",
    "quantized_po2(4)",
    "quantized_po2(5,2)",
    "quantized_po2(4,quadratic_approximation=True)",
    "quantized_po2(4,log2_rounding='floor')",
    "quantized_po2(4,use_stochastic_rounding=True)",
    "quantized_relu_po2(4,2)",
    "quantized_relu_po2(4,2,0.5)",
    "quantized_relu_po2(4,2,0.5,use_stochastic_rounding=True)",
];

/// The golden data's tolerance for functions that are not rounded alike everywhere.
const TOLERANCE: f32 = 1e-6;

fn data() -> Vec<f32> {
    let mut rng = rng(34, 0);
    // Ties, ends and beyond, zeros, and what is tiny.
    let mut x: Vec<f32> = (-60..60).map(|eighths| eighths as f32 * 0.125).collect();
    x.extend([0.0, -0.0, 1e-8, -1e-8, 40.0, -40.0]);
    x.extend((x.len()..SHAPE[0] * SHAPE[1]).map(|_| rng.normal() as f32));
    x
}

impl Emulation {
    /// Both ways of a quantizer on a GPU's grid.
    fn qkeras(&self, fitted: &Fitted, [x, gradient]: [&[f32]; 2], launch: Launch) -> [Vec<f32>; 2] {
        let FittedMap { map, found, draws } = fitted.map();
        let header = [draws.len() as i64, found.len() as i64, x.len() as i64];
        let case = [memory(&[map]), memory(&header), memory(&found), memory(x)].concat();
        let draws = memory(&draws.concat());
        let forward = self.run(b'f', launch, &[&case[..], &draws].concat());
        [forward, self.run(b'b', launch, &[case, memory(gradient)].concat())]
    }

    fn assert_agrees(&self, text: &str, fitting: Fitting, agree: impl Fn(f32, f32) -> bool) {
        let [channels, each] = SHAPE;
        for (shape, channel) in [([channels, each], Axis::First), ([each, channels], Axis::Last)] {
            let x = data();
            let values = Values { data: &x, shape: &shape, channel };
            let fitted = fit(&text.parse().unwrap(), values, fitting, &mut Seeded::new(7, 1)).unwrap();
            self.assert_same(&format!("{text} {fitting:?} {channel:?}"), &fitted, (&x, &agree));
        }
    }

    fn assert_same(&self, text: &str, fitted: &Fitted, (x, agree): (&[f32], &impl Fn(f32, f32) -> bool)) {
        let gradient: Vec<f32> = x.iter().map(|x| 1.0 + 0.25 * x).collect();
        let mut expected = [vec![0.0; x.len()], vec![0.0; x.len()]];
        fitted.forward(x, &mut expected[0]);
        fitted.backward(x, &gradient, &mut expected[1]);

        for launch in [quantize::launch(x.len()), Launch { grid: [2, 1], block: [32, 1] }] {
            let found = self.qkeras(fitted, [x, &gradient], launch);

            for (way, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(found.len(), expected.len());
                for ((found, expected), x) in found.iter().zip(expected).zip(x) {
                    let what = ["value", "gradient"][way];
                    assert!(agree(*found, *expected), "{text}: {what} {found} at {x}, not {expected}");
                }
            }
        }
    }
}

fn fittings() -> [Fitting; 2] {
    let inference = Fitting::default();
    [inference, Fitting { phase: Phase::Training, clip_gradient: true, ..inference }]
}

#[test]
fn the_qkeras_kernel_computes_what_the_cpu_does_to_the_bit() {
    let emulation = Emulation::build();
    let same = |found: f32, expected: f32| found.to_bits() == expected.to_bits();
    for text in EXACT {
        for fitting in fittings() {
            emulation.assert_agrees(text, fitting, same);
        }
    }
    let fitting = Fitting { phase: Phase::Training, arithmetic: Arithmetic::Qkeras, clip_gradient: false };
    for text in ["quantized_relu(4,1,use_stochastic_rounding=1)", "ternary(alpha='auto')"] {
        emulation.assert_agrees(text, fitting, same);
    }
}

#[test]
fn the_qkeras_kernel_is_near_where_functions_are_not_rounded_alike() {
    let emulation = Emulation::build();
    let near = |found: f32, expected: f32| (found - expected).abs() <= TOLERANCE * (1.0 + expected.abs());
    for text in NEAR {
        for fitting in fittings() {
            emulation.assert_agrees(text, fitting, near);
        }
    }
}
