//! Scales of a quadratic regression, chosen by how well they explain some of its rows.

use super::dense::{Square, dot};
use super::structure::{Rows, Structure};

/// Factors on the scales that a structure begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scales {
    /// On the standard deviation of effects.
    pub(crate) effects: f64,
    /// On the standard deviation of pairs.
    pub(crate) pairs: f64,
    /// On the standard deviation of noise.
    pub(crate) noise: f64,
}

/// What scales are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Criterion {
    /// The probability of the rows, with factors as likely as a log-normal with deviation 1 says.
    Evidence,
    /// The mean squared error of each row predicted from all others.
    LeaveOneOut,
}

/// Factors are tried by powers of two up to this exponent on either side.
const FURTHEST: i32 = 4;

/// Passes over the three factors; later ones hardly move any.
const PASSES: usize = 3;

/// Fewer rows than this say nothing about scales.
const FEWEST: usize = 12;

/// The scales that explain rows best, found by going along one factor at a time.
pub(crate) fn tune(structure: &Structure, rows: &Rows, criterion: Criterion) -> Scales {
    let mut exponents = [0i32; 3];
    if rows.len() < FEWEST {
        return scales(exponents);
    }
    let parts = Parts::of(structure, rows);
    let score = |exponents: [i32; 3]| parts.score(scales(exponents), criterion);
    let mut best = score(exponents);
    for _ in 0..PASSES {
        let before = exponents;
        for axis in 0..exponents.len() {
            for step in [1, -1] {
                loop {
                    let mut tried = exponents;
                    tried[axis] += step;
                    let found = if tried[axis].abs() <= FURTHEST { score(tried) } else { f64::INFINITY };
                    if found >= best {
                        break;
                    }
                    (best, exponents) = (found, tried);
                }
            }
        }
        if exponents == before {
            break;
        }
    }
    scales(exponents)
}

fn scales(exponents: [i32; 3]) -> Scales {
    let [effects, pairs, noise] = exponents.map(|exponent| libm::exp2(f64::from(exponent) * 0.5));
    Scales { effects, pairs, noise }
}

/// Covariances of the rows by where they come from.
struct Parts {
    common: Square,
    effects: Square,
    pairs: Square,
    noise: Vec<f64>,
    targets: Vec<f64>,
}

impl Parts {
    fn of(structure: &Structure, rows: &Rows) -> Self {
        let size = rows.len();
        let mut parts = Self {
            common: Square::zeros(size),
            effects: Square::zeros(size),
            pairs: Square::zeros(size),
            noise: rows.noise.clone(),
            targets: rows.targets.clone(),
        };
        let mut present: Vec<Option<(usize, f64)>> = vec![None; structure.space.variables.len()];
        for a in 0..size {
            let (variables, levels) = rows.changes(a);
            for (variable, level) in variables.iter().zip(levels) {
                present[*variable] = Some(*level);
            }
            for b in 0..=a {
                let (others, other_levels) = rows.changes(b);
                let (mut effects, mut squares, mut fourths) = (0.0, 0.0, 0.0);
                for (variable, (feature, weight)) in others.iter().zip(other_levels) {
                    if let Some((own_feature, own_weight)) = present[*variable] {
                        let base = structure.basis.terms.len() + structure.first_feature(*variable);
                        effects += structure.covariance(*variable, own_feature - base, feature - base);
                        let product = own_weight * weight;
                        squares += product;
                        fourths += product * product;
                    }
                }
                parts.common.add(a, b, dot(rows.columns(a), rows.columns(b)));
                parts.effects.add(a, b, effects);
                // Each unordered pair of different variables once.
                parts.pairs.add(a, b, 0.5 * (squares * squares - fourths));
            }
            for variable in variables {
                present[*variable] = None;
            }
        }
        parts
    }

    /// Less is better.
    fn score(&self, scales: Scales, criterion: Criterion) -> f64 {
        let Scales { effects, pairs, noise } = scales;
        let mut covariance = self.common.clone();
        for (index, value) in covariance.values.iter_mut().enumerate() {
            let variance = effects * effects * self.effects.values[index];
            *value += variance + pairs * pairs * self.pairs.values[index];
        }
        for (row, variance) in self.noise.iter().enumerate() {
            covariance.add(row, row, noise * noise * variance);
        }
        let Some(factor) = covariance.cholesky() else { return f64::INFINITY };
        let mut whitened = self.targets.clone();
        match criterion {
            Criterion::Evidence => {
                factor.forward(&mut whitened);
                let unlikely =
                    [effects, pairs, noise].map(libm::log).map(|log| log * log).iter().sum::<f64>();
                0.5 * (dot(&whitened, &whitened) + factor.log_determinant() + unlikely)
            }
            Criterion::LeaveOneOut => {
                factor.solve(&mut whitened);
                let inverse = factor.inverse();
                let residual = |row: usize| whitened[row] / inverse.row(row)[row];
                (0..whitened.len()).map(|row| residual(row) * residual(row)).sum()
            }
        }
    }
}
