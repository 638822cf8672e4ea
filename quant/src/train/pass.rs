use std::collections::BTreeMap;

use bitloop_core::graph::Node;
use candle_core::{Result, Tensor, Var};

use crate::executor::Pass;
use crate::kernels;
use crate::rng::Rng;

/// What the running statistics keep of their old value at every step: Keras's examples' and PyTorch's choice.
const KEPT: f32 = 0.9;

/// The network while it learns: variables, batch statistics, dropout.
pub(super) struct TrainingPass<'a> {
    pub(super) variables: &'a BTreeMap<String, Var>,
    /// `<node>.running_mean` and `<node>.running_var`.
    pub(super) running: &'a mut BTreeMap<String, Vec<f32>>,
    pub(super) dropout: Rng,
}

impl TrainingPass<'_> {
    fn variable(&self, node: &Node, part: &str) -> Result<Tensor> {
        match self.variables.get(&format!("{}.{part}", node.name)) {
            Some(variable) => Ok(variable.as_tensor().clone()),
            None => candle_core::bail!("there is no weight `{}.{part}`", node.name),
        }
    }

    fn track(&mut self, name: String, batch: impl Iterator<Item = f32>) {
        let running = self.running.entry(name).or_default();
        for (running, batch) in running.iter_mut().zip(batch) {
            *running = KEPT * *running + (1.0 - KEPT) * batch;
        }
    }
}

impl Pass for TrainingPass<'_> {
    fn weight(&mut self, node: &Node) -> Result<Tensor> {
        self.variable(node, "weight")
    }

    fn bias(&mut self, node: &Node) -> Result<Option<Tensor>> {
        let bias = self.variables.get(&format!("{}.bias", node.name));
        Ok(bias.map(|bias| bias.as_tensor().clone()))
    }

    fn parameter(&mut self, node: &Node, part: &str) -> Result<Tensor> {
        self.variable(node, part)
    }

    fn batch_norm(&mut self, node: &Node, eps: f64, x: &Tensor) -> Result<Tensor> {
        let (gamma, beta) = (self.variable(node, "gamma")?, self.variable(node, "beta")?);
        let (y, statistics) = kernels::batch_norm(x, &gamma, &beta, eps)?;
        let count = (x.elem_count() / statistics.mean.len()) as f32;
        // The variance of a sample is smaller than that of what it is drawn from.
        let unbiased = count / (count - 1.0).max(1.0);
        self.track(format!("{}.running_mean", node.name), statistics.mean.into_iter());
        let variance = statistics.variance.into_iter().map(|value| value * unbiased);
        self.track(format!("{}.running_var", node.name), variance);
        Ok(y)
    }

    fn dropout(&mut self, _: &Node, rate: f32, x: &Tensor) -> Result<Tensor> {
        let kept = 1.0 / (1.0 - rate);
        let rate = f64::from(rate);
        let mask: Vec<f32> =
            (0..x.elem_count()).map(|_| if self.dropout.uniform() < rate { 0.0 } else { kept }).collect();
        x * Tensor::from_vec(mask, x.shape(), x.device())?
    }
}
