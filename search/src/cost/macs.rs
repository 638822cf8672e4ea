use super::{CostError, Subject};
use crate::form::Form;

/// Multiply-accumulates per image, which no width changes.
pub(super) fn rows(subject: &Subject<'_>) -> Result<Vec<Form>, CostError> {
    let macs = subject.layers.iter().map(|layer| layer.macs).sum();
    Ok(vec![Form::constant(macs, subject.space)])
}
