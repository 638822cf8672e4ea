use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::bits::{Bits, PointIndex};

fn context() -> EvaluateContext {
    EvaluateContext {
        prepared: Digest::of(b"prepared"),
        data: Digest::of(b"images"),
        images: ImageRange { start: 0, len: 1000 },
        numerics: Numerics::Float,
        baseline: bits(8),
        points: vec!["conv.weight".into(), "relu.output".into()],
    }
}

fn bits(width: u8) -> Choice {
    Choice::Bits(Bits::new(width).unwrap())
}

fn evaluate(context: Digest, changes: &[(u32, Choice)]) -> TrialSpec {
    let changes = changes.iter().map(|(point, choice)| (PointIndex(*point), *choice));
    let part = ImageRange { start: 256, len: 128 };
    TrialSpec::Evaluate { context, config: BitConfig::against(bits(8), changes), part }
}

fn prepare() -> TrialSpec {
    let whole = |len| ImageRange { start: 0, len };
    TrialSpec::Prepare(Box::new(PrepareSpec {
        model: Digest::of(b"model"),
        data: Digest::of(b"images"),
        images: whole(512),
        transforms: vec![Transform::FoldBatchNorm, Transform::BiasCorrection(BiasCorrection::Empirical)],
        guard: Guard { data: Digest::of(b"other"), images: whole(100), drop_max_ppm: 5000 },
        candidates: Candidates {
            weight_bits: vec![Bits::new(4).unwrap()],
            activation_bits: [4, 8].map(|bits| Bits::new(bits).unwrap()).to_vec(),
            weights: WeightRule {
                scheme: Scheme::Symmetric,
                granularity: Granularity::PerChannel,
                calibration: Calibration::MinMax,
            },
            activations: ActivationRule {
                scheme: Scheme::Asymmetric,
                calibration: Calibration::Percentile(Percentile::new(999_000).unwrap()),
            },
            biases: Biases::Float,
            baseline: Bits::new(8).unwrap(),
        },
        points: vec![],
    }))
}

/// The vectors come from an independent program that writes the canonical form by hand and hashes it:
///
/// ```python
/// from blake3 import blake3; from struct import pack
/// n = lambda v: pack('<Q', v); t = lambda s: n(len(s.encode())) + s.encode(); d = lambda b: blake3(b).digest()
/// context = (t('bitloop.evaluate_context') + n(3) + d(b'prepared') + d(b'images') + n(0) + n(1000)
///            + t('float') + n(8) + n(2) + t('conv.weight') + t('relu.output'))
/// evaluate = t('bitloop.trial') + n(3) + n(1) + d(context) + n(256) + n(128) + n(2) + n(0) + n(0) + n(1) + n(4)
/// baseline = t('bitloop.trial') + n(3) + n(1) + d(context) + n(256) + n(128) + n(0)
/// prepare = t('bitloop.trial') + n(3) + n(0) + t(json.dumps({
///     'model': h(b'model'), 'data': h(b'images'), 'images': {'start': 0, 'len': 512},
///     'transforms': ['fold_batch_norm', {'bias_correction': 'empirical'}],
///     'guard': {'data': h(b'other'), 'images': {'start': 0, 'len': 100}, 'drop_max_ppm': 5000},
///     'candidates': {'weight_bits': [4], 'activation_bits': [4, 8],
///         'weights': {'scheme': 'symmetric', 'granularity': 'per_channel', 'calibration': 'min_max'},
///         'activations': {'scheme': 'asymmetric', 'calibration': {'percentile': 999000}},
///         'biases': 'float', 'baseline': 8},
///     'points': []}, separators=(',', ':')))       # h = lambda b: 'blake3:' + blake3(b).hexdigest()
/// ```
#[test]
fn keys_equal_those_of_an_independent_program() {
    let context = context().digest();
    assert_eq!(context.hex(), "8e4e5f8d3a5aa3d6378845bcb3d82ed1263ca0b5e9286640fd8fcbd73e4acbe8");

    let mixed = evaluate(context, &[(0, Choice::Float), (1, bits(4))]);
    assert_eq!(mixed.key().0.hex(), "d53fcd827ad8afb742b6f053d92ec7aed92c3e130ae6735e52b3299570860b04");
    let baseline = evaluate(context, &[]);
    assert_eq!(baseline.key().0.hex(), "30cc3485200235434c9044c2d526479347e4250555b98ef93178102ededc1509");

    let prepare = prepare();
    assert_eq!(prepare.key().0.hex(), "c728794e0304b88df0d15a9ebafa141fed9e012839296210e4ddd63de6c098c0");
}

#[test]
fn rules_share_a_canonical_form_only_if_they_are_equal() {
    let percentiles = [500_001, 999_000, 1_000_000].map(|ppm| Percentile::new(ppm).unwrap());
    let mut calibrations =
        vec![Calibration::MinMax, Calibration::Sqnr, Calibration::TfEnhanced, Calibration::Mse];
    calibrations.extend(percentiles.map(Calibration::Percentile));
    let mut forms = BTreeSet::new();
    let mut rules = 0;
    for scheme in Scheme::ALL {
        for granularity in [Granularity::PerTensor, Granularity::PerChannel] {
            for &calibration in &calibrations {
                let rule = WeightRule { scheme, granularity, calibration };
                let mut encoder = Encoder::default();
                rule.write(&mut encoder);
                forms.insert(encoder.finish());
                rules += 1;

                let text = serde_json::to_string(&rule).unwrap();
                assert_eq!(serde_json::from_str::<WeightRule>(&text).unwrap(), rule);
            }
        }
    }

    assert_eq!(forms.len(), rules);
    for refused in [0, 500_000, 1_000_001] {
        assert!(serde_json::from_str::<Percentile>(&refused.to_string()).is_err(), "{refused}");
    }
}

#[test]
fn every_field_of_a_context_is_part_of_its_digest() {
    let changed: [fn(&mut EvaluateContext); 7] = [
        |c| c.data = Digest::of(b"other"),
        |c| c.images.start = 1,
        |c| c.images.len = 999,
        |c| c.prepared = Digest::of(b"other"),
        |c| c.baseline = bits(7),
        |c| c.points.swap(0, 1),
        |c| c.points = vec!["conv.weightrelu.output".into()],
    ];
    let mut digests = BTreeSet::from([context().digest()]);
    for change in changed {
        let mut context = context();
        change(&mut context);
        digests.insert(context.digest());
    }
    assert_eq!(digests.len(), changed.len() + 1);
}

fn choices() -> impl Strategy<Value = Vec<(u32, Choice)>> {
    let choice = prop_oneof![Just(Choice::Float), (2..=8_u8).prop_map(bits), Just(bits(16))];
    proptest::collection::vec((0..20_u32, choice), 0..20)
}

proptest! {
    #[test]
    fn two_configs_share_a_key_only_if_they_are_equal(a in choices(), b in choices()) {
        let context = context().digest();
        let (a, b) = (evaluate(context, &a), evaluate(context, &b));
        prop_assert_eq!(a == b, a.key() == b.key());
    }

    #[test]
    fn naming_the_baselines_choice_changes_nothing(changes in choices()) {
        let context = context().digest();
        let mut last_wins = std::collections::BTreeMap::new();
        last_wins.extend(changes);
        let named: Vec<_> = (0..20).map(|point| (point, *last_wins.get(&point).unwrap_or(&bits(8)))).collect();
        let with_baseline = evaluate(context, &named);
        let without: Vec<_> = named.into_iter().filter(|(_, choice)| *choice != bits(8)).collect();
        prop_assert_eq!(with_baseline.key(), evaluate(context, &without).key());
    }

    #[test]
    fn a_spec_survives_its_json_form(changes in choices()) {
        let spec = evaluate(context().digest(), &changes);
        let text = serde_json::to_string(&spec).unwrap();
        prop_assert_eq!(serde_json::from_str::<TrialSpec>(&text).unwrap(), spec);
    }
}

#[test]
fn a_trial_gives_results_of_its_kind_about_its_images_or_fails() {
    let sums = |n| TrialResult::Evaluated(Evaluation { n, ..Evaluation::default() });
    let prepared = TrialResult::Prepared { artifact: Digest::of(b"any"), steps: Vec::new() };
    let failed = TrialResult::Failed { reason: "NaN".to_owned() };
    let evaluate = evaluate(context().digest(), &[]);

    for (trial, result, may) in [
        (prepare(), &prepared, true),
        (prepare(), &sums(512), false),
        (prepare(), &failed, true),
        (evaluate.clone(), &sums(128), true),
        (evaluate.clone(), &sums(127), false),
        (evaluate.clone(), &sums(0), false),
        (evaluate.clone(), &prepared, false),
        (evaluate, &failed, true),
    ] {
        assert_eq!(trial.may_give(result), may, "{trial:?} {result:?}");
    }
}
