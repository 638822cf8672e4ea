use std::collections::BTreeSet;

use crate::state::{Experiment, Ledger, TrialState};
use crate::trial::{Outcome, ProbeSpec, ProbeTarget, Reading, TrialKey, TrialResult, TrialSpec};

/// A trial on a device and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Probed<'a> {
    /// Index of the stage that asked.
    pub stage: u32,
    /// Its key.
    pub key: &'a TrialKey,
    /// What was asked.
    pub spec: &'a ProbeSpec,
    /// What came of it; none of one that is open or lost.
    pub outcome: Option<&'a Outcome>,
    /// Whether nothing more will come of it.
    pub is_settled: bool,
}

impl<'a> Probed<'a> {
    /// All trials of an experiment on a device, each once, in the order of stages: the one that surveys it comes before those
    /// that search within limits on it.
    pub fn all(ledger: &'a Ledger, experiment: &'a Experiment, target: &ProbeTarget) -> Vec<Self> {
        let stages = (0_u32..).zip(&experiment.stages);
        let keys = stages.flat_map(|(stage, progress)| progress.trials.iter().map(move |key| (stage, key)));
        let mut seen = BTreeSet::new();
        let keys = keys.filter(|(_, key)| seen.insert(*key));
        let probed = keys.filter_map(|(stage, key)| {
            let trial = ledger.trial(key)?;
            let is_settled = !matches!(experiment.came_of(trial), TrialState::Open);
            match &trial.spec {
                TrialSpec::Probe(spec) if spec.target.is_on(target) => {
                    let outcome = ledger.outcome_for(experiment, key);
                    Some(Self { stage, key, spec, outcome, is_settled })
                }
                TrialSpec::Probe(_)
                | TrialSpec::Prepare(_)
                | TrialSpec::Evaluate { .. }
                | TrialSpec::Train(_) => None,
            }
        });
        probed.collect()
    }
}

/// The counter that told the energy of a network in stages before one, as a search in that stage has it; none if no energy was
/// measured.
pub fn counter_before<'a>(probed: &[Probed<'a>], stage: u32) -> Option<&'a str> {
    let counter = |probed: &Probed<'a>| match &probed.outcome?.result {
        TrialResult::Measured(measured) => match &measured.reading {
            Reading::Whole { energy, .. } => energy.as_ref().map(|energy| energy.source.as_str()),
            Reading::Layers { .. } | Reading::Fidelity(_) => None,
        },
        TrialResult::Failed { .. }
        | TrialResult::Prepared { .. }
        | TrialResult::Evaluated(_)
        | TrialResult::Trained(_) => None,
    };
    probed.iter().filter(|probed| probed.stage < stage).find_map(counter)
}

/// Where energies are from that a search in a stage goes by: the counter's name, or [`ENERGY_MODEL`] where none was readable.
pub fn energy_source(probed: &[Probed<'_>], stage: u32) -> String {
    counter_before(probed, stage).unwrap_or(ENERGY_MODEL).to_owned()
}

/// What stands in a counter's place where the energy model says an energy.
pub const ENERGY_MODEL: &str = "model";
