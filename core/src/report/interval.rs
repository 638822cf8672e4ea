use serde::{Deserialize, Serialize};

/// Standard normal quantile of a two-sided interval of [`super::CONFIDENCE`].
const Z: f64 = 1.959_963_984_540_054;

/// An estimate with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Difference of two proportions measured on the same `n` images: `(lost - gained) / n`.
///
/// The interval is the adjusted Wald interval for paired data: half a discordant pair more on each side and two
/// images more, so that it has width even where no pair is discordant. It always holds the estimate.
///
/// Source: Bonett and Price, 2012, "Adjusted Wald confidence interval for a difference of binomial proportions
/// based on paired data", J. Educ. Behav. Stat. 37 (one pair is added to each discordant cell).
pub fn paired_difference(lost: u64, gained: u64, n: u64) -> Interval {
    let (lost, gained, n) = (lost as f64, gained as f64, n as f64);
    let value = (lost - gained) / n;
    let (p_lost, p_gained) = ((lost + 1.0) / (n + 2.0), (gained + 1.0) / (n + 2.0));
    let center = p_lost - p_gained;
    let half = Z * ((p_lost + p_gained - center * center) / (n + 2.0)).sqrt();
    Interval { value, low: (center - half).max(-1.0).min(value), high: (center + half).min(1.0).max(value) }
}

/// Mean of paired differences from their sum and sum of squares, with the normal interval of a mean.
///
/// With fewer than two images the interval is the whole line.
pub fn mean_difference(sum: f64, squares: f64, n: u64) -> Interval {
    let count = n as f64;
    let value = sum / count;
    if n < 2 {
        return Interval { value, low: f64::MIN, high: f64::MAX };
    }
    let variance = ((squares - sum * value) / (count - 1.0)).max(0.0);
    let half = Z * (variance / count).sqrt();
    Interval { value, low: value - half, high: value + half }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_discordant_pair_still_leaves_uncertainty() {
        let none = paired_difference(0, 0, 1000);

        assert_eq!(none.value, 0.0);
        assert!(none.low < 0.0 && none.high > 0.0 && none.high < 0.01);
    }

    #[test]
    fn the_interval_holds_the_estimate_and_shrinks_with_more_images() {
        for (lost, gained, n) in [(0, 0, 1), (1, 0, 1), (10, 10, 10), (50, 10, 1000), (500, 0, 500)] {
            let interval = paired_difference(lost, gained, n);
            assert!(interval.low <= interval.value && interval.value <= interval.high, "{interval:?}");
            assert!(interval.low >= -1.0 && interval.high <= 1.0);
        }
        let (few, many) = (paired_difference(5, 1, 100), paired_difference(50, 10, 1000));
        assert!(many.high - many.low < few.high - few.low);
    }

    #[test]
    fn a_paired_interval_covers_the_truth_about_as_often_as_it_says() {
        // 4000 simulated experiments of 400 images, 6 % lost and 2 % gained: the true difference is 0.04.
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1_u32 << 31)
        };
        let covered = (0..4000)
            .filter(|_| {
                let draws: Vec<f64> = (0..400).map(|_| uniform()).collect();
                let lost = draws.iter().filter(|u| **u < 0.06).count() as u64;
                let gained = draws.iter().filter(|u| **u >= 0.98).count() as u64;
                let interval = paired_difference(lost, gained, 400);
                interval.low <= 0.04 && 0.04 <= interval.high
            })
            .count();
        assert!((3740..=3880).contains(&covered), "{covered} of 4000 covered, 3800 expected");
    }

    #[test]
    fn a_mean_without_spread_has_no_width() {
        let interval = mean_difference(5.0, 2.5, 10);
        assert_eq!((interval.value, interval.low, interval.high), (0.5, 0.5, 0.5));
    }
}
