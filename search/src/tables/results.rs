//! bitloop's own results: the JSON report and the CSV file of an experiment.

use std::collections::BTreeMap;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_core::plan::Metric;
use bitloop_core::report::{CSV_FORMAT, Interval, REPORT_FORMAT, Report, RowState};

use super::lines::{Lines, reason};
use crate::measurements::{Measurements, Row};
use crate::space::{Space, Variable};

/// Standard errors from the middle of a report's interval to its end.
const INTERVAL_ERRORS: f64 = 1.96;

/// Why an experiment's results cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ResultsError {
    /// No text of the form.
    #[error("the results cannot be read: {0}")]
    Malformed(String),
    /// Written by another version.
    #[error(
        "the results have format {found}, this program reads {known}; write them again with this version"
    )]
    Format {
        /// Its version.
        found: String,
        /// The version that can be read.
        known: u32,
    },
    /// A column is not there.
    #[error("the column `{0}` is missing; take a results file as bitloop wrote it")]
    MissingColumn(&'static str),
    /// A cell says nothing that belongs there.
    #[error("line {line}: `{value}` is no {what}")]
    Cell {
        /// Counted from 1, the header among them.
        line: u64,
        /// What belongs there.
        what: &'static str,
        /// What stands there.
        value: String,
    },
    /// A config names a point that was not lowered alone.
    #[error("line {line}: {change} was never measured alone; take a results file as bitloop wrote it")]
    UnknownChange {
        /// Counted from 1.
        line: u64,
        /// Point and width.
        change: String,
    },
    /// Nothing is measured.
    #[error("no point is measured yet; wait until the experiment has got further")]
    Empty,
}

/// Collects rows by what they change.
struct Collected {
    /// By point, in the order of the file: kind and widths.
    variables: Vec<Variable>,
    rows: BTreeMap<Vec<(u32, u8)>, Interval>,
}

/// Reads the JSON report of an experiment, as `bitloop results --format json` prints it.
///
/// Rows that are not measured, or not on all images, are left out unless nothing better is known of them.
/// Errors: `Malformed`, `Format`, `Empty`.
pub fn from_report(text: &str, metric: Metric) -> Result<Measurements, ResultsError> {
    #[derive(serde::Deserialize)]
    struct Header {
        format: u32,
    }
    let malformed = |error: serde_json::Error| ResultsError::Malformed(error.to_string());
    let Header { format } = serde_json::from_str(text).map_err(malformed)?;
    if format != REPORT_FORMAT {
        return Err(ResultsError::Format { found: format.to_string(), known: REPORT_FORMAT });
    }
    let report: Report = serde_json::from_str(text).map_err(malformed)?;
    let singles = report.rows.iter().map(|row| (row.point.as_str(), row.kind, row.bits));
    let mut collected = Collected::new(singles, report.baseline_bits);
    let loss = |result: &RowState| result.measured().map(|measured| measured.loss_by(metric));
    for row in &report.rows {
        let changes = BTreeMap::from([(row.point.clone(), row.bits)]);
        collected.add(&changes, loss(&row.result));
    }
    let top = report.searches.iter().flat_map(|search| &search.top).map(|top| &top.row);
    for row in report.configs.iter().chain(top) {
        collected.add(&row.changes, loss(&row.result));
    }
    collected.finish(metric)
}

/// Reads the CSV file of an experiment.
///
/// Errors: `Malformed`, `Format`, `MissingColumn`, `Cell`, `UnknownChange`, `Empty`; each names its line.
pub fn from_csv(text: &str, metric: Metric) -> Result<Measurements, ResultsError> {
    let lines = lines(text, metric)?;
    let singles = lines.iter().filter(|line| line.stage == "sensitivity");
    let singles: Vec<&Line> = singles.filter(|line| line.kind.is_some()).collect();
    let baseline = lines.first().ok_or(ResultsError::Empty)?.baseline;
    let points = singles.iter().filter_map(|line| {
        let (point, bits) = line.changes.first_key_value()?;
        Some((point.as_str(), line.kind?, *bits))
    });
    let mut collected = Collected::new(points, baseline);
    for line in &lines {
        // What is measured on other images than the searches saw says nothing to them.
        if line.stage == "verify" || line.changes.is_empty() {
            continue;
        }
        if !collected.add(&line.changes, line.loss) {
            let change = line.changes.iter().find(|(point, bits)| collected.change(point, **bits).is_none());
            let change = change.map(|(point, bits)| format!("{point}={bits}")).unwrap_or_default();
            return Err(ResultsError::UnknownChange { line: line.number, change });
        }
    }
    collected.finish(metric)
}

impl Collected {
    fn new<'a>(singles: impl Iterator<Item = (&'a str, PointKind, Bits)>, baseline: Bits) -> Self {
        let mut variables: Vec<Variable> = Vec::new();
        for (name, kind, bits) in singles {
            match variables.iter_mut().find(|variable| variable.name == name) {
                Some(variable) => variable.widths.push(bits),
                None => variables.push(Variable { name: name.to_owned(), kind, widths: vec![bits] }),
            }
        }
        for variable in &mut variables {
            variable.widths.push(baseline);
            variable.widths.sort_unstable();
            variable.widths.dedup();
        }
        Self { variables, rows: BTreeMap::new() }
    }

    fn change(&self, point: &str, bits: Bits) -> Option<(u32, u8)> {
        let variable = self.variables.iter().position(|variable| variable.name == point)?;
        let level = self.variables[variable].widths.iter().position(|width| *width == bits)?;
        Some((variable as u32, level as u8))
    }

    /// Takes a row if it is measured; `false` if it changes what is no variable.
    fn add(&mut self, changes: &BTreeMap<String, Bits>, loss: Option<Interval>) -> bool {
        let known: Option<Vec<(u32, u8)>> =
            changes.iter().map(|(point, bits)| self.change(point, *bits)).collect();
        let Some(mut known) = known else { return false };
        known.sort_unstable();
        if let Some(loss) = loss {
            self.rows.insert(known, loss);
        }
        true
    }

    fn finish(self, metric: Metric) -> Result<Measurements, ResultsError> {
        if self.rows.is_empty() {
            return Err(ResultsError::Empty);
        }
        let row = |(changes, loss): (Vec<(u32, u8)>, Interval)| Row {
            changes,
            loss: loss.value,
            error: Some((loss.high - loss.low) / (2.0 * INTERVAL_ERRORS)),
        };
        let rows = self.rows.into_iter().map(row).collect();
        Ok(Measurements { space: Space { variables: self.variables }, metric, rows })
    }
}

/// What a line of the CSV file says, as far as it is of use here.
struct Line {
    number: u64,
    stage: String,
    baseline: Bits,
    kind: Option<PointKind>,
    changes: BTreeMap<String, Bits>,
    loss: Option<Interval>,
}

fn lines(text: &str, metric: Metric) -> Result<Vec<Line>, ResultsError> {
    let malformed = |line, error| ResultsError::Malformed(format!("line {line}: {}", reason(&error)));
    let text = text.trim_start_matches('\u{feff}');
    let mut counted = Lines::of(text);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| malformed(1, error))?.clone();
    let column = |name: &'static str| {
        header.iter().position(|known| known == name).ok_or(ResultsError::MissingColumn(name))
    };
    let format = column("format")?;
    let (stage, changes, kind, baseline) =
        (column("stage")?, column("changes")?, column("kind")?, column("baseline_bits")?);
    let (scale, loss) = match metric {
        Metric::Top1Drop => (100.0, ["top1_drop", "top1_drop_low", "top1_drop_high"]),
        Metric::LossIncrease => (1.0, ["loss_increase", "loss_increase_low", "loss_increase_high"]),
    };
    let loss = [column(loss[0])?, column(loss[1])?, column(loss[2])?];
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| malformed(counted.record(error.position()), error))?;
        let number = counted.record(record.position());
        let cell = |column: usize| record.get(column).unwrap_or_default();
        if cell(format) != CSV_FORMAT.to_string() {
            return Err(ResultsError::Format { found: cell(format).to_owned(), known: CSV_FORMAT });
        }
        lines.push(Line {
            number,
            stage: cell(stage).to_owned(),
            baseline: bits(cell(baseline), number)?,
            kind: match cell(kind) {
                "weight" => Some(PointKind::Weight),
                "activation" => Some(PointKind::Activation),
                _ => None,
            },
            changes: cell(changes)
                .split_whitespace()
                .map(|text| change(text, number))
                .collect::<Result<_, _>>()?,
            loss: interval(loss.map(cell), scale, number)?,
        });
    }
    Ok(lines)
}

fn bits(text: &str, line: u64) -> Result<Bits, ResultsError> {
    let wrong = || ResultsError::Cell { line, what: "width", value: text.to_owned() };
    text.parse::<u8>().ok().and_then(|bits| Bits::new(bits).ok()).ok_or_else(wrong)
}

fn change(text: &str, line: u64) -> Result<(String, Bits), ResultsError> {
    match text.rsplit_once('=') {
        Some((point, width)) => Ok((point.to_owned(), bits(width, line)?)),
        None => {
            Err(ResultsError::Cell { line, what: "change such as `conv.weight=4`", value: text.to_owned() })
        }
    }
}

fn interval(cells: [&str; 3], scale: f64, line: u64) -> Result<Option<Interval>, ResultsError> {
    if cells.iter().all(|cell| cell.is_empty()) {
        return Ok(None);
    }
    let number = |text: &str| {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| ResultsError::Cell { line, what: "number", value: text.to_owned() })
    };
    let [value, low, high] = [number(cells[0])?, number(cells[1])?, number(cells[2])?];
    Ok(Some(Interval { value: value * scale, low: low * scale, high: high * scale }))
}
