//! How unsure a quadratic regression is of a loss, and which measurements would tell it most.
//!
//! Columns and effects have their exact covariance; pairs are taken as independent, each measured by rows in which all
//! other pairs are further noise. That noise shrinks as pairs become known, so both are found together, in rounds.

use super::dense::Square;
use super::solver::gram;
use super::structure::{Features, Rows, Structure, for_pairs};

/// Rounds in which variances of pairs and noise of rows find each other; three agree to a percent.
const ROUNDS: usize = 4;

/// The least share of its variance that a row leaves itself, against rounding.
const LEAST_LEFT: f64 = 0.05;

/// Variances a posteriori.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    /// Covariance of columns and effects.
    dense: Square,
    /// Variance of each pair's coefficient.
    pairs: Vec<f64>,
}

impl Spread {
    /// The spread after these rows; none if a level has no variance.
    pub(crate) fn new(structure: &Structure, rows: &Rows) -> Option<Self> {
        let mut pairs = vec![1.0; structure.pair_len()];
        let mut noise = rows.noise.clone();
        for _ in 0..ROUNDS {
            for (row, noise) in noise.iter_mut().enumerate() {
                *noise = rows.noise[row];
                rows.for_pairs(structure, row, |pair, factor| *noise += factor * factor * pairs[pair]);
            }
            let mut precision = vec![1.0; pairs.len()];
            for (row, noise) in noise.iter().enumerate() {
                rows.for_pairs(structure, row, |pair, factor| {
                    let square = factor * factor;
                    // The pair itself is what is measured, not noise.
                    precision[pair] += square / (noise - square * pairs[pair]).max(rows.noise[row]);
                });
            }
            for (variance, precision) in pairs.iter_mut().zip(precision) {
                *variance = 1.0 / precision;
            }
        }
        let dense = gram(rows, &structure.precision()?, |row| 1.0 / noise[row]).cholesky()?.inverse();
        Some(Self { dense, pairs })
    }

    /// Variance of the expected loss of a row, without the noise of measuring it.
    pub(crate) fn variance(&self, structure: &Structure, row: &Features) -> f64 {
        let mut pairs = 0.0;
        for_pairs(structure, &row.variables, &row.levels, |pair, factor| {
            pairs += factor * factor * self.pairs[pair]
        });
        quadratic(&self.dense, &entries(row)) + pairs
    }

    /// The variance of a row that is among those fitted, had it not been: what it told is taken back.
    ///
    /// Formula: with noise `n`, `1 / out = 1 / in - 1 / n` for columns and effects together and for each pair, `n` being
    /// what is noise to that part.
    pub(crate) fn variance_without(&self, structure: &Structure, row: &Features, noise: f64) -> f64 {
        let mut pairs = 0.0;
        for_pairs(structure, &row.variables, &row.levels, |pair, factor| {
            pairs += factor * factor * self.pairs[pair]
        });
        let out = |variance: f64, noise: f64| variance / (1.0 - variance / noise).max(LEAST_LEFT);
        let mut without = out(quadratic(&self.dense, &entries(row)), noise + pairs);
        for_pairs(structure, &row.variables, &row.levels, |pair, factor| {
            let own = factor * factor * self.pairs[pair];
            without += out(own, noise + pairs - own);
        });
        without
    }

    /// Chooses `count` of the candidates, each as the one whose measurement tells most after those before it.
    ///
    /// Formula: the largest `variance / noise`, `noise` being the variance of measuring each; that is the largest gain of
    /// information `log(1 + variance / noise) / 2` about columns, effects and pairs. Ties go to the earlier candidate.
    /// Source: MacKay, "Information-Based Objective Functions for Active Data Selection", Neural Computation 4, 1992
    /// (information about the parameters: measure where the error bars are largest).
    pub(crate) fn most_informative(
        &self,
        structure: &Structure,
        candidates: &[Features],
        noise: &[f64],
        count: usize,
    ) -> Vec<usize> {
        let mut state = self.clone();
        let mut left: Vec<usize> = (0..candidates.len()).collect();
        let mut chosen = Vec::new();
        while chosen.len() < count && !left.is_empty() {
            let mut best = (0, f64::NEG_INFINITY);
            for (position, index) in left.iter().enumerate() {
                let worth = state.variance(structure, &candidates[*index]) / noise[*index];
                if worth > best.1 {
                    best = (position, worth);
                }
            }
            let index = left.remove(best.0);
            state.measure(structure, &candidates[index], noise[index]);
            chosen.push(index);
        }
        chosen
    }

    /// Takes a measurement as made.
    fn measure(&mut self, structure: &Structure, row: &Features, noise: f64) {
        let total = self.variance(structure, row) + noise;
        let moved = product(&self.dense, &entries(row));
        for (a, from) in moved.iter().enumerate() {
            for (b, to) in moved.iter().enumerate() {
                self.dense.add(a, b, -from * to / total);
            }
        }
        let pairs = &mut self.pairs;
        for_pairs(structure, &row.variables, &row.levels, |pair, factor| {
            let moved = factor * pairs[pair];
            pairs[pair] -= moved * moved / total;
        });
    }
}

/// Columns and effects of a row: position and value.
fn entries(row: &Features) -> Vec<(usize, f64)> {
    let columns = row.columns.iter().copied().enumerate();
    columns.chain(row.levels.iter().map(|(feature, _)| (*feature, 1.0))).collect()
}

/// `h^T A h`.
fn quadratic(matrix: &Square, entries: &[(usize, f64)]) -> f64 {
    let row = |a: usize| entries.iter().map(|(b, y)| matrix.row(a)[*b] * y).sum::<f64>();
    entries.iter().map(|(a, x)| x * row(*a)).sum()
}

/// `A h`.
fn product(matrix: &Square, entries: &[(usize, f64)]) -> Vec<f64> {
    (0..matrix.size).map(|row| entries.iter().map(|(b, y)| matrix.row(row)[*b] * y).sum()).collect()
}
