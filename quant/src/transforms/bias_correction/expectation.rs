//! Mean of a normally distributed activation behind a rectifier, in closed form.

use candle_core::cpu::erf::erfc_f64;

/// What stands between a batch norm and the layer that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    None,
    Relu,
    Relu6,
}

impl Activation {
    /// Returns the mean of `activation(x)` for `x ~ N(mean, deviation^2)`.
    ///
    /// With `a = mean / deviation`: `mean * Phi(a) + deviation * phi(a)` for ReLU; for ReLU6 the same minus what exceeds
    /// 6. The deviation's sign does not count: a batch norm's `gamma` may be negative.
    ///
    /// Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, appendix C
    /// (the clipped normal distribution).
    pub(super) fn mean(self, mean: f64, deviation: f64) -> f64 {
        let deviation = deviation.abs();
        match self {
            Self::None => mean,
            Self::Relu => rectified(mean, deviation),
            Self::Relu6 => rectified(mean, deviation) - rectified(mean - 6.0, deviation),
        }
    }
}

/// Mean of `max(x, 0)`.
fn rectified(mean: f64, deviation: f64) -> f64 {
    if deviation == 0.0 {
        return mean.max(0.0);
    }
    let a = mean / deviation;
    let density = (-0.5 * a * a).exp() / std::f64::consts::TAU.sqrt();
    mean * normal_cdf(a) + deviation * density
}

/// `Phi(x)`, through the complementary error function so that the lower tail keeps its relative precision.
fn normal_cdf(x: f64) -> f64 {
    0.5 * erfc_f64(-x * std::f64::consts::FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean of `activation(x)` by the midpoint rule over +-12 deviations.
    fn by_integration(activation: impl Fn(f64) -> f64, mean: f64, deviation: f64) -> f64 {
        let steps = 200_000;
        let width = 24.0 / f64::from(steps);
        let point = |step| -12.0 + (f64::from(step) + 0.5) * width;
        let density = |z: f64| (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
        (0..steps).map(point).map(|z| activation(mean + deviation * z) * density(z) * width).sum()
    }

    #[test]
    fn the_normal_distribution_is_exact_to_twelve_digits() {
        // Abramowitz and Stegun, table 26.1, and for the tails their continued fraction 26.2.14.
        for (x, expected) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (-1.0, 0.158_655_253_931_457_05),
            (1.96, 0.975_002_104_851_779_6),
            (-3.0, 0.001_349_898_031_630_094_6),
            (-6.0, 9.865_876_450_376_98e-10),
        ] {
            let relative = (normal_cdf(x) - expected).abs() / expected;
            assert!(relative < 1e-12, "{x}: {relative:e}");
        }
    }

    #[test]
    fn means_equal_numerical_integration_whatever_the_sign_of_gamma() {
        for (mean, deviation) in [(0.0, 1.0), (-1.5, 0.7), (2.0, 0.4), (5.5, 1.2), (7.0, 2.0), (-3.0, 4.0)] {
            let relu = by_integration(|x| x.max(0.0), mean, deviation);
            let relu6 = by_integration(|x| x.clamp(0.0, 6.0), mean, deviation);

            for gamma in [deviation, -deviation] {
                assert!((Activation::Relu.mean(mean, gamma) - relu).abs() < 1e-8, "{mean} {gamma}");
                assert!((Activation::Relu6.mean(mean, gamma) - relu6).abs() < 1e-8, "{mean} {gamma}");
                assert_eq!(Activation::None.mean(mean, gamma), mean);
            }
        }
    }

    #[test]
    fn a_constant_channel_is_clipped_and_nothing_more() {
        for (mean, expected) in [(-1.0, 0.0), (2.0, 2.0), (9.0, 6.0)] {
            assert_eq!(Activation::Relu6.mean(mean, 0.0), expected);
        }
    }
}
