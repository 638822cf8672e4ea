use super::{CONFIDENCE, CSV_FORMAT, ConfigRow, Measured, Report, RowState};
use crate::bits::Bits;
use crate::digest::Digest;
use crate::evaluation::PPM;

/// The columns of a results file, in order; documented in `docs/results.md`. A change raises `CSV_FORMAT`.
#[rustfmt::skip]
pub const CSV_COLUMNS: [&str; 31] = [
    "format", "experiment", "model", "data", "numerics", "baseline_bits",
    "stage", "changes", "point", "kind", "bits", "state", "extent", "confidence",
    "n", "correct", "correct_top5", "lost", "gained",
    "top1", "top1_drop", "top1_drop_low", "top1_drop_high",
    "loss", "loss_increase", "loss_increase_low", "loss_increase_high", "kl", "sqnr_db",
    "size_saved_bits", "bops_saved",
];

/// Columns that need a measurement.
const MEASURED_COLUMNS: usize = 15;

/// What stands between the changes of a config.
const BETWEEN_CHANGES: &str = " ";

/// What a row is about, in the columns from `stage` to `bits`.
struct Named<'a> {
    stage: &'a str,
    changes: String,
    /// Point, kind and bits; of several points only the kinds, in the order of `changes`.
    point: [&'a str; 3],
}

pub(super) fn render(report: &Report) -> String {
    let mut table = Table { report, data: report.data, writer: csv::Writer::from_writer(Vec::new()) };
    table.write(&CSV_COLUMNS.map(str::to_owned));
    let width = report.baseline_bits.to_string();
    table.references(&report.float, &report.baseline, &width);
    for row in &report.rows {
        let bits = row.bits.to_string();
        let point = [row.point.as_str(), row.kind.as_str(), &bits];
        let named = Named { stage: "sensitivity", changes: change(&row.point, row.bits), point };
        table.row(named, &row.result, [row.size_saved_bits, row.bops_saved]);
    }
    for row in &report.configs {
        table.config(row);
    }
    if let Some(verified) = &report.verified {
        table.data = report.report_data;
        table.references(&verified.float, &verified.baseline, &width);
        for row in verified.found.iter().chain(&verified.uniform) {
            table.config(row);
        }
    }
    let bytes = table.writer.into_inner().expect("memory needs no flushing");
    String::from_utf8(bytes).expect("every field is text")
}

fn change(point: &str, bits: Bits) -> String {
    format!("{point}={bits}")
}

struct Table<'a> {
    report: &'a Report,
    /// The images that the rows are measured on.
    data: Digest,
    writer: csv::Writer<Vec<u8>>,
}

impl Table<'_> {
    fn write(&mut self, record: &[String]) {
        self.writer.write_record(record).expect("memory takes every record of one length");
    }

    fn references(&mut self, float: &RowState, baseline: &RowState, width: &str) {
        for (kind, width, result) in [("float", "", float), ("baseline", width, baseline)] {
            let named = Named { stage: "", changes: String::new(), point: ["", kind, width] };
            self.row(named, result, [0, 0]);
        }
    }

    fn config(&mut self, row: &ConfigRow) {
        let changes: Vec<String> = row.changes.iter().map(|(point, bits)| change(point, *bits)).collect();
        let saved = [
            self.report.baseline_size_bits.saturating_sub(row.size_bits),
            self.report.baseline_bops.saturating_sub(row.bops),
        ];
        let kinds =
            row.changes.keys().map(|point| self.report.kinds.get(point).map_or("", |kind| kind.as_str()));
        let kinds = kinds.collect::<Vec<_>>().join(BETWEEN_CHANGES);
        let alone = if row.changes.len() == 1 { row.changes.first_key_value() } else { None };
        let (point, bits) = alone.map_or(("", String::new()), |(point, bits)| (point, bits.to_string()));
        let named = Named {
            stage: &row.stage,
            changes: changes.join(BETWEEN_CHANGES),
            point: [point, &kinds, &bits],
        };
        self.row(named, &row.result, saved);
    }

    fn row(&mut self, named: Named<'_>, result: &RowState, saved: [u64; 2]) {
        let report = self.report;
        let mut record = vec![
            CSV_FORMAT.to_string(),
            report.experiment.clone(),
            report.model.to_string(),
            self.data.to_string(),
            report.numerics.clone(),
            report.baseline_bits.to_string(),
            named.stage.to_owned(),
            named.changes,
        ];
        record.extend(named.point.map(str::to_owned));
        record.push(result.as_str().to_owned());
        record.push(result.extent().to_owned());
        record.push(confidence(report, result));
        match result.measured() {
            Some(measured) => record.extend(numbers(measured)),
            None => record.extend(vec![String::new(); MEASURED_COLUMNS]),
        }
        record.extend(saved.map(|saved| saved.to_string()));
        self.write(&record);
    }
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
