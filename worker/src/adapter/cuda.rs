//! CUDA GPUs, as bitloop itself computes on them.
//!
//! What is timed is the walk over the graph with fake quantization in f32, as evaluations with `numerics: float` do it. GPUs
//! multiply codes faster than floats, and this does not: a quantized network takes longer here than the float one. So the times
//! say what evaluating costs, and nothing about how fast the network could be; that is what a probe over ONNX Runtime is for.

use std::collections::BTreeMap;

use bitloop_quant::device::{self, Opened};
use bitloop_quant::export::CodeTypes;
use bitloop_quant::inference::{InferenceError, Walk};

use super::energy::Meter;
use super::gpu;
use super::images::{Output, each_block};
use super::network::quantized;
use super::{
    Ability, Adapter, AdapterError, Hello, InferenceSetting, Inputs, Loaded, Network, PROTOCOL, ProbeOptions,
};

/// Opens the GPU that the option `device` names, or the first.
///
/// Errors: `Unable`.
pub(super) fn open(options: &mut ProbeOptions) -> Result<Box<dyn Adapter>, AdapterError> {
    let name = options.take("device").unwrap_or_else(|| "cuda:0".to_owned());
    let opened = device::open(&name).map_err(|error| AdapterError::Unable(error.to_string()))?;
    if opened.device.is_cpu() {
        return Err(AdapterError::Unable(
            "the probe `candle-cuda` measures GPUs; give device=cuda:0".to_owned(),
        ));
    }
    Ok(Box::new(Gpu(opened)))
}

struct Gpu(Opened);

impl Adapter for Gpu {
    fn hello(&self) -> Hello {
        let Opened { inventory, kernels, .. } = &self.0;
        Hello {
            protocol: PROTOCOL,
            class: inventory.class.clone(),
            device: Some(inventory.id.clone()),
            runtime: format!("bitloop {} candle-cuda {}", env!("CARGO_PKG_VERSION"), kernels.name()),
            onnx: false,
            codes: CodeTypes::default(),
            abilities: vec![Ability::Infer],
        }
    }

    fn load(
        &mut self,
        network: &Network,
        setting: InferenceSetting,
    ) -> Result<Box<dyn Loaded>, AdapterError> {
        let network = quantized(network)?;
        let elements = network.prepared().model.graph.input.shape.elements();
        let walk = Walk::new(network, setting.batch as usize, &self.0.device).map_err(unable)?;
        Ok(Box::new(Ready { walk, elements }))
    }

    fn meter(&self) -> Option<Box<dyn Meter>> {
        gpu::meter(&self.0.inventory.id)
    }

    fn is_in_this_process(&self) -> bool {
        false
    }
}

struct Ready {
    walk: Walk,
    /// Values of an image.
    elements: usize,
}

impl Loaded for Ready {
    fn time(&mut self, inferences: u64) -> Result<f64, AdapterError> {
        self.walk.time(inferences).map_err(unable)
    }

    fn layers(&mut self, _: usize) -> Result<Vec<BTreeMap<String, f64>>, AdapterError> {
        Err(AdapterError::Failed("the probe `candle-cuda` times whole networks alone".to_owned()))
    }

    fn infer(&mut self, inputs: &Inputs<'_>) -> Result<(), AdapterError> {
        let mut output = Output::create(inputs.output)?;
        let nodes = inputs.nodes.iter().map(|node| Some(node.as_str()));
        for node in std::iter::once(None).chain(nodes) {
            each_block(inputs, self.elements, |values| {
                output.write(&self.walk.outputs_of(node, values).map_err(unable)?)
            })?;
        }
        output.finish()
    }
}

/// What a GPU cannot compute may be its memory that others hold; what makes no sense makes none anywhere.
fn unable(error: InferenceError) -> AdapterError {
    match error {
        InferenceError::Evaluate(_) => AdapterError::Unable(error.to_string()),
        other => other.into(),
    }
}
