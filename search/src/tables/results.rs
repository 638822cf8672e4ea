//! bitloop's own results: the JSON report and the CSV file of an experiment.

use std::collections::BTreeMap;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_core::plan::Metric;
use bitloop_core::report::{CSV_FORMAT, Interval, OLDEST_CSV_FORMAT, REPORT_FORMAT, Report, RowState};

use super::lines::{Lines, reason};
use crate::measurements::{Measurements, Row};
use crate::space::{Space, Variable};

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
    /// Nothing is measured.
    #[error("nothing with a lowered point is measured yet; wait until the experiment has got further")]
    Empty,
}

/// A point's width that is not the baseline's.
#[derive(Clone, Copy)]
struct Change {
    kind: PointKind,
    bits: Bits,
}

/// A config of the selection images, with its loss if that is measured.
struct Config {
    /// By point.
    changes: BTreeMap<String, Change>,
    /// With the number of images.
    loss: Option<(Interval, u64)>,
}

/// Reads the JSON report of an experiment, as `bitloop results --format json` prints it.
///
/// The variables are the points that any config lowers, and their widths those that any config gives them.
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
    let loss = |result: &RowState| result.measured().map(|measured| (measured.loss_by(metric), measured.n));
    let singles = report.rows.iter().map(|row| {
        let change = Change { kind: row.kind, bits: row.bits };
        Ok(Config { changes: BTreeMap::from([(row.point.clone(), change)]), loss: loss(&row.result) })
    });
    let others = report.configs.iter().map(|row| {
        let change = |(point, bits): (&String, &Bits)| match report.kinds.get(point) {
            Some(kind) => Ok((point.clone(), Change { kind: *kind, bits: *bits })),
            None => Err(ResultsError::Malformed(format!("`kinds` lacks `{point}`"))),
        };
        let changes = row.changes.iter().map(change).collect::<Result<_, _>>()?;
        Ok(Config { changes, loss: loss(&row.result) })
    });
    let configs = singles.chain(others).collect::<Result<Vec<Config>, ResultsError>>()?;
    // The baseline is measured on all images, whatever the mode.
    let images = report.baseline.measured().map_or(0, |measured| measured.n);
    measurements(configs, report.baseline_bits, images, metric)
}

/// Reads the CSV file of an experiment; the variables are as in [`from_report`].
///
/// Errors: `Malformed`, `Format`, `MissingColumn`, `Cell`, `Empty`; the first three name their line where they have one.
pub fn from_csv(text: &str, metric: Metric) -> Result<Measurements, ResultsError> {
    let lines = lines(text, metric)?;
    let baseline = lines.first().ok_or(ResultsError::Empty)?.baseline;
    // What is measured on other images than the searches saw says nothing to them.
    let selection = lines.into_iter().filter(|line| line.stage != "verify").map(|line| line.config);
    let (references, configs): (Vec<Config>, Vec<Config>) =
        selection.partition(|config| config.changes.is_empty());
    // The references are measured on all images, whatever the mode.
    let images = references.iter().filter_map(|config| config.loss).map(|(_, n)| n).max();
    measurements(configs, baseline, images.unwrap_or(0), metric)
}

/// Puts configs into the space of what they change.
fn measurements(
    configs: Vec<Config>,
    baseline: Bits,
    images: u64,
    metric: Metric,
) -> Result<Measurements, ResultsError> {
    let space = Space { variables: variables(&configs, baseline) };
    let mut rows: BTreeMap<Vec<(u32, u8)>, (Interval, u64)> = BTreeMap::new();
    for Config { changes, loss } in configs {
        let Some(loss) = loss else { continue };
        let level = |(point, change): (&String, &Change)| {
            let variable = space.find(point)?;
            let widths = &space.variables[variable].widths;
            Some((variable as u32, widths.iter().position(|width| *width == change.bits)? as u8))
        };
        let levels: Option<Vec<(u32, u8)>> = changes.iter().map(level).collect();
        let mut levels = levels.expect("the space is made of these changes");
        levels.sort_unstable();
        rows.insert(levels, loss);
    }
    if rows.is_empty() {
        return Err(ResultsError::Empty);
    }
    let images = rows.values().map(|(_, n)| *n).fold(images, u64::max);
    let row = |(changes, (loss, n))| Row::reported(changes, loss, [n, images]);
    Ok(Measurements { space, metric, rows: rows.into_iter().map(row).collect() })
}

/// The points in the order in which configs name them, with the widths that they have in any of them.
fn variables(configs: &[Config], baseline: Bits) -> Vec<Variable> {
    let mut variables: Vec<Variable> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, Change { kind, bits }) in configs.iter().flat_map(|config| &config.changes) {
        let place = *places.entry(name).or_insert(variables.len());
        if place == variables.len() {
            variables.push(Variable { name: name.clone(), kind: *kind, widths: vec![baseline] });
        }
        let widths = &mut variables[place].widths;
        if !widths.contains(bits) {
            widths.push(*bits);
        }
    }
    for variable in &mut variables {
        variable.widths.sort_unstable();
    }
    variables
}

/// What a line of the CSV file says, as far as it is of use here.
struct Line {
    stage: String,
    baseline: Bits,
    config: Config,
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
    let images = column("n")?;
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| malformed(counted.record(error.position()), error))?;
        let number = counted.record(record.position());
        let cell = |column: usize| record.get(column).unwrap_or_default();
        // What is read of a line is the same in all of them.
        if !(OLDEST_CSV_FORMAT..=CSV_FORMAT).any(|known| cell(format) == known.to_string()) {
            return Err(ResultsError::Format { found: cell(format).to_owned(), known: CSV_FORMAT });
        }
        lines.push(Line {
            stage: cell(stage).to_owned(),
            baseline: bits(cell(baseline), number)?,
            config: Config {
                changes: changed(cell(changes), cell(kind), number)?,
                loss: match interval(loss.map(cell), scale, number)? {
                    Some(loss) => Some((loss, count(cell(images), number)?)),
                    None => None,
                },
            },
        });
    }
    Ok(lines)
}

fn count(text: &str, line: u64) -> Result<u64, ResultsError> {
    text.parse().map_err(|_| ResultsError::Cell { line, what: "number of images", value: text.to_owned() })
}

fn bits(text: &str, line: u64) -> Result<Bits, ResultsError> {
    let wrong = || ResultsError::Cell { line, what: "width", value: text.to_owned() };
    text.parse::<u8>().ok().and_then(|bits| Bits::new(bits).ok()).ok_or_else(wrong)
}

/// The changes of a line with their kinds; none of a reference, whose kind is a word of its own.
fn changed(changes: &str, kinds: &str, line: u64) -> Result<BTreeMap<String, Change>, ResultsError> {
    let wrong = |what, value: &str| ResultsError::Cell { line, what, value: value.to_owned() };
    let mut kinds_left = kinds.split_whitespace();
    let mut change = |text: &str| {
        let (point, width) =
            text.rsplit_once('=').ok_or_else(|| wrong("change such as `conv.weight=4`", text))?;
        let kind = match kinds_left.next() {
            Some("weight") => PointKind::Weight,
            Some("activation") => PointKind::Activation,
            Some(_) | None => return Err(wrong("list of a kind per change", kinds)),
        };
        Ok((point.to_owned(), Change { kind, bits: bits(width, line)? }))
    };
    changes.split_whitespace().map(&mut change).collect()
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
