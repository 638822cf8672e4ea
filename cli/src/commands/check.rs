//! `bitloop check`: what would be measured.

use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::graph::{Point, PointKind};
use bitloop_core::plan::{Plan, StagePlan};
use bitloop_core::sweep::Sweep;
use serde_json::json;

use crate::args::{CheckArguments, Output};
use crate::failure::Outcome;
use crate::inputs;
use crate::show;

pub(super) fn execute(arguments: &CheckArguments, output: Output) -> Outcome {
    let prepared = inputs::prepare(&arguments.experiment, &arguments.datasets)?;
    let plan = &prepared.plan;
    let trials = bitloop_search::plan_size(plan);
    let points = &plan.points;
    let macs: u64 = plan.layer_costs()?.iter().map(|layer| layer.macs).sum();
    if output == Output::Json {
        return show::json(&json!({
            "experiment": plan.id(),
            "trials": trials,
            "evaluation": plan.evaluation,
            "points": points,
            "macs_per_image": macs,
            "images": {
                "calibration": plan.data.calibration.images,
                "selection": plan.data.selection.images,
                "report": plan.data.report.images,
            },
            "sources": prepared.sources,
        }));
    }
    let lowered = |kind: PointKind| lowered_points(plan, points, kind);
    let images = plan.data;
    let evaluated = configs(plan) as f64 * images.selection.images as f64;
    let (at_least, at_most) = match plan.evaluation {
        EvaluationMode::Full { .. } => ("", ""),
        EvaluationMode::Adaptive(_) => ("at least ", "at most "),
    };
    let fields = [
        ("experiment", plan.id().to_string()),
        ("model", format!("{} ({}), {:.2} M MACs an image", plan.graph.name, plan.model, macs as f64 / 1e6)),
        ("numerics", plan.numerics.as_str().to_owned()),
        (
            "images",
            format!(
                "{} calibration, {} selection, {} kept for a report",
                images.calibration.images, images.selection.images, images.report.images
            ),
        ),
        (
            "points",
            format!(
                "{}: {} weights, {} activations",
                points.len(),
                count(points, PointKind::Weight),
                count(points, PointKind::Activation)
            ),
        ),
        ("weights", lowered(PointKind::Weight)),
        ("activations", lowered(PointKind::Activation)),
        ("baseline", format!("{} bits", plan.candidates.baseline)),
        ("trials", format!("{at_least}{trials}")),
        (
            "work",
            format!("{at_most}{:.1} GMACs of evaluation, before any reuse", evaluated * macs as f64 / 1e9),
        ),
    ];
    show::data(&show::fields(&fields))
}

/// How many configs are evaluated.
fn configs(plan: &Plan) -> u64 {
    let of = |stage: &StagePlan| match stage {
        StagePlan::Prepare => 0,
        StagePlan::Sensitivity { single } => Sweep::new(plan, single).size(),
    };
    plan.stages.iter().map(of).sum()
}

fn count(points: &[Point], kind: PointKind) -> usize {
    points.iter().filter(|point| point.kind == kind).count()
}

fn lowered_points(plan: &Plan, points: &[Point], kind: PointKind) -> String {
    let chosen: usize = plan
        .stages
        .iter()
        .map(|stage| match stage {
            StagePlan::Prepare => 0,
            StagePlan::Sensitivity { single } => {
                single.iter().filter(|point| points[point.0 as usize].kind == kind).count()
            }
        })
        .sum();
    let widths: Vec<String> = plan.candidates.bits(kind).iter().map(ToString::to_string).collect();
    format!("{chosen} lowered one at a time to {} bits", widths.join(", "))
}
