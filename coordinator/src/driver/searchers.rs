//! The searchers of active experiments, made once per stage.

use std::collections::HashMap;

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::{Experiment, Input, Proposal, State, Status};
use bitloop_search::{Searcher, searcher};

/// Searchers by experiment, each with the stage it drives.
#[derive(Default)]
pub(super) struct Searchers {
    made: HashMap<ExperimentId, (u32, Box<dyn Searcher>)>,
}

impl Searchers {
    /// Asks the searcher of every active experiment once, and returns the answers that are not "wait".
    pub(super) fn ask_all(&mut self, state: &State) -> Vec<Input> {
        let experiments = state.ledger.experiments().iter();
        let asked = experiments.filter_map(|experiment| self.ask(state, experiment));
        asked.collect()
    }

    fn ask(&mut self, state: &State, experiment: &Experiment) -> Option<Input> {
        if experiment.status != Status::Active {
            self.made.remove(&experiment.id);
            return None;
        }
        let history = state.history(experiment)?;
        let stage = history.stage();
        // An outcome of an earlier stage may have been lost with its artifact; it is measured again.
        let mut earlier = experiment.stages.iter().take(stage as usize);
        if earlier.any(|stage| stage.settled < stage.trials.len() as u64) {
            return None;
        }
        let proposal = self.at(experiment, stage).propose(&history);
        (proposal != Proposal::Wait).then(|| Input::Advance {
            experiment: experiment.id.clone(),
            stage,
            proposal,
        })
    }

    fn at(&mut self, experiment: &Experiment, stage: u32) -> &mut dyn Searcher {
        let make = || (stage, searcher(&experiment.plan, &experiment.plan.stages[stage as usize]));
        let made = self.made.entry(experiment.id.clone()).or_insert_with(make);
        if made.0 != stage {
            *made = make();
        }
        made.1.as_mut()
    }
}
