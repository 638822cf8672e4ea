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
    /// Its standard error beside the loss on all images of the table, where known: 0 where it is of all of them. What
    /// another sample of images would say is another matter, and has no part in fits: all rows are of this one.
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

/// By how much another sample of as many images would differ, one standard error: half the interval's width is 1.96 of
/// them.
pub(crate) fn sampling_error(loss: Interval) -> f64 {
    (loss.high - loss.low) / (2.0 * INTERVAL_ERRORS)
}

impl Row {
    /// A row as reports tell it, of so many of so many images.
    ///
    /// Formula: the standard error of a sample times `sqrt(1 - n / images)`, the correction for a finite population.
    pub(crate) fn reported(changes: Vec<(u32, u8)>, loss: Interval, [n, images]: [u64; 2]) -> Self {
        let left = 1.0 - (n as f64 / images.max(1) as f64).min(1.0);
        Self { changes, loss: loss.value, error: Some(sampling_error(loss) * left.sqrt()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_on_more_of_the_images_is_surer_and_on_all_of_them_sure() {
        let loss = Interval { value: 2.0, low: 1.02, high: 2.98 };
        let error = |n| Row::reported(Vec::new(), loss, [n, 400]).error.unwrap();

        assert_eq!(sampling_error(loss), 0.5);
        assert_eq!(error(400), 0.0);
        assert_eq!(error(300), 0.25);
        assert!(error(1) > 0.499 && error(1) < 0.5);
    }
}
