use super::OfflineError;
use crate::form::Form;
use crate::predict::published::objectives;
use crate::tables::Published;

/// Returns what the published search minimises, over the tables' widths: its second objective, with the influences of the
/// table of single losses.
///
/// Units: percentage points of top-1. Errors: `NoInfluence` for tables without that column.
///
/// Source: the search of the published pairwise-correlation tables (repository `pairwise_correlation_mpq`); see
/// [`objectives`].
pub fn published_objective(published: &Published) -> Result<Form, OfflineError> {
    if published.influence.iter().all(Option::is_none) {
        return Err(OfflineError::NoInfluence);
    }
    let measurements = &published.measurements;
    let forms = objectives(measurements, &published.influence, &measurements.space);
    let [_, objective] = forms.expect("the measured space has measured variables alone");
    Ok(objective)
}
