//! Solving on tables that were measured before, without a coordinator: a question for solvers, and its answer as data.
//!
//! A [`Question`] is made of published tables ([`of_indicators`]) or of measurements; [`answer`] puts it to a solver. What
//! is typed, read from files or printed is the command's affair. Start reading at [`Question`].

mod answer;
mod indicators;
mod question;
mod solve;

pub use answer::{
    ANSWER_FORMAT, Answer, BitConfig, CostValue, Found, FrontEntry, PredictedLoss, Price, Proof,
};
pub use indicators::{IndicatorSearch, of_indicators};
pub use question::{Predict, Question, Wanted};
pub use solve::{Method, SolveOptions, answer};

use crate::cost::CostError;
use crate::solve::SolveError;
use crate::tables::TableError;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OfflineError {
    /// A table is wrong, or two do not fit.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A cost is unknown or can't be counted.
    #[error(transparent)]
    Cost(#[from] CostError),
    /// Nothing keeps the limits, or the problem can't be solved.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// A number that was asked for is out of its range.
    #[error("{what} is {value}; {expected}")]
    Range {
        /// What it is.
        what: String,
        /// Its value.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// A cost is limited twice.
    #[error("{0} is limited twice; keep the tighter limit")]
    LimitedTwice(String),
}

impl OfflineError {
    /// Whether the question was a proper one that has no answer, rather than a wrong one.
    pub fn is_unanswerable(&self) -> bool {
        matches!(self, Self::Solve(SolveError::Infeasible { .. } | SolveError::NotFound { .. }))
    }
}
