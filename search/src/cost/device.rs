use bitloop_core::bits::{BitConfig, PointIndex};
use bitloop_core::latency::{FLOAT_BITS, Model, Source, Terms as Corrected};

use super::terms::Terms;
use super::{Cost, Width, divided};
use crate::searched::Searched;

/// What a model of a device predicts, as a cost: `unit` is how many of the model's units make one of the cost's.
///
/// Its value is that of [`Model::predict`] for every assignment. Prices of conversions between layers are terms of two
/// activations.
pub(crate) fn on_device(model: &Model, searched: &Searched, (name, unit): (String, f64)) -> Cost {
    let mut terms = Terms::new(&searched.space);
    let correction = &model.correction;
    let width = |point: Option<PointIndex>| match point {
        None => Width::Fixed(FLOAT_BITS),
        Some(point) => searched.variable(point).map_or_else(
            || Width::Fixed(model.layout.width(&BitConfig::baseline(), Some(point))),
            Width::Variable,
        ),
    };
    terms.add_constant(correction.fixed + correction.scale * model.constant());
    // A correction without the sum needs no terms, and solvers would take each for a choice that matters.
    let units = model.layout.units.iter().filter(|_| correction.terms != Corrected::Mean);
    for unit in units {
        let price = |weight_bits: Option<u32>, input_bits| {
            correction.scale * model.price(unit, (weight_bits, input_bits))
        };
        let is_alone = model.table.source == Source::OneByOne && !unit.owns_input;
        match (unit.weight, width(unit.input)) {
            (None, input) => terms.add(input, |bits| price(None, bits)),
            (weight, _) if is_alone => terms.add(width(weight), |bits| price(Some(bits), 0)),
            (weight, input) => {
                terms.add_two(width(weight), input, |weight, input| price(Some(weight), input))
            }
        }
    }
    if correction.per_change > 0.0 {
        for edge in &model.layout.edges {
            let price = correction.per_change * edge.elements;
            let differs = |from, to| if from == to { 0.0 } else { price };
            terms.add_two(width(Some(edge.from)), width(Some(edge.to)), differs);
        }
    }
    Cost { name, rows: vec![divided(terms.form(), unit)] }
}
