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

use std::path::{Path, PathBuf};

use bitloop_quant::device::cpu_class;
use bitloop_quant::export::CodeTypes;
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::{
    Ability, Adapter, AdapterError, Hello, InferenceSetting, Loaded, Network, OptionsError, PROTOCOL,
    ProbeOptions,
};
use network::LoadedNetwork;
use provider::Provider;

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
    let codes = match options.take("codes").as_deref() {
        None | Some("int8") => CodeTypes::Int8,
        Some("native") => CodeTypes::Native,
        Some(other) => return Err(wrong(options, "codes", other, "native or int8").into()),
    };
    let provider = options.take("provider").unwrap_or_else(|| "cpu".to_owned());
    let provider = provider::named(&provider).map_err(AdapterError::Unable)?;
    let (class, device) = (options.take("class"), options.take("device"));
    let (environment, version) = library::loaded(options.take("lib").map(PathBuf::from))?;
    provider.check()?;
    let class = class.unwrap_or_else(|| match provider.is_processor {
        true => cpu_class(),
        false => format!("{} beside {}", provider.name(), cpu_class()),
    });
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

fn wrong(options: &ProbeOptions, key: &str, value: &str, expected: &'static str) -> OptionsError {
    let name = options.name().to_owned();
    OptionsError::Value { name, key: key.to_owned(), value: value.to_owned(), expected }
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
}

/// Where a session's network comes from.
enum Source<'a> {
    File(&'a Path),
    Bytes(&'a [u8]),
}

impl Runtime {
    /// Makes a network ready; with a path, its kernels' times are written to a file that begins with it.
    ///
    /// Errors: `Failed`.
    fn session(
        &self,
        source: &Source<'_>,
        setting: InferenceSetting,
        profile: Option<&Path>,
    ) -> Result<Session, AdapterError> {
        let made = self.builder(setting, profile).and_then(|mut builder| match source {
            Source::File(file) => builder.commit_from_file(file),
            Source::Bytes(bytes) => builder.commit_from_memory(bytes),
        });
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
