//! How much of a score is given for a network's smaller size.

use serde::{Deserialize, Serialize};

/// A network's size, as a goal counts it: in bits, in picojoules, or in a measured cost's unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// The whole network's; whole picojoules for energy.
    pub total: f64,
    /// Each layer's, in order; layers that are not counted are left out.
    pub layers: Vec<(String, f64)>,
}

impl Size {
    /// The size of one layer, 0 if it is not counted.
    pub fn of_layer(&self, name: &str) -> f64 {
        self.layers.iter().find(|(layer, _)| layer == name).map_or(0.0, |(_, size)| *size)
    }
}

/// How much of a score is given for a network's smaller size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForgivingFactor {
    /// Percent of the score that each division of the size by `rate` is worth.
    pub delta_p: f64,
    /// Percent of the score that each multiplication of the size by `rate` costs.
    pub delta_n: f64,
    /// The ratio of sizes.
    pub rate: f64,
    /// What the reference's size is multiplied by; below 1, trials have to be smaller to gain.
    #[serde(default = "one")]
    pub stress: f64,
}

fn one() -> f64 {
    1.0
}

impl Default for ForgivingFactor {
    fn default() -> Self {
        Self { delta_p: 8.0, delta_n: 8.0, rate: 2.0, stress: 1.0 }
    }
}

/// A trial's size beside the reference's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The reference's size, with stress.
    pub reference: f64,
    /// The trial's size.
    pub trial: f64,
    /// What the score's factor is above 1; negative for a trial that is larger than the reference.
    pub delta: f64,
    /// The trial's size above the reference's without stress, as a part of that; negative where it is smaller.
    pub total_factor: f64,
}

impl ForgivingFactor {
    /// Says whether the numbers make sense.
    ///
    /// Errors: all must be finite, the rate above 0 and not 1, the stress above 0.
    pub fn check(&self) -> Result<(), FactorError> {
        let wrong = |name, value, rule| Err(FactorError { name, value, rule });
        for (name, value) in [("delta_p", self.delta_p), ("delta_n", self.delta_n)] {
            if !value.is_finite() {
                return wrong(name, value, "give a number of percent");
            }
        }
        if !self.rate.is_finite() || self.rate <= 0.0 || self.rate as f32 == 1.0 {
            return wrong("rate", self.rate, "give a ratio of sizes, such as 2");
        }
        if !self.stress.is_finite() || self.stress <= 0.0 {
            return wrong("stress", self.stress, "give a factor above 0");
        }
        Ok(())
    }

    /// Returns what the score's factor of a trial is above 1: `D / 100 * ln(stress * reference / trial) / ln(rate)`.
    ///
    /// `D` is `delta_p` for a trial smaller than the stressed reference, else `delta_n`. Percents and rate count to single
    /// precision, as in QKeras. Nothing is clamped: a trial of size 0 has an infinite factor.
    /// Source: specification of AutoQKeras's forgiving factor.
    pub fn delta(&self, reference: f64, trial: f64) -> f64 {
        let reference = reference * self.stress;
        let percent = if trial < reference { self.delta_p } else { self.delta_n };
        let rate = f64::from(libm::logf(self.rate as f32));
        f64::from(percent as f32) / 100.0 * (libm::log(reference / trial) / rate)
    }

    /// Returns a trial beside the reference.
    pub fn compare(&self, reference: &Size, trial: &Size) -> Comparison {
        Comparison {
            reference: reference.total * self.stress,
            trial: trial.total,
            delta: self.delta(reference.total, trial.total),
            total_factor: (trial.total - reference.total) / reference.total,
        }
    }
}

impl Comparison {
    /// Whether both sizes are above nothing, so that they can be compared.
    pub fn is_finite(&self) -> bool {
        [self.reference, self.trial, self.delta, self.total_factor].iter().all(|number| number.is_finite())
    }

    /// How many times smaller than the reference, with stress, the trial is.
    pub fn times_smaller(&self) -> f64 {
        self.reference / self.trial
    }

    /// Returns the score of a trial with this accuracy: `metric * (1 + delta)`, in single precision.
    pub fn score(&self, metric: f64) -> f32 {
        (metric * (1.0 + self.delta)) as f32
    }
}

/// A number of the forgiving factor makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the goal's {name} of {value} makes no sense; {rule}")]
pub struct FactorError {
    /// Which number.
    pub name: &'static str,
    /// What it is.
    pub value: f64,
    /// What it has to be.
    pub rule: &'static str,
}
