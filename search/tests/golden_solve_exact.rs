//! Exact optima of the reference problems.

#[path = "common/solve_cases.rs"]
mod solve_cases;

use bitloop_search::cost::Cost;
use bitloop_search::solve::{
    ExactOptions, FrontOptions, FrontPoint, Reach, Solution, SolveError, exact, pareto_front,
};
use solve_cases::Case;
use solve_cases::reference::{array, number};

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

#[test]
fn golden_points_between_both_objectives_are_on_the_front() {
    for search in solve_cases::pairwise() {
        for point in array(&search.case["exact"]["pareto_points"]) {
            let (f1, f2) = (number(&point["f1"]), number(&point["f2"]));
            let mut problem = search.problem(&search.f2);
            problem.limits.push(solve_cases::limit("f1", vec![search.f1.clone()], f1));
            let case = Case {
                name: format!("{} within f1 {f1}", search.name),
                problem,
                optimum: Some(f2),
                second: None,
            };

            check(&[case]);
        }
    }
}

#[test]
fn golden_fronts_hold_the_points_between_both_objectives() {
    // The searches over sizes have short fronts; the others' points are checked one by one.
    for search in solve_cases::pairwise().iter().filter(|search| search.limit.cost.name == "size_mib") {
        let cost = Cost { name: "f1".to_owned(), rows: vec![search.f1.clone()] };
        let options = FrontOptions { points_max: 500, nodes_max: 10_000_000 };

        let front = pareto_front(&search.problem(&search.f2), &cost, &options).expect("a front");

        eprintln!("{}: {} points", search.name, front.len());
        assert!(front.iter().all(FrontPoint::is_proved), "{}", search.name);
        for point in array(&search.case["exact"]["pareto_points"]) {
            let (f1, f2) = (number(&point["f1"]), number(&point["f2"]));
            let close = |found: &FrontPoint| {
                (found.cost - f1).abs() < TOLERANCE && (found.candidate.objective - f2).abs() < TOLERANCE
            };
            assert!(front.iter().any(close), "{}: {f1}, {f2} is missing", search.name);
        }
    }
}

#[test]
fn golden_limits_that_cannot_be_kept_are_explained() {
    for case in solve_cases::limpq().into_iter().filter(|case| case.optimum.is_none()) {
        let error = exact(&case.problem, &ExactOptions::default()).expect_err("infeasible");

        let SolveError::Infeasible { reached } = &error else { panic!("{}: {error}", case.name) };
        eprintln!("{}: {error}", case.name);
        assert_eq!(reached.len(), case.problem.limits.len());
        let broken = |reach: &Reach| {
            reach.least > reach.at_most || reach.least_within.is_some_and(|least| least > reach.at_most)
        };
        assert!(reached.iter().any(broken), "{}: {reached:?}", case.name);
    }
}
