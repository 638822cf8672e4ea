use candle_core::{DType, Device, Tensor};

use super::{InferenceError, Quantized};
use crate::evaluate::EvaluateError;
use crate::evaluate::composed::Composed;
use crate::executor;
use crate::kernels::Kernels;
use crate::rng::rng;

/// A walk over a network's graph with quantizers in place, in f32: what `numerics: float` computes on a GPU. Its quantizers
/// are extra work that a device with integer arithmetic would not have, so that fewer bits are never faster.
pub struct Walk {
    network: Quantized,
    composed: Composed,
    /// `(images, channels, height, width)`, on the device.
    input: Tensor,
}

impl Walk {
    /// Copies a network, and drawn pixels, to a device.
    ///
    /// Errors: `Evaluate`, `Setting`.
    pub fn new(network: Quantized, images: usize, device: &Device) -> Result<Self, InferenceError> {
        if images == 0 {
            return Err(InferenceError::Setting { images, threads: 1 });
        }
        let graph = &network.prepared().model.graph;
        let mut rng = rng(0, 0);
        let pixels: Vec<u8> =
            (0..images * graph.input.shape.elements()).map(|_| rng.below(256) as u8).collect();
        let input = executor::normalize(&graph.input, &pixels, images, device)?;
        let logits = graph.logits().map_err(EvaluateError::from)?.to_owned();
        let kernels = Kernels::chosen_for(device)?;
        let composed = Composed::new(network.shared(), logits, (device, kernels))?;
        Ok(Self { network, composed, input })
    }

    /// Computes so many inferences, one after another, and waits for none of them.
    ///
    /// Errors: `Evaluate`.
    pub fn run(&self, inferences: u64) -> Result<(), InferenceError> {
        let quantizers = self.composed.quantizers(|point| self.network.choice(point))?;
        for _ in 0..inferences {
            self.composed.output(self.composed.logits_node(), &self.input, &quantizers)?;
        }
        Ok(())
    }

    /// Returns how many nanoseconds of the GPU so many inferences take, by events before the first and behind the last.
    ///
    /// The host does not wait between inferences. Errors: `Evaluate`.
    #[cfg(feature = "cuda")]
    pub fn time(&self, inferences: u64) -> Result<f64, InferenceError> {
        use candle_core::cuda_backend::cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;

        // Weights are quantized and biases copied before the clock starts.
        let quantizers = self.composed.quantizers(|point| self.network.choice(point))?;
        let stream = self.input.device().as_cuda_device()?.cuda_stream();
        let event = || stream.record_event(Some(CU_EVENT_DEFAULT)).map_err(candle_core::Error::wrap);
        stream.synchronize().map_err(candle_core::Error::wrap)?;
        let start = event()?;
        for _ in 0..inferences {
            self.composed.output(self.composed.logits_node(), &self.input, &quantizers)?;
        }
        let milliseconds = start.elapsed_ms(&event()?).map_err(candle_core::Error::wrap)?;
        Ok(f64::from(milliseconds) * 1e6)
    }

    /// Returns what a node, or without one the logits, gives for images that are normalized already.
    ///
    /// Shapes: `(n, channels, height, width)` -> `(n, ..)`, row-major. Errors: `Evaluate`, `Images`, `UnknownNode`.
    pub fn outputs_of(&self, node: Option<&str>, values: Vec<f32>) -> Result<Vec<f32>, InferenceError> {
        let graph = &self.network.prepared().model.graph;
        let node = node.unwrap_or(self.composed.logits_node());
        if node != bitloop_core::graph::INPUT && graph.node(node).is_none() {
            return Err(InferenceError::UnknownNode(node.to_owned()));
        }
        let elements = graph.input.shape.elements();
        if !values.len().is_multiple_of(elements.max(1)) {
            return Err(InferenceError::Images { values: values.len(), elements });
        }
        let mut shape = vec![values.len() / elements.max(1)];
        shape.extend(&graph.input.shape.0);
        let input = Tensor::from_vec(values, shape, self.input.device())?;
        let quantizers = self.composed.quantizers(|point| self.network.choice(point))?;
        let output = self.composed.output(node, &input, &quantizers)?;
        Ok(output.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?)
    }
}
