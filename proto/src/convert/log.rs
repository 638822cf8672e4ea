//! Lines that workers write while they measure.

use bitloop_core::trial::TrialKey;

use super::limits::{LINES_MAX, count, log_line, to_log_line};
use super::{ConvertError, digest, digest_to_wire};
use crate::v1;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For developers.
    Debug,
    /// What goes on.
    Info,
    /// Unexpected, but the work went on.
    Warn,
    /// A person must look.
    Error,
}

impl LogLevel {
    const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// A trial of the lease that it belongs to.
    pub trial: TrialKey,
    /// Whether it is about that trial alone.
    pub alone: bool,
    /// How long ago it was written, in milliseconds.
    pub ago_ms: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// What it says.
    pub text: String,
}

impl From<&LogLine> for v1::LogLine {
    fn from(line: &LogLine) -> Self {
        Self {
            trial: digest_to_wire(&line.trial.0),
            alone: line.alone,
            ago_ms: line.ago_ms,
            level: line.level.as_str().to_owned(),
            text: to_log_line(&line.text),
        }
    }
}

impl TryFrom<v1::LogLine> for LogLine {
    type Error = ConvertError;

    fn try_from(line: v1::LogLine) -> Result<Self, ConvertError> {
        let v1::LogLine { trial, alone, ago_ms, level, text } = line;
        let known = LogLevel::ALL.into_iter().find(|known| known.as_str() == level);
        Ok(Self {
            trial: TrialKey(digest("trial", &trial)?),
            alone,
            ago_ms,
            level: known.ok_or(ConvertError::Missing { field: "level" })?,
            text: log_line("text", text)?,
        })
    }
}

/// Reads the lines of one request.
///
/// Errors: `TooMany`, and those of a line.
pub fn log_lines(list: Vec<v1::LogLine>) -> Result<Vec<LogLine>, ConvertError> {
    count("lines", &list, LINES_MAX)?;
    list.into_iter().map(TryInto::try_into).collect()
}
