//! Searches that say which assignments they want measured, and draw their conclusions from the scores.
//!
//! A [`SetSearch`] is a pure fold: what it asks for and where it ends follow from its inputs and from the scores of
//! what it asked for before, decided in its own order. A new instance that is shown the same scores comes to the same
//! place, so that a table of scores is all there is to store, and nothing is ever measured twice.

use bitloop_core::report::Interval;

/// The level of a variable that has no quantizer at all.
pub const FLOAT: u8 = u8::MAX;

/// Variables that move together, such as an activation with the weights of the layers that read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name by which reports call it.
    pub name: String,
    /// Its variables, by their position in the space; no two groups share one.
    pub variables: Vec<usize>,
}

/// What measuring an assignment gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// More is better, such as the share of images that are right. Minus infinity says that measuring failed, and so
    /// does NaN: such an assignment is never accepted.
    pub value: f64,
    /// Where the images were counted against a baseline on the same images.
    pub paired: Option<Paired>,
}

/// Images that tell an assignment and its baseline apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paired {
    /// Images.
    pub n: u64,
    /// Images that the baseline gets right and the assignment wrong.
    pub lost: u64,
    /// Images that the baseline gets wrong and the assignment right.
    pub gained: u64,
}

impl Score {
    /// A score of which nothing but its value is known.
    pub fn of(value: f64) -> Self {
        Self { value, paired: None }
    }

    /// The score of an assignment that could not be measured.
    pub fn failed() -> Self {
        Self::of(f64::NEG_INFINITY)
    }

    /// The score, or that of a failure where it is no number, as nothing compares with that.
    pub(crate) fn checked(self) -> Self {
        if self.value.is_nan() { Self::failed() } else { self }
    }

    /// The interval of the score, as far as the images can tell; none without counts.
    ///
    /// It is that of the paired difference from the baseline, whose own score on these images counts as known.
    pub fn interval(&self) -> Option<Interval> {
        let Paired { n, lost, gained } = self.paired.filter(|paired| paired.n > 0)?;
        let drop = bitloop_core::report::paired_difference(lost, gained, n);
        let baseline = self.value + drop.value;
        Some(Interval { value: self.value, low: baseline - drop.high, high: baseline - drop.low })
    }
}

/// What a search wants next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<Outcome> {
    /// These assignments, none of which is known, none twice; side by side, in any order. Shapes: a level per variable.
    Measure(Vec<Vec<u8>>),
    /// Nothing: this is the result.
    Done(Outcome),
}

/// A resumable search over assignments.
pub trait SetSearch {
    /// Its result.
    type Outcome;

    /// Says what to measure next, or the result. `known` gives what has been measured of an assignment.
    ///
    /// To be called again when all that it asked for is known; before, it asks for what is missing. What it keeps
    /// between calls is found again by a new instance.
    fn next(&mut self, known: &dyn Fn(&[u8]) -> Option<Score>) -> Step<Self::Outcome>;
}
