use bitloop_core::bits::Bits;
use bitloop_core::trial::{Calibration, Granularity, Percentile, Scheme, WeightRule};
use candle_core::{Device, Tensor};

use super::*;
use crate::rng::rng;

const EVERY: [Calibration; 4] =
    [Calibration::MinMax, Calibration::Sqnr, Calibration::TfEnhanced, Calibration::Mse];

fn bits(bits: u8) -> Bits {
    Bits::new(bits).unwrap()
}

fn normal(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = rng(seed, 0);
    (0..len).map(|_| rng.normal() as f32).collect()
}

fn observer(batches: &[&[f32]]) -> Observer {
    let mut observer = Observer::new(Detail::ALL);
    for batch in batches {
        observer.observe(batch).unwrap();
    }
    observer
}

fn scale(observer: &Observer, grid: Grid, calibration: Calibration) -> f32 {
    Encoding::calibrated(std::slice::from_ref(observer), grid, calibration).unwrap().scale()[0]
}

/// Squared error of values on the encoding's grid, where clipped ones count `weight` times.
fn noise(values: &[f32], encoding: &Encoding, weight: f64) -> f64 {
    let (scale, offset) = (f64::from(encoding.scale()[0]), f64::from(encoding.offset()[0]));
    let (lo, hi) = (f64::from(encoding.grid().qmin()), f64::from(encoding.grid().qmax()));
    let part = |value: &f32| {
        let code = (f64::from(*value) / scale).round_ties_even() - offset;
        let error = (code.clamp(lo, hi) + offset) * scale - f64::from(*value);
        error * error * if (lo..=hi).contains(&code) { 1.0 } else { weight }
    };
    values.iter().map(part).sum()
}

#[test]
fn no_symmetric_range_is_much_better_than_the_one_found() {
    let values = normal(20_000, 1);
    let seen = observer(&[&values]);
    for (calibration, weight) in [(Calibration::Sqnr, 3.0), (Calibration::Mse, 1.0)] {
        for width in [2, 3, 4, 6, 8] {
            let grid = Grid::symmetric(bits(width));
            let found = Encoding::calibrated(std::slice::from_ref(&seen), grid, calibration).unwrap();
            let least = noise(&values, &found, weight);
            for part in 1..200 {
                let other = found.scale()[0] * part as f32 / 100.0;
                let other = Encoding::given(grid, vec![other], vec![0]).unwrap();
                // The search looks at the middles of 2048 bins and at 101 steps, not at the values.
                let other = noise(&values, &other, weight);
                assert!(other >= least * 0.97, "{width} bits, {calibration:?}: {other} at {part} %, {least}");
            }
        }
    }
}

#[test]
fn clipping_costs_more_where_it_counts_three_times() {
    let seen = observer(&[&normal(20_000, 2)]);
    let grid = Grid::symmetric(bits(3));

    let [wide, middle, narrow] =
        [Calibration::MinMax, Calibration::Sqnr, Calibration::Mse].map(|c| scale(&seen, grid, c));

    assert!(wide > middle && middle > narrow, "{wide} {middle} {narrow}");
}

#[test]
fn outliers_of_a_later_batch_are_cut_off_by_tf_enhanced_alone() {
    let (usual, mut outlier) = (normal(5_000, 3), normal(5_000, 4));
    outlier[7] = 1000.0;
    let seen = observer(&[&usual, &outlier]);
    let grid = Grid::asymmetric(bits(8));

    // The first batch spans about 8; one and a half of that is added above.
    assert!(scale(&seen, grid, Calibration::TfEnhanced) * 255.0 < 30.0);
    assert!(scale(&seen, grid, Calibration::Sqnr) * 255.0 > 500.0);
    assert_eq!(seen.range().unwrap().1, 1000.0);
}

#[test]
fn growing_a_histogram_loses_no_value() {
    let mut rng = rng(5, 0);
    for _ in 0..50 {
        let batches: Vec<Vec<f32>> = (0..4)
            .map(|_| {
                let (size, shift) = (rng.uniform() * 10.0, rng.normal());
                (0..1000).map(|_| (rng.normal() * size + shift) as f32).collect()
            })
            .collect();
        let batches: Vec<&[f32]> = batches.iter().map(Vec::as_slice).collect();

        let [fine, coarse] = observer(&batches).histograms().map(|parts| parts.unwrap());

        assert_eq!(fine.counts.iter().sum::<u64>(), 4000);
        assert_eq!(coarse.counts.iter().sum::<u64>(), 4000);
        assert_eq!(fine.range, observer(&batches).range().unwrap());
    }
}

#[test]
fn percentiles_leave_out_what_they_say() {
    let values: Vec<f32> = (0..=10_000).map(|value| value as f32 / 10_000.0).collect();
    let seen = observer(&[&values]);
    let end = |ppm| {
        let percentile = Calibration::Percentile(Percentile::new(ppm).unwrap());
        scale(&seen, Grid::asymmetric(bits(8)), percentile) * 255.0
    };

    // To within a bin of 1 / 2048.
    for (ppm, expected) in [(990_000, 0.99), (900_000, 0.9), (500_001, 0.5)] {
        assert!((end(ppm) - expected).abs() < 1.0 / 2048.0, "{ppm}: {}", end(ppm));
    }
    assert!((end(1_000_000) - 1.0).abs() < 1e-6);
}

#[test]
fn widths_that_share_statistics_give_the_same_as_alone() {
    let weight = Tensor::from_vec(normal(6 * 40, 6), (6, 40), &Device::Cpu).unwrap();
    let widths = [2, 4, 8, 16].map(bits);
    for calibration in EVERY {
        for granularity in [Granularity::PerTensor, Granularity::PerChannel] {
            for scheme in Scheme::ALL {
                let rule = WeightRule { scheme, granularity, calibration };

                let together = Encoding::of_weight_at(&weight, rule, &widths).unwrap();

                for (bits, encoding) in widths.iter().zip(&together) {
                    assert_eq!(*encoding, Encoding::of_weight(&weight, rule, *bits).unwrap());
                    assert_eq!(encoding.grid(), Grid::of(scheme, *bits));
                    let scales = if granularity == Granularity::PerTensor { 1 } else { 6 };
                    assert_eq!(encoding.scale().len(), scales);
                }
            }
        }
    }
}

#[test]
fn extreme_values_have_an_encoding_or_an_error() {
    let batches: [&[f32]; 6] =
        [&[0.0], &[-0.0, 0.0], &[1e-40], &[3e38, -1.0], &[f32::MIN, f32::MAX], &[1e30, 1e-30]];
    for values in batches {
        let seen = observer(&[values]);
        for calibration in EVERY {
            for scheme in Scheme::ALL {
                let encoding =
                    Encoding::calibrated(std::slice::from_ref(&seen), Grid::of(scheme, bits(4)), calibration);
                match encoding {
                    Ok(encoding) => assert!(encoding.scale()[0] > 0.0 && encoding.scale()[0].is_finite()),
                    Err(error) => assert!(matches!(error, QuantError::NotFinite { .. }), "{error}"),
                }
            }
        }
    }
    let mut seen = Observer::new(Detail::ALL);
    assert!(matches!(seen.observe(&[1.0, f32::NAN]), Err(QuantError::NotFinite { .. })));
    assert!(matches!(seen.observe(&[f32::INFINITY]), Err(QuantError::NotFinite { .. })));
    let nothing = Encoding::calibrated(&[seen], Grid::symmetric(bits(4)), Calibration::MinMax);
    assert!(matches!(nothing, Err(QuantError::NoValues)));
}

#[test]
fn given_encodings_are_checked() {
    let (signed, unsigned) = (Grid::symmetric(bits(8)), Grid::asymmetric(bits(8)));
    let stored_unsigned = Grid::new(0, 255, true).unwrap();

    assert!(Encoding::given(signed, vec![0.1, 0.2], vec![0, 0]).is_ok());
    assert!(Encoding::given(unsigned, vec![0.1], vec![-255]).is_ok());
    assert!(Encoding::given(stored_unsigned, vec![0.1], vec![-128]).is_ok());
    for (grid, scale, offset) in [
        (signed, 0.1, 1),
        (unsigned, 0.1, 1),
        (unsigned, 0.1, -256),
        (unsigned, 0.0, 0),
        (signed, f32::NAN, 0),
    ] {
        let refused = Encoding::given(grid, vec![0.1, scale], vec![grid_offset(grid), offset]);
        assert!(matches!(refused, Err(QuantError::Given { channel: 1, .. })), "{scale} {offset}");
    }
    let refused = Encoding::given(signed, vec![0.1], vec![]);
    assert!(matches!(refused, Err(QuantError::Lengths { scales: 1, offsets: 0 })));
}

fn grid_offset(grid: Grid) -> i32 {
    if grid.is_symmetric() { 0 } else { -3 }
}
