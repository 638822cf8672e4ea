//! Whose turn it is: which searchers are asked when, and which of their answers still count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::{Experiment, Input, Proposal, State, Status};

use crate::{Searcher, Step, Thought, searcher};

/// Why an experiment failed whose searcher panicked.
const BROKEN_OFF: &str = "the search broke off; the coordinator's log says where";

/// What a searcher was made for: a stage, and how often the experiment had taken back what it proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    stage: u32,
    restarts: u32,
}

/// A searcher that went away to think. Until it has concluded it is not asked.
pub struct Thinking {
    experiment: ExperimentId,
    turn: Turn,
    thought: Thought,
}

/// What came of a thought.
#[derive(Clone, Debug)]
pub struct Concluded {
    experiment: ExperimentId,
    turn: Turn,
    proposal: Proposal,
}

/// Searchers of active experiments, each made once for its stage.
#[derive(Default)]
pub struct Searchers {
    made: BTreeMap<ExperimentId, (Turn, Box<dyn Searcher>)>,
    thinking: BTreeSet<ExperimentId>,
}

impl fmt::Debug for Thinking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thinking").field("experiment", &self.experiment).finish_non_exhaustive()
    }
}

impl Thinking {
    /// Thinks, here and now. A thought that breaks off ends its experiment.
    pub fn conclude(self) -> Concluded {
        let Self { experiment, turn, thought } = self;
        let proposal = catch_unwind(AssertUnwindSafe(thought))
            .unwrap_or_else(|_| Proposal::Failed(BROKEN_OFF.to_owned()));
        Concluded { experiment, turn, proposal }
    }
}

impl Searchers {
    /// Asks the searcher of every active experiment once, and returns the answers that are not "wait". Who wants to think is
    /// added to `thinking`.
    pub fn ask_all(&mut self, state: &State, thinking: &mut Vec<Thinking>) -> Vec<Input> {
        let experiments = state.ledger.experiments().iter();
        experiments.filter_map(|experiment| self.ask(state, experiment, thinking)).collect()
    }

    /// Takes note that a searcher has thought. Nothing comes of it if what it thought about has been taken back meanwhile.
    pub fn has_concluded(&mut self, state: &State, concluded: Concluded) -> Option<Input> {
        let Concluded { experiment, turn: Turn { stage, restarts }, proposal } = concluded;
        self.thinking.remove(&experiment);
        let known = state.ledger.experiment(&experiment)?;
        (known.restarts == restarts).then_some(Input::Advance { experiment, stage, proposal })
    }

    fn ask(&mut self, state: &State, experiment: &Experiment, thinking: &mut Vec<Thinking>) -> Option<Input> {
        let id = &experiment.id;
        if experiment.status != Status::Active {
            self.made.remove(id);
            return None;
        }
        let history = state.history(experiment)?;
        let stage = history.stage();
        // An outcome of an earlier stage may have been lost with its artifact; it is measured again.
        let mut earlier = experiment.stages.iter().take(stage as usize);
        if earlier.any(|stage| stage.settled < stage.trials.len() as u64) || self.thinking.contains(id) {
            return None;
        }
        let turn = Turn { stage, restarts: experiment.restarts };
        // A searcher that breaks off ends its own experiment, not the coordinator, which would ask it again at every start.
        let step = catch_unwind(AssertUnwindSafe(|| self.at(experiment, turn).propose(&history)));
        let proposal = match step {
            Ok(Step::Propose(Proposal::Wait)) => return None,
            Ok(Step::Propose(proposal)) => proposal,
            Ok(Step::Think(thought)) => {
                self.thinking.insert(id.clone());
                thinking.push(Thinking { experiment: id.clone(), turn, thought });
                return None;
            }
            Err(_) => {
                self.made.remove(id);
                Proposal::Failed(BROKEN_OFF.to_owned())
            }
        };
        Some(Input::Advance { experiment: id.clone(), stage, proposal })
    }

    fn at(&mut self, experiment: &Experiment, turn: Turn) -> &mut dyn Searcher {
        let make = || (turn, searcher(&experiment.plan, &experiment.plan.stages[turn.stage as usize]));
        let made = self.made.entry(experiment.id.clone()).or_insert_with(make);
        if made.0 != turn {
            *made = make();
        }
        made.1.as_mut()
    }
}
