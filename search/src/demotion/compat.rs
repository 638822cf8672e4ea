//! The demotion search as published, to the last decision: what a better one is compared with.
//!
//! Its known flaw is kept: when a scan comes to its end, the group that is lowered is the best of the last stretch
//! that was scanned and not of all. So are those found beside it: the accuracy that is recorded then is that of the
//! group tried last; where no group reaches the accuracy of the low model, the first of the list is lowered untried.
//!
//! Source: a description of the published procedure; a golden test compares every decision with those of a second
//! implementation of it.

use bitloop_core::rng::rng;

use super::Lowering;
use crate::set_search::{Score, SetSearch, Step};

/// Puts what remains in a new order; the number counts shuffles from 0.
pub type Shuffle = Box<dyn Fn(u64, &mut [usize]) + Send + Sync>;

/// The published procedure.
pub struct Published {
    lowering: Lowering,
    target: f64,
    multiplier: f64,
    shuffle: Shuffle,
    ahead: usize,
    state: State,
}

/// Why the published procedure ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// With nothing lowered the score is below the target.
    Unreachable,
    /// With everything lowered it is above.
    NothingToPromote,
    /// The longest stretch of the way down that was recorded above the target.
    WalkBack,
    /// No step was.
    NoStepMeetsTarget,
}

/// A step of the way down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lowered {
    /// The group that was lowered.
    pub group: usize,
    /// The score that was recorded: that of the set tried last, not always of this one.
    pub recorded: f64,
    /// Where the scan began in the list of what remained.
    pub start: usize,
    /// Where the next one begins.
    pub next_start: usize,
    /// Whether a score above the threshold ended the scan, rather than the end of the list.
    pub by_threshold: bool,
}

/// What the published procedure came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Promotion {
    /// Groups that stay high, the one lowered last first; none at all where the target cannot be reached.
    pub promoted: Option<Vec<usize>>,
    /// Why.
    pub reason: Reason,
    /// The score that ends a scan early.
    pub threshold: f64,
    /// The way down.
    pub history: Vec<Lowered>,
    /// Every set that was looked at with its score, in order: groups that were lowered, in the order they were.
    pub calls: Vec<(Vec<usize>, f64)>,
}

/// How far the procedure has come; it follows from the scores alone.
#[derive(Clone, Debug, Default)]
struct State {
    high: Option<f64>,
    low: Option<f64>,
    remaining: Vec<usize>,
    lowered: Vec<usize>,
    shuffles: u64,
    start: usize,
    scan: Option<Scan>,
    history: Vec<Lowered>,
    calls: Vec<(Vec<usize>, f64)>,
}

#[derive(Clone, Copy, Debug)]
struct Scan {
    /// The place in the list that is looked at next.
    at: usize,
    /// The best score of this stretch, and its place.
    best: (f64, usize),
}

enum Turn {
    Decided,
    Needs(Vec<usize>),
    Over(Promotion),
}

impl Published {
    /// Prepares the procedure as it was published: half of the distance to the target as threshold, shuffles of seed 1.
    pub fn new(lowering: Lowering, target: f64) -> Self {
        let remaining = (0..lowering.groups().len()).collect();
        Self {
            lowering,
            target,
            multiplier: 0.5,
            shuffle: Box::new(|step, items| rng(1, step).shuffle(items)),
            ahead: 1,
            state: State { remaining, ..State::default() },
        }
    }

    /// Takes another share of the distance to the target: 0 is slow, 1 greedy.
    pub fn with_multiplier(mut self, multiplier: f64) -> Self {
        self.multiplier = multiplier;
        self
    }

    /// Takes other orders; each must keep all items.
    pub fn with_shuffle(mut self, shuffle: Shuffle) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// Asks for up to so many sets of a scan at a time, in the hope that the first do not end it. What is decided is
    /// the same.
    pub fn with_ahead(mut self, ahead: usize) -> Self {
        self.ahead = ahead.max(1);
        self
    }

    fn threshold(&self, high: f64) -> f64 {
        high - self.multiplier * (high - self.target)
    }

    fn score(&self, lowered: &[usize], known: &dyn Fn(&[u8]) -> Option<Score>) -> Option<f64> {
        known(&self.lowering.levels(lowered.iter().copied())).map(|score| score.checked().value)
    }

    fn turn(&mut self, known: &dyn Fn(&[u8]) -> Option<Score>) -> Turn {
        let Some(high) = self.state.high else { return self.reference(Vec::new(), known) };
        if high < self.target {
            return self.over(None, Reason::Unreachable);
        }
        let Some(low) = self.state.low else {
            return self.reference((0..self.lowering.groups().len()).collect(), known);
        };
        if low > self.target {
            return self.over(Some(Vec::new()), Reason::NothingToPromote);
        }
        match self.state.scan {
            None if self.state.remaining.is_empty() => self.walk_back(),
            None => self.begin(low),
            Some(scan) => self.look(scan, known),
        }
    }

    /// Takes the score of one of the two models.
    fn reference(&mut self, set: Vec<usize>, known: &dyn Fn(&[u8]) -> Option<Score>) -> Turn {
        let Some(score) = self.score(&set, known) else { return Turn::Needs(set) };
        let is_high = self.state.high.is_none();
        let slot = if is_high { &mut self.state.high } else { &mut self.state.low };
        *slot = Some(score);
        self.state.calls.push((set, score));
        Turn::Decided
    }

    fn begin(&mut self, low: f64) -> Turn {
        let state = &mut self.state;
        if state.start == 0 {
            (self.shuffle)(state.shuffles, &mut state.remaining);
            state.shuffles += 1;
        }
        state.scan = Some(Scan { at: state.start, best: (low, 0) });
        Turn::Decided
    }

    fn tried(&self, at: usize) -> Vec<usize> {
        let mut set = self.state.lowered.clone();
        set.push(self.state.remaining[at]);
        set
    }

    fn look(&mut self, mut scan: Scan, known: &dyn Fn(&[u8]) -> Option<Score>) -> Turn {
        let set = self.tried(scan.at);
        let Some(score) = self.score(&set, known) else { return Turn::Needs(set) };
        self.state.calls.push((set, score));
        if score >= scan.best.0 {
            scan.best = (score, scan.at);
        }
        let is_above = self.state.high.is_some_and(|high| score > self.threshold(high));
        let is_last = scan.at + 1 == self.state.remaining.len();
        if is_above || is_last {
            self.lower(scan, score, is_above);
        } else {
            scan.at += 1;
            self.state.scan = Some(scan);
        }
        Turn::Decided
    }

    /// Lowers the best of the stretch.
    fn lower(&mut self, scan: Scan, recorded: f64, by_threshold: bool) {
        let state = &mut self.state;
        let place = scan.best.1;
        let group = state.remaining.remove(place);
        state.lowered.push(group);
        // What stood behind the one that was lowered has its place now.
        let next_start = if by_threshold && scan.at < state.remaining.len() { scan.at } else { 0 };
        state.history.push(Lowered { group, recorded, start: state.start, next_start, by_threshold });
        state.start = next_start;
        state.scan = None;
    }

    fn walk_back(&self) -> Turn {
        let history = &self.state.history;
        let steps = history.iter().rposition(|step| step.recorded > self.target).map(|last| last + 1);
        let after = steps.unwrap_or(0);
        let promoted = history[after..].iter().rev().map(|step| step.group).collect();
        let reason = if steps.is_some() { Reason::WalkBack } else { Reason::NoStepMeetsTarget };
        self.over(Some(promoted), reason)
    }

    fn over(&self, promoted: Option<Vec<usize>>, reason: Reason) -> Turn {
        let State { history, calls, .. } = self.state.clone();
        let threshold = self.state.high.map_or(self.target, |high| self.threshold(high));
        Turn::Over(Promotion { promoted, reason, threshold, history, calls })
    }

    /// The sets that the scan comes to if none before them ends it.
    fn expected(&self, first: Vec<usize>, known: &dyn Fn(&[u8]) -> Option<Score>) -> Vec<Vec<u8>> {
        let Some(scan) = self.state.scan else { return vec![self.lowering.levels(first)] };
        let rest = (scan.at..self.state.remaining.len()).take(self.ahead);
        let sets = rest.map(|at| self.lowering.levels(self.tried(at)));
        sets.filter(|levels| known(levels).is_none()).collect()
    }
}

impl SetSearch for Published {
    type Outcome = Promotion;

    fn next(&mut self, known: &dyn Fn(&[u8]) -> Option<Score>) -> Step<Promotion> {
        loop {
            match self.turn(known) {
                Turn::Decided => {}
                Turn::Needs(set) => return Step::Measure(self.expected(set, known)),
                Turn::Over(promotion) => return Step::Done(promotion),
            }
        }
    }
}
