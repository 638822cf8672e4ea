//! What a demotion comes to.

use bitloop_core::report::Interval;

use crate::set_search::Score;

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With nothing lowered the score is below the target.
    Unreachable,
    /// With everything lowered it is not.
    AllLowered,
    /// No set that saves more has a chance worth measuring.
    Settled,
    /// As many sets were measured as may be.
    Spent,
    /// It has not ended: this is the best so far.
    Open,
}

/// A measured set.
#[derive(Clone, Debug, PartialEq)]
pub struct Tradeoff {
    /// The lowered groups, ascending.
    pub lowered: Vec<usize>,
    /// What lowering them saves: in the cost's unit, or groups where there is no cost.
    pub saving: f64,
    /// Its score.
    pub score: Score,
}

/// What the images can tell of the result's score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statement {
    /// The score, with the paired interval around it. It says nothing of the choice among many sets: that the best
    /// of many looks better than it is, only other images show.
    pub score: Interval,
    /// Whether the whole interval is at the target or above.
    pub is_sure: bool,
}

/// What a demotion came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The set at the target or above that saves most; of equals the one with the best score. None if there is none.
    pub best: Option<Tradeoff>,
    /// The groups that stay high, ascending; all where there is no best.
    pub kept: Vec<usize>,
    /// How sure the best is, where its images were counted.
    pub statement: Option<Statement>,
    /// Why it ended.
    pub end: End,
    /// Sets that were measured.
    pub sets: usize,
    /// Rounds of measurements, each side by side.
    pub rounds: usize,
    /// Every measured set that no other beats in both saving and score, by falling saving.
    pub pareto: Vec<Tradeoff>,
}

/// Those of `all` that none beats, by falling saving; of equals the first.
pub(crate) fn pareto(mut all: Vec<Tradeoff>) -> Vec<Tradeoff> {
    all.sort_by(|a, b| b.saving.total_cmp(&a.saving).then(b.score.value.total_cmp(&a.score.value)));
    let mut front: Vec<Tradeoff> = Vec::new();
    for tradeoff in all {
        if front.last().is_none_or(|last| tradeoff.score.value > last.score.value) {
            front.push(tradeoff);
        }
    }
    front
}
