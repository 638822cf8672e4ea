//! Losses of bit configs as they were measured, whatever measured them.

use bitloop_core::report::Interval;

use crate::space::Space;

pub use bitloop_core::plan::Metric;

/// Standard errors from the middle of a report's 95 % interval to its end.
const INTERVAL_ERRORS: f64 = 1.96;

/// One measured assignment.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The variables that are not at their reference, ascending, with their levels.
    pub changes: Vec<(u32, u8)>,
    /// The loss, in the metric's unit; more is worse.
    pub loss: f64,
    /// Its standard error, where known.
    pub error: Option<f64>,
}

/// A table of measured assignments of one space.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurements {
    /// What was chosen from.
    pub space: Space,
    /// What was measured.
    pub metric: Metric,
    /// The rows, none twice.
    pub rows: Vec<Row>,
}

impl Measurements {
    /// The rows with this number of changes.
    pub fn of_size(&self, changes: usize) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.changes.len() == changes)
    }
}

impl Row {
    /// A row as reports tell it: half the interval's width is 1.96 standard errors.
    pub(crate) fn reported((changes, loss): (Vec<(u32, u8)>, Interval)) -> Self {
        let error = (loss.high - loss.low) / (2.0 * INTERVAL_ERRORS);
        Self { changes, loss: loss.value, error: Some(error) }
    }

    /// The whole assignment.
    pub fn levels(&self, space: &Space) -> Vec<u8> {
        let mut levels = space.reference();
        for (variable, level) in &self.changes {
            levels[*variable as usize] = *level;
        }
        levels
    }
}
