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

// placeholder
pub fn fit(
    _: Method,
    measured: &crate::measurements::Measurements,
) -> Result<Box<dyn Predictor>, std::fmt::Error> {
    let space = &measured.space;
    let mut form = Form::constant(0.0, space);
    form.one = space.variables.iter().map(|v| vec![0.0; v.widths.len()]).collect();
    for row in &measured.rows {
        if let [(v, l)] = row.changes[..] {
            form.one[v as usize][l as usize] = row.loss;
        }
    }
    Ok(Box::new(Additive(form, space.clone())))
}
struct Additive(Form, crate::space::Space);
impl Predictor for Additive {
    fn predict(&self, levels: &[u8]) -> Prediction {
        let value = self.0.value(&self.1, levels);
        Prediction { value, low: value - 1.0, high: value + 1.0 }
    }
    fn form(&self) -> Form {
        self.0.clone()
    }
    fn notes(&self) -> &[String] {
        &[]
    }
}
#[derive(Clone, Copy)]
pub struct Method;
#[derive(Debug, thiserror::Error)]
#[error("no")]
pub struct UnknownMethod;
impl std::str::FromStr for Method {
    type Err = UnknownMethod;
    fn from_str(_: &str) -> Result<Self, UnknownMethod> {
        Ok(Self)
    }
}
pub fn most_informative(
    _: &crate::measurements::Measurements,
    pool: &[Vec<u8>],
    count: usize,
) -> Result<Vec<usize>, std::fmt::Error> {
    Ok((0..count.min(pool.len())).collect())
}
