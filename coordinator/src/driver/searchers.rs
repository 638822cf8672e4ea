//! The searchers of active experiments, made once per stage.
//!
//! What takes a searcher long, such as solving for the best config, runs on a thread of its own; meanwhile the searcher
//! is not asked.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use bitloop_core::plan::{ExperimentId, Plan};
use bitloop_core::state::{Experiment, Input, Proposal, State, Status};
use bitloop_search::{Searcher, Step, Thought, plan_size, searcher};
use tokio::sync::mpsc;

/// Why an experiment failed whose searcher panicked.
const BROKEN_OFF: &str = "the search broke off; the coordinator's log says where";

/// What a searcher came to after a while.
pub(super) struct Concluded {
    pub(super) experiment: ExperimentId,
    pub(super) turn: Turn,
    pub(super) proposal: Proposal,
}

/// What a searcher was made for: a stage, and how often the experiment had taken back what it proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    stage: u32,
    restarts: u32,
}

/// How many trials a plan comes to, as far as known before; zero if its searchers cannot even be made, which its experiment
/// ends with when it starts.
pub(super) fn trials_of(plan: &Plan) -> u64 {
    catch_unwind(|| plan_size(plan)).unwrap_or(0)
}

/// Searchers by experiment, each with what it was made for.
pub(super) struct Searchers {
    made: HashMap<ExperimentId, (Turn, Box<dyn Searcher>)>,
    /// Experiments whose searcher thinks.
    thinking: BTreeSet<ExperimentId>,
    concluded: mpsc::Sender<Concluded>,
}

impl Searchers {
    /// No searchers yet; what they come to on threads of their own is sent to `concluded`.
    pub(super) fn new(concluded: mpsc::Sender<Concluded>) -> Self {
        Self { made: HashMap::new(), thinking: BTreeSet::new(), concluded }
    }

    /// Takes note that a searcher has thought. Nothing comes of it if what it thought about has been taken back meanwhile.
    pub(super) fn has_concluded(&mut self, state: &State, concluded: Concluded) -> Option<Input> {
        let Concluded { experiment, turn: Turn { stage, restarts }, proposal } = concluded;
        self.thinking.remove(&experiment);
        let known = state.ledger.experiment(&experiment)?;
        (known.restarts == restarts).then_some(Input::Advance { experiment, stage, proposal })
    }

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
        if self.thinking.contains(&experiment.id) {
            return None;
        }
        let turn = Turn { stage, restarts: experiment.restarts };
        // A searcher that breaks off ends its own experiment, not the coordinator, which would ask it again at every start.
        let step = catch_unwind(AssertUnwindSafe(|| self.at(experiment, turn).propose(&history)));
        let proposal = match step {
            Ok(Step::Propose(Proposal::Wait)) => return None,
            Ok(Step::Propose(proposal)) => proposal,
            Ok(Step::Think(thought)) => {
                self.think(experiment, turn, thought);
                return None;
            }
            Err(_) => {
                self.made.remove(&experiment.id);
                Proposal::Failed(BROKEN_OFF.to_owned())
            }
        };
        Some(Input::Advance { experiment: experiment.id.clone(), stage, proposal })
    }

    fn think(&mut self, experiment: &Experiment, turn: Turn, thought: Thought) {
        let (id, concluded) = (experiment.id.clone(), self.concluded.clone());
        self.thinking.insert(id.clone());
        // Nobody joins it: it ends by itself, and what it says after the driver has gone is heard by nobody.
        thread::spawn(move || {
            let proposal = catch_unwind(AssertUnwindSafe(thought))
                .unwrap_or_else(|_| Proposal::Failed(BROKEN_OFF.to_owned()));
            let _ = concluded.blocking_send(Concluded { experiment: id, turn, proposal });
        });
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
