//! Exact optima of the reference problems.

#[path = "common/solve_cases.rs"]
mod solve_cases;

use bitloop_search::solve::{ExactOptions, Solution, SolveError, exact};
use solve_cases::Case;

/// Absolute tolerance of objectives: what the reference data promises.
const TOLERANCE: f64 = 1e-6;

fn solve(case: &Case, best: usize) -> Result<Solution, SolveError> {
    let solution = exact(&case.problem, &ExactOptions { best, ..ExactOptions::default() })?;
    for candidate in &solution.best {
        assert!(candidate.keeps(&case.problem.limits), "{}: {:?}", case.name, candidate.costs);
        let value = case.problem.objective.value(&case.problem.space, &candidate.levels);
        assert_eq!(candidate.objective, value, "{}", case.name);
    }
    assert!(solution.is_proved(), "{}: gap {} after {} nodes", case.name, solution.gap(), solution.nodes);
    Ok(solution)
}

fn check(cases: &[Case]) {
    for case in cases {
        let solved = solve(case, 1);
        match (case.optimum, solved) {
            (Some(optimum), Ok(solution)) => {
                let found = solution.best[0].objective;
                eprintln!("{}: {found} in {} nodes", case.name, solution.nodes);
                let tolerance = TOLERANCE * optimum.abs().max(1.0);
                assert!((found - optimum).abs() <= tolerance, "{}: {found}, not {optimum}", case.name);
            }
            (None, Err(SolveError::Infeasible { .. })) => {}
            (expected, got) => panic!("{}: expected {expected:?}, got {got:?}", case.name),
        }
    }
}

#[test]
fn golden_pairwise_searches_are_solved_to_proof() {
    check(&solve_cases::pairwise_cases());
}

#[test]
fn golden_importance_searches_are_solved_to_proof() {
    check(&solve_cases::limpq());
}

#[test]
fn golden_integer_programs_are_solved_to_proof() {
    check(&solve_cases::programs());
}

#[test]
fn golden_second_best_policies_are_found() {
    for case in solve_cases::limpq() {
        let Some(second) = case.second else { continue };

        let solution = solve(&case, 2).expect("two policies");

        assert_eq!(solution.best.len(), 2, "{}", case.name);
        let found = solution.best[1].objective;
        assert!((found - second).abs() <= TOLERANCE, "{}: {found}, not {second}", case.name);
    }
}
