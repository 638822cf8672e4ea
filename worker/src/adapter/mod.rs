//! Device adapters: what this program does as a probe, in a process of its own.
//!
//! A worker starts `bitloop probe NAME` and speaks [the protocol](crate::probe) with it; how it does so is `crate::probe`'s affair,
//! and nothing here knows of workers, coordinators or trials. Start at [`serve_process`], which reads requests and writes answers
//! over one [`Adapter`] of the registry [`ADAPTERS`]; `measure` decides what is timed in which order, whatever the device is. An
//! adapter is a file and its entry in the registry; and as no program of a worker's own may have its name, one more in
//! [`bitloop_core::spec::PROBE_KINDS`]. What lies beside them is what they share: the machine that they find themselves
//! on (`environment`, `frequency`, `affinity`, `memory`, `energy`) and the files that requests name (`network`, `images`).

mod affinity;
#[cfg(feature = "cuda")]
mod cuda;
pub mod energy;
mod environment;
mod frequency;
mod gpu;
mod images;
mod integer;
mod measure;
mod memory;
mod network;
mod onnxruntime;
mod options;
mod serve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use crate::probe::protocol::{
    Ability, Answer, Ask, EnergyReading, Hello, Network, PROTOCOL, Reply, Request,
    Setting as InferenceSetting, Timed,
};

use affinity::Pinned;
pub use energy::Meter;
pub use options::{OptionsError, ProbeOptions};
pub use serve::{ServeError, serve_process, this_program};

/// An adapter of the registry, by which this program is a probe.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name for `--probe`.
    pub name: &'static str,
    /// What it measures, in a line.
    pub summary: &'static str,
    /// Opens it. It takes the options that it knows; others are mistakes, which the caller finds.
    pub open: fn(&mut ProbeOptions) -> Result<Box<dyn Adapter>, AdapterError>,
    /// Variables that what it loads has to find in the environment, and that are not there. Libraries may read them at any time and
    /// on any thread, so that a process has them from its start, or never.
    pub variables: fn(&ProbeOptions) -> Vec<Variable>,
}

/// A variable of the environment: its name, and what it has to be.
pub type Variable = (&'static str, String);

/// Every built-in adapter: a file and an entry here each, and a name in [`bitloop_core::spec::PROBE_KINDS`].
pub const ADAPTERS: &[BuiltIn] = &[
    BuiltIn {
        name: "integer",
        summary: "bitloop's own integer kernels on this machine's processor",
        open: integer::open,
        variables: |_| Vec::new(),
    },
    #[cfg(feature = "cuda")]
    BuiltIn {
        name: "candle-cuda",
        summary: "what bitloop evaluates with on a CUDA GPU: fake quantization in f32",
        open: cuda::open,
        variables: |_| Vec::new(),
    },
    BuiltIn {
        name: "onnxruntime",
        summary: "ONNX Runtime, whose library is loaded: lib=PATH,provider=NAME,codes=int8|native",
        open: onnxruntime::open,
        variables: onnxruntime::variables,
    },
];

/// The variables that the process lacks which is to be the probe that a text names; see [`BuiltIn::variables`].
fn variables(text: &str) -> Vec<Variable> {
    // What is wrong with the text is said when the adapter is opened.
    let Ok(options) = ProbeOptions::parse(text) else { return Vec::new() };
    let built_in = ADAPTERS.iter().find(|built_in| built_in.name == options.name());
    built_in.map(|built_in| (built_in.variables)(&options)).unwrap_or_default()
}

/// Opens the adapter that a text such as `integer=cpus=0-1` names. Each adapter has the option `cpus`, which keeps this thread,
/// and those that it starts, on some processors, and stands in the runtime's text as it was given.
///
/// Errors: what is wrong with the text, or why the adapter cannot be used here.
pub fn open(text: &str) -> Result<Box<dyn Adapter>, OpenError> {
    let mut options = ProbeOptions::parse(text)?;
    let built_in = ADAPTERS.iter().find(|built_in| built_in.name == options.name());
    let built_in = built_in.ok_or_else(|| {
        let known: Vec<&str> = ADAPTERS.iter().map(|built_in| built_in.name).collect();
        OpenError::Unknown { name: options.name().to_owned(), known: known.join(", ") }
    })?;
    let processors = options.take("cpus");
    processors.as_deref().map_or(Ok(()), affinity::pin)?;
    let adapter = (built_in.open)(&mut options)?;
    options.finish()?;
    Ok(match processors {
        None => adapter,
        Some(list) => Box::new(Pinned::new(adapter, list)),
    })
}

/// Why no adapter can be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No adapter has the name.
    #[error("there is no probe `{name}` in this program; there are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// An option is wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The device, or what drives it, is not as it has to be.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
}

/// Why an adapter gives nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    /// The network cannot be measured on any device of this kind.
    #[error("{0}")]
    Failed(String),
    /// The device, or what drives it, cannot be used now.
    #[error("{0}")]
    Unable(String),
}

impl From<OptionsError> for AdapterError {
    fn from(error: OptionsError) -> Self {
        Self::Unable(error.to_string())
    }
}

/// A kind of device, or of what executes networks on it.
pub trait Adapter {
    /// What it is; known without any network.
    fn hello(&self) -> Hello;

    /// Makes a network ready.
    ///
    /// Errors: `Failed` for a network that it can never execute; `Unable`.
    fn load(&mut self, network: &Network, setting: InferenceSetting)
    -> Result<Box<dyn Loaded>, AdapterError>;

    /// What counts the energy of the device that it executes on; none where nothing does.
    fn meter(&self) -> Option<Box<dyn Meter>>;

    /// Whether networks lie in this process's memory, so that its peak is theirs.
    fn is_in_this_process(&self) -> bool;
}

/// A network that is ready to be executed, on some input.
pub trait Loaded {
    /// Executes so many inferences, one after another, and returns how long they took together in nanoseconds, as the device's
    /// own clock says it if it has one.
    ///
    /// Errors: `Unable`.
    fn time(&mut self, inferences: u64) -> Result<f64, AdapterError>;

    /// Executes so many inferences and returns for each the nanoseconds of each node, and of what belongs to none under the
    /// name ``. Several at once, as some runtimes have to make the network ready anew to tell.
    ///
    /// Errors: `Failed` where it cannot tell; `Unable`.
    fn layers(&mut self, inferences: usize) -> Result<Vec<BTreeMap<String, f64>>, AdapterError>;

    /// Gives what the network computes; see [`Ask::Infer`]. The network was loaded for one image and one thread.
    ///
    /// Errors: `Failed`, `Unable`.
    fn infer(&mut self, inputs: &Inputs<'_>) -> Result<(), AdapterError>;
}

/// What [`Loaded::infer`] reads and writes; see [`Ask::Infer`].
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The file with the images.
    pub images: &'a Path,
    /// How many there are.
    pub count: u64,
    /// Nodes whose outputs are wanted beside the logits.
    pub nodes: &'a [String],
    /// The file to be written.
    pub output: &'a Path,
}
