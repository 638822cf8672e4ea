//! A predictor that is a form over the space, with intervals from what it left unexplained.

use crate::form::Form;
use crate::space::Space;

use super::intervals::Intervals;
use super::{Prediction, Predictor};

/// What methods without variances of their own come to.
pub(super) struct Formula {
    pub(super) space: Space,
    pub(super) form: Form,
    pub(super) intervals: Intervals,
    pub(super) notes: Vec<String>,
}

impl Predictor for Formula {
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
