//! Two-variable terms of the objective between groups, as terms of their choices.

use std::collections::BTreeMap;

use super::Compiled;
use crate::solve::Problem;

/// A term of two groups.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// The first group, the smaller number.
    pub(crate) a: usize,
    /// The second group.
    pub(crate) b: usize,
    /// Shapes: `(choices of a, choices of b)`, row by row.
    pub(crate) values: Vec<f64>,
}

/// Collects the objective's two-variable terms whose ends are in different groups.
pub(super) fn between(problem: &Problem, members: &[Vec<usize>], compiled: &Compiled) -> Vec<Pair> {
    let mut places = vec![(0, 0); problem.space.variables.len()];
    for (group, variables) in members.iter().enumerate() {
        variables.iter().enumerate().for_each(|(position, variable)| places[*variable] = (group, position));
    }
    let mut pairs: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for two in &problem.objective.two {
        let (a, b) = (places[two.a], places[two.b]);
        if a.0 == b.0 {
            continue;
        }
        let swapped = a.0 > b.0;
        let (low, high) = if swapped { (b, a) } else { (a, b) };
        let (rows, columns) = (compiled.choices(low.0), compiled.choices(high.0));
        let values = pairs.entry((low.0, high.0)).or_insert_with(|| vec![0.0; rows.len() * columns.len()]);
        let across = problem.space.variables[two.b].widths.len();
        for (row, first) in rows.enumerate() {
            for (column, second) in columns.clone().enumerate() {
                let (low, high) =
                    (compiled.levels[first][low.1] as usize, compiled.levels[second][high.1] as usize);
                let (of_a, of_b) = if swapped { (high, low) } else { (low, high) };
                values[row * columns.len() + column] += two.values[of_a * across + of_b];
            }
        }
    }
    pairs.into_iter().map(|((a, b), values)| Pair { a, b, values }).collect()
}
