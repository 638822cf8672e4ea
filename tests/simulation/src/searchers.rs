//! The searchers of active experiments, asked as the driver asks them.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::{Experiment, Input, Proposal, State, Status};
use bitloop_search::{Searcher, Step, searcher};

/// What a searcher was made for: a stage, and how often the experiment had taken back what it proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    stage: u32,
    restarts: u32,
}

/// What a searcher goes away to think about, and what comes of it.
#[derive(Clone, Debug)]
pub(crate) struct Thought {
    experiment: ExperimentId,
    turn: Turn,
    proposal: Proposal,
}

/// Searchers by experiment, each with what it was made for.
#[derive(Default)]
pub(crate) struct Searchers {
    made: BTreeMap<ExperimentId, (Turn, Box<dyn Searcher>)>,
    thinking: BTreeSet<ExperimentId>,
}

impl Searchers {
    /// Asks the searcher of every active experiment once, and returns the answers that are not "wait". Who wants to think is
    /// added to `thoughts`.
    pub(crate) fn ask_all(&mut self, state: &State, thoughts: &mut Vec<Thought>) -> Vec<Input> {
        let experiments = state.ledger.experiments().iter();
        experiments.filter_map(|experiment| self.ask(state, experiment, thoughts)).collect()
    }

    /// Takes note that a searcher has thought. Nothing comes of it if what it thought about has been taken back meanwhile.
    pub(crate) fn has_concluded(&mut self, state: &State, thought: Thought) -> Option<Input> {
        let Thought { experiment, turn: Turn { stage, restarts }, proposal } = thought;
        self.thinking.remove(&experiment);
        let known = state.ledger.experiment(&experiment)?;
        (known.restarts == restarts).then_some(Input::Advance { experiment, stage, proposal })
    }

    fn ask(&mut self, state: &State, experiment: &Experiment, thoughts: &mut Vec<Thought>) -> Option<Input> {
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
        if self.thinking.contains(&experiment.id) {
            return None;
        }
        let turn = Turn { stage, restarts: experiment.restarts };
        let make = || (turn, searcher(&experiment.plan, &experiment.plan.stages[stage as usize]));
        let made = self.made.entry(experiment.id.clone()).or_insert_with(make);
        if made.0 != turn {
            *made = make();
        }
        let experiment = experiment.id.clone();
        match made.1.propose(&history) {
            Step::Propose(Proposal::Wait) => None,
            Step::Propose(proposal) => Some(Input::Advance { experiment, stage, proposal }),
            Step::Think(thought) => {
                self.thinking.insert(experiment.clone());
                thoughts.push(Thought { experiment, turn, proposal: thought() });
                None
            }
        }
    }
}
