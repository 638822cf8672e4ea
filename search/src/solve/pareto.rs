//! The exact front of the objective against one cost.

use super::exact::{exact_from, least_cost};
use super::{Candidate, ExactOptions, Limit, Problem, SolveError, exact, slack};
use crate::cost::Cost;

/// What is asked of [`pareto_front`].
#[derive(Clone, Debug, PartialEq)]
pub struct FrontOptions {
    /// The most points, at least 2. If the front has more, limits are spaced evenly over the cost's range.
    pub points_max: usize,
    /// The most nodes of each solve.
    pub nodes_max: u64,
}

/// A point of the front.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontPoint {
    /// The assignment, with the costs of the problem's limits.
    pub candidate: Candidate,
    /// The cost that the front is drawn against.
    pub cost: f64,
    /// What the cost was limited to when the point was found; infinite for the first one.
    pub at_most: f64,
    /// No assignment within `at_most` has an objective below this.
    pub bound: f64,
}

impl FrontPoint {
    /// Whether the point is proved to be on the front, within [`super::PROOF`].
    pub fn is_proved(&self) -> bool {
        self.candidate.objective - self.bound <= super::PROOF
    }
}

/// Finds the assignments for which no other has both less objective and less cost, by rising objective.
///
/// The cost is limited to just below that of the last point again and again (epsilon constraint), so each point has a
/// proof of its own. Costs closer together than 4e-9 of the cost or of its
/// largest term count as equal.
///
/// Errors: those of [`super::exact`] for the problem itself.
pub fn pareto_front(
    problem: &Problem,
    cost: &Cost,
    options: &FrontOptions,
) -> Result<Vec<FrontPoint>, SolveError> {
    let exact_options = ExactOptions { best: 1, nodes_max: options.nodes_max };
    let points_max = options.points_max.max(2);
    let first = exact(problem, &exact_options)?;
    let start = FrontPoint {
        cost: cost.value(&problem.space, &first.best[0].levels),
        candidate: first.best[0].clone(),
        at_most: f64::INFINITY,
        bound: first.bound,
    };
    let front = Front { problem, cost, exact_options };
    let largest = largest(cost);
    let apart = APART * largest;
    let mut points = vec![start.clone()];
    while let Some(last) = points.last() {
        let Some(next) = front.within(last.cost - apart * (1.0 + last.cost.abs() / largest), &points)? else {
            return Ok(points);
        };
        // Costs too close for limits to tell apart, as where the cost is the same for every assignment.
        if next.cost >= last.cost {
            return Ok(points);
        }
        push(&mut points, next);
        if points.len() > points_max {
            break;
        }
    }
    let Some(least) = least_cost(problem, cost)? else { return Ok(points) };
    let mut spaced = vec![start];
    for step in 1..points_max {
        let share = step as f64 / (points_max - 1) as f64;
        let at_most = spaced[0].cost * (1.0 - share) + least * share;
        // The last limit is a cost that is reached, but for rounding.
        let Some(next) = front.within(at_most + slack(at_most), &points)? else { break };
        push(&mut spaced, next);
    }
    Ok(spaced)
}

/// Share of a cost by which the next point's must be less: beyond what limits may be passed by.
const APART: f64 = 4e-9;

/// The largest term of a cost, by magnitude.
fn largest(cost: &Cost) -> f64 {
    let one = cost.rows.iter().flat_map(|row| row.one.iter().flatten());
    let two = cost.rows.iter().flat_map(|row| row.two.iter().flat_map(|two| &two.values));
    one.chain(two).map(|term| term.abs()).fold(f64::MIN_POSITIVE, f64::max)
}

struct Front<'a> {
    problem: &'a Problem,
    cost: &'a Cost,
    exact_options: ExactOptions,
}

impl Front<'_> {
    /// The best assignment with the cost within a limit; none if there is none.
    fn within(&self, at_most: f64, known: &[FrontPoint]) -> Result<Option<FrontPoint>, SolveError> {
        let mut problem = self.problem.clone();
        problem.limits.push(Limit { cost: self.cost.clone(), at_most });
        let known: Vec<_> = known.iter().map(|point| point.candidate.levels.clone()).collect();
        match exact_from(&problem, &self.exact_options, &known) {
            Ok(solution) => {
                let candidate = Candidate::of(self.problem, solution.best[0].levels.clone());
                let cost = self.cost.value(&problem.space, &candidate.levels);
                Ok(Some(FrontPoint { candidate, cost, at_most, bound: solution.bound }))
            }
            Err(SolveError::Infeasible { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Adds a point of less cost; points that it is no worse than go.
fn push(points: &mut Vec<FrontPoint>, next: FrontPoint) {
    while points.last().is_some_and(|last| {
        next.candidate.objective <= last.candidate.objective + 1e-12 * last.candidate.objective.abs()
            && next.cost <= last.cost
    }) {
        points.pop();
    }
    points.push(next);
}
