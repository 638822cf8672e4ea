use super::{EXPERIMENT, experiment_mistakes, with};
use crate::bits::Bits;
use crate::device::Requirements;
use crate::evaluation::EvaluationMode;
use crate::placement::Placement;
use crate::spec::{
    ActivationQuantization, DataSpec, Dataset, ExperimentSpec, Fit, ImageCount, ImageSource, ModelSpec,
    PlacementSource, PrepareRules, QuantizationSpec, SensitivitySpec, Single, Split, StageSpec,
    WeightQuantization,
};
use crate::trial::{ActivationRule, Calibration, Granularity, Numerics, Percentile, Scheme};

fn widths(widths: &[u8]) -> Vec<Bits> {
    widths.iter().map(|bits| Bits::new(*bits).unwrap()).collect()
}

fn expected() -> ExperimentSpec {
    ExperimentSpec {
        name: "fashion-mnist-convblock".into(),
        numerics: Numerics::Float,
        model: ModelSpec::Checkpoint { file: "quickstart/convblock.safetensors".into() },
        prepare: PrepareRules::default(),
        data: DataSpec {
            source: ImageSource::Dataset { dataset: Dataset::FashionMnist, split: Split::Test },
            fit: Fit::default(),
            normalize: None,
            training: None,
            calibration: 512,
            selection: ImageCount::Count(2000),
            report: ImageCount::Rest,
            seed: 1,
        },
        quantization: Some(QuantizationSpec {
            placement: PlacementSource::Preset("default"),
            weights: WeightQuantization {
                bits: widths(&[2, 3, 4]),
                scheme: Scheme::Symmetric,
                granularity: Some(Granularity::PerChannel),
                calibration: Calibration::MinMax,
            },
            activations: ActivationQuantization {
                bits: widths(&[2, 3, 4]),
                rule: ActivationRule { scheme: Scheme::Asymmetric, calibration: Calibration::MinMax },
            },
            baseline: Bits::new(8).unwrap(),
        }),
        requires: Requirements::NONE,
        stage_requires: vec![None],
        priority: 0,
        evaluation: EvaluationMode::default(),
        stages: vec![StageSpec::Sensitivity(SensitivitySpec {
            single: Single::All,
            pairwise: None,
            multi: None,
        })],
    }
}

#[test]
fn the_example_is_read_with_ascending_widths() {
    assert_eq!(ExperimentSpec::parse(EXPERIMENT), Ok(expected()));
}

#[test]
fn keys_that_may_be_left_out_have_their_defaults() {
    let text = with(EXPERIMENT, ", scheme: symmetric, granularity: per_channel", "");
    let text = with(&text, ", scheme: asymmetric, calibration: min_max", "");
    let text = with(&text, ", split: test", "");
    let text = with(&text, ", report: rest, seed: 1", "");

    let mut spec = expected();
    spec.data.seed = 0;
    spec.quantization.as_mut().unwrap().weights.granularity = None;
    assert_eq!(ExperimentSpec::parse(&text), Ok(spec));
}

#[test]
fn rules_come_by_name_or_from_a_file() {
    for (given, expected) in [
        ("per_tensor", PlacementSource::Preset("per_tensor")),
        ("pairwise_mpq", PlacementSource::Preset("pairwise_mpq")),
        ("default.yaml", PlacementSource::File("default.yaml".into())),
        ("rules/ours", PlacementSource::File("rules/ours".into())),
    ] {
        let text = with(EXPERIMENT, "  baseline: 8", &format!("  baseline: 8\n  placement: {given}"));
        assert_eq!(
            ExperimentSpec::parse(&text).map(|spec| spec.quantization.unwrap().placement),
            Ok(expected)
        );
    }
    let misspelt = with(EXPERIMENT, "  baseline: 8", "  baseline: 8\n  placement: per_tenser");
    assert_eq!(
        experiment_mistakes(&misspelt),
        [
            "quantization.placement: expected `default`, `per_tensor`, `pairwise_mpq` or the path of a rules file, found text `per_tenser`; a path has a `/` or ends in `.yaml`"
        ]
    );
}

#[test]
fn the_experiment_s_granularity_goes_before_the_placement_s() {
    let rules = Placement::preset("per_tensor").unwrap();
    let mut quantization = expected().quantization.unwrap();
    assert_eq!(quantization.weight_rule(&rules).granularity, Granularity::PerChannel);

    quantization.weights.granularity = None;

    assert_eq!(quantization.weight_rule(&rules).granularity, Granularity::PerTensor);
    assert_eq!(quantization.weight_rule(&Placement::default()).granularity, Granularity::PerChannel);
}

#[test]
fn arithmetic_is_exact_unless_the_file_says_otherwise() {
    for (text, numerics) in [("", Numerics::Exact), ("numerics: exact", Numerics::Exact)] {
        let text = with(EXPERIMENT, "numerics: float", text);
        assert_eq!(ExperimentSpec::parse(&text).map(|spec| spec.numerics), Ok(numerics));
    }
}

#[test]
fn every_other_choice_is_read() {
    let text = with(EXPERIMENT, "per_channel", "per_tensor");
    let text = with(&text, "split: test", "split: train");
    let text = with(&text, "selection: 2000, report: rest", "selection: rest, report: 10");
    let text = with(&text, "baseline: 8", "baseline: 16");
    let text = with(&text, "single: all", "single: ['*.weight', input.output]");

    let mut spec = expected();
    spec.quantization.as_mut().unwrap().weights.granularity = Some(Granularity::PerTensor);
    spec.quantization.as_mut().unwrap().baseline = Bits::new(16).unwrap();
    spec.data.source = ImageSource::Dataset { dataset: Dataset::FashionMnist, split: Split::Train };
    spec.data.selection = ImageCount::Rest;
    spec.data.report = ImageCount::Count(10);
    let single = Single::Matching(vec!["*.weight".into(), "input.output".into()]);
    spec.stages = vec![StageSpec::Sensitivity(SensitivitySpec { single, pairwise: None, multi: None })];
    assert_eq!(ExperimentSpec::parse(&text), Ok(spec));
}

#[test]
fn every_way_to_find_encodings_is_read() {
    let percentile = |ppm| Calibration::Percentile(Percentile::new(ppm).unwrap());
    for (text, calibration) in [
        ("min_max", Calibration::MinMax),
        ("sqnr", Calibration::Sqnr),
        ("tf_enhanced", Calibration::TfEnhanced),
        ("mse", Calibration::Mse),
        ("{ percentile: 99.9 }", percentile(999_000)),
        ("{ percentile: 99.9999 }", percentile(999_999)),
        ("{ percentile: 50.0001 }", percentile(500_001)),
        ("{ percentile: 100 }", percentile(1_000_000)),
    ] {
        let read = with(EXPERIMENT, "calibration: min_max", &format!("calibration: {text}"));
        let read = with(&read, "per_channel", &format!("per_channel, calibration: {text}"));

        let quantization = ExperimentSpec::parse(&read).unwrap().quantization;

        let quantization = quantization.unwrap();
        assert_eq!(quantization.activations.rule.calibration, calibration, "{text}");
        assert_eq!(quantization.weights.calibration, calibration, "{text}");
    }
    for scheme in Scheme::ALL {
        let read = with(EXPERIMENT, "scheme: symmetric", &format!("scheme: {}", scheme.as_str()));
        assert_eq!(ExperimentSpec::parse(&read).unwrap().quantization.unwrap().weights.scheme, scheme);
    }
}

#[test]
fn each_kind_of_mistake_gives_one_line() {
    for (from, to, line) in MISTAKES {
        assert_eq!(experiment_mistakes(&with(EXPERIMENT, from, to)), [*line], "`{from}` -> `{to}`");
    }
}

/// What is replaced in the example, by what, and what the reader says.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("version: 1", "version: 2", "version: this file is version 2; this bitloop reads version 1"),
    ("version: 1", "version: one", "version: expected a whole number, found text `one`; write 1"),
    ("version: 1", "", "version: is missing; add `version: 1`"),
    (
        "name: fashion-mnist-convblock",
        "name: fashion mnist",
        "name: a name cannot contain ` `; use 1 to 64 letters, digits, `-`, `_` and `.`, beginning with a letter, digit or `_`",
    ),
    (
        "name: fashion-mnist-convblock",
        "name: .hidden",
        "name: a name cannot begin like `.hidden`; use 1 to 64 letters, digits, `-`, `_` and `.`, beginning with a letter, digit or `_`",
    ),
    (
        "name: fashion-mnist-convblock",
        "name: 2024",
        "name: expected text, found number 2024; put it in quotation marks",
    ),
    ("name: fashion-mnist-convblock", "name: ''", "name: the text is empty"),
    (
        "name: fashion-mnist-convblock",
        "name: a234567890123456789012345678901234567890123456789012345678901234x",
        "name: the name is 65 characters long; use 1 to 64 letters, digits, `-`, `_` and `.`, beginning with a letter, digit or `_`",
    ),
    ("name: fashion-mnist-convblock", "name:", "name: expected text, found nothing"),
    (
        "numerics: float",
        "numerics: floats",
        "numerics: expected `exact` or `float`, found text `floats`; did you mean `float`?",
    ),
    (
        "numerics: float",
        "numerics: float\nnumerics: float",
        "numerics: this key stands here more than once; keep one of them",
    ),
    (
        "numerics: float",
        "numerics: float\n7: x",
        "7: a key must be text, found number 7; known keys: `version`, `name`, `numerics`, `model`, `data`, `prepare`, `quantization`, `evaluation`, `stages`, `requires` and `priority`",
    ),
    (
        "numerics: float",
        "numerics: float\nbudget: { wall: 2h }",
        "budget: unknown key; known keys: `version`, `name`, `numerics`, `model`, `data`, `prepare`, `quantization`, `evaluation`, `stages`, `requires` and `priority`",
    ),
    (
        "model: { checkpoint: quickstart/convblock.safetensors }",
        "model: model.safetensors",
        "model: expected a mapping, found text `model.safetensors`; known keys: `checkpoint`, `onnx`, `architecture`, `input` and `strides`",
    ),
    (
        "checkpoint: quickstart/convblock.safetensors",
        "checkpoint: [a]",
        "model.checkpoint: expected text, found a list",
    ),
    (
        "dataset: fashion_mnist",
        "dataset: fashion-mnist",
        "data.dataset: expected one of `fashion_mnist`, `mnist`, `kmnist`, `cifar10`, `cifar100` or `cifar100_coarse`, found text `fashion-mnist`; did you mean `fashion_mnist`?",
    ),
    (
        "dataset: fashion_mnist",
        "dataset: imagenet",
        "data.dataset: expected one of `fashion_mnist`, `mnist`, `kmnist`, `cifar10`, `cifar100` or `cifar100_coarse`, found text `imagenet`",
    ),
    ("dataset: fashion_mnist", "datset: fashion_mnist", "data.datset: unknown key; did you mean `dataset`?"),
    ("split: test", "split: validation", "data.split: expected `train` or `test`, found text `validation`"),
    (
        "calibration: 512",
        "calibration: 0",
        "data.calibration: 0 is out of range; write a whole number from 1 to 1000000000",
    ),
    (
        "calibration: 512",
        "calibration: -512",
        "data.calibration: -512 is out of range; write a whole number from 1 to 1000000000",
    ),
    (
        "calibration: 512",
        "calibration: 512.0",
        "data.calibration: expected a whole number, found number 512.0; write a whole number from 1 to 1000000000",
    ),
    (
        "calibration: 512",
        "calibration: rest",
        "data.calibration: expected a whole number, found text `rest`; write a whole number from 1 to 1000000000",
    ),
    (
        "calibration: 512",
        "calibration: 18446744073709551616",
        "data.calibration: 18446744073709551616 is out of range; write a whole number from 1 to 1000000000",
    ),
    (
        "selection: 2000",
        "selection: rest",
        "data.selection: `selection` and `report` cannot both be `rest`; give one of them a number of images (`report` is `rest` unless given)",
    ),
    (
        "selection: 2000",
        "selection: some",
        "data.selection: expected a whole number or `rest`, found text `some`; write `rest` or a number up to 1000000000",
    ),
    (
        "selection: 2000",
        "selection: [2000]",
        "data.selection: expected a whole number, found a list; write a whole number from 1 to 1000000000",
    ),
    (
        "seed: 1",
        "seed: -1",
        "data.seed: -1 is out of range; write a whole number from 0 to 18446744073709551615",
    ),
    (
        "seed: 1",
        "seed: .nan",
        "data.seed: expected a whole number, found number NaN; write a whole number from 0 to 18446744073709551615",
    ),
    ("weights: { bits", "wieghts: { bits", "quantization.wieghts: unknown key; did you mean `weights`?"),
    (
        "bits: [4, 2, 3]",
        "bits: 4",
        "quantization.weights.bits: expected a list, found number 4; write a list such as `[2, 4]`",
    ),
    (
        "bits: [4, 2, 3]",
        "bits: []",
        "quantization.weights.bits: the list is empty; write a list such as `[2, 4]`",
    ),
    (
        "bits: [4, 2, 3]",
        "bits: [4, 9]",
        "quantization.weights.bits[1]: 9 bits are not supported; choose 2 to 8 or 16",
    ),
    (
        "bits: [4, 2, 3]",
        "bits: [4, -4]",
        "quantization.weights.bits[1]: -4 bits are not supported; choose 2 to 8 or 16",
    ),
    (
        "bits: [4, 2, 3]",
        "bits: [4, four]",
        "quantization.weights.bits[1]: expected a whole number, found text `four`; choose 2 to 8 or 16",
    ),
    (
        "bits: [4, 2, 3]",
        "bits: [4, 2, 4]",
        "quantization.weights.bits[2]: 4 is already in the list; remove it",
    ),
    (
        "bits: [4, 2, 3]",
        "bits: [4, 8]",
        "quantization.weights.bits[1]: 8 bits are not below the baseline of 8; remove the width, or choose a larger `quantization.baseline`",
    ),
    (
        "scheme: symmetric",
        "scheme: symetric",
        "quantization.weights.scheme: expected one of `symmetric`, `strict_symmetric` or `asymmetric`, found text `symetric`; did you mean `symmetric`?",
    ),
    (
        "per_channel",
        "per_chanel",
        "quantization.weights.granularity: expected `per_channel` or `per_tensor`, found text `per_chanel`; did you mean `per_channel`?",
    ),
    (
        "calibration: min_max",
        "calibration: tfe",
        "quantization.activations.calibration: expected one of `min_max`, `sqnr`, `tf_enhanced` or `mse`, found text `tfe`",
    ),
    (
        "calibration: min_max",
        "calibration: percentile",
        "quantization.activations.calibration: it is not said which percentile; write `{ percentile: 99.9 }`",
    ),
    (
        "calibration: min_max",
        "calibration: { percentile: 50 }",
        "quantization.activations.calibration.percentile: 50 is out of range; write a number from 50.0001 to 100",
    ),
    (
        "calibration: min_max",
        "calibration: { percentile: 99.99999 }",
        "quantization.activations.calibration.percentile: 99.99999 has more than four decimals; round it to four",
    ),
    ("baseline: 8", "baseline: 10", "quantization.baseline: 10 bits are not supported; choose 2 to 8 or 16"),
    (
        "stages:\n  - sensitivity: { single: all }",
        "stages: []",
        "stages: the list is empty; write a list such as `[{ sensitivity: { single: all } }]`",
    ),
    (
        "  - sensitivity: { single: all }",
        "  sensitivity: { single: all }",
        "stages: expected a list, found a mapping; write a list such as `[{ sensitivity: { single: all } }]`",
    ),
    (
        "- sensitivity: { single: all }",
        "- sensitivity",
        "stages[0]: expected a mapping with the key `sensitivity`, `search`, `autoqkeras`, `probe` or `verify`, found text `sensitivity`; write `sensitivity: { ... }`",
    ),
    (
        "- sensitivity: { single: all }",
        "- sensitivty: { single: all }",
        "stages[0].sensitivty: unknown key; did you mean `sensitivity`?",
    ),
    (
        "- sensitivity: { single: all }",
        "- distill: { device: cpu }",
        "stages[0].distill: unknown key; known keys: `sensitivity`, `search`, `autoqkeras`, `probe` and `verify`",
    ),
    (
        "- sensitivity: { single: all }",
        "- sensitivity: { single: all }\n    search: {}",
        "stages[0]: expected one key, `sensitivity`, `search`, `autoqkeras`, `probe` or `verify`; found 2 keys; write `sensitivity: { ... }`",
    ),
    (
        "{ single: all }",
        "{ single: every }",
        "stages[0].sensitivity.single: expected `all` or a list of patterns, found text `every`; write `all` or a list such as `[\"*.weight\"]`",
    ),
    (
        "{ single: all }",
        "{ single: ['*.weight', '*.weight'] }",
        "stages[0].sensitivity.single[1]: this pattern is already in the list; remove it",
    ),
    ("{ single: all }", "{ single: [''] }", "stages[0].sensitivity.single[0]: the text is empty"),
    (
        "{ single: all }",
        "{ single: !all x }",
        "stages[0].sensitivity.single: expected `all` or a list of patterns, found the tag `all`; write `all` or a list such as `[\"*.weight\"]`",
    ),
    ("{ single: all }", "{}", "stages[0].sensitivity.single: is missing; add `single: all`"),
];
