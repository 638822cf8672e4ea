//! The sum of single losses, with a constant where the sweeps are offset.

use crate::form::Form;
use crate::measurements::Measurements;

use super::FitError;
use super::formula::Formula;
use super::intervals::Intervals;
use super::offset::{Offset, offset};
use super::singles::Singles;

/// Sums the losses of singles; a suspicious [`Offset`] becomes the constant.
pub(super) fn fit(measurements: &Measurements) -> Result<Formula, FitError> {
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
    Ok(Formula { space, form, intervals, notes })
}
