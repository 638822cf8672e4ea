//! What a quadratic regression is made of: a mean, common columns, an effect of each level, an effect of each pair.
//!
//! `loss = mean + sum_t b_t column_t + sum_i a_i(level) + sum_(i<j) p_ij w_i(level) w_j(level) + noise`. Every `b_t` and
//! `p_ij` is standard normal a priori, so columns and weights carry the scale; the `a_i` of one variable have the
//! covariance `own_l^2 [l = m] + together_l together_m`.

use crate::form::{Form, Two};
use crate::measurements::Row;
use crate::space::Space;

use super::dense::Square;
use super::singles::PerLevel;

/// A column that all variables share, as a product of sums over the changes of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Term {
    /// 1.
    One,
    /// An index.
    Linear(usize),
    /// The product of two indices.
    Product(usize, usize),
    /// The sum of the pair table's entries of the changed pairs.
    Pairs,
}

/// The common columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Basis {
    /// Indices: sums over the changes of a number per level.
    pub(crate) indices: Vec<PerLevel>,
    /// Columns with their factors, which are their coefficients' standard deviations.
    pub(crate) terms: Vec<(Term, f64)>,
    /// For [`Term::Pairs`]: a symmetric table by variables, each entry at the share 1 of both; or empty.
    pub(crate) table: Vec<f64>,
}

/// A quadratic regression before it saw rows.
#[derive(Clone, Debug)]
pub(crate) struct Structure {
    pub(crate) space: Space,
    /// The mean a priori, by level.
    pub(crate) mean: PerLevel,
    /// Dropped bits as a share, by level.
    pub(crate) share: PerLevel,
    pub(crate) basis: Basis,
    /// Standard deviation of a level's effect by itself.
    pub(crate) own: PerLevel,
    /// Standard deviation of the effect that the levels of a variable have in common.
    pub(crate) together: PerLevel,
    /// A level's factor in all its pairs.
    pub(crate) weight: PerLevel,
    /// The first feature of each variable.
    first: Vec<usize>,
    features: usize,
}

/// A row as a structure sees it.
#[derive(Clone, Debug)]
pub(crate) struct Features {
    pub(crate) mean: f64,
    pub(crate) columns: Vec<f64>,
    /// Variables in ascending order.
    pub(crate) variables: Vec<usize>,
    /// Feature and pair factor of each of them.
    pub(crate) levels: Vec<(usize, f64)>,
}

impl Structure {
    pub(crate) fn new(space: &Space, mean: PerLevel, share: PerLevel, basis: Basis) -> Self {
        let zeros: PerLevel = mean.iter().map(|levels| vec![0.0; levels.len()]).collect();
        let mut first = Vec::with_capacity(space.variables.len());
        let mut features = 0;
        for variable in &space.variables {
            first.push(features);
            features += usize::from(variable.reference());
        }
        let (own, together, weight) = (zeros.clone(), zeros.clone(), zeros);
        Self { space: space.clone(), mean, share, basis, own, together, weight, first, features }
    }

    /// Multiplies the standard deviations of effects and of pairs.
    pub(crate) fn scale(&mut self, effects: f64, pairs: f64) {
        let all = |of: &mut PerLevel, factor: f64| of.iter_mut().flatten().for_each(|value| *value *= factor);
        all(&mut self.own, effects);
        all(&mut self.together, effects);
        all(&mut self.weight, pairs.sqrt());
    }

    /// Common columns and effects of levels.
    pub(crate) fn dense_len(&self) -> usize {
        self.basis.terms.len() + self.features
    }

    /// The effect of a variable's first level, among all effects.
    pub(crate) fn first_feature(&self, variable: usize) -> usize {
        self.first[variable]
    }

    /// Unordered pairs of variables.
    pub(crate) fn pair_len(&self) -> usize {
        let variables = self.space.variables.len();
        variables * variables.saturating_sub(1) / 2
    }

    /// The position of a pair, `a < b`.
    pub(crate) fn pair(&self, a: usize, b: usize) -> usize {
        a * (2 * self.space.variables.len() - a - 1) / 2 + (b - a - 1)
    }

    /// The row of some changes.
    pub(crate) fn features(&self, changes: &[(u32, u8)]) -> Features {
        let sum = |of: &PerLevel| -> f64 {
            changes.iter().map(|(variable, level)| of[*variable as usize][*level as usize]).sum()
        };
        let indices: Vec<f64> = self.basis.indices.iter().map(sum).collect();
        let column = |(term, factor): &(Term, f64)| {
            factor
                * match *term {
                    Term::One => 1.0,
                    Term::Linear(a) => indices[a],
                    Term::Product(a, b) => indices[a] * indices[b],
                    Term::Pairs => self.table_sum(changes),
                }
        };
        let level = |(variable, level): &(u32, u8)| {
            let (variable, level) = (*variable as usize, *level as usize);
            (self.basis.terms.len() + self.first[variable] + level, self.weight[variable][level])
        };
        Features {
            mean: sum(&self.mean),
            columns: self.basis.terms.iter().map(column).collect(),
            variables: changes.iter().map(|(variable, _)| *variable as usize).collect(),
            levels: changes.iter().map(level).collect(),
        }
    }

    fn table_sum(&self, changes: &[(u32, u8)]) -> f64 {
        let share = |(variable, level): &(u32, u8)| self.share[*variable as usize][*level as usize];
        let mut sum = 0.0;
        for (index, a) in changes.iter().enumerate() {
            for b in &changes[index + 1..] {
                let entry = self.basis.table[a.0 as usize * self.space.variables.len() + b.0 as usize];
                sum += entry * share(a) * share(b);
            }
        }
        sum
    }

    /// The covariance a priori of the effects of two levels of one variable.
    pub(crate) fn covariance(&self, variable: usize, a: usize, b: usize) -> f64 {
        let own = if a == b { self.own[variable][a] * self.own[variable][a] } else { 0.0 };
        own + self.together[variable][a] * self.together[variable][b]
    }

    /// The inverse covariance a priori of columns and effects; none if a level has no variance.
    pub(crate) fn precision(&self) -> Option<Square> {
        let mut precision = Square::zeros(self.dense_len());
        for term in 0..self.basis.terms.len() {
            precision.add(term, term, 1.0);
        }
        for (variable, first) in self.first.iter().enumerate() {
            let size = usize::from(self.space.variables[variable].reference());
            let mut block = Square::zeros(size);
            for a in 0..size {
                for b in 0..size {
                    block.add(a, b, self.covariance(variable, a, b));
                }
            }
            let inverse = block.cholesky()?.inverse();
            let start = self.basis.terms.len() + first;
            for a in 0..size {
                for b in 0..size {
                    precision.add(start + a, start + b, inverse.row(a)[b]);
                }
            }
        }
        Some(precision)
    }

    /// The form of given coefficients: `dense` of columns and effects, `pairs` by [`Self::pair`].
    pub(crate) fn form(&self, dense: &[f64], pairs: &[f64]) -> Form {
        let terms: Vec<(Term, f64)> =
            self.basis.terms.iter().zip(dense).map(|((term, factor), b)| (*term, factor * b)).collect();
        let variables = self.space.variables.len();
        let mut form = Form::constant(0.0, &self.space);
        form.constant = terms.iter().filter(|(term, _)| *term == Term::One).map(|(_, factor)| factor).sum();
        for variable in 0..variables {
            let levels = 0..self.mean[variable].len();
            form.one[variable] = levels.map(|level| self.one(&terms, dense, (variable, level))).collect();
        }
        for a in 0..variables {
            for b in a + 1..variables {
                let coefficient = pairs[self.pair(a, b)];
                let mut values = Vec::with_capacity(self.mean[a].len() * self.mean[b].len());
                for level in 0..self.mean[a].len() {
                    let other = 0..self.mean[b].len();
                    values.extend(other.map(|other| self.two(&terms, coefficient, [(a, level), (b, other)])));
                }
                if values.iter().any(|value| *value != 0.0) {
                    form.two.push(Two { a, b, values });
                }
            }
        }
        form
    }

    /// What one variable adds by itself.
    fn one(&self, terms: &[(Term, f64)], dense: &[f64], (variable, level): (usize, usize)) -> f64 {
        if level == usize::from(self.space.variables[variable].reference()) {
            return 0.0;
        }
        let index = |index: usize| self.basis.indices[index][variable][level];
        let common = terms.iter().map(|(term, factor)| match *term {
            Term::One | Term::Pairs => 0.0,
            Term::Linear(a) => factor * index(a),
            Term::Product(a, b) => factor * index(a) * index(b),
        });
        let effect = dense[self.basis.terms.len() + self.first[variable] + level];
        self.mean[variable][level] + effect + common.sum::<f64>()
    }

    /// What two variables add together.
    fn two(&self, terms: &[(Term, f64)], coefficient: f64, of: [(usize, usize); 2]) -> f64 {
        let [(a, level), (b, other)] = of;
        let (first, second) =
            (|i: usize| self.basis.indices[i][a][level], |i: usize| self.basis.indices[i][b][other]);
        let common = terms.iter().map(|(term, factor)| match *term {
            Term::One | Term::Linear(_) => 0.0,
            Term::Product(i, j) => factor * (first(i) * second(j) + first(j) * second(i)),
            Term::Pairs => {
                let entry = self.basis.table[a * self.space.variables.len() + b];
                factor * entry * self.share[a][level] * self.share[b][other]
            }
        });
        coefficient * self.weight[a][level] * self.weight[b][other] + common.sum::<f64>()
    }
}

/// Rows of a structure, flat.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    /// Where each row's changes begin, and the end.
    pub(crate) starts: Vec<usize>,
    pub(crate) variables: Vec<usize>,
    pub(crate) levels: Vec<(usize, f64)>,
    /// Shapes: `(rows, columns)`.
    pub(crate) columns: Vec<f64>,
    pub(crate) width: usize,
    /// Loss less the mean.
    pub(crate) targets: Vec<f64>,
    /// Variance of the noise.
    pub(crate) noise: Vec<f64>,
}

impl Rows {
    pub(crate) fn of(structure: &Structure, rows: &[&Row], noise: Vec<f64>) -> Self {
        let mut flat = Self { starts: vec![0], width: structure.basis.terms.len(), noise, ..Self::default() };
        for row in rows {
            let features = structure.features(&row.changes);
            flat.variables.extend(features.variables);
            flat.levels.extend(features.levels);
            flat.columns.extend(features.columns);
            flat.starts.push(flat.variables.len());
            flat.targets.push(row.loss - features.mean);
        }
        flat
    }

    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    pub(crate) fn changes(&self, row: usize) -> (&[usize], &[(usize, f64)]) {
        let range = self.starts[row]..self.starts[row + 1];
        (&self.variables[range.clone()], &self.levels[range])
    }

    pub(crate) fn columns(&self, row: usize) -> &[f64] {
        &self.columns[row * self.width..(row + 1) * self.width]
    }

    /// Calls with every pair of a row: its position and its factor.
    pub(crate) fn for_pairs(&self, structure: &Structure, row: usize, visit: impl FnMut(usize, f64)) {
        let (variables, levels) = self.changes(row);
        for_pairs(structure, variables, levels, visit);
    }
}

/// Calls with every pair of changes: its position and its factor.
pub(crate) fn for_pairs(
    structure: &Structure,
    variables: &[usize],
    levels: &[(usize, f64)],
    mut visit: impl FnMut(usize, f64),
) {
    for (index, (a, (_, factor))) in variables.iter().zip(levels).enumerate() {
        // Positions of pairs of `a` follow each other.
        let start = structure.pair(*a, a + 1).wrapping_sub(a + 1);
        for (b, (_, other)) in variables[index + 1..].iter().zip(&levels[index + 1..]) {
            visit(start.wrapping_add(*b), factor * other);
        }
    }
}
