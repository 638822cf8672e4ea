use serde::{Deserialize, Serialize};

use crate::rng::rng;

/// Resamples of a bootstrap.
const RESAMPLES: u64 = 1_000;

/// Of the resamples' medians, the part that lies outside the interval at either end.
const TAIL: f64 = 0.025;

/// Two-sided 95 % quantiles of Student's t distribution, for 1 to 10 degrees of freedom; beyond that the normal one's.
const T_QUANTILES: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
const NORMAL_QUANTILE: f64 = 1.96;

/// A median with the interval that holds it with 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Estimate {
    /// What is known without an error.
    pub fn exactly(value: f64) -> Self {
        Self { median: value, low: value, high: value }
    }

    /// Times a number.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        let Self { median, low, high } = self;
        Self { median: median * factor, low: low * factor, high: high * factor }
    }

    /// The same of something that is never negative, as times are: differences of them may be.
    #[must_use]
    pub fn not_negative(self) -> Self {
        Self { low: self.low.max(0.0), ..self }
    }

    /// The median of values in the order in which they were measured; none of no values.
    ///
    /// Neighbours are alike on a machine that others use too, so that single values drawn anew would promise too much: blocks
    /// of neighbours are drawn. The same values give the same interval.
    ///
    /// Source: Künsch, "The jackknife and the bootstrap for general stationary observations", The Annals of Statistics 17,
    /// 1989; percentile interval.
    pub fn of(values: &[f64]) -> Option<Self> {
        let median = median(&mut values.to_vec())?;
        let count = values.len();
        let block = (count as f64).cbrt().ceil() as usize;
        let mut rng = rng(count as u64, RESAMPLES);
        let mut resample = Vec::with_capacity(count + block);
        let mut medians: Vec<f64> = Vec::with_capacity(RESAMPLES as usize);
        for _ in 0..RESAMPLES {
            resample.clear();
            while resample.len() < count {
                let start = rng.below(count - block + 1);
                resample.extend_from_slice(&values[start..start + block]);
            }
            resample.truncate(count);
            medians.extend(self::median(&mut resample));
        }
        medians.sort_by(f64::total_cmp);
        let tail = (TAIL * RESAMPLES as f64) as usize;
        Some(Self { median, low: medians[tail], high: medians[medians.len() - 1 - tail] })
    }

    /// The larger distance of the interval's ends from the median, as a part of the median.
    pub fn half_width(&self) -> f64 {
        (self.high - self.median).max(self.median - self.low) / self.median
    }

    /// Whether a value lies in the interval.
    pub fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// What several sessions say together: the interval holds what one more session would come to, with 95 %. None of no sessions.
///
/// What differs between sessions (where memory came to lie, which neighbours a machine had) is in no session's own interval.
/// So the interval is that of a prediction from the sessions' medians, as of values with a normal distribution, and never
/// narrower than the widest session's. One session alone says nothing of others: its interval is its own.
pub fn merged(sessions: &[Estimate]) -> Option<Estimate> {
    let medians: Vec<f64> = sessions.iter().map(|session| session.median).collect();
    let middle = median(&mut medians.clone())?;
    let own = |end: fn(&Estimate) -> f64| sessions.iter().map(end).fold(0.0, f64::max);
    let (below, above) = (own(|s| s.median - s.low), own(|s| s.high - s.median));
    let count = medians.len() as f64;
    let mean = medians.iter().sum::<f64>() / count;
    let squares: f64 = medians.iter().map(|median| (median - mean) * (median - mean)).sum();
    let reach = match medians.len() - 1 {
        0 => 0.0,
        freedom => t_quantile(freedom) * (squares / freedom as f64 * (1.0 + 1.0 / count)).sqrt(),
    };
    Some(Estimate { median: middle, low: middle - below.max(reach), high: middle + above.max(reach) })
}

/// Two-sided 95 % quantile of Student's t distribution; the normal one's where nobody counts degrees of freedom.
pub(crate) fn t_quantile(freedom: usize) -> f64 {
    freedom.checked_sub(1).and_then(|at| T_QUANTILES.get(at)).copied().unwrap_or(NORMAL_QUANTILE)
}

/// The middle of the values, which it reorders; the mean of the middle two of an even number.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    let (middle, is_odd) = (values.len() / 2, values.len() % 2 == 1);
    if values.is_empty() {
        return None;
    }
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if is_odd {
        return Some(upper);
    }
    let lower = below.iter().copied().max_by(f64::total_cmp)?;
    Some(lower + (upper - lower) / 2.0)
}
