//! EfficientNet-Lite0 with its published weights on labelled images (`../shared/data`), against PyTorch.
//!
//! Without the files the test says so and passes.

#![expect(clippy::unwrap_used, reason = "a reference that cannot be read must fail the test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::{Bits, Choice};
use bitloop_core::digest::Digest;
use bitloop_core::spec::{DataSpec, Fit, ImageCount, ImageSource};
use bitloop_core::trial::{Candidates, EvaluateContext, Guard, ImageRange, Numerics, PrepareSpec, Transform};
use bitloop_quant::data::{Images, Request, read};
use bitloop_quant::evaluate::{self, Evaluator};
use bitloop_quant::executor::{FloatPass, forward, normalize};
use bitloop_quant::model::Model;
use bitloop_quant::prepare;
use bitloop_quant::zoo::{Zoo, architecture, keys};
use candle_core::{Device, Tensor};
use serde_json::Value;

/// Absolute. The decoder gives the reference's pixels, so only the rounding of f32 sums is left.
const LOGIT: f64 = 1e-3;
/// Share of images on which the predicted class must be PyTorch's.
const AGREEMENT: f64 = 0.99;
/// Images that go through the network together.
const BATCH: usize = 28;
/// Top-1 that 8 bits may cost, in points.
const LOSS_MAX: f64 = 1.5;
/// One image in so many is for calibration.
const CALIBRATED_EVERY: usize = 7;
/// Of ImageNet.
const CLASSES: u32 = 1000;

fn data() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if folder.join("efficientnet_lite0").is_dir() && folder.join("imagenet_sample").is_dir() {
        return folder.canonicalize().ok();
    }
    drop(writeln!(
        std::io::stderr(),
        "skipped: {} has no efficientnet_lite0 and imagenet_sample",
        folder.display()
    ));
    None
}

fn model(data: &Path) -> Model {
    let path = data.join("efficientnet_lite0/efficientnet_lite0.safetensors");
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let zoo = Zoo::published(architecture("efficientnet_lite0").unwrap());
    keys::load(&zoo, tensors.into_iter().collect()).unwrap()
}

fn expected(data: &Path) -> Value {
    let text = fs::read_to_string(data.join("imagenet_sample/expected_efficientnet_lite0.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The named images as an experiment reads them, in the order of the names.
fn images(model: &Model, folder: &Path, names: &[&String]) -> Images {
    let own = tempfile::tempdir().unwrap();
    // A file's number is its class.
    let labels: String =
        names.iter().map(|name| format!("{name}.jpg,{}\n", name.parse::<u32>().unwrap())).collect();
    fs::write(own.path().join("labels.csv"), labels).unwrap();
    let spec = DataSpec {
        source: ImageSource::Folder {
            images: folder.to_str().unwrap().to_owned(),
            labels: Some("labels.csv".to_owned()),
        },
        fit: Fit::default(),
        normalize: None,
        calibration: 1,
        selection: ImageCount::Count(1),
        report: ImageCount::Rest,
        training: None,
        seed: 0,
    };
    let request = Request {
        spec: &spec,
        beside: own.path(),
        folders: &[],
        cache: None,
        shape: &model.graph.input.shape,
        classes: CLASSES,
    };
    read(&request).unwrap().images
}

/// Logits of images by name.
fn logits(model: &Model, folder: &Path, names: &[&String]) -> BTreeMap<String, Vec<f32>> {
    let images = images(model, folder, names);
    assert_eq!(images.len(), names.len());
    let mut pass = FloatPass { weights: &model.weights };
    let mut logits = BTreeMap::new();
    let batches = images.pixels.chunks(BATCH * images.shape.elements());
    for (names, pixels) in names.chunks(BATCH).zip(batches) {
        let input = normalize(&model.graph.input, pixels, names.len(), &Device::Cpu).unwrap();
        let output: Tensor = forward(&model.graph, &input, model.graph.logits().unwrap(), &mut pass).unwrap();
        let rows = output.to_vec2::<f32>().unwrap();
        logits.extend(names.iter().map(|name| (*name).clone()).zip(rows));
    }
    logits
}

fn largest(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|left, right| logits[*left].total_cmp(&logits[*right])).unwrap()
}

#[test]
fn golden_efficientnet_lite0_logits_and_predictions() {
    let Some(data) = data() else { return };
    let expected = expected(&data);
    let predictions = expected["prediction"].as_object().unwrap();
    let names: Vec<&String> = predictions.keys().collect();

    let found = logits(&model(&data), &data.join("imagenet_sample"), &names);

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
    let Some(data) = data() else { return };
    let model = model(&data);
    let expected = expected(&data);
    let names: Vec<&String> = expected["prediction"].as_object().unwrap().keys().collect();
    // Every seventh image, as neighbours are of similar classes.
    let (calibration, selection): (Vec<_>, Vec<_>) =
        names.iter().enumerate().partition(|(index, _)| index % CALIBRATED_EVERY == 0);
    let folder = data.join("imagenet_sample");
    let part = |names: Vec<(usize, &&String)>| {
        let names: Vec<&String> = names.into_iter().map(|(_, name)| *name).collect();
        Arc::new(images(&model, &folder, &names))
    };
    let (calibration, selection) = (part(calibration), part(selection));
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
    let materials =
        prepare::Materials { model: &model, calibration: &calibration, guard: &selection, spec: &spec };
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
    let evaluator = Evaluator::new(materials, threads, &Device::Cpu).unwrap();

    let found = evaluator.references(&never).unwrap().unwrap();

    let points = |correct: u64| correct as f64 / selection.len() as f64 * 100.0;
    let (float, quantized) = (points(found.float_correct), points(found.baseline_correct));
    eprintln!("top-1 on {} images: {float:.2} % in float, {quantized:.2} % at 8 bits", selection.len());
    assert!(float - quantized <= LOSS_MAX, "8 bits lose {:.2} points", float - quantized);
}
