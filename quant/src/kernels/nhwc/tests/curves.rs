use super::*;
use crate::kernels::nhwc::math;
use crate::kernels::nhwc::simd::One;

/// A curve's value for the value at a place.
type Definition<'a> = dyn Fn(usize, f32) -> f32 + 'a;

const PLAIN: Ending = Ending::Float { lo: f32::NEG_INFINITY, hi: f32::INFINITY, grid: None };

/// How many f32 lie between two values, from 0 for equal ones.
fn distance(a: f32, b: f64) -> f64 {
    let nearest = b as f32;
    if a == nearest || a.is_nan() && b.is_nan() {
        return 0.0;
    }
    let unit = f64::from(f32::from_bits(nearest.abs().to_bits() + 1)) - f64::from(nearest.abs());
    (f64::from(a) - b).abs() / unit
}

#[test]
fn exponentials_are_within_one_unit_of_the_last_place() {
    for at in 0..400_000 {
        let x = -110.0 + at as f32 * 0.0005;
        let expected = f64::from(x).exp();
        if expected < f64::from(f32::MAX) {
            assert!(distance(math::exp(One, x), expected) <= 1.0, "exp({x}) = {}", math::exp(One, x));
        }
    }
    assert_eq!([0.0, f32::NEG_INFINITY, f32::INFINITY].map(|x| math::exp(One, x)), [1.0, 0.0, f32::INFINITY]);
    assert!(math::exp(One, f32::NAN).is_nan());
}

#[test]
fn powers_are_within_one_unit_of_the_last_place() {
    let rng = &mut rng(101, 0);
    for _ in 0..100_000 {
        let base = (10.0 * rng.normal()).exp() as f32;
        let exponent = 2.0 * rng.normal() as f32;
        let expected = f64::from(base).powf(f64::from(exponent));
        assert!(distance(math::power(base, exponent), expected) <= 1.0, "{base}^{exponent}");
    }
    for (base, exponent) in [(0.0, 0.5), (0.0, -1.0), (0.0, 0.0), (f32::INFINITY, 0.5), (f32::INFINITY, -2.0)]
    {
        assert_eq!(math::power(base, exponent), base.powf(exponent));
    }
    assert!(math::power(-1.0, 0.5).is_nan() && math::power(f32::NAN, 0.5).is_nan());
}

fn with_special(rng: &mut Rng, len: usize) -> Vec<f32> {
    let special =
        [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 100.0, -100.0, -88.0, f32::MAX, f32::MIN];
    let mut x = floats(rng, len);
    x.iter_mut().for_each(|x| *x *= 4.0);
    let places = x.iter_mut().step_by(3);
    places.zip(special).for_each(|(x, special)| *x = special);
    x
}

#[test]
fn curves_are_their_definitions_on_every_instruction_set() {
    for step in 0..100 {
        let rng = &mut rng(102, step);
        let channels = channels(rng);
        let x = with_special(rng, channels * rng.clone().below(6));
        let slopes = floats(rng, channels);
        let (xs, guards) = (guarded(&x), guarded(&slopes));
        let unit = |x: f32| x.clamp(0.0, 1.0);
        let (alpha, beta) = (0.3, 0.4);
        let curves: [(Curve<'_>, &Definition<'_>); 6] = [
            (Curve::Identity, &|_, x| x),
            (Curve::LeakyRelu { slope: 0.1 }, &|_, x| if x < 0.0 { 0.1 * x } else { x }),
            (Curve::PRelu { slopes: &guards[0] }, &|at, x| {
                if x < 0.0 { slopes[at % channels] * x } else { x }
            }),
            (Curve::HardSwish, &|_, x| x * unit(x / 6.0 + 0.5)),
            (Curve::HardSigmoid { alpha, beta }, &|_, x| unit(alpha.mul_add(x, beta))),
            (Curve::Sigmoid, &|_, x| 1.0 / (1.0 + math::exp(One, -x))),
        ];
        for (curve, definition) in curves {
            let values: Vec<f32> = x.iter().enumerate().map(|(at, x)| definition(at, *x)).collect();
            for ending in endings(rng) {
                compare(&values, ending, |isa, side, out| curve.apply(isa, &xs[side], ending, out));
            }
        }
    }
}

#[test]
fn sigmoids_are_within_two_units_of_the_last_place() {
    let x: Vec<f32> = (0..60_000).map(|at| -86.0 + at as f32 * 0.003).collect();
    let mut out = vec![0.0; x.len()];
    Curve::Sigmoid.apply(Isa::best(), &x, PLAIN, Out::Floats(&mut out));
    let worst = x
        .iter()
        .zip(&out)
        .map(|(x, y)| distance(*y, 1.0 / (1.0 + (-f64::from(*x)).exp())))
        .fold(0.0, f64::max);
    assert!(worst <= 2.0, "{worst}");
}

#[test]
fn softmax_is_its_definition_on_every_instruction_set() {
    for step in 0..100 {
        let rng = &mut rng(103, step);
        let (channels, pixels) = (channels(rng), rng.below(5));
        let mut x = floats(rng, channels * pixels);
        if step % 10 == 0 {
            x.iter_mut().take(1).for_each(|x| *x = f32::NAN);
        }
        let mut values = Vec::new();
        for x in x.chunks(channels) {
            let max = x.iter().copied().fold(f32::NEG_INFINITY, |max, x| if x > max { x } else { max });
            let exps: Vec<f32> = x.iter().map(|x| math::exp(One, x - max)).collect();
            let sum = exps.iter().fold(0.0, |sum, x| sum + x);
            values.extend(exps.iter().map(|x| x / sum));
        }
        let xs = guarded(&x);
        for ending in endings(rng) {
            compare(&values, ending, |isa, side, out| softmax(isa, (&xs[side], channels), ending, out));
        }
    }
}

#[test]
fn local_response_normalisation_is_its_definition_on_every_instruction_set() {
    for step in 0..100 {
        let rng = &mut rng(104, step);
        let (channels, pixels) = (channels(rng), rng.below(4));
        let x = floats(rng, channels * pixels);
        let beta = one_of(rng, &[0.75, 0.75, 0.5, 1.3]);
        let lrn = Lrn { size: between(rng, 1, 7), alpha: rng.uniform() as f32, beta, bias: 1.0 };
        let before = (lrn.size - 1) / 2;
        let value = |at: usize| {
            let (pixel, channel) = (at / channels * channels, at % channels);
            let nearest = channel.saturating_sub(before)..(channel + lrn.size - before).min(channels);
            let sum = nearest.fold(0.0, |sum, near| x[pixel + near].mul_add(x[pixel + near], sum));
            let sum = sum.mul_add(lrn.alpha / lrn.size as f32, lrn.bias);
            let root = sum.sqrt();
            x[at] / if beta == 0.75 { root * root.sqrt() } else { math::power(sum, beta) }
        };
        let values: Vec<f32> = (0..x.len()).map(value).collect();
        let xs = guarded(&x);
        for ending in endings(rng) {
            compare(&values, ending, |isa, side, out| lrn.apply(isa, (&xs[side], channels), ending, out));
        }
    }
}
