//! What workers offer.

use std::collections::BTreeMap;

use crate::device::{Device, DeviceKind, Offer, ProbeOffer, Requirements, Share, Unmet};
use crate::trial::Numerics;

use super::WorkerId;
use crate::state::occupancy::Place;
use crate::state::pace::WorkerClass;

/// What a worker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its name.
    pub id: WorkerId,
    /// Host it runs on, for people.
    pub host: String,
    /// Its machine: the same for all workers on one kernel, whatever they call their host, and no other machine's.
    pub machine: String,
    /// The device it measures on.
    pub device: Device,
    /// Its part of the device.
    pub share: Share,
    /// What its owner calls it.
    pub labels: BTreeMap<String, String>,
    /// What it can measure devices with, each of its own name.
    pub probes: Vec<ProbeOffer>,
    /// Threads it evaluates with.
    pub threads: u32,
    /// Whether it cannot measure with exact arithmetic.
    pub float_only: bool,
}

impl WorkerInfo {
    /// Workers like it.
    pub fn class(&self) -> WorkerClass {
        WorkerClass { device: self.device.class.clone(), threads: self.threads }
    }

    /// Why it cannot measure what has these requirements and this arithmetic; none if it can.
    pub fn unmet(&self, requirements: &Requirements, numerics: Numerics) -> Option<Unmet> {
        if numerics == Numerics::Exact && self.float_only {
            return Some(Unmet::ExactArithmetic);
        }
        requirements.unmet(&Offer {
            device: &self.device,
            share: self.share,
            labels: &self.labels,
            probes: &self.probes,
        })
    }

    /// The device of the probe that it would measure with under these requirements, if it is not its own.
    pub(in crate::state) fn probed(&self, requirements: &Requirements) -> Option<Place> {
        let need = requirements.probe.as_ref()?;
        let offer = self.probes.iter().find(|offer| need.is_met(offer))?;
        let place = Place::of_probe(offer.device.as_deref(), self);
        (place != Place::of(self)).then_some(place)
    }

    /// The device it measures on. A GPU has its id wherever it is seen; processors have theirs on one machine.
    pub(in crate::state) fn place(&self) -> (&str, &str) {
        match self.device.kind {
            DeviceKind::Cpu => (&self.machine, &self.device.id),
            DeviceKind::Cuda => ("", &self.device.id),
        }
    }
}
