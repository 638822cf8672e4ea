//! Predictors: the loss of bit configs that nobody measured, from those that were.
//!
//! A method is one file that fits [`Measurements`] and gives a [`Predictor`].

use crate::form::Form;

/// A predicted loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The expected loss, in the metric's unit.
    pub value: f64,
    /// Lower end of the interval that holds a measured loss with [`CONFIDENCE`].
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Share of measurements that intervals of predictions are to hold.
pub const CONFIDENCE: f64 = 0.9;

/// A fitted model of the loss.
pub trait Predictor: Send {
    /// Predicts the loss of an assignment.
    fn predict(&self, levels: &[u8]) -> Prediction;

    /// What solvers minimise: its order of assignments is that of the predicted losses.
    fn form(&self) -> Form;

    /// What a reader of the fit should know, as sentences: offsets, too few rows, penalties chosen.
    fn notes(&self) -> &[String];
}
