use super::*;

const EASY: Shape = Shape { variables: 5, limits: 1, rows: 1, products: 1, pairs: 2, table: true };

fn error(problem: &Problem) -> SolveError {
    exact(problem, &ExactOptions::default()).expect_err("an error")
}

#[test]
fn numbers_that_are_none_are_named() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut objective = problem(EASY, 1);
        objective.objective.one[2] = vec![value; objective.space.variables[2].widths.len()];
        let mut limit = problem(EASY, 1);
        limit.limits[0].at_most = value;
        let mut table = problem(EASY, 1);
        table.objective.by_changed[3] = value;

        assert!(error(&objective).to_string().starts_with("the term of v2 in the objective is"));
        assert!(error(&limit).to_string().starts_with("the limit of cost cost0 is"));
        assert!(error(&table).to_string().starts_with("the term by changed variables of the objective is"));
    }
}

#[test]
fn forms_that_do_not_fit_the_space_are_named() {
    let mut problem = problem(EASY, 1);
    problem.limits[0].cost.rows[0].one[1] = vec![0.0; 7];

    let expected = problem.space.variables[1].widths.len();
    let place = "the term of v1 in cost cost0".to_owned();
    assert_eq!(error(&problem), SolveError::Shape { place, expected, found: 7 });
}

#[test]
fn a_cost_by_the_number_of_changes_is_refused() {
    let mut problem = problem(EASY, 1);
    problem.limits[0].cost.rows[0].by_changed = vec![0.0; 6];

    assert_eq!(error(&problem), SolveError::CountInLimit { cost: "cost0".to_owned() });
}

/// Variables of four levels whose products all tie them together, so that nothing is dominated.
fn tied(variables: usize) -> Problem {
    let random = &mut rng(3, 0);
    let widths: Vec<Bits> = (5..=8).map(|bits| Bits::new(bits).unwrap()).collect();
    let variable =
        |at: usize| Variable { name: format!("v{at}"), kind: PointKind::Weight, widths: widths.clone() };
    let space = Space { variables: (0..variables).map(variable).collect() };
    let objective = form(&space, 0, random);
    let mut row = Form::constant(0.0, &space);
    for a in 0..variables {
        row.two.extend((a + 1..variables).map(|b| Two {
            a,
            b,
            values: (0..16).map(|_| random.uniform()).collect(),
        }));
    }
    let cost = Cost { name: "tied".to_owned(), rows: vec![row] };
    Problem { limits: vec![Limit { at_most: variables as f64, cost }], objective, space }
}

#[test]
fn groups_of_too_many_choices_are_refused_by_name() {
    assert!(exact(&tied(5), &ExactOptions::default()).is_ok());

    let error = error(&tied(9));

    assert_eq!(error, SolveError::TooManyChoices { first: "v0".to_owned(), variables: 9, cap: 4096 });
}

#[test]
fn a_reader_more_does_not_multiply_choices_that_are_nowhere_better() {
    // One activation that ten weights' products share: 4^11 combinations, nearly all of them dominated.
    let mut problem = tied(11);
    let row = &mut problem.limits[0].cost.rows[0];
    row.two.retain(|two| two.a == 0);
    let loss = |level: usize| (3 - level) as f64;
    for two in &mut row.two {
        two.values = (0..16).map(|at| ((at / 4 + 5) * (at % 4 + 5)) as f64).collect();
    }
    problem.objective.one = (0..11).map(|_| (0..4).map(loss).collect()).collect();
    problem.limits[0].at_most = 450.0;

    let solution = exact(&problem, &ExactOptions::default()).unwrap();

    assert!(solution.is_proved() && solution.best[0].keeps(&problem.limits));
}

#[test]
fn a_spent_budget_leaves_a_bound_that_holds() {
    let mut open = 0;
    for seed in 0..40 {
        let shape = Shape {
            variables: 8,
            limits: 2,
            rows: 1,
            products: 0,
            pairs: 20 * (seed as usize % 2),
            table: true,
        };
        let problem = problem(shape, seed);
        let expected = enumerated(&problem);

        match exact(&problem, &ExactOptions { best: 3, nodes_max: 2 }) {
            Ok(solution) => {
                assert!(solution.best.iter().all(|found| found.keeps(&problem.limits)));
                let unseen = expected
                    .iter()
                    .find(|other| solution.best.iter().all(|found| found.levels != other.levels));
                assert!(unseen.is_none_or(|unseen| unseen.objective >= solution.bound - 1e-9));
                let all = solution.best.len() == expected.len().min(3);
                assert!(all || !solution.is_proved(), "{} of {}", solution.best.len(), expected.len());
                open += usize::from(!solution.is_proved());
            }
            // Says nothing of the problem.
            Err(SolveError::NotFound { nodes }) => assert!(nodes >= 2),
            Err(SolveError::Infeasible { .. }) => assert!(expected.is_empty()),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(open > 0, "no budget was spent");
}
