//! What users see: tables, JSON and progress.

mod answer;
mod devices;
mod energy;
mod moment;
mod overview;
mod pareto;
mod progress;
mod results;
mod search;
mod summary;
mod table;
mod trained;

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;
use crate::telemetry;

pub(crate) use answer::answer;
pub(crate) use energy::energy;
pub(crate) use moment::{indented, moment};
pub(crate) use overview::{Column, Mood, Row, Section, overview_json, overview_text, phrases, sections};
pub(crate) use pareto::pareto_table;
pub(crate) use progress::Progress;
pub(crate) use results::results_table;
pub(crate) use search::limits;
pub(crate) use summary::{experiments_table, fields, status, summary_json, worker_json, workers_table};
pub(crate) use table::{table, with_thousands};

/// Writes data to standard output. A closed pipe ends the program quietly, as `head` expects.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    has_taken(text).map(|_| ())
}

/// Writes data to standard output; returns whether anybody reads there.
pub(crate) fn has_taken(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    match write!(out, "{text}{end}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => Ok(other.map(|()| true)?),
    }
}

/// Writes a value to standard output as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    data(&serde_json::to_string_pretty(value)?)
}

/// Writes a remark to standard error.
pub(crate) fn note(text: &str) {
    telemetry::remark(text);
}

/// Writes why a command failed to standard error, without repeating what an outer message says already.
pub(crate) fn error(failure: &Failure) {
    let mut text = String::new();
    for cause in failure.error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    telemetry::remark_error(&text);
}
