//! What a search that trains measured on a device, where that says sizes.

use serde::{Deserialize, Serialize};

use super::EnvironmentSummary;
use crate::autoqkeras::{MeasuredCost, MeasuredGoal, Purpose};
use crate::latency::{NetworkReadings, Probed, Readings};
use crate::probe::Estimate;
use crate::state::{Experiment, Ledger, StageProgress};
use crate::trial::{ProbeSetting, ProbeTarget};

/// A device that said the sizes of a search's networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchedDevice {
    /// With what was measured, and where.
    pub target: ProbeTarget,
    /// The class of device; none before it is known.
    pub class: Option<String>,
    /// What executes networks there.
    pub runtime: Option<String>,
    /// What counts.
    pub cost: MeasuredCost,
    /// How it is measured.
    pub setting: ProbeSetting,
    /// How often each network is measured.
    pub repetitions: u32,
    /// Networks that were measured for the search, the float one among them.
    pub networks: u64,
    /// Of them those with a measurement that is not to be relied on.
    pub unsteady: u64,
    /// Of them those that could not be measured.
    pub failed: u64,
    /// What the device was like, also when it measured the network found anew.
    #[serde(default)]
    pub environment: EnvironmentSummary,
    /// The network found, measured anew at the end, as a part of what the float network took in the same turns; none before that.
    pub found: Option<Estimate>,
}

impl SearchedDevice {
    /// What was measured for a stage with such a goal.
    pub(super) fn new(
        (ledger, experiment): (&Ledger, &Experiment),
        progress: &StageProgress,
        goal: &MeasuredGoal,
    ) -> Self {
        let probed = Probed::all(ledger, experiment, &goal.target);
        let (search, anew): (Vec<Probed<'_>>, Vec<Probed<'_>>) =
            probed.into_iter().partition(|probed| probed.spec.repetition < goal.repetitions_max());
        let (search, anew) = (Readings::of(&search), Readings::of(&anew));
        let count = |is: fn(&NetworkReadings) -> bool| {
            search.networks.values().filter(|network| is(network)).count() as u64
        };
        let looks = progress.asked.iter().filter(|asked| asked.purpose == Purpose::FoundOnDevice);
        let is_complete = |found: &&NetworkReadings| found.settled as usize >= looks.clone().count();
        let environments = [search.environments.as_slice(), anew.environments.as_slice()].concat();
        let found = anew.networks.values().find(is_complete);
        Self {
            target: goal.target.clone(),
            class: search.class.clone(),
            runtime: search.runtime.clone(),
            cost: goal.cost,
            setting: goal.setting,
            repetitions: goal.repetitions,
            networks: search.networks.len() as u64,
            unsteady: count(|network| !network.reasons().is_empty()),
            failed: count(|network| network.sessions.is_empty()),
            environment: EnvironmentSummary::of(&environments),
            found: found.and_then(|found| goal.cost.share(found)),
        }
    }
}
