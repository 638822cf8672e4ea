use std::collections::BTreeMap;

use super::{Probed, Quantity, Usual};
use crate::bits::{BitConfig, Choice};
use crate::probe::{Environment, Estimate, Session, Unsteady, merged};
use crate::trial::{Energy, Outcome, ProbeSpec, ProbeSubject, Reading, TrialResult};

/// What a network's layers took in one repetition, in nanoseconds of an inference.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerReadings {
    /// By node.
    pub nodes: BTreeMap<String, Estimate>,
    /// What belongs to no node.
    pub other: Estimate,
    /// Inferences that were not taken apart, meanwhile.
    pub whole: Estimate,
    /// Why this is not to be relied on, if so.
    pub unsteady: Option<Unsteady>,
}

/// All that was measured of one network on one class of device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkReadings {
    /// Whole inferences, one session per repetition, with how many measurements of the device were proposed before.
    pub sessions: Vec<(usize, Session)>,
    /// Peak memory in bytes, per repetition that has it.
    pub peak_memory_bytes: Vec<u64>,
    /// Energy, per repetition that has it.
    pub energy: Vec<Energy>,
    /// What its layers took, per repetition.
    pub layers: Vec<LayerReadings>,
    /// Why whole inferences could not be measured.
    pub failed: Vec<String>,
    /// Why layers could not be measured.
    pub layers_failed: Vec<String>,
    /// Repetitions of whole inferences that are settled, the lost ones counted.
    pub settled: u32,
}

impl NetworkReadings {
    /// Its time as a part of the baseline's, from turns with it; none if there were none.
    pub fn ratio(&self) -> Option<Estimate> {
        merged(&self.relied_on().map(|(_, session)| session.ratio).collect::<Vec<_>>())
            .map(Estimate::not_negative)
    }

    /// What it took in its own repetitions, in the quantity's unit; none if there are none.
    pub fn by_itself(&self, quantity: Quantity) -> Option<Estimate> {
        let sessions: Vec<Estimate> = match quantity {
            Quantity::Latency => self.relied_on().map(|(_, session)| session.config).collect(),
            Quantity::Energy => self.energy.iter().map(|energy| energy.config).collect(),
            Quantity::PeakMemory => {
                self.peak_memory_bytes.iter().map(|bytes| Estimate::exactly(*bytes as f64)).collect()
            }
        };
        merged(&sessions).map(Estimate::not_negative)
    }

    /// What speaks against the repetitions that count: nothing if any was steady.
    pub fn reasons(&self) -> Vec<Unsteady> {
        self.relied_on().filter_map(|(_, session)| session.unsteady).collect()
    }

    /// The repetitions of its layers that count: as [`Self::relied_on`].
    pub fn layers_relied_on(&self) -> impl Iterator<Item = &LayerReadings> {
        let has_steady = self.layers.iter().any(|layers| layers.unsteady.is_none());
        self.layers.iter().filter(move |layers| !has_steady || layers.unsteady.is_none())
    }

    /// The repetitions that count: the steady ones, or all where none was steady.
    pub fn relied_on(&self) -> impl Iterator<Item = &(usize, Session)> {
        let has_steady = self.sessions.iter().any(|(_, session)| session.unsteady.is_none());
        self.sessions.iter().filter(move |(_, session)| !has_steady || session.unsteady.is_none())
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
    /// What the device is usually like; none while nothing was measured whole.
    pub usual: Option<Usual>,
}

impl Readings {
    /// Gathers what came of trials in their order, the survey first: its device's class is that of all others. What was
    /// measured on another class, or of what the device computes, is left out. A trial without an outcome was lost, and one that
    /// was given up counts as failed, whoever gave it up.
    pub fn of(trials: &[Probed<'_>]) -> Self {
        let mut readings = Self::default();
        for Probed { spec, outcome, .. } in trials.iter().filter(|probed| probed.is_settled).copied() {
            // Whoever gives a trial up names the worker's device, not the probe's.
            let on_device = outcome.filter(|outcome| !outcome.is_given_up());
            if let Some(outcome) = on_device {
                readings.class.get_or_insert_with(|| outcome.provenance.device.clone());
            }
            let is_class =
                on_device.is_none_or(|outcome| readings.class.as_ref() == Some(&outcome.provenance.device));
            if is_class {
                readings.add(spec, outcome);
            }
        }
        readings.compare();
        readings
    }

    /// Finds out what the device is usually like from all that is known of it.
    pub(super) fn compare(&mut self) {
        self.usual = Usual::of(self);
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
                let before = self.environments.len();
                self.environments.push(measured.environment.clone());
                self.runtime.get_or_insert_with(|| outcome.provenance.kernels.clone());
                match &measured.reading {
                    Reading::Whole { session, peak_memory_bytes, energy } => {
                        network.sessions.push((before, session.clone()));
                        network.peak_memory_bytes.extend(peak_memory_bytes);
                        network.energy.extend(energy.clone());
                    }
                    Reading::Layers { nodes, other, whole, unsteady } => network.layers.push(LayerReadings {
                        nodes: nodes.clone(),
                        other: *other,
                        whole: *whole,
                        unsteady: *unsteady,
                    }),
                    Reading::Fidelity(_) => {}
                }
            }
            TrialResult::Prepared { .. } | TrialResult::Evaluated(_) | TrialResult::Trained(_) => {}
        }
    }

    /// What a network takes, in the quantity's unit, with an interval for the same measurement once more, at another time; none if
    /// that is not known.
    pub fn estimate(&self, config: &BitConfig, quantity: Quantity) -> Option<Estimate> {
        let network = self.networks.get(config)?;
        match quantity {
            Quantity::Latency => self.usual?.time(network),
            Quantity::Energy | Quantity::PeakMemory => network.by_itself(quantity),
        }
    }

    /// The same with an interval for comparisons with other networks of the device: what all of them suffer from is not in it.
    pub(super) fn beside_others(&self, config: &BitConfig, quantity: Quantity) -> Option<Estimate> {
        let network = self.networks.get(config)?;
        match quantity {
            Quantity::Latency => self.usual?.beside_others(network),
            Quantity::Energy | Quantity::PeakMemory => network.by_itself(quantity),
        }
    }

    /// Why what was measured of a network is not to be relied on: no repetition was steady, the interval is too wide, or the device's
    /// frequency moved. Empty if it is, or nothing was measured.
    pub fn unsteady(&self, config: &BitConfig) -> Vec<Unsteady> {
        let Some(network) = self.networks.get(config) else { return Vec::new() };
        let reasons = network.reasons();
        if !reasons.is_empty() {
            return reasons;
        }
        let clock = self.usual.filter(|_| !network.sessions.is_empty()).and_then(|usual| usual.clock);
        self.if_wide(config).into_iter().chain(Unsteady::if_restless(clock)).collect()
    }

    fn if_wide(&self, config: &BitConfig) -> Option<Unsteady> {
        self.estimate(config, Quantity::Latency).and_then(Unsteady::if_wide)
    }

    /// Whether another repetition of a network may say more: up to twice as many as were asked for, unless one failed, which
    /// costs the device its time and says nothing new, or repetitions are steady and it is the device's level that moves.
    pub fn is_worth_repeating(&self, config: &BitConfig, repetitions: u32) -> bool {
        let moves_too_far = self.usual.is_none_or(|usual| usual.moves_too_far());
        let may_narrow = || !moves_too_far && self.if_wide(config).is_some();
        self.networks.get(config).is_some_and(|network| {
            let may_be = network.failed.is_empty() && network.settled < 2 * repetitions;
            may_be && (!network.reasons().is_empty() || may_narrow())
        })
    }

    /// The next repetition of a network: as many as were settled, but for the survey, which measured the baseline besides.
    pub fn next_repetition(&self, config: &BitConfig) -> u32 {
        let settled = self.networks.get(config).map_or(0, |network| network.settled);
        settled.saturating_sub(u32::from(*config == BitConfig::baseline()))
    }

    /// The networks that have quantizers everywhere and were measured whole, as they compare with one another.
    pub fn quantized(&self, quantity: Quantity) -> Vec<(&BitConfig, Estimate)> {
        let quantized = self.networks.iter().filter(|(config, _)| is_quantized(config));
        quantized.filter_map(|(config, _)| Some((config, self.beside_others(config, quantity)?))).collect()
    }

    /// Whether no layers were measured anywhere though they were asked for.
    pub fn has_no_layers(&self) -> bool {
        let all = || self.networks.values();
        all().all(|network| network.layers.is_empty())
            && all().any(|network| !network.layers_failed.is_empty())
    }
}

/// Whether all points of a config have widths.
pub(crate) fn is_quantized(config: &BitConfig) -> bool {
    config.changes().all(|(_, choice)| match choice {
        Choice::Bits(_) => true,
        Choice::Float => false,
    })
}
