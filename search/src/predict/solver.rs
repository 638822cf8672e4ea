//! Coefficients of a quadratic regression: conjugate gradients on the pairs, all else eliminated exactly.
//!
//! The same rows are fitted several times at once with other weights, so that residuals of rows that a fit did not see
//! cost little more than the fit. With weights `W = 1 / noise`, pair features `F`, and columns and effects
//! `H` of precision `L`, the pairs solve `(I + F^T W F - F^T W H (L + H^T W H)^-1 H^T W F) p = right side`.

use super::dense::{Cholesky, Square};
use super::structure::{Rows, Structure};

/// Fits at once.
pub(crate) const LANES: usize = 8;

/// A number for each fit.
pub(crate) type Lane = [f64; LANES];

/// Conjugate gradients end when every residual is this part of where it began, where coefficients matter.
pub(crate) const FINE: f64 = 1e-3;

/// The same where only the errors of held-out rows are compared.
pub(crate) const COARSE: f64 = 2e-2;

/// Conjugate gradients end here at the latest; what is left then is small beside the noise.
const ROUNDS: usize = 150;

/// Coefficients of every fit.
pub(crate) struct Solution {
    /// Columns and effects.
    pub(crate) dense: Vec<Lane>,
    /// Pairs.
    pub(crate) pairs: Vec<Lane>,
}

impl Solution {
    /// The coefficients of the fit of all rows.
    pub(crate) fn of_all(&self) -> (Vec<f64>, Vec<f64>) {
        let first = |lanes: &[Lane]| lanes.iter().map(|lane| lane[0]).collect();
        (first(&self.dense), first(&self.pairs))
    }
}

/// The rows' equations.
pub(crate) struct Equations<'a> {
    structure: &'a Structure,
    rows: &'a Rows,
    /// `1 / noise`, or 0 for the fit that does not see the row.
    weights: Vec<Lane>,
    factors: Vec<Cholesky>,
}

impl<'a> Equations<'a> {
    /// Prepares fits of `rows` with the weights `1 / noise` of each row in each fit, 0 where a fit does not see it. None
    /// if a level has no variance.
    pub(crate) fn new(structure: &'a Structure, rows: &'a Rows, weights: Vec<Lane>) -> Option<Self> {
        let prior = structure.precision()?;
        let factor = |lane: usize| gram(rows, &prior, |row| weights[row][lane]).cholesky();
        let factors = (0..LANES).map(factor).collect::<Option<Vec<_>>>()?;
        Some(Self { structure, rows, weights, factors })
    }

    /// Solves all fits.
    pub(crate) fn solve(&self, tolerance: f64) -> Solution {
        let targets: Vec<Lane> = self.rows.targets.iter().map(|target| [*target; LANES]).collect();
        let pairs = self.conjugate_gradients(self.pair_side(&targets), tolerance);
        let explained = self.forward(&pairs);
        let rest: Vec<Lane> = targets
            .iter()
            .zip(&explained)
            .map(|(t, e)| std::array::from_fn(|lane| t[lane] - e[lane]))
            .collect();
        Solution { dense: self.dense(&rest), pairs }
    }

    /// What each fit predicts for each row, less the mean.
    pub(crate) fn predictions(&self, solution: &Solution) -> Vec<Lane> {
        let mut values = self.forward(&solution.pairs);
        for (row, value) in values.iter_mut().enumerate() {
            let part = self.dense_value(row, &solution.dense);
            *value = std::array::from_fn(|lane| value[lane] + part[lane]);
        }
        values
    }

    fn conjugate_gradients(&self, right: Vec<Lane>, tolerance: f64) -> Vec<Lane> {
        let scale = self.diagonal();
        let mut solution = vec![[0.0; LANES]; right.len()];
        let mut residual = right;
        let scaled = |residual: &[Lane]| -> Vec<Lane> {
            residual.iter().zip(&scale).map(|(r, s)| std::array::from_fn(|lane| r[lane] / s[lane])).collect()
        };
        let mut direction = scaled(&residual);
        let mut norm = inner(&residual, &direction);
        let goal = norm.map(|norm| norm * tolerance * tolerance);
        for _ in 0..ROUNDS {
            if (0..LANES).all(|lane| norm[lane] <= goal[lane]) {
                break;
            }
            let image = self.apply(&direction);
            let curvature = inner(&direction, &image);
            // A fit that is done stands still: its direction has no curvature left to divide by.
            let step: Lane = std::array::from_fn(|lane| {
                if norm[lane] > goal[lane] && curvature[lane] > 0.0 {
                    norm[lane] / curvature[lane]
                } else {
                    0.0
                }
            });
            for (index, (solution, residual)) in solution.iter_mut().zip(&mut residual).enumerate() {
                for lane in 0..LANES {
                    solution[lane] += step[lane] * direction[index][lane];
                    residual[lane] -= step[lane] * image[index][lane];
                }
            }
            let next = scaled(&residual);
            let next_norm = inner(&residual, &next);
            let keep: Lane =
                std::array::from_fn(
                    |lane| {
                        if norm[lane] > goal[lane] { next_norm[lane] / norm[lane] } else { 0.0 }
                    },
                );
            for (direction, next) in direction.iter_mut().zip(&next) {
                *direction = std::array::from_fn(|lane| next[lane] + keep[lane] * direction[lane]);
            }
            norm = next_norm;
        }
        solution
    }

    /// `p + F^T W (F p - H (L + H^T W H)^-1 H^T W F p)`.
    fn apply(&self, pairs: &[Lane]) -> Vec<Lane> {
        let mut image = self.pair_side(&self.forward(pairs));
        for (image, pairs) in image.iter_mut().zip(pairs) {
            *image = std::array::from_fn(|lane| image[lane] + pairs[lane]);
        }
        image
    }

    /// `F^T W (v - H (L + H^T W H)^-1 H^T W v)`.
    fn pair_side(&self, values: &[Lane]) -> Vec<Lane> {
        let dense = self.dense(values);
        let mut pairs = vec![[0.0; LANES]; self.structure.pair_len()];
        for (row, value) in values.iter().enumerate() {
            let part = self.dense_value(row, &dense);
            let weights = self.weights[row];
            let weighted: Lane = std::array::from_fn(|lane| weights[lane] * (value[lane] - part[lane]));
            self.rows.for_pairs(self.structure, row, |pair, factor| {
                for (sum, weighted) in pairs[pair].iter_mut().zip(&weighted) {
                    *sum += factor * weighted;
                }
            });
        }
        pairs
    }

    /// `F p`.
    fn forward(&self, pairs: &[Lane]) -> Vec<Lane> {
        let of_row = |row| {
            let mut sum = [0.0; LANES];
            self.rows.for_pairs(self.structure, row, |pair, factor| {
                for (sum, coefficient) in sum.iter_mut().zip(&pairs[pair]) {
                    *sum += factor * coefficient;
                }
            });
            sum
        };
        (0..self.rows.len()).map(of_row).collect()
    }

    /// `(L + H^T W H)^-1 H^T W v`.
    fn dense(&self, values: &[Lane]) -> Vec<Lane> {
        let size = self.structure.dense_len();
        let mut sides = vec![[0.0; LANES]; size];
        for (row, value) in values.iter().enumerate() {
            let weighted: Lane = std::array::from_fn(|lane| self.weights[row][lane] * value[lane]);
            for (side, column) in sides.iter_mut().zip(self.rows.columns(row)) {
                *side = std::array::from_fn(|lane| side[lane] + column * weighted[lane]);
            }
            for (feature, _) in self.rows.changes(row).1 {
                let side = &mut sides[*feature];
                *side = std::array::from_fn(|lane| side[lane] + weighted[lane]);
            }
        }
        for (lane, factor) in self.factors.iter().enumerate() {
            let mut side: Vec<f64> = sides.iter().map(|side| side[lane]).collect();
            factor.solve(&mut side);
            for (to, from) in sides.iter_mut().zip(side) {
                to[lane] = from;
            }
        }
        sides
    }

    /// `H d` of one row.
    fn dense_value(&self, row: usize, dense: &[Lane]) -> Lane {
        let mut sum = [0.0; LANES];
        for (column, coefficient) in self.rows.columns(row).iter().zip(dense) {
            sum = std::array::from_fn(|lane| sum[lane] + column * coefficient[lane]);
        }
        for (feature, _) in self.rows.changes(row).1 {
            sum = std::array::from_fn(|lane| sum[lane] + dense[*feature][lane]);
        }
        sum
    }

    fn diagonal(&self) -> Vec<Lane> {
        let mut diagonal = vec![[1.0; LANES]; self.structure.pair_len()];
        for row in 0..self.rows.len() {
            let weights = self.weights[row];
            self.rows.for_pairs(self.structure, row, |pair, factor| {
                for (sum, weight) in diagonal[pair].iter_mut().zip(&weights) {
                    *sum += factor * factor * weight;
                }
            });
        }
        diagonal
    }
}

/// `prior + H^T W H`, its lower triangle.
pub(crate) fn gram(rows: &Rows, prior: &Square, weight: impl Fn(usize) -> f64) -> Square {
    let mut gram = prior.clone();
    let mut entries: Vec<(usize, f64)> = Vec::new();
    for row in 0..rows.len() {
        let weight = weight(row);
        if weight == 0.0 {
            continue;
        }
        entries.clear();
        entries.extend(rows.columns(row).iter().copied().enumerate());
        entries.extend(rows.changes(row).1.iter().map(|(feature, _)| (*feature, 1.0)));
        // Columns and effects of ascending variables stand in ascending order.
        for (index, (a, x)) in entries.iter().enumerate() {
            for (b, y) in &entries[..=index] {
                gram.add(*a, *b, weight * x * y);
            }
        }
    }
    gram
}

fn inner(a: &[Lane], b: &[Lane]) -> Lane {
    let mut sum = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sum[lane] += a[lane] * b[lane];
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use bitloop_core::bits::Bits;
    use bitloop_core::graph::PointKind;
    use bitloop_core::rng::rng;

    use super::*;
    use crate::measurements::Row;
    use crate::predict::structure::{Basis, Term};
    use crate::space::{Space, Variable};

    /// Three widths for each of six variables, with covariances that differ.
    fn structure() -> Structure {
        let widths: Vec<Bits> = [2, 4, 8].map(|bits| Bits::new(bits).unwrap()).into();
        let variable =
            |index| Variable { name: format!("v{index}"), kind: PointKind::Weight, widths: widths.clone() };
        let space = Space { variables: (0..6).map(variable).collect() };
        let levels = |high: f64, low: f64| vec![vec![high, low, 0.0]; 6];
        let basis = Basis {
            indices: vec![levels(1.0, 0.5)],
            terms: vec![(Term::One, 2.0), (Term::Product(0, 0), 0.1)],
            table: Vec::new(),
        };
        let mut structure = Structure::new(&space, levels(0.5, 0.25), levels(1.0, 0.6), basis);
        (structure.own, structure.together) = (levels(0.3, 0.2), levels(0.5, 0.1));
        structure.weight = levels(0.8, 0.4);
        structure
    }

    fn rows(structure: &Structure) -> Rows {
        let mut random = rng(3, 0);
        let row = |random: &mut bitloop_core::rng::Rng| {
            let levels: Vec<(u32, usize)> = (0..6).map(|v| (v, random.below(3))).collect();
            let changes = levels.iter().filter(|(_, l)| *l < 2).map(|(v, l)| (*v, *l as u8)).collect();
            Row { changes, loss: random.normal(), error: None }
        };
        let rows: Vec<Row> = (0..30).map(|_| row(&mut random)).collect();
        let noise = (0..30).map(|_| 0.1 + random.uniform()).collect();
        Rows::of(structure, &rows.iter().collect::<Vec<_>>(), noise)
    }

    /// The coefficients of all rows but those of a fold, from the whole system of equations.
    fn directly(structure: &Structure, rows: &Rows, seen: impl Fn(usize) -> bool) -> Vec<f64> {
        let (dense, all) = (structure.dense_len(), structure.dense_len() + structure.pair_len());
        let prior = structure.precision().unwrap();
        let mut normal = Square::zeros(all);
        for a in 0..dense {
            for b in 0..dense {
                normal.add(a, b, prior.row(a)[b]);
            }
        }
        for pair in dense..all {
            normal.add(pair, pair, 1.0);
        }
        let mut right = vec![0.0; all];
        for row in (0..rows.len()).filter(|row| seen(*row)) {
            let mut values = vec![0.0; all];
            values[..rows.width].copy_from_slice(rows.columns(row));
            rows.changes(row).1.iter().for_each(|(feature, _)| values[*feature] = 1.0);
            rows.for_pairs(structure, row, |pair, factor| values[dense + pair] = factor);
            for a in 0..all {
                right[a] += values[a] * rows.targets[row] / rows.noise[row];
                for b in 0..all {
                    normal.add(a, b, values[a] * values[b] / rows.noise[row]);
                }
            }
        }
        normal.cholesky().unwrap().solve(&mut right);
        right
    }

    #[test]
    fn every_fit_solves_the_equations_of_the_rows_it_sees() {
        let structure = structure();
        let rows = rows(&structure);
        let fold = |row: usize| 1 + row % (LANES - 1);
        let weight = |row: usize, lane: usize| if fold(row) == lane { 0.0 } else { 1.0 / rows.noise[row] };
        let weights = (0..rows.len()).map(|row| std::array::from_fn(|lane| weight(row, lane))).collect();

        let solution = Equations::new(&structure, &rows, weights).unwrap().solve(1e-10);

        for lane in 0..LANES {
            let expected = directly(&structure, &rows, |row| fold(row) != lane);
            let found = solution.dense.iter().chain(&solution.pairs).map(|lanes| lanes[lane]);
            for (found, expected) in found.zip(expected) {
                assert!((found - expected).abs() < 1e-8, "{found} is not {expected}");
            }
        }
    }
}
