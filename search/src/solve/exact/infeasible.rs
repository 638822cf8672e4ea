//! Says why no assignment keeps the limits.

use super::{ExactOptions, exact_from};
use crate::cost::Cost;
use crate::form::Form;
use crate::solve::groups::compile;
use crate::solve::{Candidate, Limit, Problem, Reach, SolveError, slack};

/// Nodes for the least value of one cost beside others: this is asked of a problem that failed already.
const NODES_MAX: u64 = 1_000_000;
/// Share of a cost's range to which the least value of a cost with several rows is found.
const RESOLUTION: f64 = 1e-6;

/// What each limited cost can reach, alone and within the limits before it.
///
/// Errors: those of solving the parts, except that nothing was found.
pub(super) fn reached(problem: &Problem) -> Result<Vec<Reach>, SolveError> {
    let mut before: &[Limit] = &[];
    let mut reached = Vec::with_capacity(problem.limits.len());
    for (at, limit) in problem.limits.iter().enumerate() {
        let least = least(problem, &limit.cost, &[])?;
        let within = if before.len() < at { None } else { self::least(problem, &limit.cost, before)? };
        // Once the limits can't be kept, later ones have nothing to be compared with.
        if within.is_some_and(|within| within <= limit.at_most + slack(limit.at_most)) && before.len() == at {
            before = &problem.limits[..=at];
        }
        let least = least.unwrap_or(f64::NEG_INFINITY);
        reached.push(Reach {
            cost: limit.cost.name.clone(),
            at_most: limit.at_most,
            least,
            least_within: within,
        });
    }
    Ok(reached)
}

/// The least value of a cost within limits; none if these can't be kept or nothing was found.
pub(super) fn least(problem: &Problem, cost: &Cost, within: &[Limit]) -> Result<Option<f64>, SolveError> {
    let rows = &cost.rows;
    let mut bound = f64::NEG_INFINITY;
    let mut reached = f64::INFINITY;
    for row in rows {
        let Some((low, candidate)) = lowest(problem, row, within)? else { return Ok(None) };
        bound = bound.max(low);
        reached = reached.min(cost.value(&problem.space, &candidate.levels));
    }
    // The least of a largest row lies between; each step asks whether the lower half can be reached.
    let range = reached - bound;
    while rows.len() > 1 && reached - bound > RESOLUTION * range {
        let middle = (bound + reached) / 2.0;
        let mut limits = within.to_vec();
        limits.push(Limit { cost: cost.clone(), at_most: middle });
        match lowest(problem, &rows[0], &limits).map(|found| found.map(|(_, candidate)| candidate))? {
            Some(candidate) => reached = reached.min(cost.value(&problem.space, &candidate.levels)),
            None => bound = middle,
        }
    }
    Ok(Some(reached))
}

/// The least value of a row within limits with an assignment that has it; none if the limits can't be kept.
fn lowest(problem: &Problem, row: &Form, limits: &[Limit]) -> Result<Option<(f64, Candidate)>, SolveError> {
    let problem = Problem { space: problem.space.clone(), objective: row.clone(), limits: limits.to_vec() };
    // Products of widths tie variables together in limits only; here the row is what is minimised.
    if limits.is_empty() && !row.two.is_empty() {
        return alone(&problem);
    }
    match exact_from(&problem, &ExactOptions { best: 1, nodes_max: NODES_MAX }, &[]) {
        Ok(solution) => Ok(Some((solution.bound, solution.best[0].clone()))),
        Err(SolveError::Infeasible { .. } | SolveError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The least value of the objective without limits, with its two-variable terms in groups.
fn alone(problem: &Problem) -> Result<Option<(f64, Candidate)>, SolveError> {
    let mut grouped = problem.clone();
    let most = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let one: f64 = problem.objective.one.iter().filter(|term| !term.is_empty()).map(|term| most(term)).sum();
    let two: f64 = problem.objective.two.iter().map(|two| most(&two.values)).sum();
    // Just below what the terms could come to, so that the row counts as one that can be broken.
    let at_most = problem.objective.constant + (one + two) - 1e-6 * (one + two).abs();
    let cost = Cost { name: String::new(), rows: vec![problem.objective.clone()] };
    grouped.limits = vec![Limit { cost, at_most }];
    let compiled = compile(&grouped, 1)?;
    let least = |group: usize| {
        compiled.choices(group).min_by(|left, right| compiled.value[*left].total_cmp(&compiled.value[*right]))
    };
    let Some(choices) = (0..compiled.groups()).map(least).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    let candidate = Candidate::of(problem, compiled.assignment(&choices));
    Ok(Some((candidate.objective, candidate)))
}
