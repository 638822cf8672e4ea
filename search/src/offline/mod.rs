//! Solving on tables that were measured before, without a coordinator: a question for solvers, and its answer as data.
//!
//! A [`Question`] is made of published tables ([`of_indicators`]) or of measurements; [`answer`] puts it to a solver. What
//! is typed, read from files or printed is the command's affair. Start reading at [`Question`].

mod answer;
mod database;
mod fit;
mod indicators;
mod layers;
mod measured;
mod published_search;
mod question;
mod recast;
mod solve;

pub use answer::{
    ANSWER_FORMAT, Answer, BitConfig, CostValue, Found, FrontEntry, PredictedLoss, Price, PriceChange, Proof,
};
pub use database::{Database, DatabaseFile, database};
pub use fit::{FIT_FORMAT, FitOptions, FitReport, FittedPredictor, HeldOut, judge};
pub use indicators::{IndicatorSearch, of_indicators};
pub use layers::{LayersFile, NetworkFile};
pub use measured::{MeasuredSearch, Objective, described, of_measurements};
pub use published_search::published_objective;
pub use question::{Predict, Question, Wanted};
pub use solve::{Method, SolveOptions, answer};

use bitloop_core::bits::Bits;

use crate::cost::CostError;
use crate::predict::FitError;
use crate::solve::SolveError;
use crate::tables::{PublishedError, ResultsError, TableError};

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
    /// No bit config keeps the limits.
    #[error("{reason}; {ranges} at the widest")]
    Infeasible {
        /// Which limit is to blame.
        reason: String,
        /// What the limited costs can be.
        ranges: String,
    },
    /// A solver that proves nothing found nothing.
    #[error(
        "{0} found no bit config that keeps the limits; the exact solver finds one or proves that there is none"
    )]
    NotFound(&'static str),
    /// A solver was asked for what only the exact one gives.
    #[error("{method} does not give {what}; the exact solver does")]
    OnlyExact {
        /// What was asked for.
        what: &'static str,
        /// The solver.
        method: &'static str,
    },
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
    /// The file of layers has no form that is known, or is damaged.
    #[error("the file of layers cannot be used: {0}")]
    Layers(String),
    /// No file of measurements was given.
    #[error("there are no measurements; name an experiment's results or published tables")]
    NoDatabase,
    /// An experiment's results stand beside other files.
    #[error("{0} holds an experiment's results, which are read alone; name no other file")]
    ManyDatabases(String),
    /// An experiment's results are wrong.
    #[error("{file}: {error}")]
    Results {
        /// The file.
        file: String,
        /// What is wrong.
        error: ResultsError,
    },
    /// Published tables are wrong.
    #[error(transparent)]
    Published(#[from] PublishedError),
    /// Published tables hold another metric.
    #[error("published tables hold the drop of top-1, not `{0}`")]
    MetricNotPublished(&'static str),
    /// The published objective needs a column.
    #[error(
        "the table of single losses has no column `Influence`, which the published objective needs; name a predictor"
    )]
    NoInfluence,
    /// Nothing can be fitted to the measurements.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// A searched point has no measurements.
    #[error("the point `{point}` was not measured; leave it out, or measure it")]
    NotMeasured {
        /// The point.
        point: String,
    },
    /// A width is not between two that were measured.
    #[error("{bits} bits of `{point}` were not measured and are not between widths that were: {measured}")]
    OutsideOfMeasured {
        /// The point.
        point: String,
        /// The width.
        bits: Bits,
        /// The measured widths.
        measured: String,
    },
    /// The widths leave out the reference's.
    #[error(
        "{reference} bits of `{point}` are the reference that losses are counted from; search that width too"
    )]
    WithoutReference {
        /// The point.
        point: String,
        /// Its width in the reference.
        reference: Bits,
    },
    /// No measured point is of the kinds that are to be searched.
    #[error("no measured point is of the kind that is to be searched")]
    NothingToSearch,
    /// A cost is limited twice.
    #[error("{0} is limited twice; keep the tighter limit")]
    LimitedTwice(String),
}

impl OfflineError {
    /// Whether the question was a proper one that has no answer, rather than a wrong one.
    pub fn is_unanswerable(&self) -> bool {
        matches!(self, Self::Infeasible { .. } | Self::NotFound(_) | Self::Solve(SolveError::NotFound { .. }))
    }
}

#[cfg(test)]
mod tests;
