//! `bitloop fit`: how well predictors foresee losses that they have not seen.

use bitloop_search::offline::{FitOptions, FitReport, judge};
use bitloop_search::predict::{CONFIDENCE, Method};

use super::solve::{database, unanswered};
use crate::args::{FitArguments, Output};
use crate::failure::{Failure, Outcome};
use crate::show;

pub(super) fn execute(arguments: &FitArguments, output: Output) -> Outcome {
    let method = arguments.method.parse::<Method>();
    let method = method.map_err(|error| Failure::usage(format!("--method: {error}")))?;
    let measurements = database(&arguments.measured)?.measurements;
    let others = Method::ALL.into_iter().filter(|other| *other != method && *other != Method::Auto);
    let mut methods = vec![method];
    if arguments.compare {
        methods.extend(others);
    }
    let options = FitOptions {
        methods,
        held_out: arguments.held_out,
        splits: u64::from(arguments.splits),
        seed: arguments.seed,
    };
    let report = judge(&measurements, &options).map_err(unanswered)?;
    match output {
        Output::Json => show::json(&report),
        Output::Text => show::data(&text(&report)),
    }
}

fn text(report: &FitReport) -> String {
    let rows = report.rows.iter().map(|(changes, rows)| format!("{rows} of {changes}"));
    let held_out = match report.held_out_from {
        Some(from) => format!("of those of {from} and more changes"),
        None => "none: there are fewer than ten rows of two and more changes".to_owned(),
    };
    let summary = show::fields(&[
        ("measured", report.metric.to_owned()),
        ("points", format!("{} weights, {} activations", report.weights, report.activations)),
        ("rows by changes", rows.collect::<Vec<_>>().join(", ")),
        ("held out", held_out),
    ]);
    let mut parts = vec![summary];
    let judged = report.predictors.iter().filter_map(|predictor| Some((predictor.name, predictor.held_out?)));
    let rows: Vec<Vec<String>> = judged
        .map(|(name, figures)| {
            vec![
                name.to_owned(),
                figures.rows.to_string(),
                format!("{:.4}", figures.pearson),
                format!("{:.4}", figures.pearson_within),
                format!("{:.4}", figures.spearman),
                format!("{:.4}", figures.rmse),
                format!("{:.1} %", 100.0 * figures.coverage),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let in_interval = format!(">in {:.0} % interval", 100.0 * CONFIDENCE);
        let header =
            ["predictor", ">rows", ">Pearson", ">within a size", ">Spearman", ">RMSE", in_interval.as_str()];
        parts.push(show::table(&header, rows));
    }
    parts.extend(report.notes.iter().map(|note| format!("note: {note}")));
    parts.join("\n\n")
}
