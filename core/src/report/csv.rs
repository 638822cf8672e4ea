use super::{CONFIDENCE, CSV_FORMAT, Measured, Report, RowState};
use crate::evaluation::PPM;

/// The columns of a results file, in order; documented in `docs/results.md`. A change raises `CSV_FORMAT`.
#[rustfmt::skip]
pub const CSV_COLUMNS: [&str; 29] = [
    "format", "experiment", "model", "data", "numerics", "baseline_bits",
    "point", "kind", "bits", "state", "extent", "confidence",
    "n", "correct", "correct_top5", "lost", "gained",
    "top1", "top1_drop", "top1_drop_low", "top1_drop_high",
    "loss", "loss_increase", "loss_increase_low", "loss_increase_high", "kl", "sqnr_db",
    "size_saved_bits", "bops_saved",
];

/// Columns that need a measurement.
const MEASURED_COLUMNS: usize = 15;

pub(super) fn render(report: &Report) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write =
        |record: &[String]| writer.write_record(record).expect("memory takes every record of one length");
    write(&CSV_COLUMNS.map(str::to_owned));
    write(&record(report, ["", "float", ""], &report.float, [0, 0]));
    let width = report.baseline_bits.to_string();
    write(&record(report, ["", "baseline", &width], &report.baseline, [0, 0]));
    for row in &report.rows {
        let named = [row.point.as_str(), row.kind.as_str(), &row.bits.to_string()];
        write(&record(report, named, &row.result, [row.size_saved_bits, row.bops_saved]));
    }
    let bytes = writer.into_inner().expect("memory needs no flushing");
    String::from_utf8(bytes).expect("every field is text")
}

fn record(report: &Report, named: [&str; 3], result: &RowState, saved: [u64; 2]) -> Vec<String> {
    let mut record = vec![
        CSV_FORMAT.to_string(),
        report.experiment.clone(),
        report.model.to_string(),
        report.data.to_string(),
        report.numerics.clone(),
        report.baseline_bits.to_string(),
    ];
    record.extend(named.map(str::to_owned));
    record.push(result.as_str().to_owned());
    record.push(result.extent().to_owned());
    record.push(confidence(report, result));
    match result.measured() {
        Some(measured) => record.extend(numbers(measured)),
        None => record.extend(vec![String::new(); MEASURED_COLUMNS]),
    }
    record.extend(saved.map(|saved| saved.to_string()));
    record
}

/// Confidence of the interval of the drop.
fn confidence(report: &Report, result: &RowState) -> String {
    match result {
        RowState::Done(_) => CONFIDENCE.to_string(),
        RowState::Partial(_) | RowState::Decided(_) | RowState::Harmful(_) => {
            (f64::from(report.evaluation.confidence_ppm()) / f64::from(PPM)).to_string()
        }
        RowState::Open | RowState::Failed { .. } => String::new(),
    }
}

fn numbers(m: &Measured) -> [String; MEASURED_COLUMNS] {
    // A fixed number of digits, so that a table can be compared line by line.
    let real = |value: f64| format!("{value:.6}");
    let [drop, loss] = [&m.top1_drop, &m.loss_increase];
    [
        m.n.to_string(),
        m.correct.to_string(),
        m.correct_top5.to_string(),
        m.lost.to_string(),
        m.gained.to_string(),
        real(m.top1),
        real(drop.value),
        real(drop.low),
        real(drop.high),
        real(m.loss),
        real(loss.value),
        real(loss.low),
        real(loss.high),
        real(m.kl),
        m.sqnr_db.map(real).unwrap_or_default(),
    ]
}
