use super::Report;
use super::trained::{TrainedRow, TrainedSearch};

/// Version of the CSV form of searches that train.
pub const TRAINED_CSV_FORMAT: u32 = 1;

/// The columns of the results file of a search that trains, in order; documented in `docs/results.md`.
#[rustfmt::skip]
pub const TRAINED_CSV_COLUMNS: [&str; 23] = [
    "format", "experiment", "model", "stage", "purpose", "block", "pattern", "bracket", "rung", "slot", "state",
    "n", "correct", "accuracy", "loss", "score", "size", "times_smaller", "keeps",
    "epochs", "learning_rate", "checkpoint", "quantizers",
];

/// What a row is about.
struct Named<'a> {
    purpose: &'a str,
    /// Number and pattern.
    block: Option<(usize, &'a str)>,
}

/// One row per trial, in canonical order.
pub(super) fn render(report: &Report) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |record: &[String]| {
        writer.write_record(record).expect("memory takes every record of one length");
    };
    write(&TRAINED_CSV_COLUMNS.map(str::to_owned));
    for search in &report.trained {
        let looks = [("float", &search.float), ("float_on_report", &search.float_on_report)];
        for (purpose, trained) in looks {
            if let Some(trained) = trained {
                let row = TrainedRow::looked_at(trained.clone(), search.reference);
                write(&record(report, search, &Named { purpose, block: None }, &row));
            }
        }
        for (index, block) in search.blocks.iter().enumerate() {
            for (at, row) in block.trials.iter().enumerate() {
                let purpose = if block.best == Some(at) { "best" } else { "trial" };
                let named = Named { purpose, block: Some((index, &block.pattern)) };
                write(&record(report, search, &named, row));
            }
        }
        if let Some(row) = &search.fine_tuning {
            write(&record(report, search, &Named { purpose: "fine_tuning", block: None }, row));
        }
        if let Some(found) = &search.found
            && found.report.is_some()
        {
            let row = TrainedRow::of_network(found);
            write(&record(report, search, &Named { purpose: "found_on_report", block: None }, &row));
        }
    }
    let bytes = writer.into_inner().expect("memory needs no flushing");
    String::from_utf8(bytes).expect("every field is text")
}

fn record(report: &Report, search: &TrainedSearch, named: &Named<'_>, row: &TrainedRow) -> Vec<String> {
    let (block, pattern) =
        named.block.map_or_else(Default::default, |(block, pattern)| (block.to_string(), pattern.to_owned()));
    let place = |number: u32| if named.block.is_some() { number.to_string() } else { String::new() };
    let of = |value: Option<String>| value.unwrap_or_default();
    let trained = row.trained.as_ref();
    let state = match (&row.failed, trained) {
        (Some(_), _) => "failed",
        (None, Some(_)) => "done",
        (None, None) => "open",
    };
    vec![
        TRAINED_CSV_FORMAT.to_string(),
        report.experiment.clone(),
        report.model.to_string(),
        search.stage.to_string(),
        named.purpose.to_owned(),
        block,
        pattern,
        place(row.place.bracket),
        place(row.place.rung),
        place(row.place.slot),
        state.to_owned(),
        of(trained.map(|trained| trained.n.to_string())),
        of(trained.map(|trained| trained.correct.to_string())),
        of(trained.map(|trained| format!("{:.6}", trained.accuracy()))),
        of(trained.map(|trained| format!("{:.6}", trained.loss_sum / trained.n.max(1) as f64))),
        of(row.score.map(|score| format!("{score:.6}"))),
        row.size.trial.to_string(),
        format!("{:.4}", row.size.times_smaller()),
        of(row.keeps().map(|keeps| keeps.to_string())),
        of(trained.map(|trained| trained.epochs.to_string())),
        of(trained.map(|trained| trained.learning_rate.to_string())),
        of(trained.and_then(|trained| trained.artifact).map(|artifact| artifact.to_string())),
        row.described(),
    ]
}
