//! `bitloop bench eval`: images per second of a model, in float and quantized, with either arithmetic.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::digest::Digest;
use bitloop_core::trial::{Candidates, EvaluateContext, Guard, ImageRange, Numerics, PrepareSpec};
use bitloop_quant::data::Images;
use bitloop_quant::device::{Device, Kernels};
use bitloop_quant::evaluate::{Evaluator, Materials};
use bitloop_quant::model::Model;
use bitloop_quant::prepare;
use bitloop_quant::rng::rng;
use serde_json::json;

use super::median;
use crate::args::{EvalArguments, Output};
use crate::clock::{self, Stopwatch};
use crate::failure::{Failure, Outcome};
use crate::inputs;
use crate::show;

/// Images that the ranges of activations come from.
const CALIBRATION_IMAGES: u64 = 64;

/// One of the ways to compute a network.
struct Way {
    numerics: Numerics,
    config: BitConfig,
    label: String,
    evaluator: Evaluator,
    images_per_s: Vec<f64>,
    cpu_s_per_image: Vec<f64>,
}

pub(in crate::commands) fn execute(arguments: &EvalArguments, output: Output) -> Outcome {
    let path = &arguments.model;
    let model = Model::load(path).map_err(|error| Failure::usage(error.to_string()))?;
    let name = model.graph.name.clone();
    let kernels = Kernels::chosen().map_err(|error| Failure::usage(error.to_string()))?;
    let mut ways = ways(&model, arguments, kernels)?;
    for way in &mut ways {
        // The first evaluation also packs weights and computes what all later ones share.
        way.measure(arguments.images)?;
        way.images_per_s.clear();
        way.cpu_s_per_image.clear();
    }
    for _ in 0..arguments.repetitions {
        // Alternating, so that a noisy neighbour disturbs all alike.
        for way in &mut ways {
            way.measure(arguments.images)?;
        }
    }
    if output == Output::Json {
        let row = |way: &Way| {
            json!({
                "numerics": way.numerics.as_str(),
                "bits": way.label,
                "images_per_s": median(way.images_per_s.clone()),
                "cpu_s_per_image": way.cpu_s_per_image(),
                "runs": way.images_per_s,
            })
        };
        return show::json(&json!({
            "model": name,
            "kernels": kernels.name(),
            "images": arguments.images,
            "threads": arguments.threads,
            "repetitions": arguments.repetitions,
            "rows": ways.iter().map(row).collect::<Vec<_>>(),
        }));
    }
    let rows = ways.iter().map(|way| {
        let cpu = way.cpu_s_per_image().map_or("-".to_owned(), |cpu| format!("{:.1}", cpu * 1e6));
        vec![
            way.label.clone(),
            way.numerics.as_str().to_owned(),
            format!("{:.0}", median(way.images_per_s.clone())),
            cpu,
        ]
    });
    let setting = show::fields(&[
        ("model", name),
        ("kernels", kernels.name().to_owned()),
        ("images", arguments.images.to_string()),
        ("threads", arguments.threads.to_string()),
        ("median of", arguments.repetitions.to_string()),
    ]);
    let header = ["network", "numerics", ">images/s", ">CPU us/image"];
    show::data(&format!("{setting}\n\n{}", show::table(&header, rows)))
}

fn ways(model: &Model, arguments: &EvalArguments, kernels: Kernels) -> Result<Vec<Way>, Failure> {
    let bits = Bits::new(arguments.bits).map_err(|error| Failure::usage(format!("--bits: {error}")))?;
    let points = model.graph.points()?.len() as u32;
    let float =
        BitConfig::against(Choice::Bits(bits), (0..points).map(|point| (PointIndex(point), Choice::Float)));
    let quantized = format!("W{bits}A{bits}");
    let mut all = vec![
        (Numerics::Float, float, "float".to_owned()),
        (Numerics::Float, BitConfig::baseline(), quantized.clone()),
    ];
    if kernels.are_exact() {
        all.push((Numerics::Exact, BitConfig::baseline(), quantized));
    }
    let materials = materials(model, arguments, bits)?;
    let way = |(numerics, config, label)| {
        let context = EvaluateContext { numerics, ..materials.context.clone() };
        let (prepared, images) = (Arc::clone(&materials.prepared), Arc::clone(&materials.images));
        let threads = usize::from(arguments.threads);
        let evaluator = Evaluator::new(Materials { prepared, images, context }, threads, &Device::Cpu)?;
        let (images_per_s, cpu_s_per_image) = (Vec::new(), Vec::new());
        Ok(Way { numerics, config, label, evaluator, images_per_s, cpu_s_per_image })
    };
    all.into_iter().map(way).collect()
}

impl Way {
    fn measure(&mut self, images: u32) -> Result<(), Failure> {
        let (watch, cpu) = (Stopwatch::start(), clock::cpu_seconds());
        let whole = self.evaluator.context().whole();
        self.evaluator.evaluate(&self.config, whole, &AtomicBool::new(false))?;
        self.images_per_s.push(f64::from(images) / watch.seconds());
        let cpu = clock::cpu_seconds().zip(cpu).map(|(end, start)| (end - start) / f64::from(images));
        self.cpu_s_per_image.extend(cpu);
        Ok(())
    }

    /// The median, where the system tells.
    fn cpu_s_per_image(&self) -> Option<f64> {
        (!self.cpu_s_per_image.is_empty()).then(|| median(self.cpu_s_per_image.clone()))
    }
}

fn materials(model: &Model, arguments: &EvalArguments, baseline: Bits) -> Result<Materials, Failure> {
    let shape = model.graph.input.shape.clone();
    let count = arguments.images.max(CALIBRATION_IMAGES as u32) as usize;
    let classes = inputs::classes(&model.graph)?;
    let mut rng = rng(0, 0);
    let pixels = (0..count * shape.elements()).map(|_| rng.below(256) as u8).collect();
    let images = Images { shape, pixels, labels: vec![0; count], classes };
    let threads = usize::from(arguments.threads);
    let calibrated = ImageRange { start: 0, len: CALIBRATION_IMAGES };
    let unnamed = Digest::of(b"");
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
    let materials = prepare::Materials { model, calibration: &images, guard: &images, spec: &spec };
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
    Ok(Materials { prepared: Arc::new(prepared), images, context })
}
