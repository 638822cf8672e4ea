//! A search: predict, solve, measure the most promising configs, correct the predictor, and again.
//!
//! It ends when its trials are used up, or when nothing is left that the predictor expects to be better. Whatever was
//! measured counts, from whichever stage; but only what was measured on all images is recommended.

mod devices;
mod pricing;
mod round;
mod solve;

use std::collections::BTreeSet;

use bitloop_core::plan::{Plan, SearchPlan, StagePlan};
use bitloop_core::state::{Batch, Proposal, StageHistory};

use self::devices::{Devices, FINALISTS};
use self::round::{Outlook, Round};
use super::{NOT_PREPARED, prepared};
use crate::limits::Limits;
use crate::measurements::sampling_error;
use crate::searched::Searched;
use crate::{Searcher, Step};

pub(crate) struct Search {
    plan: SearchPlan,
    searched: Searched,
    limits: Result<Limits, String>,
    /// Trials of a config.
    parts: u64,
    /// Trials on devices, if the first finalists keep the limits.
    finals: u64,
}

impl Search {
    pub(crate) fn new(plan: &Plan, search: &SearchPlan) -> Self {
        let searched = Searched::new(plan);
        let limits = Limits::new(plan, &searched.space, &search.limits).map_err(|error| error.to_string());
        let parts = plan.evaluation.references().parts(plan.data.selection.images).max(1);
        let repetitions = |stage: &StagePlan| match stage {
            StagePlan::Probe(probe) if search.targets().contains(&&probe.target) => {
                u64::from(probe.repetitions)
            }
            StagePlan::Probe(_)
            | StagePlan::Prepare
            | StagePlan::Sensitivity { .. }
            | StagePlan::Search(_)
            | StagePlan::AutoQKeras(_)
            | StagePlan::Verify { .. } => 0,
        };
        let finals = FINALISTS as u64 * plan.stages.iter().map(repetitions).sum::<u64>();
        Self { plan: search.clone(), searched, limits, parts, finals }
    }
}

impl Searcher for Search {
    fn size(&self) -> u64 {
        let trials = self.plan.trials.unwrap_or(u64::MAX).saturating_mul(self.parts);
        trials.saturating_add(self.finals)
    }

    fn propose(&mut self, history: &StageHistory<'_>) -> Step {
        let proposed = history.proposed().len() as u64;
        if proposed > history.settled() {
            return Step::Propose(Proposal::Wait);
        }
        let limits = match &self.limits {
            Ok(limits) => limits.clone(),
            Err(reason) => return Step::Propose(Proposal::Failed(reason.clone())),
        };
        let Some(artifact) = prepared(history) else {
            return Step::Propose(Proposal::Failed(NOT_PREPARED.to_owned()));
        };
        let devices = match Devices::new(history, &self.plan) {
            Ok(devices) => devices,
            Err(reason) => return Step::Propose(Proposal::Failed(reason)),
        };
        let own = history.evaluations(history.stage(), history.plan().evaluation);
        let tried: Vec<Vec<u8>> =
            own.configs().iter().filter_map(|config| self.searched.levels(config)).collect();
        let (measured, images) = (self.searched.measured(history), history.plan().data.selection.images);
        let objective = self.plan.objective;
        let sampling = measured
            .iter()
            .map(|(changes, measured)| (changes.clone(), sampling_error(measured.loss_by(objective))));
        let partial = measured.iter().filter(|(_, measured)| measured.n < images);
        // Limits that were tightened are worth another round each: the trials were meant for other ones.
        let more = devices.tightened() as u64 * self.plan.round;
        let allowed = self.plan.trials.unwrap_or(u64::MAX).saturating_add(more);
        let round = Round {
            sampling: sampling.collect(),
            measured: self.searched.table(&measured, images, objective),
            // What failed or was quarantined is not tried again.
            refused: tried.iter().cloned().collect::<BTreeSet<_>>(),
            tried,
            partial: partial.map(|(changes, _)| self.searched.levels_of(changes)).collect(),
            searched: self.searched.clone(),
            limits: limits.0,
            left: allowed.saturating_sub(own.configs().len() as u64),
            devices,
            plan: self.plan.clone(),
        };
        let (context, mode) = (history.plan().context(artifact), history.plan().evaluation.references());
        Step::Think(Box::new(move || match round.outlook() {
            Ok(Outlook::Probe(trials)) => Proposal::Trials(Batch { trials, ..Batch::default() }),
            Ok(Outlook::Measure(configs)) => {
                let trials = configs.iter().flat_map(|config| context.trials(config, mode)).collect();
                Proposal::Trials(Batch { context: Some(context), trials, ..Batch::default() })
            }
            Ok(Outlook::Over(selection)) => Proposal::Selected(Box::new(selection)),
            Err(reason) => Proposal::Failed(reason),
        }))
    }
}
