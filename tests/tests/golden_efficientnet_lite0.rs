//! EfficientNet-Lite0 with its published weights on labelled images (`../shared/data`), against PyTorch.
//!
//! Without the files the test says so and passes.

#![expect(clippy::unwrap_used, reason = "a reference that cannot be read must fail the test")]

mod labelled;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::{Bits, Choice};
use bitloop_core::digest::Digest;
use bitloop_core::trial::{Candidates, EvaluateContext, Guard, ImageRange, Numerics, PrepareSpec, Transform};
use bitloop_quant::data::Images;
use bitloop_quant::device;
use bitloop_quant::evaluate::{self, Evaluator};
use bitloop_quant::executor::{FloatPass, forward, normalize};
use bitloop_quant::prepare;
use serde_json::Value;

use labelled::{CLASSES, Labelled, largest};

/// Absolute. The decoder gives the reference's pixels, so only the rounding of f32 sums is left.
const LOGIT: f64 = 1e-3;
/// Share of images on which the predicted class must be PyTorch's.
const AGREEMENT: f64 = 0.99;
/// Images that go through the network together.
const BATCH: usize = 28;
/// Top-1 that 8 bits may cost, in points.
const LOSS_MAX: f64 = 1.5;

/// What PyTorch gives.
fn expected(labelled: &Labelled) -> Value {
    let text = fs::read_to_string(labelled.folder.join("expected_efficientnet_lite0.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Logits of images by name.
fn logits(labelled: &Labelled, names: &[&str]) -> BTreeMap<String, Vec<f32>> {
    let (model, images) = (&labelled.model, labelled.images(names));
    let cpu = device::open("cpu").unwrap().device;
    let mut pass = FloatPass { weights: &model.weights };
    let mut logits = BTreeMap::new();
    let batches = images.pixels.chunks(BATCH * images.shape.elements());
    for (names, pixels) in names.chunks(BATCH).zip(batches) {
        let input = normalize(&model.graph.input, pixels, names.len(), &cpu).unwrap();
        let output = forward(&model.graph, &input, model.graph.logits().unwrap(), &mut pass).unwrap();
        let rows = output.to_vec2::<f32>().unwrap();
        assert!(rows.iter().all(|row| row.len() == CLASSES as usize));
        logits.extend(names.iter().map(|name| (*name).to_owned()).zip(rows));
    }
    logits
}

#[test]
fn golden_efficientnet_lite0_logits_and_predictions() {
    let Some(labelled) = Labelled::found() else { return };
    let expected = expected(&labelled);
    let predictions = expected["prediction"].as_object().unwrap();
    let names: Vec<&str> = predictions.keys().map(String::as_str).collect();

    let found = logits(&labelled, &names);

    let mut worst = (0.0_f64, String::new());
    for (name, logits) in expected["logits_first10_classes"].as_object().unwrap() {
        for (class, logit) in logits.as_array().unwrap().iter().enumerate() {
            let error = (f64::from(found[name][class]) - logit.as_f64().unwrap()).abs();
            if error > worst.0 {
                worst = (error, format!("class {class} of {name}"));
            }
        }
    }
    eprintln!("the worst logit, {}, is off by {:.1e}", worst.1, worst.0);
    assert!(worst.0 < LOGIT, "{} is off by {}", worst.1, worst.0);
    let agreeing =
        predictions.iter().filter(|(name, class)| Some(largest(&found[*name]) as u64) == class.as_u64());
    let agreement = agreeing.count() as f64 / predictions.len() as f64;
    eprintln!("{agreement} of the predictions agree");
    assert!(agreement >= AGREEMENT, "only {agreement} of the predictions agree");
}

#[test]
fn golden_efficientnet_lite0_loses_little_at_8_bits() {
    let Some(labelled) = Labelled::found() else { return };
    let (model, [calibration, selection]) = (&labelled.model, labelled.parts());
    let whole = |images: &Images| ImageRange { start: 0, len: images.len() as u64 };
    let (any, bits) = (Digest::of(b""), Bits::new(8).unwrap());
    let spec = PrepareSpec {
        model: any,
        data: any,
        images: whole(&calibration),
        transforms: vec![Transform::FoldBatchNorm],
        guard: Guard { data: any, images: whole(&selection), drop_max_ppm: 0 },
        candidates: Candidates::with_default_rules(vec![bits], vec![bits], bits),
        points: model.graph.without_folded_batch_norms().points().unwrap(),
    };
    let materials = prepare::Materials { model, calibration: &calibration, guard: &selection, spec: &spec };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let never = AtomicBool::new(false);
    let (prepared, _) = prepare::prepare(&materials, threads, &never).unwrap().unwrap();
    let context = EvaluateContext {
        prepared: any,
        data: any,
        images: whole(&selection),
        numerics: Numerics::Float,
        baseline: Choice::Bits(bits),
        points: prepared.points.iter().map(|point| point.name.clone()).collect(),
    };
    let materials =
        evaluate::Materials { prepared: Arc::new(prepared), images: Arc::clone(&selection), context };
    let evaluator = Evaluator::new(materials, threads, &device::open("cpu").unwrap().device).unwrap();

    let found = evaluator.references(&never).unwrap().unwrap();

    let points = |correct: u64| correct as f64 / selection.len() as f64 * 100.0;
    let (float, quantized) = (points(found.float_correct), points(found.baseline_correct));
    eprintln!("top-1 on {} images: {float:.2} % in float, {quantized:.2} % at 8 bits", selection.len());
    assert!(float - quantized <= LOSS_MAX, "8 bits lose {:.2} points", float - quantized);
}
