mod malformed;

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::device::{ComputeCapability, Device, DeviceKind, ProbeOffer, Share};
use bitloop_core::digest::Digest;
use bitloop_core::graph::{Point, PointKind};
use bitloop_core::state::{LeaseId, Obstacle, ObstacleKind, Report, Shard, Status, WorkerId, WorkerInfo};
use bitloop_core::trial::{
    ActivationRule, BiasCorrection, Biases, Calibration, Candidates, EvaluateContext, Evaluation,
    Granularity, Guard, ImageRange, Numerics, Outcome, Percentile, PrepareSpec, PreparedStep, Provenance,
    Scheme, StepState, Transform, TrialKey, TrialResult, TrialSpec, WeightRule, Work,
};
use proptest::prelude::*;

use super::*;
use crate::v1;

fn a_digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn a_choice() -> impl Strategy<Value = Choice> {
    let widths = prop::sample::select(vec![2u8, 3, 4, 5, 6, 7, 8, 16]);
    prop_oneof![Just(Choice::Float), widths.prop_map(|bits| Choice::Bits(Bits::new(bits).unwrap()))]
}

fn a_config() -> impl Strategy<Value = BitConfig> {
    let changes = prop::collection::btree_map(0u32..100, a_choice(), 0..40);
    (a_choice(), changes).prop_map(|(baseline, changes)| {
        let changes = changes.into_iter();
        BitConfig::against(baseline, changes.map(|(point, choice)| (PointIndex(point), choice)))
    })
}

fn a_range() -> impl Strategy<Value = ImageRange> {
    (0..u64::MAX / 2, 0..u64::MAX / 2).prop_map(|(start, len)| ImageRange { start, len })
}

fn a_calibration() -> impl Strategy<Value = Calibration> {
    prop_oneof![
        Just(Calibration::MinMax),
        Just(Calibration::Sqnr),
        Just(Calibration::TfEnhanced),
        Just(Calibration::Mse),
        (500_001u32..=1_000_000).prop_map(|ppm| Calibration::Percentile(Percentile::new(ppm).unwrap())),
    ]
}

fn a_width() -> impl Strategy<Value = Bits> {
    (2u8..=8).prop_map(|bits| Bits::new(bits).unwrap())
}

fn a_transform() -> impl Strategy<Value = Transform> {
    prop_oneof![
        Just(Transform::FoldBatchNorm),
        Just(Transform::HighBiasFold),
        Just(Transform::BiasCorrection(BiasCorrection::Analytic)),
    ]
}

fn a_point() -> impl Strategy<Value = Point> {
    (".{0,9}", 0usize..1 << 40, prop::collection::vec(".{0,9}", 0..3)).prop_map(
        |(name, elements, tensors)| Point {
            node: name.clone(),
            name,
            kind: PointKind::Activation,
            elements,
            tensors,
            passed_on: Vec::new(),
            fixed: false,
        },
    )
}

prop_compose! {
    fn a_prepare()(
        digests in (a_digest(), a_digest(), a_digest()),
        images in a_range(),
        guard in a_range(),
        drop_max_ppm in any::<u32>(),
        transforms in prop::collection::vec(a_transform(), 0..3),
        calibration in a_calibration(),
        widths in prop::collection::vec(a_width(), 0..3),
        points in prop::collection::vec(a_point(), 0..3),
    ) -> PrepareSpec {
        PrepareSpec {
            model: digests.0,
            data: digests.1,
            images,
            transforms,
            guard: Guard { data: digests.2, images: guard, drop_max_ppm },
            candidates: Candidates {
                weight_bits: widths.clone(),
                activation_bits: widths,
                weights: WeightRule {
                    scheme: Scheme::StrictSymmetric,
                    granularity: Granularity::PerTensor,
                    calibration,
                },
                activations: ActivationRule { scheme: Scheme::Asymmetric, calibration },
                biases: Biases::Int32,
                baseline: Bits::new(8).unwrap(),
            },
            points,
        }
    }
}

prop_compose! {
    fn a_step()(
        transform in prop::option::of(a_transform()),
        counts in prop::array::uniform3(any::<u64>()),
        baseline_correct in prop::option::of(any::<u64>()),
    ) -> PreparedStep {
        let [changes, n, float_correct] = counts;
        PreparedStep { transform, state: StepState::Undone, changes, n, float_correct, baseline_correct }
    }
}

prop_compose! {
    fn a_context()(
        digests in (a_digest(), a_digest()),
        images in a_range(),
        baseline in a_choice(),
        points in prop::collection::vec(".{0,12}", 0..8),
    ) -> EvaluateContext {
        EvaluateContext {
            prepared: digests.0,
            data: digests.1,
            images,
            numerics: Numerics::Float,
            baseline,
            points,
        }
    }
}

fn a_finite() -> impl Strategy<Value = f64> {
    prop::num::f64::NORMAL | prop::num::f64::ZERO
}

prop_compose! {
    fn an_evaluation()(
        n in 1_000_000u64..,
        counts in prop::array::uniform4(0u64..1_000_000),
        sums in prop::array::uniform6(a_finite()),
    ) -> Evaluation {
        Evaluation {
            n,
            correct: counts[0],
            correct_top5: counts[1],
            lost: counts[2],
            gained: counts[3],
            loss_sum: sums[0],
            loss_difference_sum: sums[1],
            loss_difference_squares: sums[2],
            kl_sum: sums[3],
            signal_sum: sums[4],
            noise_sum: sums[5],
        }
    }
}

fn a_report() -> impl Strategy<Value = Report> {
    let result = prop_oneof![
        (a_digest(), prop::collection::vec(a_step(), 0..3))
            .prop_map(|(artifact, steps)| TrialResult::Prepared { artifact, steps }),
        an_evaluation().prop_map(TrialResult::Evaluated),
        "[ -~à-ž\n]{0,30}".prop_map(|reason| TrialResult::Failed { reason }),
    ];
    (a_digest(), result, "[ -~à-ž]{0,9}", "[ -~à-ž]{0,9}", any::<[u64; 2]>()).prop_map(
        |(key, result, device, kernels, work)| Report {
            key: TrialKey(key),
            outcome: Outcome {
                result,
                provenance: Provenance { engine: "bitloop 1".to_owned(), device, kernels },
                work: Work { macs: work[0], macs_alone: work[1] },
            },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_shard_survives_the_wire(
        lease in any::<u64>(),
        context in a_digest(),
        configs in prop::collection::vec((a_config(), a_range()), 0..5),
        prepare in a_prepare(),
    ) {
        let evaluate = |(config, part)| TrialSpec::Evaluate { context, config, part };
        let specs = configs.into_iter().map(evaluate).chain([TrialSpec::Prepare(Box::new(prepare))]);
        let shard = Shard {
            lease: LeaseId(lease),
            context: Some(context),
            trials: specs.map(|spec| (spec.key(), spec)).collect(),
        };

        prop_assert_eq!(Shard::try_from(v1::Shard::from(&shard)), Ok(shard));
    }

    #[test]
    fn a_context_survives_the_wire_with_its_name(context in a_context()) {
        let back = EvaluateContext::try_from(v1::EvaluateContext::from(&context)).unwrap();

        prop_assert_eq!(back.digest(), context.digest());
        prop_assert_eq!(back, context);
    }

    #[test]
    fn an_obstacle_survives_the_wire(
        kind in prop::sample::select(vec![ObstacleKind::Supply, ObstacleKind::Device, ObstacleKind::Panic]),
        reason in "[a-z \n]{0,80}",
        trials in prop::collection::vec(a_digest().prop_map(TrialKey), 0..5),
    ) {
        let obstacle = Obstacle { kind, reason, trials };

        prop_assert_eq!(Obstacle::try_from(v1::Obstacle::from(&obstacle)), Ok(obstacle));
    }

    #[test]
    fn a_report_survives_the_wire(report in a_report()) {
        prop_assert_eq!(Report::try_from(v1::Report::from(&report)), Ok(report));
    }

    #[test]
    fn a_worker_survives_the_wire(
        (id, host, threads, float_only) in ("[ -~à-ž]{1,9}", "[ -~à-ž]{0,9}", any::<u32>(), any::<bool>()),
        (class, memory_bytes, cores, is_gpu) in ("[ -~à-ž]{0,9}", any::<u64>(), any::<u32>(), any::<bool>()),
        labels in prop::collection::btree_map("[a-z0-9._/-]{1,9}", "[A-Z0-9._/-]{1,9}", 0..5),
        share in 0_u32..=10_000,
    ) {
        let kind = if is_gpu { DeviceKind::Cuda } else { DeviceKind::Cpu };
        let compute_capability = is_gpu.then_some(ComputeCapability { major: cores, minor: threads });
        let features = vec![class.clone()];
        let device =
            Device { kind, id: host.clone(), class, cores, memory_bytes, features, compute_capability };
        let share = Share::new(share).unwrap();
        let machine = device.class.clone();
        let probe = ProbeOffer {
            name: "integer".to_owned(),
            class: host.clone(),
            device: is_gpu.then(|| host.clone()),
            runtime: host.clone(),
        };
        let probes = vec![probe];
        let info =
            WorkerInfo { id: WorkerId(id), host, machine, device, share, labels, probes, threads, float_only };

        prop_assert_eq!(WorkerInfo::try_from(v1::WorkerInfo::from(&info)), Ok(info));
    }

    #[test]
    fn sources_survive_the_wire(known in prop::collection::btree_map("[ -~à-ž]{0,9}", a_digest(), 0..5)) {
        prop_assert_eq!(sources(&sources_to_wire(&known)), Ok(known));
    }
}

fn evaluate(changes: &[(u32, u32)]) -> v1::Trial {
    let changes = changes.iter();
    v1::Trial {
        spec: Some(v1::trial::Spec::Evaluate(v1::Evaluate {
            context: digest_to_wire(&Digest::of(b"context")),
            changes: changes.map(|&(point, bits)| v1::PointChange { point, bits }).collect(),
            part: Some(v1::ImageRange { start: 0, len: 1 }),
        })),
    }
}

#[test]
fn changes_in_no_canonical_form_are_refused() {
    let order = |point| Err(ConvertError::PointOrder { point });
    assert_eq!(TrialSpec::try_from(evaluate(&[(1, 4), (1, 4)])), order(1));
    assert_eq!(TrialSpec::try_from(evaluate(&[(2, 4), (0, 4)])), order(0));
    let all: Vec<(u32, u32)> = (0..).zip([0, 2, 3, 4, 5, 6, 7, 8, 16]).collect();
    assert_eq!(TrialSpec::try_from(evaluate(&all)), Err(ConvertError::EveryChoice));
}

#[test]
fn widths_that_no_quantizer_has_are_refused() {
    for bits in [1, 9, 17, 256, 264, u32::MAX] {
        let expected = ConvertError::UnsupportedBits { field: "bits", bits };
        assert_eq!(TrialSpec::try_from(evaluate(&[(0, bits)])), Err(expected));
    }
}

#[test]
fn a_change_to_the_baseline_or_of_no_point_is_refused() {
    let four = Choice::Bits(Bits::new(4).unwrap());
    let context = EvaluateContext {
        prepared: Digest::of(b""),
        data: Digest::of(b""),
        images: ImageRange { start: 0, len: 1 },
        numerics: Numerics::Float,
        baseline: four,
        points: vec!["a".to_owned()],
    };
    let config = |point, choice| {
        BitConfig::against(Choice::Bits(Bits::new(8).unwrap()), [(PointIndex(point), choice)])
    };

    let equal = check_config(&config(0, four), &context);
    let unknown = check_config(&config(1, Choice::Float), &context);

    assert_eq!(equal, Err(ConvertError::EqualsBaseline { point: 0 }));
    assert_eq!(unknown, Err(ConvertError::UnknownPoint { point: 1, points: 1 }));
    assert_eq!(check_config(&config(0, Choice::Float), &context), Ok(()));
}

#[test]
fn a_part_that_is_not_of_the_context_s_images_is_refused() {
    let context = EvaluateContext {
        prepared: Digest::of(b""),
        data: Digest::of(b""),
        images: ImageRange { start: 7, len: 100 },
        numerics: Numerics::Float,
        baseline: Choice::Float,
        points: Vec::new(),
    };
    let check = |start, len| check_part(ImageRange { start, len }, &context);

    for (start, len) in [(0, 100), (96, 4), (0, 1)] {
        assert_eq!(check(start, len), Ok(()));
    }
    for (start, len) in [(0, 101), (97, 4), (100, 1), (5, 0), (u64::MAX, 1)] {
        assert_eq!(check(start, len), Err(ConvertError::PartOutside { start, len, images: 100 }));
    }
}

#[test]
fn missing_and_damaged_fields_are_named() {
    let missing = |field| Err(ConvertError::Missing { field });
    assert_eq!(TrialSpec::try_from(v1::Trial::default()).map(|_| ()), missing("spec"));
    assert_eq!(Report::try_from(v1::Report::default()).map(|_| ()), missing("result"));
    assert_eq!(digest("model", &[]).map(|_| ()), missing("model"));
    assert_eq!(WorkerInfo::try_from(v1::WorkerInfo::default()).map(|_| ()), missing("device"));
    assert_eq!(action(0).map(|_| ()), missing("action"));
    assert_eq!(Obstacle::try_from(v1::Obstacle::default()).map(|_| ()), missing("kind"));
    assert_eq!(status(&v1::ExperimentSummary::default()).map(|_| ()), missing("status"));

    let length = ConvertError::DigestLength { field: "model", len: 31 };
    assert_eq!(digest("model", &[0; 31]), Err(length));
    assert_eq!(action(9), Err(ConvertError::UnknownValue { field: "action", value: 9 }));
    let range = v1::ImageRange { start: u64::MAX, len: 1 };
    assert_eq!(ImageRange::try_from(range), Err(ConvertError::RangeOverflow { field: "images" }));
}

#[test]
fn sums_that_are_no_numbers_and_counts_beyond_the_images_are_refused() {
    let nan = v1::Evaluation { n: 1, kl_sum: f64::NAN, ..Default::default() };
    let many = v1::Evaluation { n: 1, correct: 2, ..Default::default() };

    assert_eq!(Evaluation::try_from(nan), Err(ConvertError::NotFinite { field: "kl_sum" }));
    let expected = ConvertError::Count { field: "correct", count: 2, n: 1 };
    assert_eq!(Evaluation::try_from(many), Err(expected));
}

#[test]
fn a_trial_of_another_context_than_its_shards_is_refused() {
    let shard =
        v1::Shard { lease: 1, context: digest_to_wire(&Digest::of(b"another")), trials: vec![evaluate(&[])] };

    assert_eq!(Shard::try_from(shard), Err(ConvertError::MixedContexts));
}

#[test]
fn what_keeps_a_worker_from_measuring_is_known_short_and_readable() {
    let obstacle = |kind, reason: &str| v1::Obstacle { kind, reason: reason.to_owned(), trials: Vec::new() };
    let read = |kind, reason: &str| Obstacle::try_from(obstacle(kind, reason)).map(|_| ());

    assert_eq!(read(9, ""), Err(ConvertError::UnknownValue { field: "kind", value: 9 }));
    assert_eq!(read(2, "\u{1b}[2J"), Err(ConvertError::Control { field: "reason" }));
    let (len, max) = (PROSE_BYTES_MAX + 1, PROSE_BYTES_MAX);
    assert_eq!(read(2, &"x".repeat(len)), Err(ConvertError::TooLong { field: "reason", len, max }));
    let loud =
        Obstacle { kind: ObstacleKind::Device, reason: format!("\u{1b}{}", "x".repeat(len)), trials: vec![] };
    assert!(Obstacle::try_from(v1::Obstacle::from(&loud)).is_ok(), "an honest worker's text always arrives");
}

#[test]
fn a_priority_is_one_that_a_file_may_have() {
    assert_eq!([-100, 0, 100].map(priority), [Ok(-100), Ok(0), Ok(100)]);
    for number in [-101, 101, i32::MIN, i32::MAX] {
        assert_eq!(priority(number), Err(ConvertError::Priority { priority: number }));
    }
}

#[test]
fn a_failed_experiment_keeps_its_reason() {
    let failed = Status::Failed { reason: "no images".to_owned() };

    let summary = v1::ExperimentSummary {
        status: v1::ExperimentStatus::from(&failed).into(),
        reason: "no images".to_owned(),
        ..Default::default()
    };

    assert_eq!(status(&summary), Ok(failed));
}
