//! bitloop's own integer kernels on this machine's processor.

use std::collections::BTreeMap;

use bitloop_quant::device::{Kernels, cpu_class};
use bitloop_quant::export::CodeTypes;
use bitloop_quant::inference::{Inference, Quantized, Setting};

use super::energy::{self, Meter};
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

    fn meter(&self) -> Option<Box<dyn Meter>> {
        energy::rapl()
    }

    fn is_in_this_process(&self) -> bool {
        true
    }
}

/// A network without the file that it was read from: that one's floats are no part of what an inference needs.
struct Ready {
    network: Network,
    inference: Inference,
}

impl Loaded for Ready {
    fn time(&mut self, inferences: u64) -> Result<f64, AdapterError> {
        let start = clock::now();
        self.inference.run(inferences);
        Ok(clock::elapsed(start).as_nanos() as f64)
    }

    fn layers(&mut self, inferences: usize) -> Result<Vec<BTreeMap<String, f64>>, AdapterError> {
        let inference = |_| {
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
        };
        Ok((0..inferences).map(inference).collect())
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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// A convolution with a rectifier and a linear layer on 1x2x2 images, at 4 and 8 bits.
    fn network(bits: Option<u32>) -> Network {
        let prepared =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../quant/src/prepare/golden/prepared_1.safetensors");
        let points = ["input.output", "conv.weight", "relu.output", "dense.weight", "dense.output"];
        let bits = points.iter().map(|point| ((*point).to_owned(), bits)).collect();
        Network { prepared: Some(prepared), onnx: None, bits }
    }

    fn adapter() -> Box<dyn Adapter> {
        open(&mut ProbeOptions::parse("integer").unwrap()).unwrap()
    }

    fn loaded(network: &Network, batch: u32, threads: u32) -> Result<Box<dyn Loaded>, AdapterError> {
        adapter().load(network, InferenceSetting { batch, threads })
    }

    #[test]
    fn it_says_what_computes() {
        let hello = adapter().hello();

        assert_eq!(hello.class, cpu_class());
        assert!(hello.runtime.starts_with(&format!("bitloop {} integer ", env!("CARGO_PKG_VERSION"))));
        assert!(!hello.onnx && hello.device.is_none());
    }

    #[test]
    fn networks_are_timed_whole_and_by_layers() {
        for (bits, batch, threads) in [(Some(8), 1, 1), (Some(4), 3, 2), (None, 1, 1)] {
            let mut loaded = loaded(&network(bits), batch, threads).unwrap();

            assert!(loaded.time(5).unwrap() > 0.0);
            let layers = loaded.layers(1).unwrap().remove(0);
            let names: Vec<&str> = layers.keys().map(String::as_str).collect();
            // The rectifier is a part of the convolution's kernel, and flattening of the linear layer's.
            assert_eq!(names, ["", "conv", "dense"], "{bits:?}");
            assert!(layers.values().all(|nanoseconds| *nanoseconds >= 0.0));
        }
    }

    #[test]
    fn what_it_computes_is_written_node_by_node() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let value = |pixel: u8| (f32::from(pixel) / 255.0 - 0.5) / 0.25;
        let images = [0, 255, 100, 7, 90, 80, 70, 60].map(value);
        std::fs::write(path("images"), images.map(f32::to_le_bytes).concat()).unwrap();
        let infer = |images: PathBuf, count, nodes: &[&str]| {
            let nodes: Vec<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
            let output = path("output");
            let inputs = Inputs { images: &images, count, nodes: &nodes, output: &output };
            loaded(&network(Some(8)), 1, 1)?.infer(&inputs)?;
            let bytes = std::fs::read(&output).unwrap();
            let values: &[[u8; 4]] = bytes.as_chunks().0;
            Ok::<_, AdapterError>(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>())
        };

        let values = infer(path("images"), 2, &["relu", "dense"]).unwrap();

        // Three logits and two channels of one pixel, of two images each.
        assert_eq!(values.len(), 2 * (3 + 2 + 3));
        assert_eq!(values[..6], values[10..], "the logits are what the last layer gives");
        assert!(values[6..10].iter().all(|value| *value >= 0.0), "a rectifier's output: {values:?}");
        let error = |count, nodes: &[&str]| infer(path("images"), count, nodes).unwrap_err();
        assert_eq!(
            error(2, &["nowhere"]),
            AdapterError::Failed("the network has no node `nowhere`".to_owned())
        );
        assert!(matches!(error(3, &[]), AdapterError::Failed(_)));
        std::fs::write(path("odd"), 0.123_f32.to_le_bytes().repeat(4)).unwrap();
        let odd = infer(path("odd"), 1, &[]).unwrap_err();
        assert!(odd.to_string().contains("no pixel of a byte"), "{odd}");
    }

    #[test]
    fn what_it_cannot_execute_is_said() {
        let refused = |network: &Network| loaded(network, 1, 1).map(|_| ()).unwrap_err();
        let known = network(Some(8));
        let trained = Network { prepared: None, ..known.clone() };
        assert!(
            matches!(refused(&trained), AdapterError::Failed(reason) if reason.contains("prepared networks"))
        );
        let missing = Network { prepared: Some("/missing/file".into()), ..known.clone() };
        assert!(
            matches!(refused(&missing), AdapterError::Unable(reason) if reason.contains("/missing/file"))
        );
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let other = Network { prepared: Some(source), ..known };
        assert!(matches!(refused(&other), AdapterError::Failed(reason) if reason.contains("Cargo.toml")));
        assert!(
            matches!(refused(&network(Some(5))), AdapterError::Failed(reason) if reason.contains("5 bits"))
        );
    }
}
