use bitloop_core::qkeras::Quantizer;
use bitloop_core::rng::rng;

use super::*;

/// Quantizers whose scales are found from values, in all families.
const AUTOMATIC: [&str; 9] = [
    "quantized_bits(4,1,alpha='auto')",
    "quantized_bits(4,alpha='auto_po2')",
    "quantized_linear(4,alpha='auto')",
    "quantized_linear(4,keep_negative=0,alpha='auto_po2')",
    "binary(alpha='auto')",
    "binary(use_01=1,alpha='auto_po2')",
    "ternary(alpha='auto')",
    "stochastic_ternary(alpha='auto_po2')",
    "quantized_hswish(4,1,alpha='auto')",
];

fn quantizer(text: &str) -> Quantizer {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn normal(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = rng(seed, 0);
    (0..count).map(|_| rng.normal() as f32).collect()
}

const TRAINING: Fitting =
    Fitting { phase: Phase::Training, arithmetic: Arithmetic::Corrected, clip_gradient: false };

fn fitted(text: &str, x: &[f32], shape: &[usize], fitting: Fitting) -> Result<Fitted, FitError> {
    let values = Values { data: x, shape, channel: Channel::Last };
    fit(&quantizer(text), values, fitting, &mut Seeded::new(7, 1))
}

fn quantized(text: &str, x: &[f32], shape: &[usize], fitting: Fitting) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len()];
    fitted(text, x, shape, fitting).unwrap_or_else(|error| panic!("{text}: {error}")).forward(x, &mut y);
    y
}

fn passed(text: &str, x: &[f32], fitting: Fitting) -> Vec<f32> {
    let mut passed = vec![f32::NAN; x.len()];
    let ones = vec![1.0; x.len()];
    fitted(text, x, &[x.len()], fitting).unwrap().backward(x, &ones, &mut passed);
    passed
}

fn qkeras() -> Fitting {
    Fitting { arithmetic: Arithmetic::Qkeras, ..Fitting::default() }
}

#[test]
fn channels_first_give_what_channels_last_give() {
    let (channels, rest) = (5, 8_000);
    let first = normal(channels * rest, 1);
    let last: Vec<f32> =
        (0..rest).flat_map(|i| (0..channels).map(move |c| c * rest + i)).map(|i| first[i]).collect();

    for text in AUTOMATIC {
        let values = Values { data: &first, shape: &[channels, 8, rest / 8], channel: Channel::First };
        let fitted = fit(&quantizer(text), values, Fitting::default(), &mut Seeded::new(0, 0)).unwrap();
        let mut y = vec![f32::NAN; first.len()];
        fitted.forward(&first, &mut y);

        let transposed = quantized(text, &last, &[8, rest / 8, channels], Fitting::default());
        for (place, value) in transposed.iter().enumerate() {
            assert_eq!(*value, y[place % channels * rest + place / channels], "{text} at {place}");
        }
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    let x = normal(60_000, 2);
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();

    for text in AUTOMATIC.iter().chain(&["bernoulli(alpha='auto')", "quantized_po2(4)"]) {
        let run = || quantized(text, &x, &[200, 300], TRAINING);
        assert_eq!(pool(1).install(run), pool(3).install(run), "{text}");
    }
}

#[test]
fn a_vector_has_one_scale_unless_it_is_as_in_qkeras() {
    let x = [0.5, -0.25, 0.125];

    let corrected = fitted("binary(alpha='auto')", &x, &[3], Fitting::default()).unwrap();
    let qkeras = fitted("binary(alpha='auto')", &x, &[3], qkeras()).unwrap();

    assert_eq!(corrected.scale().unwrap().data.len(), 1);
    assert_eq!(qkeras.scale().unwrap().data.len(), 3);
}

#[test]
fn axes_and_groups_share_scales() {
    let x = [1.0, 2.0, 4.0, 8.0, 0.5, 0.25, 0.125, 0.0];
    let scale = |arguments: &str, shape: &[usize]| {
        let text = format!("quantized_bits(2,1,alpha='auto',{arguments})");
        let scale =
            fitted(&text, &x, shape, Fitting::default()).map(|fitted| fitted.scale().cloned().unwrap());
        scale.map(|scale| (scale.shape, scale.data))
    };

    // With 2 bits and a unit of 2, a scale is the largest magnitude.
    assert_eq!(scale("scale_axis=0", &[2, 4]), Ok((vec![2, 1], vec![8.0, 0.5])));
    assert_eq!(scale("scale_axis=-1", &[2, 4]), Ok((vec![1, 4], vec![1.0, 2.0, 4.0, 8.0])));
    assert_eq!(scale("scale_axis=[1 2]", &[2, 2, 2]), Ok((vec![1, 2, 2], vec![1.0, 2.0, 4.0, 8.0])));
    assert_eq!(scale("scale_axis=[]", &[2, 4]), Ok((vec![1, 1], vec![8.0])));
    assert_eq!(scale("elements_per_scale=2", &[2, 4]), Ok((vec![1, 4], vec![2.0, 2.0, 8.0, 8.0])));
    assert!(matches!(scale("scale_axis=2", &[2, 4]), Err(FitError::Axes { .. })));
    assert!(matches!(scale("scale_axis=[0 2]", &[2, 2, 2]), Err(FitError::Axes { .. })));
    assert!(matches!(scale("elements_per_scale=3", &[2, 4]), Err(FitError::Group { length: 4, .. })));
}

#[test]
fn lists_of_scales_belong_to_channels() {
    let y = quantized("binary(alpha=[1 2])", &[1.0, 1.0, -1.0, -1.0], &[2, 2], Fitting::default());

    assert_eq!(y, [1.0, 2.0, -1.0, -2.0]);
    let three = fitted("binary(alpha=[1 2 3])", &[1.0; 4], &[2, 2], Fitting::default());
    assert_eq!(three.err(), Some(FitError::Scales { given: 3, channels: 2 }));
}

#[test]
fn kept_scales_are_not_found_again() {
    let text = "quantized_bits(4,alpha='auto',post_training_scale=[4 8])";
    let fitted = fitted(text, &[1.0; 4], &[2, 2], Fitting::default()).unwrap();

    assert_eq!(fitted.scale().unwrap().data, [4.0, 8.0]);
    let mut y = [0.0; 4];
    fitted.forward(&[1.0, 1.0, 0.3, 9.0], &mut y);
    assert_eq!(y, [1.0, 1.0, 0.5, 7.0]);
}

#[test]
fn values_without_the_shape_are_refused() {
    for shape in [&[3, 2][..], &[]] {
        let fitted = fitted("binary", &[1.0; 5], shape, Fitting::default());

        assert_eq!(fitted.err(), Some(FitError::Shape { values: 5, shape: shape.to_vec() }));
    }
}

#[test]
fn one_bit_with_an_automatic_scale_is_refused_or_no_number() {
    let text = "quantized_bits(1,alpha='auto')";

    assert_eq!(fitted(text, &[1.0, 2.0], &[2, 1], Fitting::default()).err(), Some(FitError::OneBit));
    assert!(quantized(text, &[1.0, 2.0], &[2, 1], qkeras()).iter().all(|y| y.is_nan()));
}

#[test]
fn ternary_values_with_a_given_scale_are_drawn_unless_it_is_as_in_qkeras() {
    let x = normal(4000, 3);
    let strict = Fitting { arithmetic: Arithmetic::Qkeras, ..TRAINING };

    let y = quantized("stochastic_ternary(alpha=1.0)", &x, &[400, 10], TRAINING);

    assert!([-1.0, 0.0, 1.0].iter().all(|code| y.contains(code)));
    let refused = fitted("stochastic_ternary(alpha=1.0)", &x, &[400, 10], strict);
    assert_eq!(refused.err(), Some(FitError::DrawnTernary));
}

#[test]
fn what_is_drawn_is_right_on_average() {
    let count = 40_000;
    for (text, x) in [
        ("quantized_bits(4,0,1,use_stochastic_rounding=1)", 0.3),
        ("quantized_relu(4,0,use_stochastic_rounding=1)", 0.3),
        ("quantized_relu(4,0,0,0.5,use_stochastic_rounding=1)", -0.3),
        ("quantized_linear(4,0,use_stochastic_rounding=1)", 0.3),
        ("quantized_tanh(4,1)", 0.3),
        ("quantized_po2(4,1,1)", 0.3),
        ("quantized_relu_po2(4,1,use_stochastic_rounding=1)", 0.3),
    ] {
        let y = quantized(text, &vec![x; count], &[count], TRAINING);
        let slope = if x < 0.0 { 0.5 } else { 1.0 };
        let mean = y.iter().map(|y| f64::from(*y)).sum::<f64>() / count as f64;

        // Steps are at most an eighth here, powers a quarter apart: five standard errors.
        assert!((mean - f64::from(slope * x)).abs() < 0.004, "{text}: {mean}");
        assert!(y.iter().any(|other| *other != y[0]), "{text}");
    }
}

#[test]
fn draws_come_back_with_their_seed_and_step() {
    let x = normal(1000, 4);
    let run = |seed, step| {
        let values = Values { data: &x, shape: &[100, 10], channel: Channel::Last };
        let fitted = fit(&quantizer("bernoulli"), values, TRAINING, &mut Seeded::new(seed, step)).unwrap();
        let mut y = vec![0.0; x.len()];
        fitted.forward(&x, &mut y);
        y
    };

    assert_eq!(run(1, 2), run(1, 2));
    assert_ne!(run(1, 2), run(1, 3));
    assert_ne!(run(1, 2), run(2, 2));
}

#[test]
fn binary_values_are_drawn_near_zero_alone() {
    let x = [0.001, -0.001, 0.0, 1.0, -1.0, 0.5].repeat(1000);

    let y = quantized("binary(alpha=1.0,use_stochastic_rounding=1)", &x, &[6000, 1], TRAINING);

    let ups = |column: usize| y.iter().skip(column).step_by(6).filter(|y| **y > 0.0).count();
    assert_eq!([ups(3), ups(4), ups(5)], [1000, 0, 1000]);
    assert!((400..600).contains(&ups(2)), "{}", ups(2));
    assert!(ups(1) > 0, "small values are put on zero, which has either sign");
}

#[test]
fn gradients_of_fixed_point_stop_where_it_clips_if_asked_to() {
    let x = [-3.0, -1.0, 0.5, 0.99, 3.0];
    let clipping = Fitting { clip_gradient: true, ..Fitting::default() };

    assert_eq!(passed("quantized_bits(4)", &x, Fitting::default()), [1.0; 5]);
    assert_eq!(passed("quantized_bits(4)", &x, clipping), [0.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(passed("quantized_bits(4,alpha='auto')", &x, clipping), [1.0; 5]);
}

#[test]
fn gradients_are_multiplied_by_what_comes_back() {
    let x = [-1.0, 0.25, 0.5];
    let fitted = fitted("quantized_relu(4,0)", &x, &[3], Fitting::default()).unwrap();
    let mut passed = [f32::NAN; 3];

    fitted.backward(&x, &[2.0, -3.0, 0.5], &mut passed);

    assert_eq!(passed, [0.0, -3.0, 0.5]);
}

#[test]
fn fast_relu_gives_codes_alone() {
    let y =
        quantized("quantized_relu(2,0,enable_fast_inference=1)", &[-1.0, 0.3, 9.0], &[3], Fitting::default());

    assert_eq!(y, [0.0, 0.25, 0.75]);
}

/// Draws that are spread evenly, so that means are what is expected.
struct Even;

impl Uniform for Even {
    fn fill(&mut self, draws: &mut [f32]) {
        let count = draws.len() as f32;
        draws.iter_mut().enumerate().for_each(|(index, draw)| *draw = (index as f32 + 0.5) / count);
    }
}

/// The mean of what each of the values becomes when they stand behind one another again and again, and the scale.
fn means(text: &str, values: &[f32]) -> (Vec<f64>, f64) {
    let count = 6_000;
    let x: Vec<f32> = (0..count * values.len()).map(|index| values[index % values.len()]).collect();
    let shape = [x.len(), 1];
    let values_of = Values { data: &x, shape: &shape, channel: Channel::Last };
    let fitted = fit(&quantizer(text), values_of, TRAINING, &mut Even).unwrap();
    let mut y = vec![0.0; x.len()];
    fitted.forward(&x, &mut y);
    let mean =
        |at: usize| y[at..].iter().step_by(values.len()).map(|y| f64::from(*y)).sum::<f64>() / count as f64;
    let scale = fitted.scale().map_or(1.0, |scale| f64::from(scale.data[0]));
    ((0..values.len()).map(mean).collect(), scale)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The deviation of values that stand equally often.
fn deviation(values: &[f32]) -> f64 {
    let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64;
    (values.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

#[test]
fn signs_are_drawn_with_the_probability_of_a_sigmoid() {
    let values = [-1.0, -0.2, -0.05, 0.0, 0.1, 0.3];
    for (text, spread) in [
        ("stochastic_binary(alpha=1.0)", 1.0),
        ("stochastic_binary(alpha='auto')", deviation(&values) + 1e-7),
        ("bernoulli(alpha=1.0)", 1.0),
        ("bernoulli(alpha='auto',temperature=3.0)", deviation(&values) + 1e-7),
    ] {
        let (found, scale) = means(text, &values);
        let temperature = if text.contains("temperature") { 3.0 } else { 6.0 };
        for (x, mean) in values.iter().zip(found) {
            let chance = sigmoid(temperature * f64::from(*x) / spread);
            let expected = if text.starts_with("bernoulli") { chance } else { 2.0 * chance - 1.0 };
            assert!(
                (mean / scale - expected).abs() < 2e-3,
                "{text} of {x}: {mean} / {scale}, not {expected}"
            );
        }
    }
}

#[test]
fn ternary_values_are_drawn_with_two_thresholds() {
    let values = [-1.0, -0.4, -0.1, 0.05, 0.3, 0.8];
    let (found, scale) = means("stochastic_ternary(alpha='auto')", &values);

    // By hand: five rounds of least squares from two thirds of the largest value.
    let wide: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
    let mut expected = 2.0 / 3.0;
    for _ in 0..5 {
        let kept = wide.iter().filter(|x| x.abs() >= expected / 2.0);
        let (sum, count) = kept.fold((0.0, 0.0), |(sum, count), x| (sum + x.abs(), count + 1.0));
        expected = sum / count;
    }
    assert!((scale - expected).abs() < 1e-5, "{scale}, not {expected}");
    let spread = deviation(&values) + 1e-7;
    for (x, mean) in wide.iter().zip(found) {
        let (x, threshold) = (x / spread, scale / (2.0 * spread));
        let expected = sigmoid(8.0 * (x - threshold)) + sigmoid(8.0 * (x + threshold)) - 1.0;
        assert!((mean / scale - expected).abs() < 2e-3, "{x}: {mean} / {scale}, not {expected}");
    }
}
