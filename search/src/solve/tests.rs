//! Solvers against plain enumeration of small random problems.

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_core::rng::{Rng, rng};

use super::*;
use crate::form::Two;
use crate::space::Variable;

mod errors;
mod exact;
mod fronts;

/// What random problems have.
#[derive(Clone, Copy, Debug)]
struct Shape {
    variables: usize,
    limits: usize,
    rows: usize,
    /// Two-variable terms in costs, and in the objective.
    products: usize,
    pairs: usize,
    table: bool,
}

fn space(variables: usize, random: &mut Rng) -> Space {
    let widths = |count: usize| (0..count).map(|at| Bits::new(8 - at as u8).unwrap()).rev().collect();
    let variable = |at: usize, count: usize| Variable {
        name: format!("v{at}"),
        kind: PointKind::Weight,
        widths: widths(count),
    };
    Space { variables: (0..variables).map(|at| variable(at, 1 + random.below(4))).collect() }
}

/// Few distinct values, so that ties are usual.
fn value(random: &mut Rng) -> f64 {
    random.below(41) as f64 / 8.0 - 2.0
}

fn form(space: &Space, two: usize, random: &mut Rng) -> Form {
    let mut form = Form::constant(value(random), space);
    for (term, variable) in form.one.iter_mut().zip(&space.variables) {
        if random.below(8) > 0 {
            *term = (0..variable.widths.len()).map(|_| value(random)).collect();
        }
    }
    for _ in 0..two {
        let (a, b) = (random.below(space.variables.len()), random.below(space.variables.len()));
        let known = form.two.iter().any(|two| (two.a, two.b) == (a, b) || (two.a, two.b) == (b, a));
        if a != b && !known {
            let size = space.variables[a].widths.len() * space.variables[b].widths.len();
            form.two.push(Two { a, b, values: (0..size).map(|_| value(random)).collect() });
        }
    }
    form
}

fn problem(shape: Shape, seed: u64) -> Problem {
    let random = &mut rng(seed, 17);
    let space = space(shape.variables, random);
    let mut objective = form(&space, shape.pairs, random);
    if shape.table {
        objective.by_changed = (0..=shape.variables).map(|_| value(random)).collect();
    }
    let limit = |at: usize, random: &mut Rng| {
        let rows: Vec<Form> = (0..shape.rows).map(|_| form(&space, shape.products, random)).collect();
        let cost = Cost { name: format!("cost{at}"), rows };
        // Between two assignments' costs: most limits bind, some can't be kept.
        let mut costs = [0.0; 2].map(|_| {
            let levels: Vec<u8> =
                space.variables.iter().map(|v| random.below(v.widths.len()) as u8).collect();
            cost.value(&space, &levels)
        });
        costs.sort_by(f64::total_cmp);
        Limit { at_most: costs[0] * 0.75 + costs[1] * 0.25 - random.below(3) as f64, cost }
    };
    let limits = (0..shape.limits).map(|at| limit(at, random)).collect();
    Problem { space, objective, limits }
}

/// All assignments that keep the limits, ascending by objective.
fn enumerated(problem: &Problem) -> Vec<Candidate> {
    let mut all = vec![Vec::new()];
    for variable in &problem.space.variables {
        let levels = 0..variable.widths.len() as u8;
        all = all
            .iter()
            .flat_map(|before: &Vec<u8>| levels.clone().map(|level| [&before[..], &[level]].concat()))
            .collect();
    }
    let mut kept: Vec<Candidate> = all
        .into_iter()
        .map(|levels| Candidate::of(problem, levels))
        .filter(|candidate| candidate.keeps(&problem.limits))
        .collect();
    kept.sort_by(|left, right| left.objective.total_cmp(&right.objective));
    kept
}
