//! How children differ from their parents: crossover and mutation of levels.
//!
//! Both operators are those of real numbers, rounded to whole levels. As there are few levels, the chance of each
//! outcome is tabulated once and a draw is a look-up: the same distribution without a power per variable.

use bitloop_core::rng::Rng;

use super::{Crossover, Mutation};

/// The tables of both operators for the numbers of levels of one space.
#[derive(Clone, Debug)]
pub(super) struct Operators {
    crossover: Crossover,
    mutation: Mutation,
    /// Chance that a variable of a mutated child changes.
    mutated_share: f64,
    /// Variable -> its place in `tables`.
    table: Vec<usize>,
    tables: Vec<Table>,
}

/// Outcomes for variables with one number of levels.
#[derive(Clone, Debug)]
struct Table {
    levels: usize,
    /// Shapes: `(lower parent, upper parent, levels - 1)`: chance that the child near the lower parent is at most this
    /// level; empty where the parents are equal.
    lower: Vec<f64>,
    /// Shapes: `(level, levels - 1)`: chance that mutation leads to at most this level.
    mutated: Vec<f64>,
}

impl Operators {
    pub(super) fn new(counts: &[u8], crossover: Crossover, mutation: Mutation) -> Self {
        let mut distinct: Vec<u8> = counts.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let tables =
            distinct.iter().map(|count| Table::new(usize::from(*count), &crossover, &mutation)).collect();
        let place = |count: &u8| distinct.partition_point(|other| other < count);
        // One change per child on average, and never more than half of a small space.
        let usual = (1.0 / counts.len() as f64).min(0.5);
        let mutated_share = mutation.per_variable.unwrap_or(usual);
        Self { table: counts.iter().map(place).collect(), crossover, mutation, mutated_share, tables }
    }

    /// Two children of two parents.
    pub(super) fn children(&self, parents: [&[u8]; 2], rng: &mut Rng) -> [Vec<u8>; 2] {
        let mut children = parents.map(<[u8]>::to_vec);
        if rng.uniform() < self.crossover.probability {
            for (variable, table) in self.table.iter().enumerate() {
                let (a, b) = (parents[0][variable], parents[1][variable]);
                if a != b && rng.uniform() < self.crossover.per_variable {
                    let [mut low, mut high] = self.tables[*table].crossed(a.min(b), a.max(b), rng.uniform());
                    if rng.uniform() < 0.5 {
                        std::mem::swap(&mut low, &mut high);
                    }
                    children[0][variable] = low;
                    children[1][variable] = high;
                }
            }
        }
        for child in &mut children {
            self.mutate(child, rng);
        }
        children
    }

    fn mutate(&self, child: &mut [u8], rng: &mut Rng) {
        if rng.uniform() >= self.mutation.probability {
            return;
        }
        for (level, table) in child.iter_mut().zip(&self.table) {
            if rng.uniform() < self.mutated_share {
                *level = self.tables[*table].mutated(*level, rng.uniform());
            }
        }
    }
}

impl Table {
    fn new(levels: usize, crossover: &Crossover, mutation: &Mutation) -> Self {
        let between = levels - 1;
        let mut lower = vec![0.0; levels * levels * between];
        for a in 0..levels {
            for b in a + 1..levels {
                for level in 0..between {
                    lower[(a * levels + b) * between + level] =
                        crossover_below(a as f64, b as f64, level as f64 + 0.5, crossover.eta);
                }
            }
        }
        let top = between as f64;
        let below = |index: usize| {
            let (from, level) = (index / between, index % between);
            mutation_below(from as f64, level as f64 + 0.5, top, mutation.eta)
        };
        Self { levels, lower, mutated: (0..levels * between).map(below).collect() }
    }

    /// The two children of parents `low < high` for one uniform draw.
    fn crossed(&self, low: u8, high: u8, draw: f64) -> [u8; 2] {
        let top = (self.levels - 1) as u8;
        let near_lower = self.lower_child(low, high, draw);
        // The upper child is the lower child of the mirrored parents.
        let near_upper = top - self.lower_child(top - high, top - low, draw);
        [near_lower, near_upper]
    }

    fn lower_child(&self, low: u8, high: u8, draw: f64) -> u8 {
        let between = self.levels - 1;
        let row = (usize::from(low) * self.levels + usize::from(high)) * between;
        self.lower[row..row + between].iter().filter(|chance| **chance <= draw).count() as u8
    }

    fn mutated(&self, level: u8, draw: f64) -> u8 {
        let between = self.levels - 1;
        let row = usize::from(level) * between;
        self.mutated[row..row + between].iter().filter(|chance| **chance <= draw).count() as u8
    }
}

/// Chance that bounded simulated binary crossover of `low < high` gives a lower child below `bound`.
///
/// The child is `(low + high - spread (high - low)) / 2`, where the spread has density proportional to `spread^eta` up
/// to 1 and to `spread^-(eta + 2)` from there to the spread that reaches level 0.
///
/// Source: Deb and Agrawal, "Simulated Binary Crossover for Continuous Search Space", Complex Systems 9, 1995; that the
/// spread ends at a bound is the C program's of the authors of NSGA-II.
fn crossover_below(low: f64, high: f64, bound: f64, eta: f64) -> f64 {
    let distance = high - low;
    let cumulated = |spread: f64| match spread {
        ..=0.0 => 0.0,
        ..=1.0 => libm::pow(spread, eta + 1.0),
        _ => 2.0 - libm::pow(spread, -(eta + 1.0)),
    };
    let widest = 1.0 + 2.0 * low / distance;
    let spread = ((low + high - 2.0 * bound) / distance).min(widest);
    1.0 - cumulated(spread) / cumulated(widest)
}

/// Chance that bounded polynomial mutation of `from` in `0..=top` leads below `bound`.
///
/// The step is a share of `top`: below 0 with chance one half, with density proportional to `(1 + step)^eta` down to
/// level 0, and mirrored above.
///
/// Source: Deb and Goyal, "A Combined Genetic Adaptive Search (GeneAS) for Engineering Design", Computer Science and
/// Informatics 26, 1996; that the step ends at the bounds is the C program's of the authors of NSGA-II.
fn mutation_below(from: f64, bound: f64, top: f64, eta: f64) -> f64 {
    let step = (bound - from) / top;
    let power = |base: f64| libm::pow(base, eta + 1.0);
    if step < 0.0 {
        let rest = power(1.0 - from / top);
        0.5 * (power(1.0 + step) - rest).max(0.0) / (1.0 - rest)
    } else {
        let rest = power(from / top);
        1.0 - 0.5 * (power(1.0 - step) - rest).max(0.0) / (1.0 - rest)
    }
}

#[cfg(test)]
mod tests;
