use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::state::{Experiment, Ledger};
use crate::trial::{Outcome, TrialResult, Work};

/// What an experiment's measurements took, and with what they were made.
///
/// Unlike a [`super::Report`] it depends on which trials a worker was given together, and so on the cluster and on chance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// Multiply-adds of all evaluations.
    pub work: Work,
    /// Who measured, most trials first.
    pub measured: Vec<MeasuredBy>,
}

/// Trials that were measured by the same program with the same kernels on the same class of device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredBy {
    /// Program and version; empty if an older coordinator leaves it out.
    #[serde(default)]
    pub engine: String,
    /// Which kernels ran.
    pub kernels: String,
    /// Class of the device.
    pub device: String,
    /// How many trials.
    pub trials: u64,
}

impl Effort {
    /// Adds up what the ledger knows of an experiment's evaluations.
    pub fn new(ledger: &Ledger, experiment: &Experiment) -> Self {
        let keys = experiment.stages.iter().flat_map(|stage| &stage.trials);
        let outcomes = keys.filter_map(|key| ledger.outcome_for(experiment, key));
        let mut work = Work::default();
        let mut trials: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
        for Outcome { result, provenance, work: own } in outcomes {
            if let TrialResult::Evaluated(_) | TrialResult::Trained(_) = result {
                work.add(*own);
                let by =
                    (provenance.engine.as_str(), provenance.kernels.as_str(), provenance.device.as_str());
                *trials.entry(by).or_default() += 1;
            }
        }
        let measured = trials.into_iter().map(|((engine, kernels, device), trials)| MeasuredBy {
            engine: engine.to_owned(),
            kernels: kernels.to_owned(),
            device: device.to_owned(),
            trials,
        });
        let mut measured: Vec<MeasuredBy> = measured.collect();
        measured.sort_by_key(|by| std::cmp::Reverse(by.trials));
        Self { work, measured }
    }
}
