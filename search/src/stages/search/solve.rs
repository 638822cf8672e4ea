//! Assignments that a predictor's form lets expect little loss, by the method that a search names.

use std::collections::BTreeSet;

use bitloop_core::plan::SearchMethod;
use bitloop_core::rng::{Rng, rng};
use bitloop_core::selection::{Proof, ShadowPrice};

use crate::form::Form;
use crate::solve::{ExactOptions, PROOF, Problem, SolveError, exact};

/// Nodes of one exact solve: about a second's worth.
const NODES_MAX: u64 = 20_000_000;

/// By how much terms are doubted when other optima are looked for, as a share of each term.
const DOUBT: f64 = 0.3;

/// What a solver gives.
pub(super) struct Solved {
    /// Distinct assignments within the limits, best first.
    pub(super) pool: Vec<Vec<u8>>,
    pub(super) proof: Option<Proof>,
    pub(super) prices: Vec<ShadowPrice>,
    pub(super) notes: Vec<String>,
}

/// Finds about `count` assignments by a method; `draw` seeds what is drawn.
///
/// Errors: those of the solver.
pub(super) fn solve(problem: &Problem, method: SearchMethod, count: usize, draw: u64) -> Result<Solved, SolveError> {
    let mut rng = rng(draw, count as u64);
    let _ = method;
    proved(problem, count, &mut rng)
}

/// The best by the form, and what would be best if its terms were somewhat other: a predictor is never quite right.
fn proved(problem: &Problem, count: usize, rng: &mut Rng) -> Result<Solved, SolveError> {
    let options = |best| ExactOptions { best, nodes_max: NODES_MAX };
    let solution = exact(problem, &options(count.max(1)))?;
    let first = exact(problem, &options(1))?;
    let mut pool: Vec<Vec<u8>> = solution.best.iter().map(|candidate| candidate.levels.clone()).collect();
    for _ in 0..count {
        let objective = doubted(&problem.objective, rng);
        let other = Problem { objective, ..problem.clone() };
        pool.extend(exact(&other, &options(1))?.best.into_iter().map(|candidate| candidate.levels));
    }
    let objective = first.best.first().map_or(f64::INFINITY, |best| best.objective);
    let proof = Proof { objective, bound: first.bound };
    let mut notes = Vec::new();
    if objective - first.bound > PROOF {
        notes.push("the search tree was cut off, so that a better config by this predictor may exist".to_owned());
    }
    Ok(Solved { pool: distinct(pool), proof: Some(proof), prices: Vec::new(), notes })
}

/// The form with every term changed a little.
fn doubted(form: &Form, rng: &mut Rng) -> Form {
    let mut form = form.clone();
    for value in form.one.iter_mut().flatten() {
        *value *= (DOUBT * rng.normal()).exp();
    }
    form
}

fn distinct(pool: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut seen = BTreeSet::new();
    pool.into_iter().filter(|levels| seen.insert(levels.clone())).collect()
}
