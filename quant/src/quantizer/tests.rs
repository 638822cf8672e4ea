use bitloop_core::bits::Bits;
use bitloop_core::trial::{Calibration, Granularity, Scheme, WeightRule};
use candle_core::{Device, Tensor, Var};

use super::kernel::{Output, Quantize};
use super::*;
use crate::rng::rng;

const PER_CHANNEL: WeightRule = WeightRule {
    scheme: Scheme::Symmetric,
    granularity: Granularity::PerChannel,
    calibration: Calibration::MinMax,
};

fn bits(bits: u8) -> Bits {
    Bits::new(bits).unwrap()
}

fn tensor(values: &[f32]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = rng(seed, 0);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

#[test]
fn halves_round_to_even_codes() {
    let encoding = Encoding::from_stored(&[(0.0, 15.0)], Grid::asymmetric(bits(4))).unwrap();

    let codes =
        integer_codes(&tensor(&[0.5, 1.5, 2.5, 3.5, -0.5, 14.5, 15.5, 99.0, -99.0]), &encoding).unwrap();

    assert_eq!(codes.to_vec1::<i64>().unwrap(), [0, 2, 2, 4, 0, 14, 15, 15, 0]);
}

#[test]
fn zero_stays_zero_in_every_grid() {
    for width in [2, 3, 4, 5, 6, 7, 8, 16] {
        for symmetric in [false, true] {
            let encoding = Encoding::from_range(-0.37, 1.93, bits(width), symmetric).unwrap();

            let zero = fake_quantize(&tensor(&[0.0]), &encoding).unwrap();

            assert_eq!(zero.to_vec1::<f32>().unwrap(), [0.0], "{width} bits");
        }
    }
}

#[test]
fn quantizing_twice_changes_nothing_more() {
    let x = random(&[4, 50], 1);
    for width in [2, 3, 4, 8, 16] {
        let encoding = Encoding::of_weight(&x, PER_CHANNEL, bits(width)).unwrap();

        let once = fake_quantize(&x, &encoding).unwrap();
        let twice = fake_quantize(&once, &encoding).unwrap();

        assert_eq!(once.to_vec2::<f32>().unwrap(), twice.to_vec2::<f32>().unwrap());
    }
}

#[test]
fn the_composed_form_for_other_devices_gives_the_same_bits() {
    let x = random(&[6, 3, 5], 2);
    for width in [2, 4, 8, 16] {
        let weight = Encoding::of_weight(&x, PER_CHANNEL, bits(width)).unwrap();
        let activation = Encoding::from_range(-1.0, 1.5, bits(width), false).unwrap();
        for encoding in [weight, activation] {
            for output in [Output::Nearest, Output::Code, Output::Mask] {
                let op = Quantize::new(&encoding, output);

                let composed = op.composed(&x).unwrap().to_vec3::<f32>().unwrap();
                let kernel = x.apply_op1_no_bwd(&op).unwrap().to_vec3::<f32>().unwrap();

                assert_eq!(composed, kernel, "{width} bits, {output:?}");
            }
        }
    }
}

#[test]
fn a_view_is_quantized_like_its_copy() {
    let x = random(&[7, 5], 3);
    let encoding = Encoding::from_range(-2.0, 2.0, bits(4), false).unwrap();
    for view in [x.t().unwrap(), x.narrow(0, 2, 3).unwrap(), x.narrow(1, 1, 2).unwrap()] {
        let copy = Tensor::new(view.to_vec2::<f32>().unwrap(), &Device::Cpu).unwrap();

        let from_view = fake_quantize(&view, &encoding).unwrap().to_vec2::<f32>().unwrap();

        assert_eq!(from_view, fake_quantize(&copy, &encoding).unwrap().to_vec2::<f32>().unwrap());
    }
}

#[test]
fn gradients_pass_where_nothing_is_clamped() {
    let encoding = Encoding::from_stored(&[(0.0, 3.0)], Grid::asymmetric(bits(2))).unwrap();
    let x = Var::new(&[-0.6_f32, -0.5, 0.2, 3.4, 3.6, f32::INFINITY], &Device::Cpu).unwrap();

    let gradients = fake_quantize(x.as_tensor(), &encoding).unwrap().sum_all().unwrap().backward().unwrap();

    let gradient = gradients.get(x.as_tensor()).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(gradient, [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
}

#[test]
fn an_empty_range_still_has_a_scale() {
    for symmetric in [false, true] {
        let encoding = Encoding::from_range(0.0, 0.0, bits(8), symmetric).unwrap();
        assert_eq!(encoding.scale(), [f32::EPSILON]);
    }
}

#[test]
fn values_that_are_no_numbers_are_refused_or_kept() {
    let encoding = Encoding::from_range(-1.0, 1.0, bits(8), false).unwrap();
    let nan = tensor(&[f32::NAN]);
    let weight = Tensor::new(&[[1.0_f32, 2.0], [f32::NAN, 1.0]], &Device::Cpu).unwrap();

    assert!(fake_quantize(&nan, &encoding).unwrap().to_vec1::<f32>().unwrap()[0].is_nan());
    assert!(integer_codes(&nan, &encoding).is_err());
    let refused = Encoding::of_weight(&weight, PER_CHANNEL, bits(8));
    assert!(matches!(refused, Err(QuantError::NotFinite { channel: 1, .. })));
    for (min, max) in [(f32::NAN, 1.0), (0.0, f32::INFINITY), (1.0, -1.0), (f32::MIN, f32::MAX)] {
        assert!(Encoding::from_range(min, max, bits(8), false).is_err(), "{min} to {max}");
    }
}

#[test]
fn an_encoding_of_other_channels_is_refused() {
    let encoding = Encoding::of_weight(&random(&[3, 2], 4), PER_CHANNEL, bits(8)).unwrap();

    let refused = fake_quantize(&random(&[2, 3], 4), &encoding);

    assert!(matches!(refused, Err(QuantError::Channels { scales: 3, .. })));
    assert!(matches!(Grid::new(0, 0, false), Err(QuantError::Grid { .. })));
    assert!(matches!(Grid::new(0, 1 << 16, false), Err(QuantError::Grid { .. })));
}
