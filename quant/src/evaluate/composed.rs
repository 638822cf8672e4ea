//! Logits by a walk over the graph in candle's tensors: for devices other than the CPU, and to compare the engine with.

use std::ops::Range;
use std::sync::Arc;

use bitloop_core::bits::Choice;
use candle_core::{DType, Device, Tensor};

use super::EvaluateError;
use super::quantized::{QuantizedPass, Quantizers, Source, WeightCache, layer_inputs};
use crate::data::Images;
use crate::executor;
use crate::kernels::Kernels;
use crate::network::Network;
use crate::prepare::Prepared;

/// A prepared network on a device.
pub(super) struct Composed {
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
    pub(super) fn new(
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
    pub(super) fn quantizers(
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
        let mut pass = QuantizedPass(quantizers);
        let logits = executor::forward(&self.network.graph, input, &self.logits, &mut pass)?;
        Ok(logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?)
    }
}
