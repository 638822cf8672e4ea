//! Predictors: the loss of bit configs that nobody measured, from those that were.
//!
//! A method is one file that fits [`Measurements`] and gives a [`Predictor`]; [`Method`] is the registry.

mod additive;
mod cautious;
pub(crate) mod dense;
mod formula;
pub(crate) mod intervals;
mod offset;
pub mod published;
mod quadratic;
mod regression;
mod ridge;
mod singles;
mod solver;
mod spread;
pub mod statistics;
mod structure;
mod tuning;

use std::fmt;
use std::str::FromStr;

use crate::form::Form;
use crate::measurements::{Measurements, Row};
use crate::space::Space;

pub use offset::{Offset, offset};

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

/// A model that says where it is unsure, so that the next measurements can be chosen.
pub trait Uncertainty: Send {
    /// Variance of the expected loss of an assignment, in squared units of the metric; noise of measuring is not in it.
    fn variance(&self, levels: &[u8]) -> f64;

    /// Chooses `count` of the candidates (all if there are fewer), by position, in the order in which they tell most.
    ///
    /// Each is the one whose variance is largest beside the noise of measuring it, those before it taken as measured. Ties
    /// go to the earlier candidate.
    fn most_informative(&self, candidates: &[Vec<u8>], count: usize) -> Vec<usize>;
}

/// How losses are predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The best known one.
    #[default]
    Auto,
    /// The sum of single losses.
    Additive,
    /// The published one: mean correlation by number of layers, and influences.
    Published,
    /// Ridge regression on sums, layers and pairs, its penalties chosen by leave-one-out.
    Ridge,
    /// A quadratic function, shrunk towards what single losses lead to expect.
    Quadratic,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 5] = [Self::Auto, Self::Additive, Self::Published, Self::Ridge, Self::Quadratic];

    /// The word used in experiment files and results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Additive => "additive",
            Self::Published => "published",
            Self::Ridge => "ridge",
            Self::Quadratic => "quadratic",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(word: &str) -> Result<Self, UnknownMethod> {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str() == word)
            .ok_or_else(|| UnknownMethod(word.to_owned()))
    }
}

/// The word names no method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no predictor `{0}`; choose {known}", known = alternatives())]
pub struct UnknownMethod(pub String);

/// Every method's word, as in `a, b or c`.
fn alternatives() -> String {
    let [first @ .., last] = Method::ALL.map(Method::as_str);
    format!("{} or {last}", first.join(", "))
}

/// Measurements that nothing can be fitted to.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FitError {
    /// There are no rows.
    #[error("there are no measurements to fit a predictor to; measure single changes first")]
    NoRows,
    /// A loss or its error is not a finite number, or the error is negative.
    #[error(
        "the measured row {row} has loss {loss} and error {error:?}; losses must be finite and errors not negative"
    )]
    NotFinite {
        /// Its position.
        row: usize,
        /// Its loss.
        loss: f64,
        /// Its error.
        error: Option<f64>,
    },
    /// A change names a variable or level that the space lacks.
    #[error(
        "the measured row {row} sets variable {variable} to level {level}, which the space does not have"
    )]
    UnknownLevel {
        /// The row's position.
        row: usize,
        /// The variable.
        variable: u32,
        /// The level.
        level: u8,
    },
    /// A change leaves its variable at the reference, or variables do not ascend.
    #[error("the measured row {row} must name changed variables only, in ascending order")]
    BadChanges {
        /// The row's position.
        row: usize,
    },
    /// The losses differ by more orders of magnitude than can be computed with.
    #[error("losses lie too far apart to compute with; leave out rows of broken networks")]
    TooFarApart,
}

/// Fits a predictor.
///
/// The same measurements always give the same predictor. Errors: [`FitError`].
pub fn fit(method: Method, measurements: &Measurements) -> Result<Box<dyn Predictor>, FitError> {
    if measurements.rows.is_empty() {
        return Err(FitError::NoRows);
    }
    check(measurements)?;
    Ok(match method {
        Method::Auto | Method::Quadratic => {
            cautious::cautious(Box::new(quadratic::fit(measurements)?), measurements)
        }
        Method::Additive => Box::new(additive::fit(measurements)?),
        Method::Published => Box::new(published::fit(measurements)?),
        Method::Ridge => cautious::cautious(Box::new(ridge::fit(measurements)?), measurements),
    })
}

/// Fits what says where predictions are unsure; without rows everything is equally unknown.
///
/// Errors: those of [`fit`] except `NoRows`.
pub fn uncertainty(measurements: &Measurements) -> Result<Box<dyn Uncertainty>, FitError> {
    check(measurements)?;
    Ok(Box::new(quadratic::uncertainty(measurements)?))
}

/// Chooses `count` of the candidates to be measured next; see [`Uncertainty::most_informative`].
///
/// Errors: those of [`uncertainty`].
pub fn most_informative(
    measurements: &Measurements,
    candidates: &[Vec<u8>],
    count: usize,
) -> Result<Vec<usize>, FitError> {
    Ok(uncertainty(measurements)?.most_informative(candidates, count))
}

fn check(measurements: &Measurements) -> Result<(), FitError> {
    for (index, row) in measurements.rows.iter().enumerate() {
        check_row(&measurements.space, index, row)?;
    }
    Ok(())
}

fn check_row(space: &Space, row: usize, Row { changes, loss, error }: &Row) -> Result<(), FitError> {
    if !loss.is_finite() || error.is_some_and(|error| !error.is_finite() || error < 0.0) {
        return Err(FitError::NotFinite { row, loss: *loss, error: *error });
    }
    for &(variable, level) in changes {
        let known =
            space.variables.get(variable as usize).filter(|known| usize::from(level) < known.widths.len());
        let known = known.ok_or(FitError::UnknownLevel { row, variable, level })?;
        if known.reference() == level {
            return Err(FitError::BadChanges { row });
        }
    }
    if !changes.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(FitError::BadChanges { row });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
