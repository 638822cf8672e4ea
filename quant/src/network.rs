//! A model's weights on a device, with batch norms folded: what calibration and evaluation share.

use std::collections::BTreeMap;
use std::ops::Range;

use bitloop_core::graph::{Graph, Node, Op};
use candle_core::{Device, Result, Tensor};

use crate::data::Images;
use crate::executor::{self, ScaleShift};
use crate::kernels::Kernels;
use crate::model::Model;

/// Weights of a model, ready for a walk over its graph.
pub(crate) struct Network {
    pub(crate) graph: Graph,
    weights: BTreeMap<String, Tensor>,
    batch_norms: BTreeMap<String, ScaleShift>,
    device: Device,
}

impl Network {
    /// Copies the weights to `device` and folds every batch norm into a scale and a shift.
    pub(crate) fn new(model: &Model, device: &Device) -> Result<Self> {
        let mut batch_norms = BTreeMap::new();
        for node in &model.graph.nodes {
            if let Op::BatchNorm { eps } = node.op {
                // Folded on the CPU, so that every device gets the same numbers.
                let folded = executor::folded_batch_norm(&model.weights, &node.name, eps)?;
                let folded = ScaleShift {
                    scale: folded.scale.to_device(device)?,
                    shift: folded.shift.to_device(device)?,
                };
                batch_norms.insert(node.name.clone(), folded);
            }
        }
        let mut weights = BTreeMap::new();
        for (name, tensor) in &model.weights {
            weights.insert(name.clone(), tensor.to_device(device)?);
        }
        Ok(Self { graph: model.graph.clone(), weights, batch_norms, device: device.clone() })
    }

    pub(crate) fn weight(&self, node: &str) -> Result<Tensor> {
        self.parameter(node, "weight")
    }

    pub(crate) fn parameter(&self, node: &str, part: &str) -> Result<Tensor> {
        match self.weights.get(&format!("{node}.{part}")) {
            Some(tensor) => Ok(tensor.clone()),
            None => candle_core::bail!("the model has no weight `{node}.{part}`"),
        }
    }

    pub(crate) fn bias(&self, node: &Node) -> Option<Tensor> {
        self.bias_of(&node.name)
    }

    pub(crate) fn bias_of(&self, node: &str) -> Option<Tensor> {
        self.weights.get(&format!("{node}.bias")).cloned()
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn batch_norm(&self, node: &Node, x: &Tensor, kernels: Kernels) -> Result<Tensor> {
        self.folded_batch_norm(node)?.apply(x, kernels)
    }

    pub(crate) fn folded_batch_norm(&self, node: &Node) -> Result<&ScaleShift> {
        match self.batch_norms.get(&node.name) {
            Some(folded) => Ok(folded),
            None => candle_core::bail!("the model has no batch norm `{}`", node.name),
        }
    }

    /// Returns images of a block as the network's input, `(n, channels, height, width)`.
    pub(crate) fn input(&self, images: &Images, block: Range<usize>, device: &Device) -> Result<Tensor> {
        executor::normalize(&self.graph.input, images.pixels_of(block.clone()), block.len(), device)
    }
}

/// Cuts a range of images into blocks of `len`, the last one shorter.
pub(crate) fn blocks(range: Range<usize>, len: usize) -> Vec<Range<usize>> {
    let end = range.end;
    range.step_by(len).map(|start| start..end.min(start + len)).collect()
}
