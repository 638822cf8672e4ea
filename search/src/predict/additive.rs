//! The sum of single losses, with a constant where the sweeps are offset.

use crate::form::Form;
use crate::measurements::Measurements;
use crate::space::Space;

use super::intervals::Intervals;
use super::offset::{Offset, offset};
use super::singles::Singles;
use super::{FitError, Prediction, Predictor};

/// Loss as a sum over variables.
pub(super) struct Additive {
    space: Space,
    form: Form,
    intervals: Intervals,
    notes: Vec<String>,
}

/// Sums the losses of singles; a suspicious [`Offset`] becomes the constant.
pub(super) fn fit(measurements: &Measurements) -> Result<Additive, FitError> {
    let space = measurements.space.clone();
    let singles = Singles::of(measurements);
    let mut form = Form::constant(0.0, &space);
    form.one = singles.loss;
    let mut notes = singles.notes;
    if let Some(offset) = offset(measurements).filter(Offset::is_suspicious) {
        form.constant = offset.value;
        notes.push(format!("{offset} It is added to every prediction"));
    }
    let larger = measurements.rows.iter().filter(|row| row.changes.len() > 2);
    let residuals: Vec<(usize, f64)> =
        larger.map(|row| (row.changes.len(), row.loss - form.value(&space, &row.levels(&space)))).collect();
    let intervals = Intervals::new(measurements, &residuals)?;
    if let Intervals::Of(_) = &intervals {
        notes.push(format!(
            "only {} subsets of three and more were measured: how far losses are from additive is hardly known, and \
             intervals are wide",
            residuals.len()
        ));
    }
    Ok(Additive { space, form, intervals, notes })
}

impl Predictor for Additive {
    fn predict(&self, levels: &[u8]) -> Prediction {
        self.intervals.around(self.form.value(&self.space, levels), &self.space, levels)
    }

    fn form(&self) -> Form {
        self.form.clone()
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}
