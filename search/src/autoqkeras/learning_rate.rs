//! The learning rate as a hyperparameter.

use super::Compat;
use super::space::{Hyperparameter, SearchSpace, Value};

/// The name of its hyperparameter.
pub const LEARNING_RATE: &str = "learning_rate";
/// The end of the range, as a factor of the rate that the user gave.
const MOST: f64 = 1.1;
/// Rates in the range.
const STEPS: usize = 5;

/// Rates of a network whose size differs from the reference's by this share of it (negative where it is smaller): evenly
/// from `rate (1 + min(change, 0))` to `1.1 rate`.
fn range(rate: f64, size_change: f64) -> [f64; STEPS] {
    let first = 1.0 + size_change.min(0.0);
    let step = (MOST - first) / (STEPS - 1) as f64;
    // The last is the end itself, not a sum that may miss it.
    std::array::from_fn(|at| rate * if at + 1 == STEPS { MOST } else { first + at as f64 * step })
}

impl SearchSpace {
    /// Adds the learning rate, as the last hyperparameter.
    ///
    /// The rates of a trial depend on its size, so that the values are places in its range, 0 to 1. Where QKeras is
    /// followed they are the rates of the first trial, all defaults, whose change of size is needed for that.
    /// Units: `size_change` is `(size - reference) / reference`, the reference without stress.
    pub fn with_learning_rate(mut self, rate: f64, size_change: f64) -> Self {
        let numbers: Vec<f64> = match self.compat {
            Compat::Bitloop => (0..STEPS).map(|at| at as f64 / (STEPS - 1) as f64).collect(),
            Compat::Qkeras => range(rate, size_change).to_vec(),
        };
        let values = numbers.into_iter().map(Value::Number).collect();
        self.hyperparameters.push(Hyperparameter { name: LEARNING_RATE.to_owned(), values, default: 0 });
        self.learning_rate = Some(self.hyperparameters.len() - 1);
        self
    }

    /// The learning rate of an assignment, given the rate of the experiment and the trial's change of size.
    ///
    /// Every trial starts from the experiment's rate; in QKeras the choice of one trial becomes the next one's.
    pub fn learning_rate(&self, levels: &[u8], rate: f64, size_change: f64) -> f64 {
        let Some(at) = self.learning_rate else { return rate };
        match self.compat {
            Compat::Bitloop => range(rate, size_change)[usize::from(levels[at])],
            Compat::Qkeras => self.number(at, levels).unwrap_or(rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_networks_have_a_wider_range_of_rates() {
        let near = |a: [f64; 5], b: [f64; 5]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);

        assert!(near(range(1.0, -0.5), [0.5, 0.65, 0.8, 0.95, 1.1]));
        assert!(near(range(2.0, 0.3), [2.0, 2.05, 2.1, 2.15, 2.2]));
    }
}
