//! Losses of bit configs as they were measured, whatever measured them.

use crate::space::Space;

pub use bitloop_core::plan::Metric;

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
    /// The whole assignment.
    pub fn levels(&self, space: &Space) -> Vec<u8> {
        let mut levels = space.reference();
        for (variable, level) in &self.changes {
            levels[*variable as usize] = *level;
        }
        levels
    }
}
