//! `bitloop check`: what would be measured, and about how long it would take here.

mod rate;
mod trained;

use std::thread::available_parallelism;

use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::graph::{Point, PointKind};
use bitloop_core::plan::{Pairs, Plan, SearchMethod, StagePlan, Subsets};
use bitloop_search::Forecast;
use serde_json::json;

use crate::args::{CheckArguments, Output};
use crate::failure::{Failure, Outcome};
use crate::inputs::{self, Prepared};
use crate::show;

pub(super) fn execute(arguments: &CheckArguments, output: Output) -> Outcome {
    let prepared = inputs::prepare(&arguments.experiment, &arguments.datasets)?;
    let plan = &prepared.plan;
    let searches = trained::searches(plan);
    if !searches.is_empty() {
        return trained::execute(&prepared, &searches, output);
    }
    let forecast = bitloop_search::forecast(plan);
    let macs: u64 = plan.layer_costs()?.iter().map(|layer| layer.macs).sum();
    let rate = rate::images_per_second(&prepared);
    if output == Output::Json {
        let images = plan.data;
        return show::json(&json!({
            "experiment": plan.id(),
            "trials": forecast.iter().map(|stage| stage.trials).sum::<u64>(),
            "stages": forecast,
            "evaluation": plan.evaluation,
            "graph": plan.graph,
            "points": plan.points,
            "baseline_bits": plan.candidates.baseline,
            "macs_per_image": macs,
            "images_per_s_and_thread": rate.ok(),
            "images": {
                "calibration": images.calibration.images,
                "selection": images.selection.images,
                "report": images.report.images,
            },
            "sources": prepared.sources,
        }));
    }
    let mut fields = description(&prepared, macs);
    fields.extend(
        forecast.iter().zip(&plan.stages).map(|(stage, planned)| (stage.stage, described(stage, planned))),
    );
    fields.extend(totals(plan, &forecast, macs));
    fields.push(("time", time(plan, &forecast, rate)?));
    show::data(&show::fields(&fields))
}

fn description(prepared: &Prepared, macs: u64) -> Vec<(&'static str, String)> {
    let plan = &prepared.plan;
    let (points, images) = (&plan.points, plan.data);
    vec![
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
        ("weights", lowered(plan, PointKind::Weight)),
        ("activations", lowered(plan, PointKind::Activation)),
        ("baseline", format!("{} bits", plan.candidates.baseline)),
    ]
}

/// What a stage does, and in how many trials.
fn described(forecast: &Forecast, stage: &StagePlan) -> String {
    let trials = show::with_thousands(forecast.trials);
    match stage {
        StagePlan::Prepare => "1 trial".to_owned(),
        StagePlan::Sensitivity { single, pairs, subsets } => {
            let mut text = format!("{trials} trials: {} points alone", single.len());
            match pairs {
                Some(Pairs::Below { quantile_ppm: None }) => text.push_str(", all pairs"),
                Some(Pairs::Below { quantile_ppm: Some(ppm) }) => {
                    text.push_str(&format!(", pairs below the {}-quantile of damage", f64::from(*ppm) / 1e6));
                }
                Some(Pairs::MostPromising { configs }) => {
                    text.push_str(&format!(", the {} most promising pairs", show::with_thousands(*configs)));
                }
                None => {}
            }
            if let Some(Subsets { configs, points: [low, high], design, .. }) = subsets {
                let configs = show::with_thousands(*configs);
                text.push_str(&format!(", {configs} {} subsets of {low} to {high} points", design.as_str()));
            }
            text
        }
        StagePlan::Search(search) => {
            // Sets are measured until the drop says enough; how many that takes only the drop knows.
            let bound = match (search.trials, search.method) {
                (Some(_), _) => "at most",
                (None, SearchMethod::Demotion { .. }) => "at least",
                (None, _) => "about",
            };
            let words = [vec![search.method.as_str().to_owned()], show::limits(search)].concat();
            format!("{bound} {trials} trials: {}", words.join(", "))
        }
        StagePlan::Probe(probe) => format!(
            "about {trials} trials on {}: every network {} times, {} if each takes as long as it may; a worker started with \
             `--probe {}` measures them",
            probe.target,
            probe.repetitions,
            duration(forecast.trials as f64 * f64::from(probe.setting.at_most_ms) / 1e3),
            probe.target.probe,
        ),
        StagePlan::AutoQKeras(_) => format!("at most {trials} trials"),
        StagePlan::Verify { top, .. } => format!("{trials} trials: the best {top} of each search"),
    }
}

fn totals(plan: &Plan, forecast: &[Forecast], macs: u64) -> Vec<(&'static str, String)> {
    let (at_least, at_most) = match plan.evaluation {
        EvaluationMode::Full { .. } => ("", ""),
        EvaluationMode::Adaptive(_) => ("at least ", "at most "),
    };
    let trials: u64 = forecast.iter().map(|stage| stage.trials).sum();
    let images: f64 = forecast.iter().map(|stage| stage.images as f64).sum();
    vec![
        ("trials", format!("{at_least}{trials}")),
        ("work", format!("{at_most}{:.1} GMACs of evaluation, before any reuse", images * macs as f64 / 1e9)),
    ]
}

fn time(plan: &Plan, forecast: &[Forecast], rate: Result<f64, Failure>) -> Result<String, Failure> {
    let rate = match rate {
        Ok(rate) => rate,
        Err(failure) => return Ok(format!("unknown: {:#}", failure.error)),
    };
    let threads = available_parallelism()?.get();
    let images: f64 = forecast.iter().map(|stage| stage.images as f64).sum();
    let at_most = match plan.evaluation {
        EvaluationMode::Full { .. } => "about",
        EvaluationMode::Adaptive(_) => "at most",
    };
    Ok(format!(
        "{at_most} {} on {threads} threads of this machine ({rate:.0} images/s on each, measured now), less where \
         configs share work",
        duration(images / rate / threads as f64)
    ))
}

fn duration(seconds: f64) -> String {
    match seconds {
        ..120.0 => format!("{:.0} s", seconds.ceil()),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

fn count(points: &[Point], kind: PointKind) -> usize {
    points.iter().filter(|point| point.kind == kind).count()
}

fn lowered(plan: &Plan, kind: PointKind) -> String {
    let searched = plan.searchable();
    let of_kind = searched.iter().filter(|point| plan.points[point.0 as usize].kind == kind).count();
    let widths: Vec<String> = plan.candidates.bits(kind).iter().map(ToString::to_string).collect();
    format!("{of_kind} lowered to {} bits", widths.join(", "))
}
