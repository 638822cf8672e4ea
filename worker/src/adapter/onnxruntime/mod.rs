//! ONNX Runtime as a device: networks with their quantizers as ONNX files, executed by a library that is found and loaded when
//! the probe starts. Nothing of it is needed to build.
//!
//! Start at [`open`]. Options: `lib` where the library is ([`library`]), `provider` what executes ([`provider::PROVIDERS`]), `codes` in
//! which integers narrow codes lie (`int8` by default, as the processors' kernels have no fewer), `class` and `device` what the
//! worker is told of an accelerator, `device_id` which of several it is where its name does not say so. What executes, and where, is
//! an [`Execution`]: `ep.KEY` are settings of the provider, `fallback` whether the processor executes what the provider does not.

mod library;
mod network;
mod profile;
mod provider;

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};

use bitloop_quant::device::cpu_class;
use bitloop_quant::export::CodeTypes;
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::energy::{self, Meter};
use super::gpu::{self, driver_name};
use super::{
    Ability, Adapter, AdapterError, Hello, InferenceSetting, Loaded, Network, PROTOCOL, ProbeOptions,
    Variable,
};
use crate::probe::protocol::device_name;
use library::one_line;
use network::{LoadedNetwork, unread};
use provider::{Execution, is_of_cuda};

/// Name of the first axis in the files that bitloop writes.
const BATCH: &str = "batch";

/// Names the GPUs that CUDA sees, and numbers them anew.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// ONNX Runtime with one of its providers.
struct OnnxRuntime {
    runtime: Runtime,
    hello: Hello,
}

/// What makes sessions.
#[derive(Clone)]
struct Runtime {
    environment: Environment,
    execution: Execution,
}

/// The GPU that is named by its UUID has to be the only one that CUDA sees, from the start of the process on: nothing tells
/// the library's number of a GPU from its name.
pub(super) fn variables(options: &ProbeOptions) -> Vec<Variable> {
    let visible = env::var(VISIBLE).ok();
    only_visible(options, visible.as_deref()).map(|name| (VISIBLE, name)).into_iter().collect()
}

/// What [`VISIBLE`] has to be where it is `visible`; none where that is as good, or no GPU is named.
fn only_visible(options: &ProbeOptions, visible: Option<&str>) -> Option<String> {
    options.get("provider").filter(|provider| is_of_cuda(provider))?;
    let device = options.get("device")?;
    let is_alone = visible.is_some_and(|visible| device_name(visible.trim()) == device_name(device));
    driver_name(device).filter(|_| !is_alone)
}

/// Opens ONNX Runtime.
///
/// Errors: `Unable` where the library is not found, is none or too old, or has no such provider; where another GPU than the one that
/// is named would execute; wrong options.
pub(super) fn open(options: &mut ProbeOptions) -> Result<Box<dyn Adapter>, AdapterError> {
    if let Some((variable, value)) = variables(options).pop() {
        return Err(AdapterError::Unable(format!(
            "{variable} has to be {value} before this process starts; `bitloop probe` sees to that"
        )));
    }
    let codes = [("int8", CodeTypes::Int8), ("native", CodeTypes::Native)];
    let codes = options.take_one_of("codes", &codes)?.unwrap_or(CodeTypes::Int8);
    let execution = Execution::taken(options)?;
    let (class, device) = match execution.is_processor() {
        true => (options.take("class").unwrap_or_else(cpu_class), None),
        // Nothing here knows what it is, and two that are taken for one would be measured as one.
        false => {
            let (class, device) = ("its model", "a name that no other device has");
            (options.take_needed("class", class)?, Some(options.take_needed("device", device)?))
        }
    };
    if execution.is_processor() && options.get("device").is_some() {
        // Its worker's machine names it. By another name it would not be taken while it is measured.
        let reason =
            "the processor of this machine executes, which needs no name; leave out the option `device`";
        return Err(AdapterError::Unable(reason.to_owned()));
    }
    let execution = execution.on(device.as_deref())?;
    let (environment, version) = library::loaded(options.take("lib").map(PathBuf::from))?;
    execution.check(&environment)?;
    let hello = Hello {
        protocol: PROTOCOL,
        class,
        device: device.map(|device| device_name(&device)),
        runtime: runtime(&version, &execution, codes),
        onnx: true,
        codes,
        abilities: vec![Ability::Layers, Ability::Infer],
    };
    Ok(Box::new(OnnxRuntime { runtime: Runtime { environment, execution }, hello }))
}

/// The runtime's text: what times of one class of device have in common.
fn runtime(version: &str, execution: &Execution, codes: CodeTypes) -> String {
    let codes = match codes {
        CodeTypes::Int8 => "",
        CodeTypes::Native => " codes native",
    };
    format!("onnxruntime {version} {}{codes}", execution.text())
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

    /// The processor's, or that of the GPU whose UUID the device's name is; of other accelerators nothing here knows a counter.
    fn meter(&self) -> Option<Box<dyn Meter>> {
        match &self.hello.device {
            None => energy::rapl(),
            Some(device) => gpu::meter(device),
        }
    }

    fn is_in_this_process(&self) -> bool {
        self.runtime.execution.is_processor()
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
        made.map_err(|error| self.execution.refusal(&error.to_string()))
    }

    fn builder(&self, setting: InferenceSetting, profile: Option<&Path>) -> ort::Result<SessionBuilder> {
        let builder = Session::builder(&self.environment)?
            .with_intra_threads(setting.threads as usize)?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_dimension_override(BATCH, i64::from(setting.batch))?;
        let builder = builder.with_execution_providers(self.execution.dispatches(setting.threads))?;
        let builder = if self.execution.is_alone() { builder.with_disable_cpu_fallback()? } else { builder };
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
        let given = refused("onnxruntime=provider=cuda,class=Orin,device=orin-1,device_id=0,lib=/missing");
        assert!(given.contains("there is no library of onnxruntime at /missing"), "{given}");
    }

    #[test]
    fn what_is_executed_otherwise_is_another_runtime() {
        let runtime = |options: &str, codes| {
            let mut options = ProbeOptions::parse(&format!("onnxruntime={options}")).unwrap();
            runtime("1.32.0", &Execution::taken(&mut options).unwrap(), codes)
        };

        let plain = runtime("", CodeTypes::Int8);
        assert_eq!(plain, "onnxruntime 1.32.0 CPUExecutionProvider");
        let others = [
            runtime("", CodeTypes::Native),
            runtime("provider=xnnpack", CodeTypes::Int8),
            runtime("provider=xnnpack,fallback=cpu", CodeTypes::Int8),
            runtime("provider=xnnpack,ep.speed=9", CodeTypes::Int8),
        ];
        assert_eq!(others[0], "onnxruntime 1.32.0 CPUExecutionProvider codes native");
        for (index, other) in others.iter().enumerate() {
            assert!(*other != plain && !others[..index].contains(other), "{other}");
        }
    }

    #[test]
    fn the_processor_is_known_by_its_machine() {
        for options in ["", "provider=xnnpack,", "provider=openvino,ep.device_type=CPU,"] {
            let named = refused(&format!("onnxruntime={options}device=kitchen,lib=/missing"));
            assert!(named.ends_with("leave out the option `device`"), "{named}");
        }
        let accelerator = refused("onnxruntime=provider=openvino,ep.device_type=NPU,lib=/missing");
        assert!(accelerator.contains("needs the option `class`"), "{accelerator}");
    }

    #[test]
    fn the_gpu_that_executes_is_the_one_that_is_named() {
        const UUID: &str = "GPU-01234567-89ab-cdef-0123-456789abcdef";
        let wanted = |options: &str, visible: Option<&str>| {
            only_visible(&ProbeOptions::parse(&format!("onnxruntime=class=x,{options}")).unwrap(), visible)
        };
        let ours = "gpu-0123456789abcdef0123456789abcdef";

        for provider in ["cuda", "tensorrt"] {
            let named = |name: &str, visible: Option<&str>| {
                wanted(&format!("provider={provider},device={name}"), visible)
            };
            for visible in [None, Some("0"), Some(""), Some("GPU-11111111-89ab-cdef-0123-456789abcdef")] {
                assert_eq!(named(UUID, visible).as_deref(), Some(UUID), "{visible:?}");
                assert_eq!(named(ours, visible).as_deref(), Some(UUID), "as workers write it");
            }
            let two = format!("{UUID},GPU-11111111-89ab-cdef-0123-456789abcdef");
            assert_eq!(named(UUID, Some(&two)).as_deref(), Some(UUID), "one of two");
            assert_eq!(named(UUID, Some(UUID)), None, "it is the only one");
            assert_eq!(named(ours, Some(&UUID.replace("GPU", "MIG"))), None, "a part that its worker has");
            assert_eq!(named("orin-1", None), None);
        }
        assert_eq!(wanted(&format!("provider=openvino,device={UUID}"), None), None, "it is not CUDA's");
        assert_eq!(wanted("lib=/missing", None), None);
        let unseen = refused(&format!("onnxruntime=provider=cuda,class=x,device={UUID},lib=/missing"));
        assert!(unseen.starts_with(&format!("CUDA_VISIBLE_DEVICES has to be {UUID}")), "{unseen}");
    }

    #[test]
    fn options_that_are_none_are_refused_with_those_there_are() {
        assert!(refused("onnxruntime=codes=int3").ends_with("give int8, native"));
        let provider = refused("onnxruntime=provider=abacus");
        assert!(provider.contains("`abacus`") && provider.contains("openvino"), "{provider}");
    }
}
