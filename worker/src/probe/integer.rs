//! bitloop's own integer kernels on this machine's processor.

use std::collections::BTreeMap;

use bitloop_quant::device::{Kernels, cpu_class};
use bitloop_quant::export::CodeTypes;
use bitloop_quant::inference::{Inference, Quantized, Setting};

use super::images::{Output, each_block};
use super::network::quantized;
use super::{
    Ability, Adapter, AdapterError, Hello, InferenceSetting, Inputs, Loaded, Network, PROTOCOL, ProbeOptions,
};
use crate::clock;

/// Opens the adapter; it has no options of its own.
///
/// Errors: `Unable` if the environment rules the kernels out.
pub(super) fn open(_: &mut ProbeOptions) -> Result<Box<dyn Adapter>, AdapterError> {
    let kernels = Kernels::chosen().map_err(|error| AdapterError::Unable(error.to_string()))?;
    if !kernels.are_exact() {
        let reason =
            format!("the kernels `{}` are no integer kernels; unset BITLOOP_KERNELS", kernels.name());
        return Err(AdapterError::Unable(reason));
    }
    Ok(Box::new(Integer(kernels)))
}

struct Integer(Kernels);

impl Adapter for Integer {
    fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            class: cpu_class(),
            device: None,
            runtime: format!("bitloop {} integer {}", env!("CARGO_PKG_VERSION"), self.0.name()),
            onnx: false,
            codes: CodeTypes::default(),
            abilities: vec![Ability::Layers, Ability::Infer],
        }
    }

    fn load(
        &mut self,
        network: &Network,
        setting: InferenceSetting,
    ) -> Result<Box<dyn Loaded>, AdapterError> {
        let setting = Setting { images: setting.batch as usize, threads: setting.threads as usize };
        let inference = Inference::new(&quantized(network)?, setting)?;
        Ok(Box::new(Ready { network: network.clone(), inference }))
    }
}

/// A network without the file that it was read from: that one's floats are no part of what an inference needs.
struct Ready {
    network: Network,
    inference: Inference,
}

impl Ready {
    /// Executes an inference and says how long each node took.
    fn inference_by_node(&mut self) -> BTreeMap<String, f64> {
        let mut nanoseconds = vec![0.0; self.inference.nodes().len()];
        let mut last = clock::now();
        let mut since = || {
            let now = clock::now();
            let passed = now.duration_since(last).as_nanos() as f64;
            last = now;
            passed
        };
        self.inference.run_watched(&mut |node| nanoseconds[node] += since());
        nanoseconds[0] += since();
        self.inference.nodes().iter().cloned().zip(nanoseconds).collect()
    }
}

impl Loaded for Ready {
    fn time(&mut self, inferences: u64) -> Result<f64, AdapterError> {
        let start = clock::now();
        self.inference.run(inferences);
        Ok(clock::elapsed(start).as_nanos() as f64)
    }

    fn layers(&mut self, inferences: usize) -> Result<Vec<BTreeMap<String, f64>>, AdapterError> {
        Ok((0..inferences).map(|_| self.inference_by_node()).collect())
    }

    fn infer(&mut self, inputs: &Inputs<'_>) -> Result<(), AdapterError> {
        let network = quantized(&self.network)?;
        let elements = network.prepared().model.graph.input.shape.elements();
        let mut output = Output::create(inputs.output)?;
        let mut write = |inference: &mut Inference, network: &Quantized| {
            each_block(inputs, elements, |values| {
                output.write(&inference.outputs_of(&network.pixels(&values)?)?)
            })
        };
        write(&mut self.inference, &network)?;
        for node in inputs.nodes {
            let setting = Setting { images: 1, threads: 1 };
            write(&mut Inference::until(&network, node, setting)?, &network)?;
        }
        output.finish()
    }
}
