//! The published tables of pairwise-correlation search: losses of layers at 4 bit, all others at 8.

mod text;

pub use text::{Place, PublishedError, Table};

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;

use super::lines::{Lines, reason};
use crate::measurements::{Measurements, Metric, Row};
use crate::space::{Space, Variable};

/// Widths of every layer in these tables.
const WIDTHS: [u8; 2] = [4, 8];
/// Tables round to six digits behind the point or to three; this is between what rounding and what an error makes.
const AGREEMENT: f64 = 1e-3;

/// The content of published tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// All rows: singles in the order of the layers, then pairs and subsets as they stand.
    pub measurements: Measurements,
    /// The column `Influence` of the single table by variable; nothing where it is empty, which marks an outlier.
    pub influence: Vec<Option<f64>>,
    /// Accuracy of the reference in percent: `Accuracy + loss`, the same for all rows that have an accuracy.
    pub baseline_accuracy: Option<f64>,
    /// The column `BOPs` of subset tables in billions, by row of `measurements`; nothing for other rows.
    pub bops_g: Vec<Option<f64>>,
}

/// Reads published tables, in any order: one single table, and any number of pair and subset tables.
///
/// Layouts are told apart by their headers. Variables are those of the single table with widths 4 and 8; a layer whose
/// name holds `act` is an activation, any other a weight.
/// Errors: [`PublishedError`], the first in the order of tables and lines.
pub fn published(tables: &[Table<'_>]) -> Result<Published, PublishedError> {
    let sheets = tables.iter().map(Sheet::read).collect::<Result<Vec<_>, _>>()?;
    let mut singles = sheets.iter().filter(|sheet| sheet.layout == Layout::Single);
    let (Some(single), None) = (singles.next(), singles.next()) else {
        let count = sheets.iter().filter(|sheet| sheet.layout == Layout::Single).count();
        return Err(PublishedError::SingleTables { count });
    };
    let mut joined = Joined::default();
    joined.add_singles(single)?;
    for sheet in &sheets {
        match sheet.layout {
            Layout::Single => {}
            Layout::Pair => joined.add_pairs(sheet)?,
            Layout::Subset => joined.add_subsets(sheet)?,
        }
    }
    Ok(joined.published)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Single,
    Pair,
    Subset,
}

/// A table split into fields.
struct Sheet {
    label: String,
    layout: Layout,
    columns: BTreeMap<String, usize>,
    lines: Vec<(u64, csv::StringRecord)>,
}

impl Sheet {
    fn read(table: &Table<'_>) -> Result<Self, PublishedError> {
        let place = |line| Place { label: table.label.to_owned(), line };
        let text = table.text.trim_start_matches('\u{feff}');
        let mut counted = Lines::of(text);
        let malformed =
            |line, error| PublishedError::Malformed { place: place(line), reason: reason(&error) };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| malformed(1, error))?.clone();
        let columns: BTreeMap<String, usize> =
            header.iter().enumerate().map(|(index, name)| (name.to_lowercase(), index)).collect();
        let has = |name: &str| columns.contains_key(name);
        let layout = match (has("config"), has("layer1") || has("layer2"), has("layer")) {
            (true, _, _) => Layout::Subset,
            (false, true, _) => Layout::Pair,
            (false, false, true) => Layout::Single,
            (false, false, false) => return Err(PublishedError::UnknownLayout { place: place(1) }),
        };
        let mut lines = Vec::new();
        for record in reader.into_records() {
            let record = record.map_err(|error| malformed(counted.record(error.position()), error))?;
            lines.push((counted.record(record.position()), record));
        }
        Ok(Self { label: table.label.to_owned(), layout, columns, lines })
    }

    fn place(&self, line: u64) -> Place {
        Place { label: self.label.clone(), line }
    }

    fn column(&self, name: &'static str) -> Result<usize, PublishedError> {
        let found = self.columns.get(&name.to_lowercase());
        found.copied().ok_or_else(|| PublishedError::MissingColumn { place: self.place(1), column: name })
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.lines.iter().map(|(line, record)| Entry { sheet: self, line: *line, record })
    }
}

/// One row of a sheet.
#[derive(Clone, Copy)]
struct Entry<'a> {
    sheet: &'a Sheet,
    line: u64,
    record: &'a csv::StringRecord,
}

impl<'a> Entry<'a> {
    fn place(&self) -> Place {
        self.sheet.place(self.line)
    }

    fn text(&self, column: &'static str) -> Result<&'a str, PublishedError> {
        Ok(self.record.get(self.sheet.column(column)?).unwrap_or(""))
    }

    fn number(&self, column: &'static str) -> Result<f64, PublishedError> {
        let value = self.text(column)?;
        match value.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            Ok(_) | Err(_) => {
                Err(PublishedError::NotANumber { place: self.place(), column, value: value.to_owned() })
            }
        }
    }

    /// The number of a column that not every table has.
    fn optional(&self, column: &'static str) -> Result<Option<f64>, PublishedError> {
        match self.sheet.columns.contains_key(&column.to_lowercase()) {
            true => self.number(column).map(Some),
            false => Ok(None),
        }
    }

    fn agrees(&self, column: &'static str, expected: f64) -> Result<(), PublishedError> {
        match self.optional(column)? {
            Some(found) if (found - expected).abs() > AGREEMENT => {
                Err(PublishedError::Disagreement { place: self.place(), column, found, expected })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What was read so far.
struct Joined {
    published: Published,
    by_name: BTreeMap<String, usize>,
    single_losses: Vec<f64>,
    seen: BTreeMap<Vec<(u32, u8)>, Place>,
}

impl Default for Joined {
    fn default() -> Self {
        let measurements =
            Measurements { space: Space::default(), metric: Metric::Top1Drop, rows: Vec::new() };
        let published =
            Published { measurements, influence: Vec::new(), baseline_accuracy: None, bops_g: Vec::new() };
        Self { published, by_name: BTreeMap::new(), single_losses: Vec::new(), seen: BTreeMap::new() }
    }
}

impl Joined {
    fn add_singles(&mut self, sheet: &Sheet) -> Result<(), PublishedError> {
        sheet.column("DeltaAcc")?;
        let widths: Vec<Bits> = WIDTHS.iter().filter_map(|bits| Bits::new(*bits).ok()).collect();
        for entry in sheet.entries() {
            let (layer, loss) = (entry.text("Layer")?, entry.number("DeltaAcc")?);
            if self.by_name.insert(layer.to_owned(), self.single_losses.len()).is_some() {
                return Err(PublishedError::DuplicateLayer { place: entry.place(), layer: layer.to_owned() });
            }
            let kind = if layer.contains("act") { PointKind::Activation } else { PointKind::Weight };
            let variable = Variable { name: layer.to_owned(), kind, widths: widths.clone() };
            self.published.measurements.space.variables.push(variable);
            let influence =
                match sheet.columns.contains_key("influence") && !entry.text("Influence")?.is_empty() {
                    true => Some(entry.number("Influence")?),
                    false => None,
                };
            self.published.influence.push(influence);
            self.single_losses.push(loss);
            self.push(&entry, [self.single_losses.len() - 1].into(), loss)?;
        }
        Ok(())
    }

    fn add_pairs(&mut self, sheet: &Sheet) -> Result<(), PublishedError> {
        for column in ["Layer1", "Layer2", "Delta_acc"] {
            sheet.column(column)?;
        }
        for entry in sheet.entries() {
            let mut layers = BTreeSet::new();
            for (name, copy) in [("Layer1", "Delta_acc1"), ("Layer2", "Delta_acc2")] {
                let layer = entry.text(name)?;
                let unknown =
                    || PublishedError::UnknownLayer { place: entry.place(), layer: layer.to_owned() };
                let variable = *self.by_name.get(layer).ok_or_else(unknown)?;
                if !layers.insert(variable) {
                    return Err(PublishedError::DuplicateLayer {
                        place: entry.place(),
                        layer: layer.to_owned(),
                    });
                }
                entry.agrees(copy, self.single_losses[variable])?;
            }
            self.push(&entry, layers, entry.number("Delta_acc")?)?;
        }
        Ok(())
    }

    fn add_subsets(&mut self, sheet: &Sheet) -> Result<(), PublishedError> {
        sheet.column("Delta Acc")?;
        for entry in sheet.entries() {
            let layers = subset(&entry, self.single_losses.len())?;
            entry.agrees("Layer_num", layers.len() as f64)?;
            entry.agrees("F1", layers.iter().map(|layer| self.single_losses[*layer]).sum())?;
            self.push(&entry, layers, entry.number("Delta Acc")?)?;
        }
        Ok(())
    }

    /// Adds a measured row, and what goes with it.
    fn push(&mut self, entry: &Entry<'_>, layers: BTreeSet<usize>, loss: f64) -> Result<(), PublishedError> {
        let changes: Vec<(u32, u8)> = layers.into_iter().map(|layer| (layer as u32, 0)).collect();
        if let Some(earlier) = self.seen.insert(changes.clone(), entry.place()) {
            return Err(PublishedError::DuplicateSubset { place: entry.place(), earlier });
        }
        if let Some(accuracy) = entry.optional("Accuracy")? {
            let expected = *self.published.baseline_accuracy.get_or_insert(accuracy + loss);
            entry.agrees("Accuracy", expected - loss)?;
        }
        let bops_g = if changes.len() > 1 { entry.optional("BOPs")? } else { None };
        self.published.bops_g.push(bops_g);
        self.published.measurements.rows.push(Row { changes, loss, error: None });
        Ok(())
    }
}

/// Reads the layers at 4 bit from a list such as `[1, 0, 1]`.
fn subset(entry: &Entry<'_>, layers: usize) -> Result<BTreeSet<usize>, PublishedError> {
    let text = entry.text("Config")?;
    let bad = |problem: String| PublishedError::BadConfig { place: entry.place(), layers, problem };
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let digits: Vec<&str> =
        inner.ok_or_else(|| bad("in brackets".to_owned()))?.split(',').map(str::trim).collect();
    if digits.len() != layers {
        return Err(bad(format!("but has {}", digits.len())));
    }
    if let Some(other) = digits.iter().find(|digit| !matches!(**digit, "0" | "1")) {
        return Err(bad(format!("but holds {other:?}")));
    }
    Ok(digits.iter().enumerate().filter(|(_, digit)| **digit == "0").map(|(layer, _)| layer).collect())
}

#[cfg(test)]
mod tests;
