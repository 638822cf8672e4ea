//! A search: predict, solve, measure the most promising configs, correct the predictor, and again.
//!
//! It ends when its trials are used up, or when nothing is left that the predictor expects to be better. Whatever was
//! measured counts, from whichever stage; but only what was measured on all images is recommended.

mod round;
mod solve;

use std::collections::BTreeSet;

use bitloop_core::plan::{Plan, SearchPlan};
use bitloop_core::state::{Batch, Proposal, StageHistory};

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
}

impl Search {
    pub(crate) fn new(plan: &Plan, search: &SearchPlan) -> Self {
        let searched = Searched::new(plan);
        let limits = Limits::new(plan, &searched.space, &search.limits).map_err(|error| error.to_string());
        let parts = plan.evaluation.references().parts(plan.data.selection.images).max(1);
        Self { plan: search.clone(), searched, limits, parts }
    }
}

impl Searcher for Search {
    fn size(&self) -> u64 {
        self.plan.trials.unwrap_or(u64::MAX).saturating_mul(self.parts)
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
        let own = history.evaluations(history.stage(), history.plan().evaluation);
        let tried: Vec<Vec<u8>> =
            own.configs().iter().filter_map(|config| self.searched.levels(config)).collect();
        let (measured, images) = (self.searched.measured(history), history.plan().data.selection.images);
        let objective = self.plan.objective;
        let sampling = measured
            .iter()
            .map(|(changes, measured)| (changes.clone(), sampling_error(measured.loss_by(objective))));
        let partial = measured.iter().filter(|(_, measured)| measured.n < images);
        let round = Round {
            sampling: sampling.collect(),
            measured: self.searched.table(&measured, images, objective),
            // What failed or was quarantined is not tried again.
            refused: tried.iter().cloned().collect::<BTreeSet<_>>(),
            tried,
            partial: partial.map(|(changes, _)| self.searched.levels_of(changes)).collect(),
            searched: self.searched.clone(),
            limits: limits.0,
            left: self.plan.trials.unwrap_or(u64::MAX).saturating_sub(own.configs().len() as u64),
            plan: self.plan.clone(),
        };
        let (context, mode) = (history.plan().context(artifact), history.plan().evaluation.references());
        Step::Think(Box::new(move || match round.outlook() {
            Ok(Outlook::Measure(configs)) => {
                let trials = configs.iter().flat_map(|config| context.trials(config, mode)).collect();
                Proposal::Trials(Batch { context: Some(context), trials, ..Batch::default() })
            }
            Ok(Outlook::Over(selection)) => Proposal::Selected(Box::new(selection)),
            Err(reason) => Proposal::Failed(reason),
        }))
    }
}
