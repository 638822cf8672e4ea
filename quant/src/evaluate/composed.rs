//! Logits by a walk over the graph in candle's tensors: for devices other than the CPU, and to compare the engine with.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bitloop_core::bits::Choice;
use bitloop_core::graph::{Graph, GraphError, Op};
use candle_core::{DType, Device, Tensor};

use super::EvaluateError;
use super::quantized::{QuantizedPass, Quantizers, Source, WeightCache, layer_inputs};
use crate::data::Images;
use crate::executor;
use crate::kernels::Kernels;
use crate::network::Network;
use crate::prepare::Prepared;

/// Images of a block on a GPU, where few images leave most of the device idle.
const BLOCK_IMAGES_MAX: usize = 500;
/// Values of a GPU's largest tensor, 1 GiB: several of them fit the smallest GPU that is any use.
const TENSOR_VALUES_MAX: u64 = 1 << 28;

/// Returns how many images go through a network together on a GPU.
///
/// Candle unfolds what a convolution reads, so that its largest tensor is nine times its input for a 3x3 filter. The
/// number depends on the graph alone, not on what the GPU has free.
///
/// Errors: those of [`Graph::shapes`].
pub(super) fn block_images(graph: &Graph) -> Result<usize, GraphError> {
    let shapes = graph.shapes()?;
    let costs = graph.layer_costs()?;
    let macs: BTreeMap<&str, u64> = costs.iter().map(|cost| (cost.node.as_str(), cost.macs)).collect();
    let largest = graph.nodes.iter().zip(&shapes).map(|(node, shape)| {
        let (values, channels) = (shape.elements() as u64, shape.channels().max(1) as u64);
        let unfolded = match node.op {
            Op::Conv2d(_) => macs.get(node.name.as_str()).map_or(0, |macs| macs / channels),
            _ => 0,
        };
        values.max(unfolded)
    });
    let largest = largest.max().unwrap_or(0).max(graph.input.shape.elements() as u64).max(1);
    let fitting = usize::try_from(TENSOR_VALUES_MAX / largest).unwrap_or(usize::MAX);
    Ok(fitting.clamp(1, BLOCK_IMAGES_MAX))
}

/// A prepared network on a device.
pub(crate) struct Composed {
    prepared: Arc<Prepared>,
    network: Network,
    /// The node whose output is asked for.
    logits: String,
    layer_inputs: Vec<(String, Option<usize>)>,
    cache: WeightCache,
    kernels: Kernels,
}

impl Composed {
    /// Copies the weights to the device.
    ///
    /// Errors: `Graph`, `Execute`.
    pub(crate) fn new(
        prepared: Arc<Prepared>,
        logits: String,
        (device, kernels): (&Device, Kernels),
    ) -> Result<Self, EvaluateError> {
        let network = Network::new(&prepared.model, device)?;
        let layer_inputs = layer_inputs(&prepared)?;
        Ok(Self { prepared, network, logits, layer_inputs, cache: WeightCache::default(), kernels })
    }

    /// Makes the quantizers of a bit config.
    ///
    /// Errors: `Prepared`, `Quantizer`, `Execute`.
    pub(crate) fn quantizers(
        &self,
        choice: impl Fn(usize) -> Choice,
    ) -> Result<Quantizers<'_>, EvaluateError> {
        let source = Source {
            network: &self.network,
            prepared: &self.prepared,
            layer_inputs: &self.layer_inputs,
            cache: &self.cache,
            kernels: self.kernels,
        };
        source.quantizers(choice)
    }

    /// Returns images of a block as the network's input, `(n, channels, height, width)`.
    ///
    /// Errors: `Execute`.
    pub(super) fn input(&self, images: &Images, block: Range<usize>) -> Result<Tensor, EvaluateError> {
        Ok(self.network.input(images, block, self.network.device())?)
    }

    /// Returns the logits of a block, `(images, classes)` row-major.
    ///
    /// Errors: `Execute`.
    pub(super) fn logits(
        &self,
        input: &Tensor,
        quantizers: &Quantizers<'_>,
    ) -> Result<Vec<f32>, EvaluateError> {
        let logits = self.output(&self.logits, input, quantizers)?;
        Ok(logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?)
    }

    /// Returns what a node gives for a block of the network's input, on the device.
    ///
    /// Errors: `Execute`.
    pub(crate) fn output(
        &self,
        node: &str,
        input: &Tensor,
        quantizers: &Quantizers<'_>,
    ) -> Result<Tensor, EvaluateError> {
        Ok(executor::forward(&self.network.graph, input, node, &mut QuantizedPass(quantizers))?)
    }

    /// The node whose output is asked for.
    pub(crate) fn logits_node(&self) -> &str {
        &self.logits
    }
}
