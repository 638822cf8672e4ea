use std::collections::BTreeMap;

use bitloop_core::graph::Node;
use candle_core::{Result, Tensor};

use super::{Pass, ScaleShift, folded_batch_norm};

/// The plain float network: weights as they are, batch norm over its running statistics.
pub struct FloatPass<'a> {
    /// As in a model: `<node>.weight`, `<node>.bias`, ...
    pub weights: &'a BTreeMap<String, Tensor>,
}

impl Pass for FloatPass<'_> {
    fn weight(&mut self, node: &Node) -> Result<Tensor> {
        self.parameter(node, "weight")
    }

    fn bias(&mut self, node: &Node) -> Result<Option<Tensor>> {
        Ok(self.weights.get(&format!("{}.bias", node.name)).cloned())
    }

    fn parameter(&mut self, node: &Node, part: &str) -> Result<Tensor> {
        match self.weights.get(&format!("{}.{part}", node.name)) {
            Some(tensor) => Ok(tensor.clone()),
            None => candle_core::bail!("the model has no weight `{}.{part}`", node.name),
        }
    }

    fn batch_norm(&mut self, node: &Node, eps: f64, x: &Tensor) -> Result<Tensor> {
        folded_batch_norm(self.weights, &node.name, eps)?.apply(x, self.kernels())
    }

    fn folded_batch_norm(&mut self, node: &Node, eps: f64) -> Result<Option<ScaleShift>> {
        folded_batch_norm(self.weights, &node.name, eps).map(Some)
    }

    fn sees(&self, _node: &str) -> bool {
        false
    }
}
