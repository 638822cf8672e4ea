//! A Gaussian process over assignments.

use crate::predict::dense::{Cholesky, Square, dot};

/// Length scales that are tried, in units of the distance of two assignments that agree nowhere.
const LENGTHS: [f64; 6] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0];
/// Variances of noise that are tried, as shares of the variance of the scores.
const NOISES: [f64; 4] = [1e-4, 1e-2, 0.1, 0.4];

/// What is expected of an assignment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Belief {
    /// The expected score.
    pub(super) mean: f64,
    /// Its standard deviation, without the noise of a score.
    pub(super) deviation: f64,
}

/// A Gaussian process with the kernel `Matern(5/2)` of the distance `sqrt(share of hyperparameters that differ)`, its
/// length scale and noise those of the largest marginal likelihood.
///
/// Source: Rasmussen and Williams, "Gaussian processes for machine learning", 2006, equations 2.25, 2.26, 2.30 and 4.17.
#[derive(Clone, Debug)]
pub(super) struct Process {
    rows: Vec<Vec<u8>>,
    /// The kernel by the number of hyperparameters that differ.
    kernel: Vec<f64>,
    noise: f64,
    mean: f64,
    scale: f64,
    factor: Cholesky,
    /// `(K + noise)^-1` times the standardised scores.
    weights: Vec<f64>,
}

impl Process {
    /// Fits scored assignments, at least one; none if numbers fail, as with scores that are not finite.
    ///
    /// `free` is the number of hyperparameters with more than one level.
    pub(super) fn fit(rows: &[Vec<u8>], scores: &[f64], free: usize) -> Option<Self> {
        let count = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / count;
        let variance = scores.iter().map(|score| (score - mean) * (score - mean)).sum::<f64>() / count;
        let scale = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        let blank = |length, noise| Self {
            rows: rows.to_vec(),
            kernel: (0..=free).map(|differ| matern(differ as f64 / free.max(1) as f64, length)).collect(),
            noise,
            mean,
            scale,
            factor: Cholesky::empty(),
            weights: Vec::new(),
        };
        let shapes = LENGTHS.iter().flat_map(|length| NOISES.iter().map(|noise| (*length, *noise)));
        let fits = shapes.filter_map(|(length, noise)| blank(length, noise).solved(scores));
        // The first of equal ones: shorter lengths and less noise claim less.
        fits.fold(None, |best: Option<(f64, Self)>, (likelihood, fit)| match best {
            Some((other, best)) if other >= likelihood => Some((other, best)),
            _ => Some((likelihood, fit)),
        })
        .map(|(_, fit)| fit)
    }

    /// Also takes what it expects of assignments whose scores are still to come as their scores.
    ///
    /// Source: Ginsbourger, Le Riche and Carraro, "Kriging is well-suited to parallelize optimization", 2010: the
    /// kriging believer.
    pub(super) fn believing(self, pending: &[Vec<u8>], scores: &[f64]) -> Option<Self> {
        if pending.is_empty() {
            return Some(self);
        }
        let beliefs = pending.iter().map(|levels| self.belief(levels).mean);
        let scores: Vec<f64> = scores.iter().copied().chain(beliefs).collect();
        let rows = self.rows.iter().chain(pending).cloned().collect();
        Self { rows, ..self }.solved(&scores).map(|(_, fit)| fit)
    }

    /// What is expected of an assignment.
    pub(super) fn belief(&self, levels: &[u8]) -> Belief {
        let mut covariances: Vec<f64> = self.rows.iter().map(|row| self.kernel(row, levels)).collect();
        let mean = dot(&covariances, &self.weights);
        self.factor.forward(&mut covariances);
        let variance = (1.0 - dot(&covariances, &covariances)).max(0.0);
        Belief { mean: self.mean + self.scale * mean, deviation: self.scale * variance.sqrt() }
    }

    /// Finishes a fit, and gives its log marginal likelihood but for a constant.
    fn solved(mut self, scores: &[f64]) -> Option<(f64, Self)> {
        let mut covariance = Square::zeros(self.rows.len());
        for (row, a) in self.rows.iter().enumerate() {
            for (column, b) in self.rows[..row].iter().enumerate() {
                covariance.add(row, column, self.kernel(a, b));
            }
            covariance.add(row, row, 1.0 + self.noise);
        }
        self.factor = covariance.cholesky()?;
        let standard: Vec<f64> = scores.iter().map(|score| (score - self.mean) / self.scale).collect();
        self.weights = standard.clone();
        self.factor.solve(&mut self.weights);
        let likelihood = -0.5 * dot(&standard, &self.weights) - 0.5 * self.factor.log_determinant();
        likelihood.is_finite().then_some((likelihood, self))
    }

    fn kernel(&self, a: &[u8], b: &[u8]) -> f64 {
        self.kernel[a.iter().zip(b).filter(|(a, b)| a != b).count()]
    }
}

/// The kernel `Matern(5/2)` of the distance `sqrt(share)`.
fn matern(share: f64, length: f64) -> f64 {
    let scaled = (5.0 * share).sqrt() / length;
    (1.0 + scaled + scaled * scaled / 3.0) * libm::exp(-scaled)
}
