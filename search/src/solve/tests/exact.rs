use proptest::prelude::*;

use super::*;

/// Objectives are sums in another order here and there.
const TOLERANCE: f64 = 1e-9;

fn agrees(problem: &Problem, best: usize) {
    let expected = enumerated(problem);
    match super::super::exact(problem, &ExactOptions { best, ..ExactOptions::default() }) {
        Ok(solution) => {
            assert_eq!(solution.best.len(), best.min(expected.len()));
            for (found, expected) in solution.best.iter().zip(&expected) {
                assert!(
                    (found.objective - expected.objective).abs() < TOLERANCE,
                    "{found:?} is not {expected:?}"
                );
                assert!(found.keeps(&problem.limits));
            }
            let mut levels: Vec<_> = solution.best.iter().map(|found| &found.levels).collect();
            levels.sort();
            levels.dedup();
            assert_eq!(levels.len(), solution.best.len());
            assert!(solution.is_proved());
        }
        Err(SolveError::Infeasible { reached }) => {
            assert!(expected.is_empty(), "{:?} keeps all limits", expected[0]);
            for (at, reach) in reached.iter().enumerate() {
                let alone = enumerated(&Problem { limits: Vec::new(), ..problem.clone() });
                let costs =
                    alone.iter().map(|found| problem.limits[at].cost.value(&problem.space, &found.levels));
                let least = costs.fold(f64::INFINITY, f64::min);
                assert!(
                    (reach.least - least).abs() < 1e-4,
                    "{} reaches {least}, not {}",
                    reach.cost,
                    reach.least
                );
            }
            let broken = |reach: &Reach| reach.least_within.is_some_and(|least| least > reach.at_most);
            assert_eq!(reached.iter().filter(|reach| broken(reach)).count(), 1);
        }
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn separable_problems_agree_with_enumeration(
        seed in any::<u64>(), variables in 1usize..7, limits in 0usize..4, rows in 1usize..3, best in 1usize..6
    ) {
        agrees(&problem(Shape { variables, limits, rows, products: 0, pairs: 0, table: false }, seed), best);
    }

    #[test]
    fn products_in_costs_agree_with_enumeration(
        seed in any::<u64>(), variables in 1usize..7, limits in 0usize..3, products in 0usize..5, best in 1usize..6
    ) {
        agrees(&problem(Shape { variables, limits, rows: 1, products, pairs: 0, table: false }, seed), best);
    }

    #[test]
    fn tables_by_changed_variables_agree_with_enumeration(
        seed in any::<u64>(), variables in 1usize..8, limits in 0usize..3, products in 0usize..3, best in 1usize..6
    ) {
        agrees(&problem(Shape { variables, limits, rows: 1, products, pairs: 0, table: true }, seed), best);
    }

    #[test]
    fn pairs_in_the_objective_agree_with_enumeration(
        seed in any::<u64>(), variables in 1usize..8, limits in 0usize..3, pairs in 1usize..25, best in 1usize..6
    ) {
        let shape = Shape { variables, limits, rows: 1, products: 0, pairs, table: seed % 2 == 0 };
        agrees(&problem(shape, seed), best);
    }

    #[test]
    fn pairs_beside_products_agree_with_enumeration(
        seed in any::<u64>(), variables in 5usize..8, limits in 1usize..3, products in 1usize..3, pairs in 9usize..25
    ) {
        let shape = Shape { variables, limits, rows: 1, products, pairs, table: seed % 2 == 0 };
        agrees(&problem(shape, seed), 2);
    }
}

#[test]
fn dense_pairs_of_a_dozen_variables_agree_with_enumeration() {
    for seed in 0..12 {
        let shape =
            Shape { variables: 12, limits: 1, rows: 1, products: 0, pairs: 120, table: seed % 2 == 0 };
        let mut problem = problem(shape, seed);
        // Two levels each, or enumeration takes the longer part of a minute.
        for variable in &mut problem.space.variables {
            variable.widths = [4, 8].map(|bits| Bits::new(bits).unwrap()).to_vec();
        }
        let random = &mut rng(seed, 23);
        problem.objective =
            Form { by_changed: problem.objective.by_changed, ..form(&problem.space, 120, random) };
        problem.limits[0].cost.rows = vec![form(&problem.space, 0, random)];
        problem.limits[0].at_most = -2.0;

        agrees(&problem, 3);
    }
}

#[test]
fn a_problem_too_large_for_a_matrix_of_its_terms_has_an_answer_with_a_bound() {
    let mut random = rng(7, 0);
    let widths: Vec<Bits> = [2, 4, 8].map(|bits| Bits::new(bits).unwrap()).to_vec();
    let variable =
        |at: usize| Variable { name: format!("v{at}"), kind: PointKind::Weight, widths: widths.clone() };
    let space = Space { variables: (0..3000).map(variable).collect() };
    let mut objective = Form::constant(1.0, &space);
    let mut size = Form::constant(0.0, &space);
    for at in 0..3000 {
        objective.one[at] = vec![random.uniform() + 0.5, 0.25 * random.uniform(), 0.0];
        size.one[at] = vec![2.0, 4.0, 8.0];
    }
    let two =
        |at: usize| Two { a: at, b: at + 1, values: vec![-0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] };
    objective.two = (0..2999).map(two).collect();
    let limit = Limit { cost: Cost { name: "size".into(), rows: vec![size] }, at_most: 15_000.0 };
    let problem = Problem { space, objective, limits: vec![limit] };

    let solution = exact(&problem, &ExactOptions::default()).unwrap();

    let best = &solution.best[0];
    assert!(best.keeps(&problem.limits));
    assert!(
        solution.bound <= best.objective && !solution.is_proved(),
        "{} {}",
        solution.bound,
        best.objective
    );
    assert!(solution.bound >= 1.0 - 0.1 * 2999.0 - 1e-9);
}
