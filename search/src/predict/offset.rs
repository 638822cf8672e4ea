//! Offsets between sweeps: what a changed calibration or baseline looks like.

use std::fmt;

use crate::measurements::{Measurements, Metric};

use super::dense::{Cholesky, Square};
use super::singles::Singles;
use super::statistics::{deviation, mean, quantile};

/// Rows below which nothing is said.
const FEWEST: usize = 10;

/// A constant by which rows of several changes differ from the sum of their singles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offset {
    /// The offset, in the metric's unit.
    pub value: f64,
    /// Standard deviation of what the offset leaves.
    pub spread: f64,
    /// Rows that it was found in.
    pub rows: usize,
    /// Whether those are pairs; otherwise larger subsets.
    pub pairs: bool,
    /// What is measured.
    pub metric: Metric,
}

impl Offset {
    /// Whether it is far beyond what interactions of these layers do, as only different sweeps differ.
    pub fn is_suspicious(&self) -> bool {
        self.rows >= FEWEST && self.value.abs() > 2.0 * self.spread
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.pairs { "pairs" } else { "subsets" };
        let unit = match self.metric {
            Metric::Top1Drop => "points",
            Metric::LossIncrease => "nats",
        };
        let (value, spread) = (Digits(self.value), Digits(self.spread));
        write!(
            f,
            "{what} are offset by {value} {unit} from singles (spread {spread}): different calibration?"
        )
    }
}

/// Three significant digits.
struct Digits(f64);

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = libm::floor(libm::log10(self.0.abs().max(1e-12))) as i32;
        write!(f, "{:.*}", (2 - magnitude).max(0) as usize, self.0)
    }
}

/// The offset of pairs from the sum of their singles, or of larger subsets where there are fewer than ten pairs.
///
/// Pairs count if the losses of both are below the 0.75 quantile of all single losses, since large losses saturate. Of
/// larger subsets it is the constant of a parabola of what singles leave by number of changes. None without such rows, or
/// without singles.
pub fn offset(measurements: &Measurements) -> Option<Offset> {
    let losses: Vec<f64> = measurements.of_size(1).map(|row| row.loss).collect();
    if losses.is_empty() {
        return None;
    }
    let (limit, singles) = (quantile(&losses, 0.75), Singles::of(measurements));
    let loss = |(variable, level): &(u32, u8)| singles.loss[*variable as usize][*level as usize];
    let mut pairs = Vec::new();
    let mut subsets: Vec<(usize, f64)> = Vec::new();
    for row in measurements.rows.iter().filter(|row| row.changes.len() > 1) {
        if row.changes.iter().any(|change| loss(change) >= limit) {
            continue;
        }
        let rest = row.loss - row.changes.iter().map(loss).sum::<f64>();
        match row.changes.len() {
            2 => pairs.push(rest),
            size => subsets.push((size, rest)),
        }
    }
    let metric = measurements.metric;
    if pairs.len() >= FEWEST {
        let (value, spread, rows) = (mean(&pairs), deviation(&pairs), pairs.len());
        return Some(Offset { value, spread, rows, pairs: true, metric });
    }
    constant(&subsets).map(|(value, spread)| Offset {
        value,
        spread,
        rows: subsets.len(),
        pairs: false,
        metric,
    })
}

/// The constant of a parabola through `(size, rest)`, and the larger of what it leaves and how unsure the constant is.
///
/// Interactions grow about as the square of the number of changes, so a line would take some of them for an offset.
fn constant(points: &[(usize, f64)]) -> Option<(f64, f64)> {
    if points.len() < FEWEST {
        return None;
    }
    let powers = |size: usize| [1.0, size as f64, (size * size) as f64];
    let mut normal = Square::zeros(3);
    let mut found = vec![0.0; 3];
    for (size, rest) in points {
        for (a, x) in powers(*size).into_iter().enumerate() {
            found[a] += x * rest;
            for (b, y) in powers(*size).into_iter().enumerate() {
                normal.add(a, b, x * y);
            }
        }
    }
    // Without three different sizes there is no usable factor, and nothing is known.
    let factor = normal.cholesky().filter(Cholesky::is_well_posed)?;
    factor.solve(&mut found);
    let rest = |(size, rest): &(usize, f64)| {
        rest - powers(*size).iter().zip(&found).map(|(x, b)| x * b).sum::<f64>()
    };
    let spread = deviation(&points.iter().map(rest).collect::<Vec<_>>());
    let unsure = spread * factor.inverse().row(0)[0].sqrt();
    // Twice this is what the value has to exceed: a constant is believed from three of its standard errors on.
    Some((found[0], spread.max(1.5 * unsure)))
}
