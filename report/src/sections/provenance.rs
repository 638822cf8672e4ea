//! What the numbers rest on: all it takes to know whether two reports may be compared.

use bitloop_core::digest::Digest;
use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::plan::{Plan, StagePlan};

use super::ROWS_MAX;
use crate::document::{Cell, Column, Section, Table, plural};
use crate::material::Material;

pub(super) fn sections(material: &Material) -> Vec<Section> {
    let mut section = Section::new("provenance", "What it rests on").say(
        "Equal digests mean equal bytes: two experiments with the same plan digest ask for the same numbers. Images are split \
         once; the digests of the parts stand for that split and its seed.",
    );
    let work = material.effort.work;
    if work.macs_alone > 0 {
        section = section.say(format!(
            "Measuring took {:.1} billion multiply-adds instead of {:.1}: candidates that are measured together share what they \
             agree in.",
            work.macs as f64 / 1e9,
            work.macs_alone as f64 / 1e9
        ));
    }
    let facts = facts(material);
    let rows = facts.into_iter().map(|(name, value)| vec![Cell::Words(name), Cell::Words(value)]);
    let columns = vec![Column::words("what"), Column::words("value")];
    section.table = Some(Table::new("Inputs, arithmetic and machines", columns).fill(ROWS_MAX, rows));
    vec![section]
}

fn facts(material: &Material) -> Vec<(String, String)> {
    let (report, plan) = (&material.report, &material.plan);
    let mut facts = vec![
        ("experiment".to_owned(), report.experiment.clone()),
        ("plan".to_owned(), Digest::of(&plan.to_document()).to_string()),
        ("model".to_owned(), format!("{} ({})", plan.model, plan.graph.name)),
    ];
    facts.extend(report.prepared.map(|prepared| ("prepared model".to_owned(), prepared.to_string())));
    facts.extend(data(plan));
    facts.push(("arithmetic".to_owned(), plan.numerics.as_str().to_owned()));
    if report.trained.is_empty() {
        facts.push(("baseline".to_owned(), format!("{} bits", plan.candidates.baseline)));
        facts.push(("evaluation".to_owned(), evaluation(plan.evaluation)));
    }
    facts.extend(stages(plan));
    facts.extend(material.sources.iter().map(|(path, digest)| (format!("input {path}"), digest.to_string())));
    for by in &material.effort.measured {
        let trials = format!("{} trials", by.trials);
        let engine = if by.engine.is_empty() { "an unknown version" } else { &by.engine };
        facts.push((
            "measured on".to_owned(),
            format!("{}, {} kernels, {engine}: {trials}", by.device, by.kernels),
        ));
    }
    facts.push(("report made by".to_owned(), material.made.by.clone()));
    if !material.made.at.is_empty() {
        facts.push(("report made at".to_owned(), material.made.at.clone()));
    }
    facts
}

fn data(plan: &Plan) -> Vec<(String, String)> {
    let parts = [
        ("calibration", plan.data.calibration),
        ("selection", plan.data.selection),
        ("report", plan.data.report),
    ];
    let parts = parts.into_iter().chain(plan.data.training.map(|training| ("training", training)));
    parts
        .map(|(name, part)| (format!("{name} images"), format!("{}: {}", part.images, part.digest)))
        .collect()
}

fn evaluation(mode: EvaluationMode) -> String {
    match mode {
        EvaluationMode::Full { .. } => "each config on all selection images".to_owned(),
        EvaluationMode::Adaptive(adaptive) => format!(
            "each config until its drop is known within {} points with {} % confidence",
            f64::from(adaptive.tolerance_ppm) / 1e4,
            f64::from(adaptive.confidence_ppm) / 1e4
        ),
    }
}

/// The stages, with the seeds of their draws.
fn stages(plan: &Plan) -> Vec<(String, String)> {
    let stages = (1..).zip(&plan.stages).map(|(number, stage): (usize, &StagePlan)| {
        let more = match stage {
            StagePlan::Prepare => String::new(),
            StagePlan::Sensitivity { single, pairs, subsets } => {
                let pairs = if pairs.is_some() { ", pairs" } else { "" };
                let subsets = subsets.map(|subsets| {
                    let [low, high] = subsets.points;
                    format!(", {} sets of {low} to {high} points, seed {}", subsets.configs, subsets.seed)
                });
                format!(": {} points alone{pairs}{}", single.len(), subsets.unwrap_or_default())
            }
            StagePlan::Search(search) => {
                let predictor = match search.method.is_limited_by_cost() {
                    true => format!(", predictor {}", search.predictor),
                    false => String::new(),
                };
                format!(": {}{predictor}, by {}", search.method.as_str(), search.objective.as_str())
            }
            StagePlan::Probe(probe) => format!(
                ": {}, batch {}, {}, {} mixed networks, {} repetitions, seed {}",
                probe.target,
                probe.setting.batch,
                plural(probe.setting.threads as usize, "thread", "threads"),
                probe.configs,
                probe.repetitions,
                probe.seed
            ),
            StagePlan::AutoQKeras(search) => format!(", seed {}", search.seed),
            StagePlan::Verify { top, uniform, difference_max_ppm: _ } => {
                format!(
                    ": the first {top} of every search{}",
                    if *uniform { ", and uniform widths" } else { "" }
                )
            }
        };
        (format!("stage {number}"), format!("{}{more}", stage.as_str()))
    });
    stages.collect()
}
