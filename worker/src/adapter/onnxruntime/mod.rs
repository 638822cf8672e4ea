//! ONNX Runtime as a device: networks with their quantizers as ONNX files, executed by a library that is found and loaded when
//! the probe starts. Nothing of it is needed to build.
//!
//! Start at [`open`]. Options: `lib` where the library is ([`library`]), `provider` what executes ([`provider::PROVIDERS`]), `codes` in
//! which integers narrow codes lie (`int8` by default, as the processors' kernels have no fewer), `class` and `device` what the
//! worker is told of an accelerator.

mod library;
mod network;
mod profile;
mod provider;

use std::fs::File;
use std::path::{Path, PathBuf};

use bitloop_quant::device::cpu_class;
use bitloop_quant::export::CodeTypes;
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::energy::{self, Meter};
use super::{
    Ability, Adapter, AdapterError, Hello, InferenceSetting, Loaded, Network, PROTOCOL, ProbeOptions,
};
use library::one_line;
use network::{LoadedNetwork, unread};
use provider::{PROVIDERS, Provider};

/// Name of the first axis in the files that bitloop writes.
const BATCH: &str = "batch";

/// ONNX Runtime with one of its providers.
struct OnnxRuntime {
    runtime: Runtime,
    hello: Hello,
}

/// What makes sessions.
#[derive(Clone)]
struct Runtime {
    environment: Environment,
    provider: &'static Provider,
}

/// Opens ONNX Runtime.
///
/// Errors: `Unable` where the library is not found, is none or too old, or has no such provider; wrong options.
pub(super) fn open(options: &mut ProbeOptions) -> Result<Box<dyn Adapter>, AdapterError> {
    let codes = [("int8", CodeTypes::Int8), ("native", CodeTypes::Native)];
    let codes = options.take_one_of("codes", &codes)?.unwrap_or(CodeTypes::Int8);
    let providers = PROVIDERS.each_ref().map(|provider| (provider.option, provider));
    let provider = options.take_one_of("provider", &providers)?.unwrap_or(&PROVIDERS[0]);
    let (class, device) = match provider.is_processor {
        true => (options.take("class").unwrap_or_else(cpu_class), options.take("device")),
        // Nothing here knows what it is, and two that are taken for one would be measured as one.
        false => {
            let (class, device) = ("its model", "a name that no other device has");
            (options.take_needed("class", class)?, Some(options.take_needed("device", device)?))
        }
    };
    let (environment, version) = library::loaded(options.take("lib").map(PathBuf::from))?;
    provider.check(&environment)?;
    let hello = Hello {
        protocol: PROTOCOL,
        class,
        device,
        runtime: format!("onnxruntime {version} {}", provider.name()),
        onnx: true,
        codes,
        abilities: vec![Ability::Layers, Ability::Infer],
    };
    Ok(Box::new(OnnxRuntime { runtime: Runtime { environment, provider }, hello }))
}

impl Adapter for OnnxRuntime {
    fn hello(&self) -> Hello {
        self.hello.clone()
    }

    fn load(
        &mut self,
        network: &Network,
        setting: InferenceSetting,
    ) -> Result<Box<dyn Loaded>, AdapterError> {
        let lacking = || AdapterError::Failed("onnxruntime was given no ONNX file of the network".to_owned());
        let file = network.onnx.as_ref().ok_or_else(lacking)?;
        Ok(Box::new(LoadedNetwork::new(self.runtime.clone(), file.clone(), setting)?))
    }

    /// Of an accelerator nothing here knows a counter.
    fn meter(&self) -> Option<Box<dyn Meter>> {
        if self.runtime.provider.is_processor { energy::rapl() } else { None }
    }

    fn is_in_this_process(&self) -> bool {
        self.runtime.provider.is_processor
    }
}

/// Where a session's network comes from.
enum Source<'a> {
    File(&'a Path),
    Bytes(&'a [u8]),
}

impl Runtime {
    /// Makes a network ready; with a path, its kernels' times are written to a file that begins with it.
    ///
    /// Errors: `Unable`; `Failed` if it is the network that cannot be executed.
    fn session(
        &self,
        source: &Source<'_>,
        setting: InferenceSetting,
        profile: Option<&Path>,
    ) -> Result<Session, AdapterError> {
        let builder = self.builder(setting, profile);
        let mut builder = builder.map_err(|error| {
            AdapterError::Unable(format!("onnxruntime makes no session: {}", one_line(&error.to_string())))
        })?;
        let made = match source {
            Source::File(file) => {
                // Otherwise a file that cannot be read would be said to be no network.
                File::open(file).map_err(|error| unread(file, &error))?;
                builder.commit_from_file(file)
            }
            Source::Bytes(bytes) => builder.commit_from_memory(bytes),
        };
        made.map_err(|error| AdapterError::Failed(format!("onnxruntime refuses the network: {error}")))
    }

    fn builder(&self, setting: InferenceSetting, profile: Option<&Path>) -> ort::Result<SessionBuilder> {
        let builder = Session::builder(&self.environment)?
            .with_intra_threads(setting.threads as usize)?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_dimension_override(BATCH, i64::from(setting.batch))?;
        let builder = builder.with_execution_providers(self.provider.dispatches())?;
        match profile {
            Some(path) => Ok(builder.with_profiling(path)?),
            None => Ok(builder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: &str) -> String {
        let mut options = ProbeOptions::parse(options).unwrap();
        open(&mut options).err().unwrap().to_string()
    }

    #[test]
    fn an_accelerator_needs_a_class_and_a_name_of_its_own() {
        let class = refused("onnxruntime=provider=cuda,device=orin-1,lib=/missing");
        assert_eq!(
            class,
            "the probe `onnxruntime` needs the option `class` here; give the device's own: its model"
        );
        let device = refused("onnxruntime=provider=cuda,class=Orin,lib=/missing");
        assert!(device.contains("needs the option `device`"), "{device}");
        let given = refused("onnxruntime=provider=cuda,class=Orin,device=orin-1,lib=/missing");
        assert!(given.contains("there is no library of onnxruntime at /missing"), "{given}");
    }

    #[test]
    fn options_that_are_none_are_refused_with_those_there_are() {
        assert!(refused("onnxruntime=codes=int3").ends_with("give int8, native"));
        let provider = refused("onnxruntime=provider=abacus");
        assert!(provider.contains("`abacus`") && provider.contains("openvino"), "{provider}");
    }
}
