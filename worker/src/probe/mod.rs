//! Probes: what networks take on devices, measured.
//!
//! A probe is a process that says how long a network takes ([`protocol`]). This program is one itself (`bitloop probe NAME`) for
//! each [`Adapter`] of the registry; others are registered in the worker's own file. The worker starts them and checks what they
//! say.

pub mod energy;
mod protocol;

use std::collections::BTreeMap;
use std::path::Path;

pub use energy::Meter;
pub use protocol::{
    Ability, Answer, Ask, EnergyReading, Hello, Network, PROTOCOL, Reply, Request,
    Setting as InferenceSetting, Timed,
};

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

/// A kind of device, or of what executes networks on it.
pub trait Adapter {
    /// What it is; known without any network.
    fn hello(&self) -> Hello;

    /// Makes a network ready.
    ///
    /// Errors: `Failed` for a network that it can never execute; `Unable`.
    fn load(&mut self, network: &Network, setting: InferenceSetting)
    -> Result<Box<dyn Loaded>, AdapterError>;
}

/// A network that is ready to be executed, on some input.
pub trait Loaded {
    /// Executes so many inferences, one after another, and returns how long they took together in nanoseconds, as the device's
    /// own clock says it if it has one.
    ///
    /// Errors: `Unable`.
    fn time(&mut self, inferences: u64) -> Result<f64, AdapterError>;

    /// Executes one inference and returns the nanoseconds of each node, and of what belongs to none under the name ``.
    ///
    /// Errors: `Failed` where it cannot tell; `Unable`.
    fn layers(&mut self) -> Result<BTreeMap<String, f64>, AdapterError>;

    /// Gives what the network computes; see [`Ask::Infer`].
    ///
    /// Errors: `Failed`, `Unable`.
    fn infer(&mut self, images: &Path, nodes: &[String], output: &Path) -> Result<(), AdapterError>;
}
