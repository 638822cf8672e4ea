//! How fast this machine evaluates a plan's network, measured in about a second.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::BitConfig;
use bitloop_core::digest::Digest;
use bitloop_core::plan::Plan;
use bitloop_core::trial::{Candidates, EvaluateContext, Guard, ImageRange, PrepareSpec, Transform};
use bitloop_quant::data::Images;
use bitloop_quant::device::Device;
use bitloop_quant::evaluate::{Evaluator, Materials};
use bitloop_quant::model::Model;
use bitloop_quant::prepare;

use crate::clock::Stopwatch;
use crate::failure::Failure;
use crate::inputs::Prepared;

/// Images of one measurement: two blocks of an evaluation, so that a large network takes no minute.
const IMAGES: u64 = 64;

/// For how long it is measured, in seconds.
const SECONDS: f64 = 0.5;

/// Images per second of the baseline on one thread, by the fastest of several evaluations.
///
/// The network is prepared with what costs no time: how its ranges are found does not change how fast it is.
pub(super) fn images_per_second(prepared: &Prepared) -> Result<f64, Failure> {
    let evaluator = evaluator(prepared)?;
    let whole = evaluator.context().whole();
    let evaluate = || -> Result<f64, Failure> {
        let watch = Stopwatch::start();
        evaluator.evaluate(&BitConfig::baseline(), whole, &AtomicBool::new(false))?;
        Ok(whole.len as f64 / watch.seconds())
    };
    // The first one also packs weights and computes what all later ones are compared with.
    evaluate()?;
    let watch = Stopwatch::start();
    let mut fastest = evaluate()?;
    while watch.seconds() < SECONDS {
        fastest = fastest.max(evaluate()?);
    }
    Ok(fastest)
}

fn evaluator(prepared: &Prepared) -> Result<Evaluator, Failure> {
    let plan = &prepared.plan;
    let bytes =
        |digest: &Digest| prepared.artifacts.get(digest).map(|bytes| bytes.as_slice()).unwrap_or_default();
    let model = Model::from_bytes(bytes(&plan.model))?;
    let images = Arc::new(Images::from_bytes(bytes(&plan.data.selection.digest))?);
    let spec = spec(plan);
    let materials = prepare::Materials { model: &model, calibration: &images, guard: &images, spec: &spec };
    let made = prepare::prepare(&materials, 1, &AtomicBool::new(false))?;
    let (network, _) = made.expect("nothing stops the preparation");
    let context = EvaluateContext { images: spec.images, ..plan.context(plan.model) };
    let materials = Materials { prepared: Arc::new(network), images, context };
    Ok(Evaluator::new(materials, 1, &Device::Cpu)?)
}

/// What the plan prepares, with a few images and without what takes long.
fn spec(plan: &Plan) -> PrepareSpec {
    let images = ImageRange { start: 0, len: plan.data.selection.images.min(IMAGES) };
    let fold = plan.transforms.iter().copied().filter(|transform| *transform == Transform::FoldBatchNorm);
    let baseline = plan.candidates.baseline;
    PrepareSpec {
        data: plan.data.selection.digest,
        images,
        transforms: fold.collect(),
        guard: Guard { images, ..plan.guard.clone() },
        candidates: Candidates::with_default_rules(vec![baseline], vec![baseline], baseline),
        ..plan.prepare()
    }
}
