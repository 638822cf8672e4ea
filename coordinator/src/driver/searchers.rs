//! What takes a searcher long, such as solving for the best config, runs on a thread of its own; meanwhile it is not asked.

use std::panic::catch_unwind;
use std::thread;

use bitloop_core::plan::Plan;
use bitloop_core::state::{Input, State};
use bitloop_search::{Concluded, Thinking, plan_size};
use tokio::sync::mpsc;

/// How many trials a plan comes to, as far as known before; zero if its searchers cannot even be made, which its experiment
/// ends with when it starts.
pub(super) fn trials_of(plan: &Plan) -> u64 {
    catch_unwind(|| plan_size(plan)).unwrap_or(0)
}

/// The searchers, with threads to think on.
pub(super) struct Searchers {
    searchers: bitloop_search::Searchers,
    concluded: mpsc::Sender<Concluded>,
}

impl Searchers {
    /// No searchers yet; what they come to on threads of their own is sent to `concluded`.
    pub(super) fn new(concluded: mpsc::Sender<Concluded>) -> Self {
        Self { searchers: bitloop_search::Searchers::default(), concluded }
    }

    /// Takes note that a searcher has thought.
    pub(super) fn has_concluded(&mut self, state: &State, concluded: Concluded) -> Option<Input> {
        self.searchers.has_concluded(state, concluded)
    }

    /// Asks the searcher of every active experiment once, and returns the answers that are not "wait".
    pub(super) fn ask_all(&mut self, state: &State) -> Vec<Input> {
        let mut thinking = Vec::new();
        let answers = self.searchers.ask_all(state, &mut thinking);
        thinking.into_iter().for_each(|thinking| self.think(thinking));
        answers
    }

    fn think(&self, thinking: Thinking) {
        let concluded = self.concluded.clone();
        // Nobody joins it: it ends by itself, and what it says after the driver has gone is heard by nobody.
        thread::spawn(move || {
            let _ = concluded.blocking_send(thinking.conclude());
        });
    }
}
