//! What a worker and a probe say to each other: a line of JSON each, over the probe's standard input and output.
//!
//! A probe is a process of its own, so that one that hangs or dies costs its trial alone. It says [`Hello`] when it is ready, and
//! then answers one [`Request`] after another, each by one [`Answer`] with the request's number. Files named in requests are the
//! probe's to read until it has answered. Standard error is for people. A probe ends when its standard input does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bitloop_core::probe::{Environment, Patience};
use bitloop_quant::export::CodeTypes;
use serde::{Deserialize, Serialize};

/// Version of the protocol; a probe that speaks another one is refused.
pub const PROTOCOL: u32 = 1;

/// What a probe can do beside timing whole networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    /// Says how long each layer takes within the network ([`Ask::Layers`]).
    Layers,
    /// Gives what the network computes ([`Ask::Infer`]).
    Infer,
}

/// The first line of a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Class of the device that it measures on, such as a processor's model. Times of one class and runtime are compared with each other.
    pub class: String,
    /// Name of the one device, if it is not the processor of the worker's machine: no two probes of a coordinator's workers use it at
    /// a time. A GPU is one device however its UUID is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What executes networks, with version and settings, such as `onnxruntime 1.32.0 CPUExecutionProvider`.
    pub runtime: String,
    /// Whether it reads ONNX files; otherwise it is given prepared networks alone.
    #[serde(default)]
    pub onnx: bool,
    /// In which integers it wants codes in these files.
    #[serde(default, skip_serializing_if = "is_native")]
    pub codes: CodeTypes,
    /// What else it can do.
    #[serde(default)]
    pub abilities: Vec<Ability>,
}

impl Hello {
    /// What must be the same where times are put beside each other: the device, and what executes networks there.
    pub fn device_class(&self) -> String {
        format!("{}, {}", self.class, self.runtime)
    }
}

/// The name by which workers know a GPU, or a part of one, of which this is the name that NVIDIA's tools have for it, as
/// `nvidia-smi -L` shows them; any other name as it is.
pub(crate) fn device_name(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let Some((kind @ ("gpu" | "mig"), rest)) = lower.split_once('-') else { return name.to_owned() };
    let digits = rest.replace('-', "");
    let is_uuid = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    match (is_uuid, kind) {
        (true, _) => format!("gpu-{digits}"),
        // Old drivers name a part by the whole's UUID and two numbers.
        (false, "mig") => lower,
        (false, _) => name.to_owned(),
    }
}

fn is_native(codes: &CodeTypes) -> bool {
    *codes == CodeTypes::Native
}

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Named by the answer.
    pub id: u64,
    /// What is wanted.
    pub ask: Ask,
}

/// What is wanted of a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Times of a whole network beside those of its baseline.
    Time {
        /// What is measured.
        config: Box<Network>,
        /// What it is measured beside, in turns.
        baseline: Box<Network>,
        /// How an inference is made.
        setting: Setting,
        /// How long and how closely.
        patience: Patience,
    },
    /// Times of each layer within a network.
    Layers {
        /// What is measured.
        config: Box<Network>,
        /// How an inference is made.
        setting: Setting,
        /// How long and how closely.
        patience: Patience,
    },
    /// What a network computes.
    Infer {
        /// What computes.
        config: Box<Network>,
        /// What it is given: `(count, channels, height, width)` values of the network's input, normalized, f32, little-endian.
        images: PathBuf,
        /// How many images there are.
        count: u64,
        /// Nodes whose outputs are wanted beside the logits.
        nodes: Vec<String>,
        /// Where outputs go: f32, little-endian, `(count, elements)` of the logits, then of each of the nodes in their order.
        output: PathBuf,
    },
}

/// A network at chosen widths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// A prepared network, as prepare trials leave it; none of a network that was trained with its quantizers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<PathBuf>,
    /// The same with quantizers in place as an ONNX file; only for probes that read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onnx: Option<PathBuf>,
    /// The width of each point; none where it stays float.
    pub bits: BTreeMap<String, Option<u32>>,
}

/// How an inference is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Images of an inference.
    pub batch: u32,
    /// Threads that compute it.
    pub threads: u32,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Of the request.
    pub id: u64,
    /// What came of it.
    pub reply: Reply,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// To [`Ask::Time`].
    Timed(Box<Timed>),
    /// To [`Ask::Layers`]: nanoseconds of an inference that each node of the network took, a value for each repetition; a node
    /// that is part of another one's kernel is left out.
    Layers {
        /// By node.
        nodes: BTreeMap<String, Vec<f64>>,
        /// What belongs to no node, such as conversions between types.
        other: Vec<f64>,
        /// Whole inferences, as they were timed meanwhile.
        whole: Vec<f64>,
        /// What the device was like.
        environment: Box<Environment>,
    },
    /// To [`Ask::Infer`]: the file is written.
    Inferred,
    /// The network cannot be measured on any device of this kind.
    Failed {
        /// Why, for people.
        reason: String,
    },
    /// The device cannot be used now.
    Unable {
        /// Why, for people.
        reason: String,
    },
}

/// Times of a network and its baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    /// Nanoseconds of an inference in each round, config and baseline, in the order of time, without the warm-up.
    pub rounds: Vec<[f64; 2]>,
    /// The most memory that the process had while it held and executed the config alone, less what it had without any network,
    /// in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// What inferences took from the supply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<EnergyReading>,
    /// What the device was like.
    #[serde(default)]
    pub environment: Environment,
}

/// Energy as a counter says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnergyReading {
    /// Which counter, such as `rapl package-0`.
    pub source: String,
    /// Joules of an inference in several stretches of time, config and baseline.
    pub joules: Vec<[f64; 2]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_has_the_name_that_its_workers_have_for_it_however_it_is_written() {
        let known = "gpu-0123456789abcdef0123456789abcdef";
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";

        for written in [format!("GPU-{uuid}"), format!("gpu-{}", uuid.to_ascii_uppercase()), known.to_owned()]
        {
            assert_eq!(device_name(&written), known, "{written}");
        }
        assert_eq!(device_name(&format!("MIG-{uuid}")), known, "as CUDA names a part");
        assert_eq!(device_name("MIG-GPU-01234567/7/0"), "mig-gpu-01234567/7/0");
        for other in ["cpu", "pi5-kitchen", "GPU-1", "GPU-0123", "Orin 1", "gpu"] {
            assert_eq!(device_name(other), other);
        }
    }
}
