//! Ridge regression on sums, layers and products of layers.
//!
//! Columns of all: `1, F1, F2, k, k^2, F1 k, F1^2, F2^2, F2 k, Q`, with `F1` the sum of single losses, `F2` that of
//! influences derived from pairs, `k` the sum of dropped bits as shares (the number of layers where there is one lower
//! width), and `Q` the sum of what pairs leave beside constant and influences. Without pairs: `1, F1, k, k^2, F1 k, F1^2`.
//! On top, an effect of each level and of each product of two layers, alike a priori.

use crate::measurements::{Measurements, Row};

use super::published::{self, PairModel};
use super::regression::{Noise, Regression};
use super::singles::{PerLevel, Singles};
use super::statistics::{deviation, mean};
use super::structure::{Basis, Structure, Term};
use super::tuning::Criterion;
use super::{FitError, offset, quadratic};

/// Standard deviations a priori, in those of the losses: of a common column at its own standard deviation.
const COLUMN: f64 = 5.0;

/// Of a level's effect, before penalties are chosen.
const EFFECT: f64 = 0.03;

/// Of the effect of a pair.
const PAIR: f64 = 0.01;

/// Of noise.
const NOISE: f64 = 0.06;

/// Fits the regression to subsets of three and more changes; without any, it is the quadratic one.
pub(super) fn fit(measurements: &Measurements) -> Result<Regression, FitError> {
    let used: Vec<&Row> = measurements.rows.iter().filter(|row| row.changes.len() > 2).collect();
    if used.is_empty() {
        let note =
            "there are no subsets of three and more changes, so the quadratic predictor stands in for ridge";
        return quadratic::fit(measurements).map(|regression| regression.noted(note));
    }
    let singles = Singles::of(measurements);
    let mut notes = singles.notes.clone();
    if let Some(offset) = offset::offset(measurements).filter(offset::Offset::is_suspicious) {
        notes.push(offset.to_string());
    }
    let losses: Vec<f64> = used.iter().map(|row| row.loss).collect();
    let spread = match deviation(&losses) {
        spread if spread > 0.0 => spread,
        // All alike: any scale will do.
        _ => losses.iter().map(|loss| loss.abs()).find(|loss| *loss > 0.0).unwrap_or(1.0),
    };
    let zeros: PerLevel = singles.loss.iter().map(|levels| vec![0.0; levels.len()]).collect();
    let basis = basis(measurements, &singles);
    let mut structure = Structure::new(&measurements.space, zeros.clone(), singles.share.clone(), basis);
    scale_columns(&mut structure, &used, spread);
    for (variable, shares) in singles.share.iter().enumerate() {
        for (level, share) in shares.iter().enumerate() {
            structure.own[variable][level] = EFFECT * spread * share;
            structure.weight[variable][level] = share * (PAIR * spread).sqrt();
        }
    }
    let noise = Noise { base: NOISE * spread, per_loss: 0.0, excess: zeros };
    Regression::fit(structure, noise, used, (Criterion::LeaveOneOut, notes))
}

/// The common columns, of factor 1.
fn basis(measurements: &Measurements, singles: &Singles) -> Basis {
    let mut indices = vec![singles.loss.clone(), singles.share.clone()];
    let mut terms = vec![
        Term::One,
        Term::Linear(0),
        Term::Linear(1),
        Term::Product(1, 1),
        Term::Product(0, 1),
        Term::Product(0, 0),
    ];
    let mut table = Vec::new();
    if let Some(PairModel { influence, rest, .. }) = published::pairs(measurements) {
        let scaled = |(shares, influence): (&Vec<f64>, &Option<f64>)| {
            shares.iter().map(|share| share * influence.unwrap_or(0.0)).collect()
        };
        indices.push(singles.share.iter().zip(&influence).map(scaled).collect());
        terms.extend([Term::Linear(2), Term::Product(2, 2), Term::Product(2, 1), Term::Pairs]);
        table = rest;
    }
    Basis { indices, terms: terms.into_iter().map(|term| (term, 1.0)).collect(), table }
}

/// Gives every column a coefficient of which one standard deviation moves predictions by [`COLUMN`] of the losses'.
fn scale_columns(structure: &mut Structure, used: &[&Row], spread: f64) {
    let rows: Vec<Vec<f64>> = used.iter().map(|row| structure.features(&row.changes).columns).collect();
    for column in 0..structure.basis.terms.len() {
        let values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
        let factor = match structure.basis.terms[column].0 {
            // The constant has to reach the losses themselves.
            Term::One => COLUMN * (spread + mean(&used.iter().map(|row| row.loss.abs()).collect::<Vec<_>>())),
            Term::Linear(_) | Term::Product(_, _) | Term::Pairs => COLUMN * spread / deviation(&values),
        };
        structure.basis.terms[column].1 = if factor.is_finite() { factor } else { 0.0 };
    }
}
