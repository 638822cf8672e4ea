//! What readers of published tables are given, and how they refuse it.

use std::fmt;

/// A table as text.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// What errors call it, such as its file's name.
    pub label: &'a str,
    /// Its content, with or without a byte order mark.
    pub text: &'a str,
}

/// Where in a table something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The table's label.
    pub label: String,
    /// The line, from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.label, self.line)
    }
}

/// A table cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PublishedError {
    /// The header is that of no known layout.
    #[error(
        "{place}: the header is none of a single (Layer, DeltaAcc), pair (Layer1, Layer2, Delta_acc) or \
         subset (Config, Delta Acc) table"
    )]
    UnknownLayout {
        /// The header's place.
        place: Place,
    },
    /// A table of a known layout lacks a column.
    #[error("{place}: there is no column {column:?}")]
    MissingColumn {
        /// The header's place.
        place: Place,
        /// The column's name.
        column: &'static str,
    },
    /// The text is not CSV.
    #[error("{place}: {reason}")]
    Malformed {
        /// Where reading stopped.
        place: Place,
        /// What the reader says.
        reason: String,
    },
    /// A number is empty, not a number, or not finite.
    #[error("{place}: {column} is {value:?}; write a finite number")]
    NotANumber {
        /// The row's place.
        place: Place,
        /// The column's name.
        column: &'static str,
        /// What stands there.
        value: String,
    },
    /// The tables hold no single table, or more than one.
    #[error("{count} of the tables are single tables (Layer, DeltaAcc); give exactly one")]
    SingleTables {
        /// How many there are.
        count: usize,
    },
    /// A layer stands twice where each stands once.
    #[error("{place}: layer {layer:?} stands there again; remove one of the two")]
    DuplicateLayer {
        /// The later row's place.
        place: Place,
        /// Its layer.
        layer: String,
    },
    /// A layer is not in the single table.
    #[error("{place}: layer {layer:?} is not in the single table")]
    UnknownLayer {
        /// The row's place.
        place: Place,
        /// Its layer.
        layer: String,
    },
    /// The list of a subset is not as long as the single table, or not of 0 and 1.
    #[error("{place}: Config must be a list of {layers} numbers 0 (4 bit) or 1 (8 bit), {problem}")]
    BadConfig {
        /// The row's place.
        place: Place,
        /// How many layers the single table has.
        layers: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A number that follows from others differs from what they give.
    #[error(
        "{place}: {column} is {found}, but other rows give {expected}; the tables do not belong together"
    )]
    Disagreement {
        /// The row's place.
        place: Place,
        /// The column's name.
        column: &'static str,
        /// What stands there.
        found: f64,
        /// What it has to be.
        expected: f64,
    },
    /// A subset was measured twice.
    #[error("{place}: these layers stand already in {earlier}; remove one of the two")]
    DuplicateSubset {
        /// The later row's place.
        place: Place,
        /// The earlier row's.
        earlier: Place,
    },
}
