use super::terms::Terms;
use super::{CostError, Subject};
use crate::form::Form;

/// Bit operations: `sum of MACs * width of the weight * width of the input`. Units: bits squared per image.
pub(super) fn rows(subject: &Subject<'_>) -> Result<Vec<Form>, CostError> {
    let mut terms = Terms::new(subject.space);
    for layer in &subject.layers {
        terms.add_two(layer.weight, layer.input, |weight, input| {
            layer.macs * f64::from(weight) * f64::from(input)
        });
    }
    Ok(vec![terms.form()])
}
