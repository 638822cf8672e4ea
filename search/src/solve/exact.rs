//! Exact solving: the best assignments with a proof.
//!
//! A problem without two-variable terms between groups is searched as a tree of [`Part`]s. Each gets prices from its
//! linear relaxation; with prices, what an assignment loses beside the bound is a sum over groups, so that assignments
//! that may beat the best one known are few and are simply listed ([`enumerate`]) once there are not more than some
//! thousands. Before that, thresholds below the best one known are tried, in steps by the estimated number of
//! assignments; then the part is split, in a group or in the number of changed variables.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::groups::{Compiled, compile};
use super::{Candidate, Problem, SolveError};
use crate::cost::Cost;

mod best;
mod dense;
mod enumerate;
mod feasible;
mod frame;
mod infeasible;
mod local;
mod messages;
mod part;
mod point;
mod primal;
mod quadratic;
mod relaxation;
mod split;

use best::Best;
use enumerate::{Nodes, enumerate};
use feasible::Feasible;
use frame::{Frame, Judges};
use part::Part;
use relaxation::{Relaxed, relax};

/// What is asked of [`exact`].
#[derive(Clone, Debug, PartialEq)]
pub struct ExactOptions {
    /// Number of distinct assignments that are wanted, at least 1.
    pub best: usize,
    /// The most nodes of the search tree; where the objective ties groups together, one counts as many, by its size. No
    /// clock is read, so the same problem gives the same answer everywhere.
    pub nodes_max: u64,
}

impl Default for ExactOptions {
    /// The one best assignment; some ten seconds' worth of nodes.
    fn default() -> Self {
        Self { best: 1, nodes_max: 200_000_000 }
    }
}

/// The best assignments, and how good any other can be.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// Distinct, ascending by objective; fewer than were wanted if there are no more.
    pub best: Vec<Candidate>,
    /// No assignment but those in `best` has an objective below this; at most the last one's objective.
    pub bound: f64,
    /// Whether `best` has as many as were wanted, or all that there are; not so when the nodes ran out first.
    pub complete: bool,
    /// Nodes of the search tree that were looked at.
    pub nodes: u64,
}

/// How far the bound may be from the objective of an assignment that is called proved.
pub const PROOF: f64 = 1e-6;

impl Solution {
    /// The last objective less the bound: 0 if these are the best.
    pub fn gap(&self) -> f64 {
        self.best.last().map_or(0.0, |last| last.objective - self.bound)
    }

    /// Whether these are the best assignments, within [`PROOF`].
    pub fn is_proved(&self) -> bool {
        self.complete && self.gap() <= PROOF
    }
}

/// Finds the best assignments of a problem.
///
/// When the nodes run out, the best ones found are returned with the bound that holds ([`Solution::is_proved`]).
///
/// Errors: `NotFinite`, `Shape`, `CountInLimit`, `TooManyChoices` for problems that can't be read;
/// `Infeasible` if no assignment keeps the limits; `NotFound` if the nodes ran out before one was found.
pub fn exact(problem: &Problem, options: &ExactOptions) -> Result<Solution, SolveError> {
    match exact_from(problem, options, &[]) {
        Err(SolveError::Infeasible { .. }) => {
            Err(SolveError::Infeasible { reached: infeasible::reached(problem)? })
        }
        answer => answer,
    }
}

/// The least value of a cost within a problem's limits; none if these can't be kept.
pub(crate) fn least_cost(problem: &Problem, cost: &Cost) -> Result<Option<f64>, SolveError> {
    infeasible::least(problem, cost, &problem.limits)
}

/// [`exact`] with assignments that are likely good, from a solve of a similar problem; does not say what is infeasible.
pub(crate) fn exact_from(
    problem: &Problem,
    options: &ExactOptions,
    known: &[Vec<u8>],
) -> Result<Solution, SolveError> {
    let wanted = options.best.max(1);
    let compiled = compile(problem, wanted)?;
    let nodes = Nodes { used: 0, most: options.nodes_max };
    let mut tree = Tree::new(&compiled, Best::new(wanted), nodes);
    for choices in known.iter().filter_map(|levels| compiled.choices_of(levels)) {
        if best::keeps(&compiled, &choices) {
            tree.best.offer(best::objective(&compiled, &choices), &choices);
        }
    }
    let bound = tree.begin();
    let found = tree.best.found();
    let complete = found.len() == wanted || !tree.nodes.are_spent();
    if found.is_empty() {
        return Err(match tree.nodes.are_spent() {
            true => SolveError::NotFound { nodes: tree.nodes.used },
            false => SolveError::Infeasible { reached: Vec::new() },
        });
    }
    let best: Vec<Candidate> =
        found.iter().map(|found| Candidate::of(problem, compiled.assignment(&found.choices))).collect();
    let worst = best.last().map_or(f64::INFINITY, |last| last.objective);
    Ok(Solution { bound: bound.min(worst), best, complete, nodes: tree.nodes.used })
}

/// Lists of up to this many assignments are gone through at once.
const LISTED_MAX: f64 = 20_000.0;
/// A part's first threshold is where about this many assignments are below it; each later one has more by the factor.
const FIRST_ROUND: f64 = 2_000.0;
const ROUND_FACTOR: f64 = 8.0;
/// Thresholds that are tried before a part is split.
const ROUNDS_MAX: u32 = 2;
/// The share of its choices that a part must lose for its prices to be found anew.
const WORTH_RELAXING: f64 = 0.8;

struct Tree<'a> {
    compiled: &'a Compiled,
    best: Best,
    nodes: Nodes,
    open: BinaryHeap<Open>,
    opened: usize,
    /// Weighted sums of rows that choices are judged by.
    surrogates: Vec<Vec<f64>>,
}

/// A part in the queue: the least bound first, then the one that was opened first.
struct Open {
    part: Part,
    order: usize,
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        other.part.bound.total_cmp(&self.part.bound).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Open {}

impl<'a> Tree<'a> {
    fn new(compiled: &'a Compiled, best: Best, nodes: Nodes) -> Self {
        Self { compiled, best, nodes, open: BinaryHeap::new(), opened: 0, surrogates: Vec::new() }
    }

    /// Searches from an assignment that keeps the limits, if there is any; returns the bound.
    fn begin(&mut self) -> f64 {
        let whole = Part::whole(self.compiled);
        let relaxed = relax(self.compiled, &whole, f64::INFINITY);
        primal::round(self.compiled, &whole, &relaxed, &mut self.best);
        if self.best.found().is_empty() {
            match feasible::find(self.compiled, &mut self.nodes) {
                Feasible::Found(choices) => {
                    self.best.offer(best::objective(self.compiled, &choices), &choices)
                }
                Feasible::Never | Feasible::Unknown => return f64::NEG_INFINITY,
            }
        }
        if !self.compiled.pairs.is_empty() {
            return quadratic::search(self.compiled, &mut self.best, &mut self.nodes);
        }
        self.surrogates = feasible::surrogates(self.compiled, &whole, &relaxed.multipliers.rows);
        self.search()
    }

    /// Searches until nothing can beat the best ones or the nodes are spent; returns the bound.
    fn search(&mut self) -> f64 {
        let whole = Part::whole(self.compiled);
        self.push(whole);
        while let Some(Open { part, .. }) = self.open.pop() {
            if part.bound >= self.best.to_beat() || self.best.is_enough() {
                break;
            }
            if self.nodes.are_spent() {
                return part.bound;
            }
            self.expand(part);
        }
        self.best.to_beat()
    }

    fn push(&mut self, part: Part) {
        self.opened += 1;
        self.open.push(Open { part, order: self.opened });
    }

    /// Relaxes a part, drops choices, and lists what is left or splits it.
    fn expand(&mut self, part: Part) {
        self.nodes.used += 1;
        let Some((frame, relaxed)) = self.relaxed(part) else { return };
        let part = Part { bound: relaxed.bound.max(frame.part.bound), ..frame.part.clone() };
        if frame.estimate(frame.room[0]) <= LISTED_MAX {
            return self.list(part, &frame, self.best.to_beat());
        }
        if let Some((low, high)) = split::by_count(self.compiled, &part, &relaxed, self.best.to_beat()) {
            self.push(low);
            return self.push(high);
        }
        if part.rounds < ROUNDS_MAX {
            let room = frame.room_for(FIRST_ROUND * ROUND_FACTOR.powi(part.rounds as i32));
            let threshold = (frame.bounds[0] + room).min(self.best.to_beat());
            let rounds = part.rounds + 1;
            return self.list(Part { rounds, ..part }, &frame, threshold);
        }
        for half in split::by_group(self.compiled, &frame, &relaxed.multipliers) {
            self.push(Part { rounds: 0, bound: part.bound, ..half });
        }
    }

    /// Prices of a part and what they leave of it; none if nothing is left that could be among the best.
    fn relaxed(&mut self, mut part: Part) -> Option<(Frame, Relaxed)> {
        loop {
            let relaxed = relax(self.compiled, &part, self.best.to_beat());
            if relaxed.bound >= self.best.to_beat() {
                return None;
            }
            primal::round(self.compiled, &part, &relaxed, &mut self.best);
            let prices = split::family(&relaxed.multipliers);
            let judges = Judges { prices, surrogates: self.surrogates.clone() };
            let mut frame = Frame::new(self.compiled, &part, &judges, self.best.to_beat())?;
            if self.opened == 1 && frame.estimate(frame.room[0]) > LISTED_MAX {
                primal::exchange(self.compiled, &frame.part, &mut self.best);
                frame = Frame::new(self.compiled, &frame.part, &judges, self.best.to_beat())?;
            }
            let left = frame.part.choice.len();
            if left == frame.part.groups() || left as f64 > WORTH_RELAXING * part.choice.len() as f64 {
                // The shares belong to the part before choices were dropped.
                return Some((frame, relaxed));
            }
            part = frame.part;
        }
    }

    /// Lists a part up to a threshold; what is above it stays open.
    fn list(&mut self, part: Part, frame: &Frame, threshold: f64) {
        let done = enumerate(self.compiled, frame, threshold, (&mut self.best, &mut self.nodes));
        let bound = if done { part.bound.max(threshold) } else { part.bound };
        if bound < self.best.to_beat() {
            self.push(Part { bound, ..part });
        }
    }
}
