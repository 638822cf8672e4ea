use super::terms::Terms;
use super::{CostError, Subject};
use crate::form::Form;

/// Storage of all weights: `sum of weights * width`, without biases, scales and batch norms. Units: bits.
pub(super) fn rows(subject: &Subject<'_>) -> Result<Vec<Form>, CostError> {
    let mut terms = Terms::new(subject.space);
    for layer in &subject.layers {
        terms.add(layer.weight, |bits| layer.weights * f64::from(bits));
    }
    Ok(vec![terms.form()])
}
