use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use proptest::prelude::*;

use super::*;
use crate::cost::Cost;
use crate::form::{Form, Two};
use crate::space::Variable;

fn space(levels: &[usize]) -> Space {
    let widths = |count: usize| (0..count as u8).map(|level| Bits::new(level + 2).unwrap()).collect();
    let variable = |(index, count): (usize, &usize)| Variable {
        name: format!("point_{index}"),
        kind: PointKind::Weight,
        widths: widths(*count),
    };
    Space { variables: levels.iter().enumerate().map(variable).collect() }
}

/// A form with everything that a form can have, from a stream of numbers.
fn form(space: &Space, mut draw: impl FnMut() -> f64) -> Form {
    let levels = |variable: usize| space.variables[variable].widths.len();
    let count = space.variables.len();
    let one = (0..count).map(|variable| (0..levels(variable)).map(|_| draw()).collect()).collect();
    let two = (1..count)
        .step_by(2)
        .map(|b| Two { a: b - 1, b, values: (0..levels(b - 1) * levels(b)).map(|_| 0.3 * draw()).collect() })
        .collect();
    Form { constant: draw(), one, two, by_changed: (0..=count).map(|_| draw()).collect() }
}

/// A cost that falls with every lowering: rows of ascending terms, of one and of two variables.
fn cost(space: &Space, rows: usize, mut draw: impl FnMut() -> f64) -> Cost {
    let row = |_| {
        let mut row = form(space, || draw().abs());
        row.by_changed.clear();
        for terms in &mut row.one {
            terms.sort_by(f64::total_cmp);
        }
        for two in &mut row.two {
            let across = space.variables[two.b].widths.len();
            let product = |index: usize| ((index / across + 1) * (index % across + 1)) as f64;
            let scale = two.values[0];
            two.values = (0..two.values.len()).map(|index| scale * product(index)).collect();
        }
        row
    };
    Cost { name: "cost".to_owned(), rows: (0..rows).map(row).collect() }
}

fn problem(seed: u64, tightness: f64) -> Problem {
    let mut rng = bitloop_core::rng::rng(seed, 0);
    let levels: Vec<usize> = (0..2 + rng.below(5)).map(|_| 1 + rng.below(4)).collect();
    let space = space(&levels);
    let objective = form(&space, || rng.normal());
    let limits = [1, 3].map(|rows| {
        let cost = cost(&space, rows, || rng.normal());
        let ends = [vec![0; levels.len()], space.reference()].map(|levels| cost.value(&space, &levels));
        Limit { at_most: ends[0] + tightness * (ends[1] - ends[0]), cost }
    });
    Problem { space, objective, limits: limits.to_vec() }
}

fn holds(problem: &Problem, levels: &[u8]) -> bool {
    problem.limits.iter().all(|limit| {
        limit.cost.value(&problem.space, levels) <= limit.at_most + 1e-9 * limit.at_most.abs().max(1.0)
    })
}

fn changes(problem: &Problem, levels: &[u8]) -> Vec<Vec<u8>> {
    let with = |(variable, to): (usize, u8)| {
        let mut changed = levels.to_vec();
        changed[variable] = to;
        changed
    };
    let counts = level_counts(&problem.space);
    let all =
        counts.iter().enumerate().flat_map(|(variable, count)| (0..*count).map(move |to| (variable, to)));
    all.map(with).collect()
}

proptest! {
    #[test]
    fn terms_are_their_form(seed in any::<u64>()) {
        let Problem { space, objective, .. } = problem(seed, 0.5);
        let mut rng = bitloop_core::rng::rng(seed, 1);
        let counts = level_counts(&space);
        let levels: Vec<u8> = counts.iter().map(|count| rng.below(usize::from(*count)) as u8).collect();
        let terms = Terms::new(&space, &objective);

        let value = objective.value(&space, &levels);

        prop_assert!((terms.value(&levels) - value).abs() < 1e-12 * (1.0 + value.abs()));
        for variable in 0..counts.len() {
            for to in 0..counts[variable] {
                let mut changed = levels.clone();
                changed[variable] = to;
                let change = objective.value(&space, &changed) - value;
                let told = terms.change(&levels, space.changed(&levels), variable, to);
                prop_assert!((told - change).abs() < 1e-11, "{told} {change}");
            }
        }
    }

    #[test]
    fn steps_lead_from_the_start_to_the_end_and_tell_what_each_came_to(
        seed in any::<u64>(),
        tightness in 0.0..1.0,
    ) {
        let problem = problem(seed, tightness);
        let mut levels = problem.space.reference();

        let descent = Greedy::new(&problem).descend_and_exchange(&levels);

        let near = |a: f64, b: f64| (a - b).abs() < 1e-9 * (1.0 + b.abs());
        for step in &descent.steps {
            prop_assert_eq!(levels[step.variable], step.from);
            levels[step.variable] = step.to;
            prop_assert!(near(step.objective, problem.objective.value(&problem.space, &levels)));
            for (cost, limit) in step.costs.iter().zip(&problem.limits) {
                prop_assert!(near(*cost, limit.cost.value(&problem.space, &levels)));
            }
        }
        prop_assert_eq!(&levels, &descent.levels);
        prop_assert!(near(descent.objective, problem.objective.value(&problem.space, &levels)));
    }

    #[test]
    fn what_can_be_reached_by_lowering_is_reached_and_no_single_change_is_better(
        seed in any::<u64>(),
        tightness in 0.0..1.0,
    ) {
        // All lowest keeps the limits, since every lowering makes both cheaper.
        let problem = problem(seed, tightness);

        let descent = Greedy::new(&problem).descend(&problem.space.reference());

        prop_assert_eq!(descent.violation, 0.0);
        prop_assert!(holds(&problem, &descent.levels));
        for changed in changes(&problem, &descent.levels) {
            let better = problem.objective.value(&problem.space, &changed) < descent.objective - 1e-9;
            prop_assert!(!better || !holds(&problem, &changed), "{:?} is better than {:?}", changed, descent.levels);
        }
    }
}

proptest! {
    #[test]
    fn no_two_changes_are_better_than_the_end_of_exchanges(seed in any::<u64>(), tightness in 0.0..1.0) {
        let problem = problem(seed, tightness);
        let greedy = Greedy::new(&problem);

        let descent = greedy.descend_and_exchange(&problem.space.reference());

        prop_assert!(holds(&problem, &descent.levels));
        prop_assert!(descent.objective <= greedy.descend(&problem.space.reference()).objective);
        for first in changes(&problem, &descent.levels).iter().filter(|levels| holds(&problem, levels)) {
            for second in changes(&problem, first).iter().filter(|levels| holds(&problem, levels)) {
                let value = problem.objective.value(&problem.space, second);
                prop_assert!(value >= descent.objective - 1e-9, "{:?} is better than {:?}", second, descent.levels);
            }
        }
    }
}

/// A problem of three-level variables from the damage and the saving of each, with one limit.
fn knapsack(damages: &[[f64; 3]], costs: &[[f64; 3]], at_most: f64) -> Problem {
    let space = space(&vec![3; damages.len()]);
    let of = |one: &[[f64; 3]]| Form {
        one: one.iter().map(|values| values.to_vec()).collect(),
        ..Form::constant(0.0, &space)
    };
    let limits = vec![Limit { cost: Cost { name: "cost".to_owned(), rows: vec![of(costs)] }, at_most }];
    Problem { objective: of(damages), limits, space }
}

#[test]
fn the_least_damage_per_saving_goes_first() {
    let damages = [[9.0, 4.0, 0.0], [6.0, 1.0, 0.0], [9.0, 8.0, 0.0]];
    let costs = [[2.0, 6.0, 10.0]; 3];

    let descent = Greedy::new(&knapsack(&damages, &costs, 23.0)).descend(&[2; 3]);

    // Savings: 4 for 1 in the second variable; then the 3 that are left for 4 in the first.
    let taken: Vec<(usize, u8)> = descent.steps.iter().map(|step| (step.variable, step.to)).collect();
    assert_eq!(taken, [(1, 1), (0, 1)]);
    assert_eq!((descent.objective, descent.costs), (5.0, vec![22.0]));
}

#[test]
fn what_later_lowerings_made_needless_is_raised_again() {
    // The cheap first lowering saves too little, and the one that is needed after it would have been enough alone.
    let damages = [[0.1, 0.1, 0.0], [5.0, 5.0, 0.0]];
    let costs = [[9.0, 9.0, 10.0], [0.0, 0.0, 10.0]];

    let descent = Greedy::new(&knapsack(&damages, &costs, 12.0)).descend(&[2; 2]);

    let raised = descent.steps.last().unwrap();
    assert_eq!((raised.variable, raised.from, raised.to), (0, 1, 2));
    assert_eq!(descent.levels, [2, 1]);
    assert_eq!(descent.objective, 5.0);
}

#[test]
fn moments_that_need_equally_much_are_relieved_one_after_the_other() {
    let space = space(&[2, 2]);
    let moment = |variable: usize| {
        let mut row = Form::constant(0.0, &space);
        row.one[variable] = vec![1.0, 2.0];
        row
    };
    let peak = Cost { name: "peak".to_owned(), rows: vec![moment(0), moment(1)] };
    let mut objective = Form::constant(0.0, &space);
    objective.one = vec![vec![1.0, 0.0], vec![2.0, 0.0]];
    let problem = Problem { objective, limits: vec![Limit { cost: peak, at_most: 1.0 }], space };

    let descent = Greedy::new(&problem).descend(&[1, 1]);

    assert_eq!((descent.levels, descent.violation), (vec![0, 0], 0.0));
    assert_eq!(descent.steps.iter().map(|step| step.costs[0]).collect::<Vec<_>>(), [2.0, 1.0]);
}

#[test]
fn a_limit_below_the_cheapest_leaves_a_violation() {
    let costs = [[2.0, 6.0, 10.0]; 2];

    let descent = Greedy::new(&knapsack(&[[1.0, 0.5, 0.0]; 2], &costs, 2.0)).descend(&[2; 2]);

    assert_eq!(descent.levels, [0, 0]);
    assert_eq!(descent.violation, 1.0);
}

#[test]
fn a_limit_of_zero_can_be_kept() {
    let costs = [[0.0, 6.0, 10.0]; 2];

    let descent = Greedy::new(&knapsack(&[[1.0, 0.5, 0.0]; 2], &costs, 0.0)).descend(&[2; 2]);

    assert_eq!((descent.levels, descent.violation), (vec![0, 0], 0.0));
}

#[test]
fn without_exceeded_limits_whatever_lessens_the_objective_is_taken() {
    let damages = [[-1.0, -2.0, 0.0], [1.0, 1.0, 0.0]];

    let descent = Greedy::new(&knapsack(&damages, &[[1.0, 2.0, 3.0]; 2], 100.0)).descend(&[2; 2]);

    assert_eq!((descent.levels, descent.objective), (vec![1, 2], -2.0));
}
