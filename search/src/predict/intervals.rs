//! Intervals that hold their share of measurements: residuals of rows that a fit did not see, by the scale expected of them.

use super::statistics::{deviation, mean, quantile};
use super::{CONFIDENCE, FitError, Prediction, Predictor, quadratic};
use crate::measurements::Measurements;
use crate::space::Space;

/// Rows below which the normal distribution is believed rather than their residuals.
const FEW: usize = 20;

/// Standard deviations from the middle of a normal distribution's 90 % interval to its end.
pub(crate) const NORMAL: f64 = 1.645;

/// The factor on expected scales that makes intervals hold [`CONFIDENCE`] of the rows: `(residual, scale)` of each.
///
/// Formula: the `ceil(0.9 (n + 1))`-th smallest `|residual| / scale`. Fewer than twenty rows cannot make intervals
/// narrower than the normal distribution's.
/// Source: Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-Free Predictive Inference for Regression",
/// Journal of the American Statistical Association 113, 2018 (split conformal intervals, residuals by their expected scale).
pub(crate) fn factor(residuals: &[(f64, f64)]) -> f64 {
    let mut ratios: Vec<f64> = residuals.iter().map(|(residual, scale)| residual.abs() / scale).collect();
    ratios.sort_by(f64::total_cmp);
    let rank = (CONFIDENCE * (ratios.len() as f64 + 1.0)).ceil() as usize;
    match ratios.get(rank.saturating_sub(1)) {
        Some(ratio) if ratios.len() >= FEW => *ratio,
        Some(ratio) => ratio.max(NORMAL),
        // So few rows that even the largest residual may be an ordinary one.
        None => ratios.last().map_or(NORMAL, |ratio| ratio.max(NORMAL) * 1.25),
    }
}

/// Intervals of a predictor that knows no variances itself.
pub(crate) enum Intervals {
    /// By the number of changes.
    BySize(BySize),
    /// What another predictor leaves open, and what both disagree in.
    Of(Box<dyn Predictor>),
}

impl Intervals {
    /// From residuals `(changes, residual)` of subsets that the fit did not see; of fewer than twenty, from the quadratic
    /// regression of all measurements.
    pub(crate) fn new(measurements: &Measurements, residuals: &[(usize, f64)]) -> Result<Self, FitError> {
        match BySize::fit(residuals) {
            Some(by_size) => Ok(Self::BySize(by_size)),
            None => Ok(Self::Of(Box::new(quadratic::fit(measurements)?))),
        }
    }

    /// The interval about a predicted value.
    pub(crate) fn around(&self, value: f64, space: &Space, levels: &[u8]) -> Prediction {
        match self {
            Self::BySize(by_size) => by_size.around(value, space.changed(levels)),
            Self::Of(other) => {
                let Prediction { value: expected, low, high } = other.predict(levels);
                Prediction {
                    value,
                    low: low.min(low - expected + value),
                    high: high.max(high - expected + value),
                }
            }
        }
    }
}

/// A scale of residuals that grows with the number of changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BySize {
    base: f64,
    per_change: f64,
    factor: f64,
}

impl BySize {
    /// Fits the scale to `(changes, residual)`; none of fewer than twenty rows.
    ///
    /// Formula: least squares of `|residual|` on the number of changes, neither part negative.
    pub(crate) fn fit(residuals: &[(usize, f64)]) -> Option<Self> {
        if residuals.len() < FEW {
            return None;
        }
        let sizes: Vec<f64> = residuals.iter().map(|(size, _)| *size as f64).collect();
        let sizes_absolute: Vec<f64> = residuals.iter().map(|(_, residual)| residual.abs()).collect();
        let (size, absolute) = (mean(&sizes), mean(&sizes_absolute));
        let spread = deviation(&sizes);
        let both: f64 = sizes.iter().zip(&sizes_absolute).map(|(s, a)| (s - size) * (a - absolute)).sum();
        let slope = if spread > 0.0 { both / ((sizes.len() as f64 - 1.0) * spread * spread) } else { 0.0 };
        let per_change = slope.clamp(0.0, absolute / size.max(1.0));
        // A scale of 0 would make one large residual infinitely surprising.
        let least = 0.1 * quantile(&sizes_absolute, CONFIDENCE) + f64::MIN_POSITIVE;
        let mut fitted = Self { base: (absolute - per_change * size).max(least), per_change, factor: 1.0 };
        let scaled: Vec<(f64, f64)> = residuals.iter().map(|(size, r)| (*r, fitted.scale(*size))).collect();
        fitted.factor = factor(&scaled);
        Some(fitted)
    }

    fn around(&self, value: f64, changes: usize) -> Prediction {
        let half = self.factor * self.scale(changes);
        Prediction { value, low: value - half, high: value + half }
    }

    fn scale(&self, changes: usize) -> f64 {
        self.base + self.per_change * changes as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_grow_with_the_scale_of_residuals() {
        let residuals: Vec<(usize, f64)> = (0..100)
            .map(|index| (1 + index % 10, f64::from(index as u32 % 7 + 1) * (1 + index % 10) as f64))
            .collect();

        let fitted = BySize::fit(&residuals).expect("enough rows");

        let held = residuals.iter().filter(|(size, r)| r.abs() <= fitted.around(0.0, *size).high).count();
        assert!((86..=96).contains(&held), "{held}");
        assert!(fitted.around(0.0, 10).high > 2.0 * fitted.around(0.0, 2).high);
    }

    #[test]
    fn few_residuals_do_not_make_intervals_narrow() {
        assert_eq!(factor(&[]), NORMAL);
        assert_eq!(factor(&[(0.1, 1.0); 12]), NORMAL);
        assert!(factor(&[(4.0, 1.0); 3]) > 4.0);
    }
}
