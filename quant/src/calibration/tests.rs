use bitloop_core::bits::Bits;
use bitloop_core::graph::Shape;
use bitloop_core::trial::{ActivationRule, Calibration, Percentile, Scheme};

use super::*;
use crate::model::tests::model;
use crate::rng::rng;

const POINTS: [&str; 5] = ["add.output", "dense.output", "depthwise.output", "input.output", "relu.output"];

fn images() -> Images {
    let mut rng = rng(9, 0);
    Images {
        shape: Shape::image(1, 8, 8),
        pixels: (0..150 * 64).map(|_| rng.below(256) as u8).collect(),
        labels: vec![0; 150],
        classes: 6,
    }
}

fn points() -> Vec<Point> {
    model(5).graph.points().unwrap()
}

fn calibrated(len: u64, threads: usize, detail: Detail) -> Statistics {
    let images = images();
    let sample = Sample { images: &images, range: ImageRange { start: 10, len }, detail };
    let statistics = calibrate(&model(5), &points(), sample, threads, &AtomicBool::new(false)).unwrap();
    statistics.expect("nothing stops it")
}

fn rule(calibration: Calibration) -> ActivationRule {
    ActivationRule { scheme: Scheme::Asymmetric, calibration }
}

fn every_calibration() -> [Calibration; 5] {
    let percentile = Percentile::new(999_000).unwrap();
    [
        Calibration::MinMax,
        Calibration::Percentile(percentile),
        Calibration::Sqnr,
        Calibration::TfEnhanced,
        Calibration::Mse,
    ]
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let one = calibrated(130, 1, Detail::ALL).to_bytes();

    for threads in [2, 3, 7] {
        assert!(calibrated(130, threads, Detail::ALL).to_bytes() == one, "{threads} threads");
    }
}

#[test]
fn a_block_that_fails_lets_the_others_go() {
    let mut diverged = model(5);
    let dense = (diverged.weights["dense.weight"].ones_like().unwrap() * 3e38).unwrap();
    diverged.weights.insert("dense.weight".into(), dense);
    let images = images();
    let range = ImageRange { start: 0, len: 150 };
    for threads in [1, 2, 5] {
        let sample = Sample { images: &images, range, detail: Detail::ALL };

        let error = calibrate(&diverged, &points(), sample, threads, &AtomicBool::new(false)).unwrap_err();

        let named = matches!(&error, CalibrationError::NotFinite { point, .. } if point == "dense.output");
        assert!(named, "{error}");
    }
}

#[test]
fn every_calibration_and_width_has_an_encoding_from_the_same_statistics() {
    let statistics = calibrated(64, 2, Detail::ALL);

    for calibration in every_calibration() {
        for width in [2, 3, 4, 5, 6, 7, 8, 16] {
            let bits = Bits::new(width).unwrap();
            for point in POINTS {
                let encoding = statistics.encoding(point, rule(calibration), bits).unwrap();
                let (min, max) = statistics.range(point).unwrap();
                let covered = encoding.scale()[0] * encoding.grid().qmax() as f32;
                // One step more than the values span, as the zero point is put on a code.
                let limit = (max.max(0.0) - min.min(0.0)) * 1.07 + encoding.scale()[0];
                assert!(covered <= limit, "{point} at {width} bits, {calibration:?}: {covered} > {limit}");
            }
        }
    }
}

#[test]
fn ranges_alone_serve_min_max_and_nothing_else() {
    let (ranges, all) = (calibrated(64, 2, Detail::RANGE), calibrated(64, 2, Detail::ALL));
    let bits = Bits::new(4).unwrap();

    for calibration in every_calibration() {
        let encoding = ranges.encoding("add.output", rule(calibration), bits);
        match calibration.needs_histograms() {
            false => {
                assert_eq!(encoding.unwrap(), all.encoding("add.output", rule(calibration), bits).unwrap())
            }
            true => assert!(matches!(encoding, Err(CalibrationError::Quantizer { .. })), "{calibration:?}"),
        }
    }
    assert!(matches!(
        all.encoding("none", rule(Calibration::MinMax), bits),
        Err(CalibrationError::MissingPoint { .. })
    ));
}

#[test]
fn statistics_survive_their_file_exactly() {
    for detail in [Detail::RANGE, Detail::of(Calibration::TfEnhanced), Detail::ALL] {
        let statistics = calibrated(33, 2, detail);
        let bytes = statistics.to_bytes();

        let read = Statistics::from_bytes(&bytes).unwrap();

        assert_eq!(read, statistics);
        assert_eq!(read.images(), 33);
        assert_eq!(read.points().collect::<Vec<_>>(), POINTS);
        // Most of 2560 counts are small: a byte or two each.
        assert!(bytes.len() < POINTS.len() * 2560 * 2 + 2000, "{} bytes", bytes.len());
    }
}

#[test]
fn damaged_statistics_are_refused_or_harmless() {
    let bytes = calibrated(33, 2, Detail::ALL).to_bytes();
    let bits = Bits::new(4).unwrap();
    let mut rng = rng(3, 0);

    for len in (0..bytes.len()).step_by(29) {
        assert!(Statistics::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
    }
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        let at = rng.below(damaged.len());
        damaged[at] = rng.below(256) as u8;
        if let Ok(read) = Statistics::from_bytes(&damaged) {
            for point in read.points() {
                for calibration in every_calibration() {
                    // A number or an error, but no panic.
                    let _ = read.encoding(point, rule(calibration), bits);
                }
            }
        }
    }
    let newer =
        replaced(&bytes, b"\"bitloop.statistics_format\":\"2\"", b"\"bitloop.statistics_format\":\"3\"");
    let refused = Statistics::from_bytes(&newer);
    assert!(matches!(refused, Err(CalibrationError::Version { found, .. }) if found == "3"));
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).expect("it is there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn tensors_that_share_a_quantizer_are_one_batch() {
    let images = images();
    let sample = Sample { images: &images, range: ImageRange { start: 0, len: 70 }, detail: Detail::ALL };
    let mut tied = points();
    let relu = tied.iter().position(|point| point.name == "relu.output").unwrap();
    tied[relu].tensors.insert(0, "input".to_owned());
    tied.retain(|point| point.name != "input.output");

    let of =
        |points: &[Point]| calibrate(&model(5), points, sample, 2, &AtomicBool::new(false)).unwrap().unwrap();
    let (tied, apart) = (of(&tied), of(&points()));

    let (input, relu) = (apart.range("input.output").unwrap(), apart.range("relu.output").unwrap());
    let both = tied.range("relu.output").unwrap();
    assert_eq!(both, (input.0.min(relu.0), input.1.max(relu.1)));
    assert!(both.0 < relu.0, "a rectifier alone gives nothing below zero");
    assert!(tied.range("input.output").is_none());
}
