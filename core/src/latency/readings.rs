use std::collections::BTreeMap;

use super::{Probed, Quantity};
use crate::bits::{BitConfig, Choice};
use crate::probe::{Environment, Estimate, Session, Unsteady, merged};
use crate::trial::{Energy, Outcome, ProbeSpec, ProbeSubject, Reading, TrialResult};

/// All that was measured of one network on one class of device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkReadings {
    /// Whole inferences, one session per repetition.
    pub sessions: Vec<Session>,
    /// Peak memory in bytes, per repetition that has it.
    pub peak_memory_bytes: Vec<u64>,
    /// Energy, per repetition that has it.
    pub energy: Vec<Energy>,
    /// What each node took, per repetition.
    pub layers: Vec<BTreeMap<String, Estimate>>,
    /// What belongs to no node, per repetition.
    pub other: Vec<Estimate>,
    /// Why whole inferences could not be measured.
    pub failed: Vec<String>,
    /// Why layers could not be measured.
    pub layers_failed: Vec<String>,
    /// Repetitions of whole inferences that are settled, the lost ones counted.
    pub settled: u32,
}

impl NetworkReadings {
    /// Of all repetitions together, in the quantity's unit; none if there are none.
    pub fn estimate(&self, quantity: Quantity) -> Option<Estimate> {
        match quantity {
            Quantity::Latency => {
                let times: Vec<Estimate> = self.sessions.iter().map(|session| session.config).collect();
                merged(&times)
            }
            Quantity::Energy => {
                let energies: Vec<Estimate> = self.energy.iter().map(|energy| energy.config).collect();
                merged(&energies)
            }
            Quantity::PeakMemory => {
                let exact =
                    |bytes: &u64| Estimate { median: *bytes as f64, low: *bytes as f64, high: *bytes as f64 };
                merged(&self.peak_memory_bytes.iter().map(exact).collect::<Vec<_>>())
            }
        }
    }

    /// Its time as a part of the baseline's.
    pub fn ratio(&self) -> Option<Estimate> {
        merged(&self.sessions.iter().map(|session| session.ratio).collect::<Vec<_>>())
    }

    /// Why repetitions are not to be relied on.
    pub fn unsteady(&self) -> Vec<Unsteady> {
        self.sessions.iter().filter_map(|session| session.unsteady).collect()
    }
}

/// What a probe found on one class of device, by network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// The class; none while nothing has come.
    pub class: Option<String>,
    /// What executes networks there.
    pub runtime: Option<String>,
    /// By network. The float network is among them.
    pub networks: BTreeMap<BitConfig, NetworkReadings>,
    /// What the device was like, per measurement.
    pub environments: Vec<Environment>,
}

impl Readings {
    /// Gathers what came of trials in their order, the survey first: its device's class is that of all others. What was
    /// measured on another class, or of what the device computes, is left out. A trial without an outcome was lost.
    pub fn of(trials: &[Probed<'_>]) -> Self {
        let mut readings = Self::default();
        for Probed { spec, outcome, .. } in trials.iter().filter(|probed| probed.is_settled).copied() {
            if let Some(outcome) = outcome {
                readings.class.get_or_insert_with(|| outcome.provenance.device.clone());
            }
            let is_class =
                outcome.is_none_or(|outcome| readings.class.as_ref() == Some(&outcome.provenance.device));
            if is_class {
                readings.add(spec, outcome);
            }
        }
        readings
    }

    fn add(&mut self, spec: &ProbeSpec, outcome: Option<&Outcome>) {
        let is_whole = match spec.subject {
            ProbeSubject::Whole => true,
            ProbeSubject::Layers => false,
            ProbeSubject::Fidelity { .. } => return,
        };
        let network = self.networks.entry(spec.config.clone()).or_default();
        network.settled += u32::from(is_whole);
        let failed = if is_whole { &mut network.failed } else { &mut network.layers_failed };
        let Some(outcome) = outcome else {
            failed.push("every worker that measured it was lost".to_owned());
            return;
        };
        match &outcome.result {
            TrialResult::Failed { reason } => failed.push(reason.clone()),
            TrialResult::Measured(measured) => {
                self.environments.push(measured.environment.clone());
                self.runtime.get_or_insert_with(|| outcome.provenance.kernels.clone());
                match &measured.reading {
                    Reading::Whole { session, peak_memory_bytes, energy } => {
                        network.sessions.push(session.clone());
                        network.peak_memory_bytes.extend(peak_memory_bytes);
                        network.energy.extend(energy.clone());
                    }
                    Reading::Layers { nodes, other, .. } => {
                        network.layers.push(nodes.clone());
                        network.other.push(*other);
                    }
                    Reading::Fidelity(_) => {}
                }
            }
            TrialResult::Prepared { .. } | TrialResult::Evaluated(_) | TrialResult::Trained(_) => {}
        }
    }

    /// Of a network, if it was measured whole.
    pub fn whole(&self, config: &BitConfig, quantity: Quantity) -> Option<Estimate> {
        self.networks.get(config)?.estimate(quantity)
    }

    /// The networks that have quantizers everywhere and were measured whole.
    pub fn quantized(&self, quantity: Quantity) -> Vec<(&BitConfig, Estimate)> {
        let is_quantized = |config: &BitConfig| {
            config.changes().all(|(_, choice)| match choice {
                Choice::Bits(_) => true,
                Choice::Float => false,
            })
        };
        let quantized = self.networks.iter().filter(|(config, _)| is_quantized(config));
        quantized.filter_map(|(config, network)| Some((config, network.estimate(quantity)?))).collect()
    }

    /// Whether no layers were measured anywhere though they were asked for.
    pub fn has_no_layers(&self) -> bool {
        let all = || self.networks.values();
        all().all(|network| network.layers.is_empty())
            && all().any(|network| !network.layers_failed.is_empty())
    }
}
