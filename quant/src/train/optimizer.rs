//! How a step changes the weights: learning rate, SGD with Nesterov momentum, and AdamW.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use bitloop_core::spec::Optimizer;
use bitloop_core::trial::RateSchedule;

/// Decay of AdamW's two moments, and what keeps its division finite: the paper's values.
const BETAS: [f64; 2] = [0.9, 0.999];
const ADAM_EPS: f64 = 1e-8;

/// A learning rate that rises linearly and then stays, or falls to 0 along half a cosine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) warmup_steps: f64,
    pub(super) steps: usize,
    pub(super) fall: RateSchedule,
}

impl Schedule {
    /// Share of the peak learning rate at `step`, counted from 0.
    pub(super) fn factor(&self, step: usize) -> f64 {
        let step = step as f64;
        if step + 1.0 < self.warmup_steps {
            return (step + 1.0) / self.warmup_steps;
        }
        if self.fall == RateSchedule::Constant {
            return 1.0;
        }
        let falling = (self.steps as f64 - self.warmup_steps).max(1.0);
        let done = ((step - self.warmup_steps).max(0.0) / falling).min(1.0);
        0.5 * (1.0 + libm::cos(PI * done))
    }
}

/// Running averages of gradients, by the name of the weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Moments {
    pub(super) first: BTreeMap<String, Vec<f32>>,
    /// Of the squares; empty for SGD.
    pub(super) second: BTreeMap<String, Vec<f32>>,
}

/// Shortens all gradients alike where together they are longer than `longest`.
pub(super) fn clip_norm(gradients: &mut BTreeMap<String, Vec<f32>>, longest: f64) {
    let squares = gradients.values().flatten().map(|g| f64::from(*g) * f64::from(*g));
    let norm = squares.sum::<f64>().sqrt();
    if norm > longest {
        let share = (longest / norm) as f32;
        gradients.values_mut().flatten().for_each(|g| *g *= share);
    }
}

/// One update of one weight.
pub(super) struct Update<'a> {
    pub(super) optimizer: &'a Optimizer,
    /// Counted from 0.
    pub(super) step: usize,
    /// Share of the peak learning rate.
    pub(super) factor: f64,
}

impl Update<'_> {
    /// Changes `values` along `gradient`; only weights proper decay, not biases and batch norms.
    pub(super) fn apply(&self, moments: &mut Moments, name: &str, values: &mut [f32], gradient: &[f32]) {
        let decays = name.ends_with(".weight");
        let zeros = || vec![0.0; values.len()];
        match *self.optimizer {
            Optimizer::Sgd { learning_rate, momentum, weight_decay } => {
                let velocity = moments.first.entry(name.to_owned()).or_insert_with(zeros);
                let rate = (learning_rate * self.factor) as f32;
                let momentum = momentum as f32;
                let decay = if decays { weight_decay as f32 } else { 0.0 };
                for ((w, g), v) in values.iter_mut().zip(gradient).zip(velocity) {
                    let g = g + decay * *w;
                    *v = momentum * *v + g;
                    *w -= rate * (g + momentum * *v);
                }
            }
            Optimizer::AdamW { learning_rate, weight_decay } => {
                let first = moments.first.entry(name.to_owned()).or_insert_with(zeros);
                let second = moments.second.entry(name.to_owned()).or_insert_with(zeros);
                let rate = learning_rate * self.factor;
                let kept = if decays { (1.0 - rate * weight_decay) as f32 } else { 1.0 };
                let [a, b] = BETAS.map(|beta| beta as f32);
                // The averages start at 0; dividing by what they have seen so far removes that bias.
                let seen = BETAS.map(|beta| 1.0 - libm::pow(beta, self.step as f64 + 1.0));
                for (((w, g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
                    *m = a * *m + (1.0 - a) * g;
                    *v = b * *v + (1.0 - b) * g * g;
                    let deviation = (f64::from(*v) / seen[1]).sqrt() + ADAM_EPS;
                    *w = kept * *w - (rate * f64::from(*m) / seen[0] / deviation) as f32;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_step(optimizer: &Optimizer, name: &str, step: usize, moments: &mut Moments) -> f32 {
        let mut values = [1.0];
        let update = Update { optimizer, step, factor: 1.0 };
        update.apply(moments, name, &mut values, &[0.5]);
        values[0]
    }

    #[test]
    fn the_learning_rate_rises_and_falls_to_zero() {
        let schedule = Schedule { warmup_steps: 10.0, steps: 110, fall: RateSchedule::Cosine };

        assert!((schedule.factor(0) - 0.1).abs() < 1e-12);
        assert!((schedule.factor(9) - 1.0).abs() < 1e-12);
        assert!((schedule.factor(60) - 0.5).abs() < 1e-12);
        assert!(schedule.factor(109) < 1e-3);
        let constant = Schedule { fall: RateSchedule::Constant, ..schedule };
        assert_eq!([9, 60, 109].map(|step| constant.factor(step)), [1.0; 3]);
    }

    #[test]
    fn only_long_gradients_are_shortened_and_all_alike() {
        let lengths = BTreeMap::from([("a".to_owned(), vec![3.0, 0.0]), ("b".to_owned(), vec![-4.0])]);
        let clipped = |longest| {
            let mut gradients = lengths.clone();
            clip_norm(&mut gradients, longest);
            gradients.into_values().flatten().collect::<Vec<f32>>()
        };

        assert_eq!(clipped(2.5), [1.5, 0.0, -2.0]);
        assert_eq!(clipped(5.0), [3.0, 0.0, -4.0]);
    }

    #[test]
    fn sgd_looks_ahead_and_decays_weights_only() {
        let sgd = Optimizer::Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.1 };

        // g = 0.5 + 0.1, v = g, w = 1 - 0.1 (g + 0.9 v).
        assert!((one_step(&sgd, "conv.weight", 0, &mut Moments::default()) - 0.886).abs() < 1e-6);
        assert!((one_step(&sgd, "conv.bias", 0, &mut Moments::default()) - 0.905).abs() < 1e-6);
        assert!((one_step(&sgd, "bn.gamma", 0, &mut Moments::default()) - 0.905).abs() < 1e-6);
    }

    #[test]
    fn adamw_steps_by_the_learning_rate_at_first() {
        let adamw = Optimizer::AdamW { learning_rate: 0.01, weight_decay: 0.5 };
        let mut moments = Moments::default();

        assert!((one_step(&adamw, "conv.weight", 0, &mut moments) - (0.995 - 0.01)).abs() < 1e-6);
        assert!((one_step(&adamw, "conv.bias", 0, &mut Moments::default()) - 0.99).abs() < 1e-6);
        assert!((moments.first["conv.weight"][0] - 0.05).abs() < 1e-7);
    }
}
