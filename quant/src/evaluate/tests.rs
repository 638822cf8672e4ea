use bitloop_core::bits::Bits;
use bitloop_core::digest::Digest;
use bitloop_core::graph::Shape;
use bitloop_core::trial::{Candidates, Guard, ImageRange, PrepareSpec};

use super::*;
use crate::model::tests::model;
use crate::prepare;
use crate::rng::rng;

const IMAGES: usize = 150;
/// The images whose ranges the statistics hold.
const CALIBRATED: ImageRange = ImageRange { start: 0, len: 40 };

fn bits(bits: u8) -> Choice {
    Choice::Bits(Bits::new(bits).unwrap())
}

pub(crate) fn images() -> Images {
    let mut rng = rng(9, 0);
    Images {
        shape: Shape::image(1, 8, 8),
        pixels: (0..IMAGES * 64).map(|_| rng.below(256) as u8).collect(),
        labels: (0..IMAGES).map(|_| rng.below(6) as u32).collect(),
        classes: 6,
    }
}

fn range(start: u64, len: u64) -> ImageRange {
    ImageRange { start, len }
}

/// Prepares a model at every width that the tests use.
pub(crate) fn prepared(model: &Model, calibrated: ImageRange) -> Prepared {
    let widths: Vec<Bits> = [2, 3, 4, 8, 16].map(|bits| Bits::new(bits).unwrap()).to_vec();
    let any = Digest::of(b"any");
    let spec = PrepareSpec {
        model: any,
        data: any,
        images: calibrated,
        transforms: Vec::new(),
        guard: Guard { data: any, images: calibrated, drop_max_ppm: 0 },
        candidates: Candidates::with_default_rules(widths.clone(), widths, Bits::new(8).unwrap()),
        points: model.graph.points().unwrap(),
    };
    let images = Arc::new(images());
    let materials = prepare::Materials { model, calibration: &images, guard: &images, spec: &spec };
    prepare::prepare(&materials, 1, &AtomicBool::new(false)).unwrap().unwrap().0
}

/// The logits that a walk over the graph gives for the first images, `(images, classes)`.
pub(crate) fn composed_logits(prepared: &Arc<Prepared>, config: &[Choice], count: usize) -> Vec<f32> {
    logits_by(Kernels::default(), prepared, config, count)
}

/// The same by certain kernels.
pub(super) fn logits_by(
    kernels: Kernels,
    prepared: &Arc<Prepared>,
    config: &[Choice],
    count: usize,
) -> Vec<f32> {
    let logits = prepared.model.graph.logits().unwrap().to_owned();
    let network = Composed::new(Arc::clone(prepared), logits, (&Device::Cpu, kernels)).unwrap();
    let quantizers = network.quantizers(|index| config[index]).unwrap();
    network.logits(&network.input(&images(), 0..count).unwrap(), &quantizers).unwrap()
}

fn materials(baseline: Choice, images_range: ImageRange) -> Materials {
    let prepared = prepared(&model(5), CALIBRATED);
    let digest = Digest::of(b"any");
    Materials {
        images: Arc::new(images()),
        context: EvaluateContext {
            prepared: digest,
            data: digest,
            images: images_range,
            numerics: Numerics::Float,
            baseline,
            points: prepared.points.iter().map(|point| point.name.clone()).collect(),
        },
        prepared: Arc::new(prepared),
    }
}

fn evaluator(baseline: Choice, images_range: ImageRange, threads: usize) -> Evaluator {
    Evaluator::new(materials(baseline, images_range), threads, &Device::Cpu).unwrap()
}

fn whole() -> ImageRange {
    range(0, IMAGES as u64)
}

fn everywhere(evaluator: &Evaluator, choice: Choice) -> BitConfig {
    let points = 0..evaluator.context().points.len() as u32;
    BitConfig::against(evaluator.context().baseline, points.map(|point| (PointIndex(point), choice)))
}

fn evaluate(evaluator: &Evaluator, config: &BitConfig) -> Evaluation {
    evaluate_part(evaluator, config, whole())
}

fn evaluate_part(evaluator: &Evaluator, config: &BitConfig, part: ImageRange) -> Evaluation {
    evaluator.evaluate(config, part, &AtomicBool::new(false)).unwrap().unwrap()
}

#[test]
fn the_float_network_differs_in_nothing_from_itself() {
    let evaluator = evaluator(bits(4), whole(), 2);

    let float = evaluate(&evaluator, &everywhere(&evaluator, Choice::Float));

    assert_eq!((float.n, float.kl_sum, float.noise_sum), (IMAGES as u64, 0.0, 0.0));
    assert!(float.signal_sum > 0.0 && float.correct <= float.correct_top5 && float.correct_top5 < float.n);
}

#[test]
fn fewer_bits_are_further_from_float() {
    let evaluator = evaluator(bits(8), CALIBRATED, 2);

    let noise = [16, 8, 4, 2].map(|width| {
        let sums = evaluate(&evaluator, &everywhere(&evaluator, bits(width)));
        sums.noise_sum / sums.signal_sum
    });

    // On the calibration images nothing is clamped, and 16 bits leave rounding steps of 2^-16 of the range: a relative noise power far below 1e-7.
    assert!(noise[0] < 1e-7, "{noise:?}");
    assert!(noise.is_sorted(), "{noise:?}");
}

#[test]
fn the_baseline_is_compared_with_itself() {
    let evaluator = evaluator(bits(4), whole(), 2);

    let baseline = evaluate(&evaluator, &BitConfig::baseline());

    assert_eq!((baseline.lost, baseline.gained), (0, 0));
    assert_eq!((baseline.loss_difference_sum, baseline.loss_difference_squares), (0.0, 0.0));
}

#[test]
fn discordant_images_explain_the_difference_in_accuracy() {
    let evaluator = evaluator(bits(8), whole(), 2);
    let baseline = evaluate(&evaluator, &BitConfig::baseline());

    let low = evaluate(&evaluator, &everywhere(&evaluator, bits(2)));

    assert_eq!(baseline.correct as i64 - low.correct as i64, low.lost as i64 - low.gained as i64);
    assert!(low.lost + low.gained > 0);
    let difference = low.loss_sum - baseline.loss_sum;
    assert!((low.loss_difference_sum - difference).abs() < 1e-9 * low.loss_sum, "{difference}");
}

#[test]
fn every_number_of_threads_gives_the_same_bits() {
    let expected = evaluate(&evaluator(bits(8), whole(), 1), &BitConfig::baseline());
    for threads in [2, 3] {
        let evaluator = evaluator(bits(8), whole(), threads);
        for _ in 0..2 {
            assert_eq!(evaluate(&evaluator, &BitConfig::baseline()), expected);
        }
    }
}

#[test]
fn sums_of_two_ranges_are_those_of_their_union() {
    let config = |evaluator: &Evaluator| everywhere(evaluator, bits(3));
    let sums = |images_range| {
        let evaluator = evaluator(bits(8), images_range, 2);
        evaluate(&evaluator, &config(&evaluator))
    };

    let mut parts = sums(range(0, 70));
    parts.add(&sums(range(70, 80)));
    let union = sums(whole());

    let counts = |e: &Evaluation| [e.n, e.correct, e.correct_top5, e.lost, e.gained];
    assert_eq!(counts(&parts), counts(&union));
    let reals = |e: &Evaluation| {
        [e.loss_sum, e.loss_difference_sum, e.loss_difference_squares, e.kl_sum, e.signal_sum, e.noise_sum]
    };
    for (parts, union) in reals(&parts).into_iter().zip(reals(&union)) {
        // f64 additions in another order.
        assert!((parts - union).abs() <= 1e-9 * union.abs().max(1.0), "{parts} {union}");
    }
}

#[test]
fn one_point_alone_changes_the_outcome() {
    let evaluator = evaluator(bits(8), whole(), 1);
    let baseline = evaluate(&evaluator, &BitConfig::baseline());
    for point in 0..evaluator.context().points.len() as u32 {
        let config = BitConfig::against(bits(8), [(PointIndex(point), bits(2))]);

        let changed = evaluate(&evaluator, &config);

        assert!(changed.kl_sum > baseline.kl_sum, "point {point}");
    }
}

/// Parts that end inside blocks are computed in other blocks, so that sums may round differently.
#[test]
fn parts_add_up_to_the_whole_and_begin_at_the_context_s_first_image() {
    let evaluator = evaluator(bits(8), range(10, 130), 2);
    let config = everywhere(&evaluator, bits(3));
    let expected = evaluate(&evaluator, &config);
    assert_eq!(expected.n, 130);

    for ends in [[0, 64, 128, 130], [0, 1, 45, 130]] {
        let mut sums = Evaluation::default();
        for pair in ends.windows(2) {
            let part = evaluate_part(&evaluator, &config, range(pair[0], pair[1] - pair[0]));
            assert_eq!(part.n, pair[1] - pair[0]);
            sums.add(&part);
        }
        let counts = |e: &Evaluation| [e.n, e.correct, e.correct_top5, e.lost, e.gained];
        assert_eq!(counts(&sums), counts(&expected));
        assert!((sums.loss_sum - expected.loss_sum).abs() < 1e-4 * expected.loss_sum);
    }
    assert_eq!(evaluate_part(&evaluator, &config, range(130, 5)).n, 0);
}

#[test]
fn a_stopped_evaluation_gives_nothing_and_can_be_asked_again() {
    let evaluator = evaluator(bits(8), whole(), 2);

    let stopped = evaluator.evaluate(&BitConfig::baseline(), whole(), &AtomicBool::new(true)).unwrap();

    assert_eq!(stopped, None);
    assert_eq!(evaluate(&evaluator, &BitConfig::baseline()).n, IMAGES as u64);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let refused = |change: fn(&mut Materials)| {
        let mut materials = materials(bits(8), whole());
        change(&mut materials);
        Evaluator::new(materials, 1, &Device::Cpu).err().unwrap()
    };

    let error = refused(|materials| materials.context.points.swap(0, 1));
    assert!(matches!(error, EvaluateError::Points { index: 0, .. }));
    let error = refused(|materials| materials.context.points.truncate(3));
    assert!(matches!(error, EvaluateError::Points { index: 3, .. }));
    let error = refused(|materials| materials.context.images.len += 1);
    assert!(error.to_string().contains("151"), "{error}");
    let error = refused(|materials| materials.images = Arc::new(Images { classes: 7, ..images() }));
    assert!(matches!(error, EvaluateError::Classes { logits: 6, classes: 7 }));
    assert!(matches!(
        Evaluator::new(materials(bits(8), whole()), 0, &Device::Cpu),
        Err(EvaluateError::Lanes(_))
    ));

    let evaluator = evaluator(bits(8), whole(), 1);
    let unprepared = BitConfig::against(bits(8), [(PointIndex(0), bits(5))]);
    let error = evaluator.evaluate(&unprepared, whole(), &AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("not prepared at 5 bits"), "{error}");
    let config = BitConfig::against(bits(8), [(PointIndex(99), bits(4))]);
    let error = evaluator.evaluate(&config, whole(), &AtomicBool::new(false)).unwrap_err();
    assert!(matches!(error, EvaluateError::UnknownPoint { index: 99, .. }));
}

/// The network with all values of some tensors replaced.
fn overflowing(replaced: &[(&str, f64)]) -> Model {
    let mut diverged = model(5);
    for (name, value) in replaced {
        let huge = (diverged.weights[*name].ones_like().unwrap() * *value).unwrap();
        diverged.weights.insert((*name).to_owned(), huge);
    }
    diverged
}

#[test]
fn nodes_whose_output_overflows_are_named() {
    let cases = [
        (overflowing(&[("depthwise.weight", 3e38)]), "depthwise"),
        (overflowing(&[("depthwise.bias", 3e38), ("dense.weight", 1e3)]), "dense"),
    ];
    for (diverged, expected) in cases {
        for kernels in Kernels::available() {
            for numerics in [Numerics::Float, Numerics::Exact] {
                if !kernels.are_exact() && numerics == Numerics::Exact {
                    continue;
                }
                let mut materials = materials(Choice::Float, whole());
                materials.context.numerics = numerics;
                let mut broken = (*materials.prepared).clone();
                broken.model = diverged.clone();
                materials.prepared = Arc::new(broken);
                let evaluator = Evaluator::with_kernels(materials, 2, &Device::Cpu, kernels).unwrap();

                let config = BitConfig::baseline();
                let error = evaluator.evaluate(&config, whole(), &AtomicBool::new(false)).unwrap_err();

                let EvaluateError::NotFinite { image, node, .. } = &error else { panic!("{error}") };
                assert_eq!((*image, node.as_str()), (0, expected), "{numerics:?} {}", kernels.name());
            }
        }
    }
}

#[test]
fn configs_that_are_evaluated_together_have_the_results_of_each_alone() {
    for (numerics, kernels) in [
        (Numerics::Float, Kernels::CANDLE),
        (Numerics::Float, Kernels::named("scalar").unwrap()),
        (Numerics::Exact, Kernels::named("scalar").unwrap()),
    ] {
        let mut materials = materials(bits(8), whole());
        materials.context.numerics = numerics;
        let evaluator = Evaluator::with_kernels(materials, 2, &Device::Cpu, kernels).unwrap();
        let good = [everywhere(&evaluator, bits(2)), BitConfig::baseline(), everywhere(&evaluator, bits(4))];
        let bad = BitConfig::against(bits(8), [(PointIndex(99), bits(4))]);
        let configs = [&good[0], &bad, &good[1], &good[2]];

        let (together, _) =
            evaluator.evaluate_all(&configs, whole(), &AtomicBool::new(false)).unwrap().unwrap();

        assert!(matches!(together[1], Err(EvaluateError::UnknownPoint { index: 99, .. })));
        for (config, evaluated) in configs.iter().zip(&together).filter(|(_, evaluated)| evaluated.is_ok()) {
            assert_eq!(*evaluated.as_ref().unwrap(), evaluate(&evaluator, config));
        }
    }
}

#[test]
fn candles_operators_refuse_exact_arithmetic() {
    let mut materials = materials(bits(8), whole());
    materials.context.numerics = Numerics::Exact;

    let refused = Evaluator::with_kernels(materials, 1, &Device::Cpu, Kernels::CANDLE);

    assert!(matches!(refused, Err(EvaluateError::Exact)));
}
