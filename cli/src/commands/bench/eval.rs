//! `bitloop bench eval`: images per second of a model, in float and at the baseline's 8 bits.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::digest::Digest;
use bitloop_core::trial::{Candidates, EvaluateContext, Guard, ImageRange, Numerics, PrepareSpec};
use bitloop_quant::data::Images;
use bitloop_quant::device::Device;
use bitloop_quant::evaluate::{Evaluator, Materials};
use bitloop_quant::model::Model;
use bitloop_quant::prepare;
use bitloop_quant::rng::rng;
use serde_json::json;

use super::median;
use crate::args::{EvalArguments, Output};
use crate::clock::Stopwatch;
use crate::failure::{Failure, Outcome};
use crate::inputs;
use crate::show;

/// Images that the ranges of activations come from.
const CALIBRATION_IMAGES: u64 = 64;

pub(in crate::commands) fn execute(arguments: &EvalArguments, output: Output) -> Outcome {
    let path = &arguments.model;
    let model = Model::load(path).map_err(|error| Failure::usage(error.to_string()))?;
    let name = model.graph.name.clone();
    let points = model.graph.points()?.len() as u32;
    let evaluator = evaluator(model, arguments)?;
    let baseline = evaluator.context().baseline;
    let float = BitConfig::against(baseline, (0..points).map(|point| (PointIndex(point), Choice::Float)));
    // The first evaluation also computes what all later ones share.
    evaluate(&evaluator, &float)?;
    let (mut in_float, mut quantized) = (Vec::new(), Vec::new());
    for _ in 0..arguments.repetitions {
        // Alternating, so that a noisy neighbour disturbs both alike.
        in_float.push(f64::from(arguments.images) / evaluate(&evaluator, &float)?);
        quantized.push(f64::from(arguments.images) / evaluate(&evaluator, &BitConfig::baseline())?);
    }
    let [float, quantized] = [median(in_float), median(quantized)];
    match output {
        Output::Json => show::json(&json!({
            "model": name,
            "images": arguments.images,
            "threads": arguments.threads,
            "repetitions": arguments.repetitions,
            "float_images_per_second": float,
            "w8a8_images_per_second": quantized,
        })),
        Output::Text => show::data(&show::fields(&[
            ("model", name),
            (
                "setting",
                format!(
                    "{} images, {} thread(s), median of {}",
                    arguments.images, arguments.threads, arguments.repetitions
                ),
            ),
            ("float", format!("{float:.0} images/s")),
            ("W8A8", format!("{quantized:.0} images/s (fake quantization in f32)")),
        ])),
    }
}

fn evaluate(evaluator: &Evaluator, config: &BitConfig) -> Result<f64, Failure> {
    let watch = Stopwatch::start();
    evaluator.evaluate(config, &AtomicBool::new(false))?;
    Ok(watch.seconds())
}

fn evaluator(model: Model, arguments: &EvalArguments) -> Result<Evaluator, Failure> {
    let shape = model.graph.input.shape.clone();
    let count = arguments.images.max(CALIBRATION_IMAGES as u32) as usize;
    let classes = inputs::classes(&model.graph)?;
    let mut rng = rng(0, 0);
    let pixels = (0..count * shape.elements()).map(|_| rng.below(256) as u8).collect();
    let images = Images { shape, pixels, labels: vec![0; count], classes };
    let threads = usize::from(arguments.threads);
    let calibrated = ImageRange { start: 0, len: CALIBRATION_IMAGES };
    let (unnamed, baseline) = (Digest::of(b""), Bits::new(8)?);
    let spec = PrepareSpec {
        model: unnamed,
        data: unnamed,
        images: calibrated,
        transforms: Vec::new(),
        guard: Guard { data: unnamed, images: calibrated, drop_max_ppm: 0 },
        candidates: Candidates::with_default_rules(vec![baseline], vec![baseline], baseline),
        points: model.graph.points()?,
    };
    let images = Arc::new(images);
    let materials = prepare::Materials { model: &model, calibration: &images, guard: &images, spec: &spec };
    let prepared = prepare::prepare(&materials, threads, &AtomicBool::new(false))?;
    let (prepared, _) = prepared.expect("nothing stops the preparation");
    let context = EvaluateContext {
        prepared: unnamed,
        data: unnamed,
        images: ImageRange { start: 0, len: u64::from(arguments.images) },
        numerics: Numerics::Float,
        baseline: Choice::Bits(baseline),
        points: prepared.points.iter().map(|point| point.name.clone()).collect(),
    };
    let materials = Materials { prepared: Arc::new(prepared), images, context };
    Ok(Evaluator::new(materials, threads, &Device::Cpu)?)
}
