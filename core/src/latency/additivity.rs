use serde::{Deserialize, Serialize};

use crate::probe::Estimate;

/// How well sums of layers agree with whole networks that had no part in them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Additivity {
    /// Networks compared.
    pub configs: u64,
    /// Mean magnitude of the difference, as a part of what was measured.
    pub mean_error: f64,
    /// The largest magnitude.
    pub max_error: f64,
    /// Mean difference, sum less measured, as a part of what was measured.
    pub bias: f64,
    /// Correlation of sums and measurements; none of fewer than three networks, or where one of both does not vary.
    pub correlation: Option<f64>,
    /// Networks whose sum and measurement agree within their intervals.
    pub within: u64,
    /// The same of the corrected sum, each network predicted from the others: mean magnitude.
    pub corrected_mean_error: Option<f64>,
    /// And the largest.
    pub corrected_max_error: Option<f64>,
}

impl Additivity {
    /// Compares sums with measurements, pair by pair.
    pub(super) fn of(pairs: &[[Estimate; 2]]) -> Self {
        let Some(errors) = errors(pairs.iter().map(|[sum, whole]| (sum.median, whole.median))) else {
            return Self::default();
        };
        let overlaps = |[sum, whole]: &&[Estimate; 2]| sum.low <= whole.high && whole.low <= sum.high;
        Self {
            configs: pairs.len() as u64,
            mean_error: errors.mean,
            max_error: errors.max,
            bias: errors.bias,
            correlation: correlation(pairs),
            within: pairs.iter().filter(overlaps).count() as u64,
            corrected_mean_error: None,
            corrected_max_error: None,
        }
    }

    /// The same with what the corrected sum predicts, beside what was measured.
    #[must_use]
    pub(super) fn with_corrected(self, pairs: impl Iterator<Item = (f64, f64)>) -> Self {
        let errors = errors(pairs);
        let (mean, max) =
            (errors.as_ref().map(|errors| errors.mean), errors.as_ref().map(|errors| errors.max));
        Self { corrected_mean_error: mean, corrected_max_error: max, ..self }
    }

    /// Whether sums of layers agree with every network within the intervals.
    pub fn is_additive(&self) -> bool {
        self.configs > 0 && self.within == self.configs
    }
}

struct Errors {
    mean: f64,
    max: f64,
    bias: f64,
}

/// Relative errors of predictions beside measurements; none of none.
fn errors(pairs: impl Iterator<Item = (f64, f64)>) -> Option<Errors> {
    let errors: Vec<f64> = pairs.map(|(predicted, measured)| (predicted - measured) / measured).collect();
    let count = errors.len() as f64;
    (!errors.is_empty()).then(|| Errors {
        mean: errors.iter().map(|error| error.abs()).sum::<f64>() / count,
        max: errors.iter().map(|error| error.abs()).fold(0.0, f64::max),
        bias: errors.iter().sum::<f64>() / count,
    })
}

fn correlation(pairs: &[[Estimate; 2]]) -> Option<f64> {
    let count = pairs.len() as f64;
    let mean = |side: usize| pairs.iter().map(|pair| pair[side].median).sum::<f64>() / count;
    let means = [mean(0), mean(1)];
    let product = |a: usize, b: usize| {
        pairs.iter().map(|pair| (pair[a].median - means[a]) * (pair[b].median - means[b])).sum::<f64>()
    };
    let spread = (product(0, 0) * product(1, 1)).sqrt();
    (pairs.len() >= 3 && spread > 0.0).then(|| product(0, 1) / spread)
}
