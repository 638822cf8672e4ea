use proptest::prelude::*;

use super::*;

const TOLERANCE: f64 = 1e-9;

/// The front by enumeration: objective and cost by rising objective.
fn expected(problem: &Problem, cost: &Cost) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = enumerated(problem)
        .iter()
        .map(|found| (found.objective, cost.value(&problem.space, &found.levels)))
        .collect();
    points.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.total_cmp(&right.1)));
    let mut front: Vec<(f64, f64)> = Vec::new();
    for (objective, cost) in points {
        if front.last().is_none_or(|last| cost < last.1 - TOLERANCE) {
            front.push((objective, cost));
        }
    }
    front
}

fn along(problem: &Problem, seed: u64) -> Cost {
    Cost { name: "along".to_owned(), rows: vec![form(&problem.space, 2, &mut rng(seed, 5))] }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn fronts_agree_with_enumeration(seed in any::<u64>(), variables in 1usize..6, limits in 0usize..2) {
        let shape = Shape { variables, limits, rows: 1, products: 0, pairs: 0, table: seed % 2 == 0 };
        let problem = problem(shape, seed);
        let cost = along(&problem, seed);
        let expected = expected(&problem, &cost);

        let front = pareto_front(&problem, &cost, &FrontOptions { points_max: 10_000, nodes_max: 1_000_000 });

        match front {
            Err(SolveError::Infeasible { .. }) => assert!(expected.is_empty()),
            Err(error) => panic!("{error}"),
            Ok(front) => {
                let found: Vec<_> = front.iter().map(|point| (point.candidate.objective, point.cost)).collect();
                assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found.0 - expected.0).abs() < TOLERANCE && (found.1 - expected.1).abs() < TOLERANCE);
                }
                assert!(front.iter().all(FrontPoint::is_proved));
            }
        }
    }

    #[test]
    fn capped_fronts_hold_points_of_the_front_and_both_ends(seed in any::<u64>(), points_max in 2usize..5) {
        let problem = problem(Shape { variables: 5, limits: 0, rows: 1, products: 0, pairs: 0, table: true }, seed);
        let cost = along(&problem, seed);
        let expected = expected(&problem, &cost);

        let front = pareto_front(&problem, &cost, &FrontOptions { points_max, nodes_max: 1_000_000 }).unwrap();

        assert!(front.len() <= points_max.max(2));
        for point in &front {
            // A point found within a limit may have a peer of equal objective and less cost.
            assert!(expected.iter().any(|(objective, _)| (objective - point.candidate.objective).abs() < TOLERANCE));
        }
        let objective = |at: usize| front[at].candidate.objective;
        assert!((objective(0) - expected[0].0).abs() < TOLERANCE);
        assert!((objective(front.len() - 1) - expected[expected.len() - 1].0).abs() < TOLERANCE);
    }

    #[test]
    fn shadow_prices_are_what_moved_limits_give(seed in any::<u64>(), variables in 1usize..6) {
        let shape = Shape { variables, limits: 2, rows: 1, products: 1, pairs: 0, table: seed % 2 == 0 };
        let problem = problem(shape, seed);
        let Ok(solution) = super::super::exact(&problem, &ExactOptions::default()) else { return Ok(()) };

        let prices = shadow_prices(&problem, &solution, &ExactOptions::default()).unwrap();

        assert_eq!(prices.len(), 2);
        for (at, price) in prices.iter().enumerate() {
            let Some(step) = price.step else { continue };
            for (by, change) in [(step, price.looser), (-step, price.tighter)] {
                let mut moved = problem.clone();
                moved.limits[at].at_most += by;
                let optimum = enumerated(&moved).first().map(|found| found.objective);
                let change = change.map(|change| solution.best[0].objective + change.objective);
                match (optimum, change) {
                    (Some(optimum), Some(change)) => assert!((optimum - change).abs() < TOLERANCE),
                    (optimum, change) => assert_eq!(optimum, change),
                }
            }
        }
    }
}

#[test]
fn a_cost_that_is_the_same_for_all_has_one_point() {
    let mut problem =
        problem(Shape { variables: 2, limits: 0, rows: 1, products: 0, pairs: 0, table: false }, 3);
    problem.objective.constant = 1.0;
    for constant in [0.0, 1e-300, 2.0, -3.0] {
        let cost = Cost { name: "none".to_owned(), rows: vec![Form::constant(constant, &problem.space)] };

        let front =
            pareto_front(&problem, &cost, &FrontOptions { points_max: 10, nodes_max: 1_000 }).unwrap();

        assert_eq!(front.len(), 1, "{constant}");
    }
}
