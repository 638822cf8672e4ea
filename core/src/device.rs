//! What workers measure on, and what trials ask of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of device a worker measures on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// The host's processor.
    #[default]
    Cpu,
    /// A GPU that speaks CUDA.
    Cuda,
}

impl DeviceKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Cuda];

    /// The word used in experiment files and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A GPU's version of the CUDA instruction set, such as 9.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComputeCapability {
    /// Before the point.
    pub major: u32,
    /// Behind the point.
    pub minor: u32,
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The device that a worker measures on, as it found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its kind.
    pub kind: DeviceKind,
    /// Its name, the same for all workers on it: `cpu` on every machine, or a GPU's UUID, which no other GPU has.
    pub id: String,
    /// Its class, such as the processor's model; results of one class are compared with each other.
    pub class: String,
    /// Physical cores of a processor; multiprocessors of a GPU. 0 if nobody knows.
    pub cores: u32,
    /// Its memory in bytes; 0 if nobody knows.
    pub memory_bytes: u64,
    /// What a processor can do beyond its architecture's base, such as `avx512f`, ascending.
    pub features: Vec<String>,
    /// Of a GPU.
    pub compute_capability: Option<ComputeCapability>,
}

/// A part of a device, in ten-thousandths: integers, so that parts add up exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// Nothing: a processor's time is shared out by the system, however many ask for it.
    pub const NONE: Self = Self(0);

    /// All of it.
    pub const WHOLE: Self = Self(10_000);

    /// Checks a share.
    ///
    /// Errors: `UnsupportedShare` above 10 000.
    pub fn new(ten_thousandths: u32) -> Result<Self, UnsupportedShare> {
        let share = u16::try_from(ten_thousandths).ok().filter(|share| *share <= Self::WHOLE.0);
        share.map(Self).ok_or(UnsupportedShare(ten_thousandths))
    }

    /// The share as a number.
    pub fn ten_thousandths(self) -> u32 {
        u32::from(self.0)
    }

    /// So much of an amount, rounded down.
    pub fn of(self, amount: u64) -> u64 {
        (u128::from(amount) * u128::from(self.0) / u128::from(Self::WHOLE.0)) as u64
    }
}

/// No part of a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no share of a device; write 1 to 10000 ten-thousandths")]
pub struct UnsupportedShare(pub u32);

/// What a stage asks of the workers that measure its trials. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirements {
    /// The kind of device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceKind>,
    /// The least memory of a GPU, of the part that the worker has, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
    /// Labels that the worker has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Whether nobody else may measure on the device meanwhile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// What the worker must be able to measure with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeNeed>,
}

/// A probe that trials need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeNeed {
    /// Its name.
    pub name: String,
    /// The class of device that it measures on; any without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// A probe that a worker has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeOffer {
    /// Its name.
    pub name: String,
    /// The class of device that it measures on.
    pub class: String,
    /// The name of the one device, a GPU's UUID if it is one; the processor of the worker's machine without one. Nobody else
    /// measures on it meanwhile, at whichever worker.
    pub device: Option<String>,
    /// What executes networks there.
    pub runtime: String,
}

impl Requirements {
    /// Any worker will do.
    pub const NONE: Self =
        Self { device: None, gpu_memory_bytes: None, labels: BTreeMap::new(), exclusive: false, probe: None };

    /// Whether any worker will do.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// What `offer` lacks, the first thing found; none if it has everything.
    pub fn unmet(&self, offer: &Offer<'_>) -> Option<Unmet> {
        let device = offer.device;
        let memory = offer.share_memory();
        if let Some(wanted) = self.device.filter(|wanted| *wanted != device.kind) {
            return Some(Unmet::Device { wanted, found: device.kind });
        }
        match self.gpu_memory_bytes {
            Some(wanted) if device.kind != DeviceKind::Cuda || memory < wanted => {
                let found = if device.kind == DeviceKind::Cuda { memory } else { 0 };
                return Some(Unmet::GpuMemory { wanted, found });
            }
            Some(_) | None => {}
        }
        if let Some(unmet) = self.probe.as_ref().and_then(|need| need.unmet(offer.probes)) {
            return Some(unmet);
        }
        let lacking = self.labels.iter().find(|(key, value)| offer.labels.get(*key) != Some(*value));
        lacking.map(|(key, wanted)| Unmet::Label {
            key: key.clone(),
            wanted: wanted.clone(),
            found: offer.labels.get(key).cloned(),
        })
    }
}

impl ProbeNeed {
    /// Whether a probe is the one that is needed.
    pub fn is_met(&self, offer: &ProbeOffer) -> bool {
        offer.name == self.name && self.class.as_ref().is_none_or(|class| *class == offer.class)
    }

    fn unmet(&self, offers: &[ProbeOffer]) -> Option<Unmet> {
        if offers.iter().any(|offer| self.is_met(offer)) {
            return None;
        }
        let found = offers.iter().find(|offer| offer.name == self.name).map(|offer| offer.class.clone());
        Some(match (found, &self.class) {
            (Some(found), Some(wanted)) => {
                Unmet::ProbeClass { probe: self.name.clone(), wanted: wanted.clone(), found }
            }
            (None, _) | (Some(_), None) => Unmet::Probe(self.name.clone()),
        })
    }
}

impl fmt::Display for ProbeNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "probe {}", self.name)?;
        self.class.as_ref().map_or(Ok(()), |class| write!(f, " on {class}"))
    }
}

impl fmt::Display for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.device.map(|kind| format!("device {kind}")));
        parts.extend(self.gpu_memory_bytes.map(|bytes| format!("{} of GPU memory", in_gib(bytes))));
        parts.extend(self.probe.iter().map(ToString::to_string));
        parts.extend(self.labels.iter().map(|(key, value)| format!("label {key}={value}")));
        if self.exclusive {
            parts.push("the device to itself".to_owned());
        }
        match parts.is_empty() {
            true => f.write_str("any worker"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

/// What a worker offers to trials.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Its device.
    pub device: &'a Device,
    /// Its part of the device; [`Share::NONE`] is a part without bounds.
    pub share: Share,
    /// What its owner calls it.
    pub labels: &'a BTreeMap<String, String>,
    /// What it can measure with.
    pub probes: &'a [ProbeOffer],
}

impl Offer<'_> {
    /// The memory of the part of the device that the worker has, in bytes.
    pub fn share_memory(&self) -> u64 {
        match self.share {
            Share::NONE => self.device.memory_bytes,
            share => share.of(self.device.memory_bytes),
        }
    }
}

/// Why a worker cannot measure a trial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unmet {
    /// Another kind of device is required.
    Device {
        /// What is required.
        wanted: DeviceKind,
        /// What the worker has.
        found: DeviceKind,
    },
    /// The GPU is too small, or there is none.
    GpuMemory {
        /// Bytes required.
        wanted: u64,
        /// Bytes of the worker's part.
        found: u64,
    },
    /// A label is missing or different.
    Label {
        /// Which.
        key: String,
        /// Its required value.
        wanted: String,
        /// The worker's value.
        found: Option<String>,
    },
    /// Exact arithmetic is required.
    ExactArithmetic,
    /// It has no such probe.
    Probe(String),
    /// Its probe measures on another class of device.
    ProbeClass {
        /// The probe.
        probe: String,
        /// The class required.
        wanted: String,
        /// The worker's.
        found: String,
    },
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device { wanted, found } => write!(f, "requires device {wanted}, has {found}"),
            Self::GpuMemory { wanted, found: 0 } => {
                write!(f, "requires {} of GPU memory, has no GPU memory", in_gib(*wanted))
            }
            Self::GpuMemory { wanted, found } => {
                write!(f, "requires {} of GPU memory, has {}", in_gib(*wanted), in_gib(*found))
            }
            Self::Label { key, wanted, found: Some(found) } => {
                write!(f, "requires label {key}={wanted}, has {key}={found}")
            }
            Self::Label { key, wanted, found: None } => write!(f, "requires label {key}={wanted}, has none"),
            Self::Probe(probe) => write!(f, "requires probe {probe}, has none of that name"),
            Self::ProbeClass { probe, wanted, found } => {
                write!(f, "requires probe {probe} on `{wanted}`, has it on `{found}`")
            }
            Self::ExactArithmetic => f.write_str("requires exact arithmetic, which its device does not have"),
        }
    }
}

fn in_gib(bytes: u64) -> String {
    const GIB: f64 = (1_u64 << 30) as f64;
    let gib = format!("{:.2}", bytes as f64 / GIB);
    format!("{} GiB", gib.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(memory_bytes: u64) -> Device {
        Device { kind: DeviceKind::Cuda, memory_bytes, ..Device::default() }
    }

    fn labelled(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_not_asked_for_is_not_looked_at() {
        let (device, labels) = (gpu(0), labelled(&[]));
        let offer = Offer { device: &device, share: Share::NONE, labels: &labels, probes: &[] };

        assert_eq!(Requirements::default().unmet(&offer), None);
    }

    #[test]
    fn a_share_of_a_gpu_has_that_share_of_its_memory() {
        let (device, labels) = (gpu(16 << 30), labelled(&[]));
        let half = Offer { device: &device, share: Share::new(5_000).unwrap(), labels: &labels, probes: &[] };
        let asks = |gib: u64| Requirements { gpu_memory_bytes: Some(gib << 30), ..Requirements::default() };

        assert_eq!(asks(8).unmet(&half), None);
        let unmet = asks(9).unmet(&half).unwrap();
        assert_eq!(unmet.to_string(), "requires 9 GiB of GPU memory, has 8 GiB");
    }

    #[test]
    fn a_processors_memory_is_no_gpu_memory() {
        let device = Device { memory_bytes: 64 << 30, ..Device::default() };
        let offer = Offer { device: &device, share: Share::NONE, labels: &labelled(&[]), probes: &[] };
        let asks = Requirements { gpu_memory_bytes: Some(1 << 30), ..Requirements::default() };

        assert!(matches!(asks.unmet(&offer), Some(Unmet::GpuMemory { found: 0, .. })));
    }

    #[test]
    fn a_label_must_have_the_value_asked_for() {
        let asks = Requirements { labels: labelled(&[("board", "orin")]), ..Requirements::default() };
        let unmet = |pairs: &[(&str, &str)]| {
            let (device, labels) = (Device::default(), labelled(pairs));
            asks.unmet(&Offer { device: &device, share: Share::NONE, labels: &labels, probes: &[] })
        };

        assert_eq!(unmet(&[("board", "orin"), ("rack", "2")]), None);
        assert_eq!(unmet(&[("board", "pi")]).unwrap().to_string(), "requires label board=orin, has board=pi");
        assert_eq!(unmet(&[]).unwrap().to_string(), "requires label board=orin, has none");
    }

    #[test]
    fn shares_above_the_whole_are_refused() {
        assert_eq!(Share::new(10_000), Ok(Share::WHOLE));
        assert_eq!(Share::new(10_001), Err(UnsupportedShare(10_001)));
        assert_eq!(Share::new(3_333).unwrap().of(30_000), 9_999);
    }
}
