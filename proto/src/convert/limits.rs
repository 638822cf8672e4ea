//! Limits of what a peer may send: lengths, counts, characters that would move a terminal's cursor.

use bitloop_core::digest::Digest;
use bitloop_core::spec::PRIORITY_MAX;
use bitloop_core::state::{Report, WorkerId};
use bitloop_core::trial::TrialKey;

use super::{ConvertError, digest};
use crate::v1;

/// Bytes of a name that is shown in tables: a worker, its host, its device, its engine, its kernels.
pub const NAME_BYTES_MAX: usize = 256;

/// Bytes of a text for people, such as why a trial failed.
pub const PROSE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a file's path.
pub const PATH_BYTES_MAX: usize = 4_096;

/// Files that an experiment is made from.
pub const SOURCES_MAX: usize = 1_024;

/// Digests or keys in one request.
pub const DIGESTS_MAX: usize = 65_536;

/// Trials in one commit; workers send a few hundred.
pub const REPORTS_MAX: usize = 4_096;

/// Trials in one shard; coordinators hand out a few hundred.
pub const SHARD_TRIALS_MAX: usize = 65_536;

/// Bytes of one line of a worker's log.
pub const LINE_BYTES_MAX: usize = 1_024;

/// Lines of logs in one request.
pub const LINES_MAX: usize = 256;

/// Checks a list's length before it is looked at.
///
/// Errors: `TooMany`.
pub(super) fn count<T>(field: &'static str, list: &[T], max: usize) -> Result<(), ConvertError> {
    match list.len() {
        count if count > max => Err(ConvertError::TooMany { field, count, max }),
        _ => Ok(()),
    }
}

/// Reads a name of one line.
///
/// Errors: `TooLong`, `Control`.
pub fn name(field: &'static str, text: String) -> Result<String, ConvertError> {
    line(field, text, NAME_BYTES_MAX)
}

pub(super) fn line(field: &'static str, text: String, max: usize) -> Result<String, ConvertError> {
    short(field, &text, max)?;
    match text.chars().any(is_control) {
        true => Err(ConvertError::Control { field }),
        false => Ok(text),
    }
}

/// Reads one line of a log.
///
/// Errors: `TooLong`, `Control`.
pub fn log_line(field: &'static str, text: String) -> Result<String, ConvertError> {
    line(field, text, LINE_BYTES_MAX)
}

/// Makes any text one that [`log_line`] reads: what breaks it becomes a space.
pub fn to_log_line(text: &str) -> String {
    let shown = |char: char| match char {
        layout if is_layout(layout) => ' ',
        control if is_control(control) => char::REPLACEMENT_CHARACTER,
        char => char,
    };
    cut(text.chars().map(shown).collect(), LINE_BYTES_MAX)
}

/// Reads a text that may have several lines.
pub(super) fn prose(field: &'static str, text: String) -> Result<String, ConvertError> {
    short(field, &text, PROSE_BYTES_MAX)?;
    match text.chars().any(|char| is_control(char) && !is_layout(char)) {
        true => Err(ConvertError::Control { field }),
        false => Ok(text),
    }
}

fn short(field: &'static str, text: &str, max: usize) -> Result<(), ConvertError> {
    match text.len() {
        len if len > max => Err(ConvertError::TooLong { field, len, max }),
        _ => Ok(()),
    }
}

/// Characters that do something rather than show something, also those that turn the direction of writing.
fn is_control(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_layout(char: char) -> bool {
    matches!(char, '\n' | '\t')
}

/// Makes any text one that [`prose`] reads: an error message may hold whatever a file is called.
pub(super) fn to_prose(text: &str) -> String {
    let shown =
        |char: char| if is_control(char) && !is_layout(char) { char::REPLACEMENT_CHARACTER } else { char };
    cut(text.chars().map(shown).collect(), PROSE_BYTES_MAX)
}

/// Makes any text one that [`name`] reads.
pub(super) fn to_name(text: &str) -> String {
    let shown = |char: char| if is_control(char) { char::REPLACEMENT_CHARACTER } else { char };
    cut(text.chars().map(shown).collect(), NAME_BYTES_MAX)
}

fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}

/// Reads a number that sums are made with.
///
/// Errors: `NotFinite`.
pub fn finite(field: &'static str, value: f64) -> Result<f64, ConvertError> {
    match value.is_finite() {
        true => Ok(value),
        false => Err(ConvertError::NotFinite { field }),
    }
}

/// The longest time of a trial, in milliseconds: a month.
const TRIAL_MS_MAX: f64 = 30.0 * 24.0 * 3_600_000.0;

/// Reads a time of a trial.
///
/// Errors: `NotFinite`, `Negative`, `Endless`.
pub fn millis(field: &'static str, value: f64) -> Result<f64, ConvertError> {
    match finite(field, value)? {
        negative if negative < 0.0 => Err(ConvertError::Negative { field }),
        endless if endless > TRIAL_MS_MAX => Err(ConvertError::Endless { field }),
        value => Ok(value),
    }
}

/// Reads an experiment's priority.
///
/// Errors: `Priority`.
pub fn priority(priority: i32) -> Result<i32, ConvertError> {
    match (-PRIORITY_MAX..=PRIORITY_MAX).contains(&priority) {
        true => Ok(priority),
        false => Err(ConvertError::Priority { priority }),
    }
}

/// Reads a worker's name.
///
/// Errors: `Missing`, `TooLong`, `Control`.
pub fn worker_id(field: &'static str, text: String) -> Result<WorkerId, ConvertError> {
    match text.is_empty() {
        true => Err(ConvertError::Missing { field }),
        false => name(field, text).map(WorkerId),
    }
}

/// Reads a list of digests.
///
/// Errors: `TooMany`, and those of [`digest`].
pub fn digests(field: &'static str, list: &[Vec<u8>]) -> Result<Vec<Digest>, ConvertError> {
    count(field, list, DIGESTS_MAX)?;
    list.iter().map(|bytes| digest(field, bytes)).collect()
}

/// Reads a list of trials' keys.
///
/// Errors: those of [`digests`].
pub fn trial_keys(field: &'static str, list: &[Vec<u8>]) -> Result<Vec<TrialKey>, ConvertError> {
    Ok(digests(field, list)?.into_iter().map(TrialKey).collect())
}

/// Reads the reports of one commit.
///
/// Errors: `TooMany`, and those of a report.
pub fn reports(list: Vec<v1::Report>) -> Result<Vec<Report>, ConvertError> {
    count("reports", &list, REPORTS_MAX)?;
    list.into_iter().map(TryInto::try_into).collect()
}
