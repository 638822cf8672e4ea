//! Energies that were measured on a device, in the place of the model's.

use super::{EnergyGoal, GoalError, MeasuredEnergy, Size};
use crate::energy::{LayerEnergy, Profile};

/// Returns the size of a network of which some layers' energies were measured, in picojoules.
///
/// A layer takes what the first row for it says. One without a row takes what the model says, times the ratio of measured and
/// modelled energy in the reference: its own where it was measured there, else that of all layers together which were. So the
/// model says no more than how a layer's widths compare, and a device's absolute values stay its own.
///
/// Errors: `UnknownMeasured`, `UnmeasuredReference`.
pub(super) fn size(goal: &EnergyGoal, reference: &Profile, profile: &Profile) -> Result<Size, GoalError> {
    let rows = &goal.measured;
    if let Some(row) = rows.iter().find(|row| reference.layer(&row.layer).is_none()) {
        return Err(GoalError::UnknownMeasured(row.layer.clone()));
    }
    let pairs = reference.layers.iter().filter_map(|layer| Some((found(rows, layer)?, layer.total)));
    let (measured, modelled) =
        pairs.fold((0.0, 0.0), |(measured, modelled), (row, model)| (measured + row, modelled + model));
    if modelled <= 0.0 {
        return Err(GoalError::UnmeasuredReference);
    }
    let ratio = |layer: &LayerEnergy| {
        let own = reference.layer(&layer.types.name).filter(|own| own.total > 0.0);
        own.and_then(|own| Some(found(rows, own)? / own.total)).unwrap_or(measured / modelled)
    };
    let energy = |layer: &LayerEnergy| found(rows, layer).unwrap_or_else(|| layer.total * ratio(layer));
    let layers: Vec<(String, f64)> =
        profile.layers.iter().map(|layer| (layer.types.name.clone(), energy(layer))).collect();
    Ok(Size { total: layers.iter().map(|(_, energy)| energy).sum(), layers })
}

/// The measured energy of a layer at its widths.
fn found(rows: &[MeasuredEnergy], layer: &LayerEnergy) -> Option<f64> {
    let weights = layer.types.parameters.first().map(|kernel| kernel.number.bits);
    let inputs = layer.types.inputs.first().map(|(input, _)| input.bits);
    let fits = |row: &&MeasuredEnergy| {
        row.layer == layer.types.name
            && (row.weights.is_none() || row.weights == weights)
            && (row.inputs.is_none() || row.inputs == inputs)
    };
    rows.iter().find(fits).map(|row| row.energy)
}
