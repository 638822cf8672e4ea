use super::{EXPERIMENT, with};
use crate::spec::{ExperimentSpec, ModelSpec, PrepareRules, StridesSpec};
use crate::trial::{BiasCorrection, Transform};

const MODEL: &str = "model: { checkpoint: quickstart/convblock.safetensors }";

fn model(text: &str) -> Result<ModelSpec, String> {
    let file = with(EXPERIMENT, MODEL, &format!("model: {text}"));
    ExperimentSpec::parse(&file).map(|spec| spec.model).map_err(|error| error.to_string())
}

fn prepare(text: &str) -> Result<PrepareRules, String> {
    let file = with(EXPERIMENT, MODEL, &format!("{MODEL}\nprepare: {text}"));
    ExperimentSpec::parse(&file).map(|spec| spec.prepare).map_err(|error| error.to_string())
}

#[test]
fn every_source_of_a_model_is_read() {
    let file = "m".to_owned();
    assert_eq!(model("{ onnx: m }"), Ok(ModelSpec::Onnx { file: file.clone(), input: None }));
    assert_eq!(
        model("{ onnx: m, input: [1, 28, 28] }"),
        Ok(ModelSpec::Onnx { file: file.clone(), input: Some([1, 28, 28]) })
    );
    let weights = |input, strides| {
        Ok(ModelSpec::Weights { architecture: "resnet18".to_owned(), file: file.clone(), input, strides })
    };
    assert_eq!(model("{ architecture: resnet18, checkpoint: m }"), weights(None, StridesSpec::Published));
    assert_eq!(
        model("{ architecture: resnet18, checkpoint: m, input: [3, 32, 32], strides: small_images }"),
        weights(Some([3, 32, 32]), StridesSpec::SmallImages)
    );
}

#[test]
fn a_model_without_or_with_two_sources_is_a_mistake() {
    for (text, line) in [
        ("{}", "model.checkpoint: is missing; add `checkpoint: model.safetensors`"),
        ("{ architecture: resnet18 }", "model.checkpoint: is missing; add `checkpoint: weights.pth`"),
        (
            "{ onnx: a, checkpoint: b }",
            "model.onnx: there is another source of the model beside it; keep `onnx`, or `checkpoint` with or without `architecture`",
        ),
        (
            "{ onnx: a, strides: published }",
            "model.strides: only an `architecture` has strides to choose; remove it",
        ),
        (
            "{ checkpoint: a, input: [1, 2, 3] }",
            "model.input: a model file of bitloop's own has its input's extents inside; remove it",
        ),
        (
            "{ onnx: a, input: [1, 2] }",
            "model.input: must have three numbers; write channels, height and width: `[3, 224, 224]`",
        ),
    ] {
        assert_eq!(model(text), Err(line.to_owned()), "{text}");
    }
}

#[test]
fn transforms_are_read_short_and_long() {
    let rules = |transforms: &[Transform], drop_max_ppm, images| {
        Ok(PrepareRules { transforms: transforms.to_vec(), drop_max_ppm, images })
    };
    assert_eq!(prepare("none"), rules(&[], 5_000, None));
    assert_eq!(
        prepare("[fold_batch_norm, replace_relu6, equalize, high_bias_fold, bias_correction]"),
        rules(
            &[
                Transform::FoldBatchNorm,
                Transform::ReplaceRelu6,
                Transform::Equalize,
                Transform::HighBiasFold,
                Transform::BiasCorrection(BiasCorrection::Empirical),
            ],
            5_000,
            None
        )
    );
    assert_eq!(
        prepare(
            "{ transforms: [fold_batch_norm, analytic_bias_correction], accuracy_drop_max: 0.25, images: 300 }"
        ),
        rules(
            &[Transform::FoldBatchNorm, Transform::BiasCorrection(BiasCorrection::Analytic)],
            2_500,
            Some(300)
        )
    );
}

#[test]
fn transforms_in_another_order_or_without_what_they_need_are_mistakes() {
    for (text, line) in [
        (
            "[fold_batch_norm, high_bias_fold]",
            "prepare[1]: `high_bias_fold` needs `equalize` before it; put `equalize` into the list",
        ),
        (
            "[replace_relu6, fold_batch_norm]",
            "prepare[1]: `fold_batch_norm` cannot come after `replace_relu6`; the order is fold_batch_norm, replace_relu6, equalize, high_bias_fold, bias_correction",
        ),
        (
            "[fold_batch_norm, bias_correction, analytic_bias_correction]",
            "prepare[2]: biases are corrected already; choose one kind of bias correction",
        ),
        (
            "all",
            "prepare: expected a list of transforms, found text `all`; write `none` or a list such as `[fold_batch_norm, equalize]`",
        ),
    ] {
        assert_eq!(prepare(text), Err(line.to_owned()), "{text}");
    }
    let both = prepare("[equalise]").unwrap_err();
    assert!(both.contains("did you mean `equalize`?"), "{both}");
}
