use std::collections::BTreeMap;
use std::time::Duration;

use super::shared::is_plain_name;

/// Names of what measures without being registered, and of what registers others.
pub const PROBE_KINDS: [&str; 4] = ["integer", "onnxruntime", "candle-cuda", "external"];

/// Longest name of a probe, in bytes: it stands in tables beside others.
pub(super) const NAME_BYTES_MAX: usize = 32;

/// Whether experiments can call a probe so.
pub fn is_probe_name(text: &str) -> bool {
    is_plain_name(text, NAME_BYTES_MAX)
}

/// The programs that a worker's owner lets measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbesSpec {
    /// In the order of the file; no two have the same name.
    pub probes: Vec<ExternalProbe>,
}

/// A program that measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalProbe {
    /// What experiments call it.
    pub name: String,
    /// The program and its arguments; at least the program. Relative paths start at the file's folder.
    pub command: Vec<String>,
    /// Variables that it finds beside those of the worker.
    pub environment: BTreeMap<String, String>,
    /// How long it may take until it says that it is ready.
    pub start_limit: Duration,
    /// How long it may take to answer a request, if that asks for no more.
    pub time_limit: Duration,
}
