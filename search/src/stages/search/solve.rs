//! Assignments that a predictor's form lets expect little loss, by the method that a search names.

use std::collections::BTreeSet;

use bitloop_core::plan::SearchMethod;
use bitloop_core::rng::{Rng, rng};
use bitloop_core::selection::{Proof, ShadowPrice};

use crate::form::Form;
use crate::solve::greedy::Greedy;
use crate::solve::nsga2::{Forms, GreedyRepair, Nsga2, Settings, minimise};
use crate::solve::{self, Candidate, ExactOptions, Problem, Solution, SolveError, exact, shadow_prices};

/// Nodes of one exact solve: about a second's worth.
const NODES_MAX: u64 = 20_000_000;

/// By how much terms are doubted when other optima are looked for, as a share of each term.
const DOUBT: f64 = 0.3;

/// What a solver gives.
#[derive(Default)]
pub(super) struct Solved {
    /// Distinct assignments within the limits, best first.
    pub(super) pool: Vec<Vec<u8>>,
    pub(super) proof: Option<Proof>,
    pub(super) prices: Vec<ShadowPrice>,
    pub(super) notes: Vec<String>,
}

/// Finds some `count` assignments by a method; `draw` seeds what is drawn.
///
/// Errors: those of the exact solver, which also says what a method that found nothing has missed.
pub(super) fn solve(
    problem: &Problem,
    method: SearchMethod,
    count: usize,
    draw: u64,
) -> Result<Solved, SolveError> {
    let mut rng = rng(draw, count as u64);
    let pool = match method {
        SearchMethod::Nsga2 => genetic(problem, rng.next_u64()),
        SearchMethod::Greedy => greedy(problem, count, &mut rng),
        SearchMethod::Exact | SearchMethod::Demotion { .. } | SearchMethod::Amp { .. } => Vec::new(),
    };
    match pool.is_empty() {
        true => proved(problem, count, &mut rng),
        false => Ok(Solved { pool: distinct(pool), ..Solved::default() }),
    }
}

fn options(best: usize) -> ExactOptions {
    ExactOptions { best, nodes_max: NODES_MAX }
}

/// The best by the form, and what would be best if its terms were somewhat other: a predictor is never quite right.
fn proved(problem: &Problem, count: usize, rng: &mut Rng) -> Result<Solved, SolveError> {
    let first = exact(problem, &options(1))?;
    let mut pool: Vec<Vec<u8>> = first.best.iter().map(|best| best.levels.clone()).collect();
    for _ in 0..count {
        pool.extend(exact(&doubted(problem, rng), &options(1))?.best.into_iter().map(|best| best.levels));
    }
    // The next best ones come last: they differ least from what is in the pool already.
    pool.extend(exact(problem, &options(count.max(1)))?.best.into_iter().map(|best| best.levels));
    let mut notes = Vec::new();
    if !first.is_proved() {
        notes.push(
            "the search tree was cut off, so that a better config by this predictor may exist".to_owned(),
        );
    }
    let objective = first.best.first().map_or(f64::INFINITY, |best| best.objective);
    let proof = Some(Proof { objective, bound: first.bound });
    Ok(Solved { pool: distinct(pool), proof, prices: prices(problem, &first)?, notes })
}

fn prices(problem: &Problem, solution: &Solution) -> Result<Vec<ShadowPrice>, SolveError> {
    let known = shadow_prices(problem, solution, &options(1))?;
    let priced = known.into_iter().filter_map(|solve::ShadowPrice { cost, step, looser, tighter }| {
        let tighter = tighter.map(|change| change.objective);
        Some(ShadowPrice { cost, step: step?, looser: looser?.objective, tighter })
    });
    Ok(priced.collect())
}

/// The problem with every term of one point changed a little.
fn doubted(problem: &Problem, rng: &mut Rng) -> Problem {
    let mut objective: Form = problem.objective.clone();
    for value in objective.one.iter_mut().flatten() {
        *value *= (DOUBT * rng.normal()).exp();
    }
    Problem { objective, ..problem.clone() }
}

/// The loss against the first limited cost, from greedy descents.
fn genetic(problem: &Problem, seed: u64) -> Vec<Vec<u8>> {
    let cost = problem.limits.first().and_then(|limit| limit.cost.rows.first());
    let objectives: Vec<Form> = [&problem.objective].into_iter().chain(cost).cloned().collect();
    let forms = Forms::new(&problem.space, &objectives, &problem.limits);
    let starts = [Greedy::new(problem).descend_and_exchange(&problem.space.reference()).levels];
    let search = Nsga2::new(forms.counts(), Settings::published(seed), &starts);
    let front = search
        .ok()
        .and_then(|search| minimise(search.with_repair(Box::new(GreedyRepair::new(problem))), &forms).ok());
    let mut front = front.unwrap_or_default();
    front.sort_by(|a, b| a.objectives[0].total_cmp(&b.objectives[0]).then_with(|| a.levels.cmp(&b.levels)));
    front.into_iter().map(|point| point.levels).collect()
}

fn greedy(problem: &Problem, count: usize, rng: &mut Rng) -> Vec<Vec<u8>> {
    let reference = problem.space.reference();
    let mut pool = vec![Greedy::new(problem).descend_and_exchange(&reference).levels];
    for _ in 0..count {
        pool.push(Greedy::new(&doubted(problem, rng)).descend_and_exchange(&reference).levels);
    }
    pool.retain(|levels| Candidate::of(problem, levels.clone()).keeps(&problem.limits));
    pool
}

fn distinct(pool: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut seen = BTreeSet::new();
    pool.into_iter().filter(|levels| seen.insert(levels.clone())).collect()
}
