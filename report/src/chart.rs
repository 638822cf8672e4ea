//! Charts as data: what is drawn, not how. Each renderer draws all of them.

use serde::Serialize;

/// A chart with its description for whoever does not see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chart {
    /// What it shows, from the data.
    pub alt: String,
    /// What is drawn.
    pub plot: Plot,
}

/// The kinds of charts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Plot {
    /// A row of bars per name.
    Bars(Bars),
    /// A colour per pair of names.
    Heat(Heat),
    /// Marks on two axes.
    Scatter(Scatter),
    /// Who did what when.
    Timeline(Timeline),
}

/// An interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Range {
    /// An interval; none if an end of it is not known.
    pub fn new(low: f64, high: f64) -> Option<Self> {
        // The interval of too few images reaches to the ends of all numbers.
        let is_known = |value: f64| value.is_finite() && value.abs() < f64::MAX;
        (is_known(low) && is_known(high)).then_some(Self { low, high })
    }
}

/// Bars with intervals, by name and series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bars {
    /// Title of the axis of values.
    pub axis: String,
    /// What tells the series apart.
    pub legend: String,
    /// Names of the series, in order.
    pub series: Vec<String>,
    /// The bars; those of a name stand together.
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// Its row.
    pub name: String,
    /// Its series.
    pub series: String,
    /// Where it ends.
    pub value: f64,
    /// The interval of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
}

/// Values of pairs of names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Heat {
    /// What the colours stand for.
    pub legend: String,
    /// Whether values fall to either side of 0.
    pub is_diverging: bool,
    /// The names, in the order of both axes.
    pub names: Vec<String>,
    /// The values that are known.
    pub cells: Vec<HeatCell>,
}

/// The value of one pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeatCell {
    /// The name on the vertical axis.
    pub row: String,
    /// The name on the horizontal axis.
    pub column: String,
    /// The value.
    pub value: f64,
}

/// Marks on two axes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scatter {
    /// Title of the horizontal axis.
    pub x: String,
    /// Title of the vertical axis.
    pub y: String,
    /// What tells the series apart.
    pub legend: String,
    /// Names of the series, in order.
    pub series: Vec<String>,
    /// The marks.
    pub marks: Vec<Mark>,
    /// Lines through some of them.
    pub traces: Vec<Trace>,
    /// Whether a line shows where both axes are equal.
    pub has_diagonal: bool,
}

/// One mark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mark {
    /// What it is.
    pub name: String,
    /// Its series.
    pub series: String,
    /// Where it stands.
    pub x: f64,
    /// Where it stands.
    pub y: f64,
    /// The interval of `x`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x_range: Option<Range>,
    /// The interval of `y`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y_range: Option<Range>,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trace {
    /// What it is.
    pub name: String,
    /// Where it goes.
    pub points: Vec<[f64; 2]>,
}

/// Who did what when.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timeline {
    /// The time at 0.
    pub began: String,
    /// What tells the spans apart.
    pub legend: String,
    /// Names of the series, in order.
    pub series: Vec<String>,
    /// Who, in order.
    pub lanes: Vec<String>,
    /// What took a while.
    pub spans: Vec<Span>,
    /// What happened at once.
    pub moments: Vec<Moment>,
}

/// What took a while, in seconds since the time at 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// Who.
    pub lane: String,
    /// Of which series.
    pub series: String,
    /// When it began.
    pub from_s: f64,
    /// When it ended.
    pub to_s: f64,
    /// What it was.
    pub note: String,
}

/// What happened at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// Who.
    pub lane: String,
    /// When, in seconds since the time at 0.
    pub at_s: f64,
    /// What.
    pub note: String,
}

/// The values of a field, each once, in the order in which they first appear.
pub(crate) fn once<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    values.into_iter().filter(|value| seen.insert(*value)).collect()
}
