//! The report as data: sections with text, a chart and a table each.

use bitloop_core::plan::Plan;
use serde::Serialize;

use crate::chart::Chart;
use crate::material::{Made, Material};
use crate::sections;

/// Version of the document's JSON form.
pub const DOCUMENT_FORMAT: u32 = 1;

/// A report on an experiment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Document {
    /// [`DOCUMENT_FORMAT`].
    pub format: u32,
    /// The experiment's id.
    pub experiment: String,
    /// Where it stands.
    pub status: String,
    /// Whether there is more to come.
    pub is_going: bool,
    /// When and by what the report was made.
    pub made: Made,
    /// Its parts, in order.
    pub sections: Vec<Section>,
}

/// A part of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Section {
    /// Its name in links: letters, digits and hyphens, unlike all others.
    pub id: String,
    /// Its heading.
    pub title: String,
    /// Paragraphs.
    pub text: Vec<String>,
    /// A picture of it.
    pub chart: Option<Chart>,
    /// The exact numbers.
    pub table: Option<Table>,
}

impl Section {
    pub(crate) fn new(id: impl Into<String>, title: impl Into<String>) -> Self {
        Self { id: id.into(), title: title.into(), text: Vec::new(), chart: None, table: None }
    }

    pub(crate) fn say(mut self, text: impl Into<String>) -> Self {
        self.text.push(text.into());
        self
    }
}

/// Rows of numbers and names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// What it holds.
    pub caption: String,
    /// What stands in each cell of a row.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
    /// Rows that there is no room for.
    pub left_out: usize,
}

impl Table {
    pub(crate) fn new(caption: impl Into<String>, columns: Vec<Column>) -> Self {
        Self { caption: caption.into(), columns, rows: Vec::new(), left_out: 0 }
    }

    /// Takes so many rows and counts the others.
    pub(crate) fn fill(mut self, most: usize, rows: impl IntoIterator<Item = Vec<Cell>>) -> Self {
        let mut rows = rows.into_iter();
        self.rows.extend(rows.by_ref().take(most));
        self.left_out += rows.count();
        self
    }
}

/// What stands in a cell of each row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// Its heading, with the unit.
    pub title: String,
    /// Digits behind the point that people are shown; none for words.
    pub digits: Option<u8>,
    /// Whether people are shown a sign also of what is above 0.
    pub has_sign: bool,
}

impl Column {
    pub(crate) fn words(title: impl Into<String>) -> Self {
        Self { title: title.into(), digits: None, has_sign: false }
    }

    pub(crate) fn number(title: impl Into<String>, digits: u8) -> Self {
        Self { title: title.into(), digits: Some(digits), has_sign: false }
    }

    pub(crate) fn difference(title: impl Into<String>, digits: u8) -> Self {
        Self { title: title.into(), digits: Some(digits), has_sign: true }
    }
}

/// What stands in one place of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// Nothing is known.
    Nothing,
    /// A number, not rounded.
    Number(f64),
    /// Words.
    Words(String),
}

impl Cell {
    pub(crate) fn words(text: impl Into<String>) -> Self {
        Self::Words(text.into())
    }

    /// A number, if there is one and it is one.
    pub(crate) fn number(value: impl Into<Option<f64>>) -> Self {
        match value.into() {
            Some(value) if value.is_finite() && value.abs() < f64::MAX => Self::Number(value),
            Some(_) | None => Self::Nothing,
        }
    }

    /// A count.
    pub(crate) fn count(value: u64) -> Self {
        Self::Number(value as f64)
    }

    /// As people are shown it.
    pub fn shown(&self, column: &Column) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Words(words) => words.clone(),
            Self::Number(value) => shown(*value, column.digits.unwrap_or_default(), column.has_sign),
        }
    }
}

/// A number with so many digits behind the point; zero has no sign, also where rounding made it.
pub(crate) fn shown(value: f64, digits: u8, has_sign: bool) -> String {
    let digits = usize::from(digits);
    let text = format!("{:.digits$}", value.abs());
    let is_zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    match (value < 0.0 && !is_zero, has_sign) {
        (true, _) => format!("-{text}"),
        (false, true) => format!("+{text}"),
        (false, false) => text,
    }
}

/// `1 point`, `2 points`.
pub(crate) fn plural(count: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

impl Document {
    /// Makes all sections that there is something to say in.
    pub fn new(material: &Material) -> Self {
        let Material { report, made, .. } = material;
        Self {
            format: DOCUMENT_FORMAT,
            experiment: report.experiment.clone(),
            status: report.status.clone(),
            is_going: material.is_going(),
            made: made.clone(),
            sections: sections::all(material),
        }
    }

    /// The document as JSON.
    ///
    /// # Panics
    /// Never: it has only text keys and finite numbers.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a document has only text keys and finite numbers")
    }
}

/// The points of a plan in the order of the network.
pub(crate) fn point_order(plan: &Plan) -> std::collections::BTreeMap<&str, usize> {
    plan.points.iter().enumerate().map(|(index, point)| (point.name.as_str(), index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_shown_without_a_minus() {
        let cases = [(0.004, "+0.00"), (-0.004, "+0.00"), (-0.006, "-0.01"), (1.0, "+1.00")];
        for (value, text) in cases {
            assert_eq!(shown(value, 2, true), text);
        }
        assert_eq!((shown(-0.2, 0, false), shown(-1.6, 0, false)), ("0".to_owned(), "-2".to_owned()));
    }

    #[test]
    fn what_is_no_number_is_no_cell() {
        let cells = [f64::NAN, f64::INFINITY, f64::MAX, f64::MIN].map(Cell::number);
        assert!(cells.iter().all(|cell| *cell == Cell::Nothing));
    }
}
