//! What a limit is worth: the best objective when it moves a little.

use super::exact::exact_from;
use super::{Candidate, ExactOptions, Limit, Problem, Solution, SolveError, slack};

/// What moving one limit by one step does.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowPrice {
    /// The cost's name.
    pub cost: String,
    /// How far the limit was moved, in the cost's unit: the smallest amount by which changing one variable of the best
    /// assignment changes this cost. None if no variable changes it, and then nothing else is known either.
    pub step: Option<f64>,
    /// The optimum with the limit one step higher, less the optimum; never positive.
    pub looser: Option<Change>,
    /// The optimum with the limit one step lower, less the optimum; never negative. None if no assignment keeps it.
    pub tighter: Option<Change>,
}

/// A change of the optimum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The new optimum less the old one, in the objective's unit.
    pub objective: f64,
    /// Whether the new optimum is proved.
    pub proved: bool,
}

/// Prices every limit of a solved problem by solving it twice more, from its solution.
///
/// Errors: those of [`super::exact`], except that a tighter limit that can't be kept is no error.
pub fn shadow_prices(
    problem: &Problem,
    solution: &Solution,
    options: &ExactOptions,
) -> Result<Vec<ShadowPrice>, SolveError> {
    let Some(best) = solution.best.first() else { return Ok(Vec::new()) };
    let priced = |at: usize| {
        let limit = &problem.limits[at];
        let step = step(problem, limit, best);
        let moved = |by: f64| {
            step.map_or(Ok(None), |step| change(problem, (at, limit.at_most + by * step), solution, options))
        };
        Ok(ShadowPrice { cost: limit.cost.name.clone(), step, looser: moved(1.0)?, tighter: moved(-1.0)? })
    };
    (0..problem.limits.len()).map(priced).collect()
}

/// The smallest change of a cost by one variable of an assignment, beyond what rounding makes.
fn step(problem: &Problem, limit: &Limit, best: &Candidate) -> Option<f64> {
    let cost = limit.cost.value(&problem.space, &best.levels);
    let mut least = f64::INFINITY;
    let mut levels = best.levels.clone();
    for (at, variable) in problem.space.variables.iter().enumerate() {
        for level in 0..variable.widths.len() as u8 {
            levels[at] = level;
            let change = (limit.cost.value(&problem.space, &levels) - cost).abs();
            if change > 2.0 * slack(cost.abs().max(limit.at_most.abs())) {
                least = least.min(change);
            }
        }
        levels[at] = best.levels[at];
    }
    least.is_finite().then_some(least)
}

fn change(
    problem: &Problem,
    (at, at_most): (usize, f64),
    solution: &Solution,
    options: &ExactOptions,
) -> Result<Option<Change>, SolveError> {
    let before = solution.best[0].objective;
    let mut moved = problem.clone();
    moved.limits[at].at_most = at_most;
    let tighter = at_most < problem.limits[at].at_most;
    if tighter && solution.best[0].keeps(&moved.limits) {
        // What is best within the wider limit and keeps the tighter one is best there.
        return Ok(Some(Change { objective: 0.0, proved: before - solution.bound <= super::PROOF }));
    }
    let known: Vec<_> = solution.best.iter().map(|candidate| candidate.levels.clone()).collect();
    match exact_from(&moved, &ExactOptions { best: 1, ..options.clone() }, &known) {
        Ok(solution) => {
            Ok(Some(Change { objective: solution.best[0].objective - before, proved: solution.is_proved() }))
        }
        Err(SolveError::Infeasible { .. } | SolveError::NotFound { .. }) if tighter => Ok(None),
        Err(error) => Err(error),
    }
}
