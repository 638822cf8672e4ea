//! One look at coordinator and engine, and what is done about it.

use std::time::Duration;

use bitloop_core::spec::AutoscaleSpec;

use crate::backlog::{Share, Work};
use crate::decide::{Action, Observation, decide};
use crate::engine::{Engine, Submission};
use crate::memory::{Happened, Memory};
use crate::notice::Notice;

/// An engine, a file, and what is known from earlier looks.
pub struct Autoscaler {
    spec: AutoscaleSpec,
    engine: Box<dyn Engine>,
    memory: Memory,
}

/// What a turn came to.
#[derive(Debug)]
pub struct Turn {
    /// What falls to each class, in the file's order; none if coordinator or engine did not answer.
    pub shares: Vec<Share>,
    /// What was done, or would have been.
    pub done: Vec<Done>,
    /// What people should know.
    pub notices: Vec<Notice>,
}

/// An action with the command that does it, and what became of it unless nothing was done.
#[derive(Debug)]
pub struct Done {
    /// What was to be done.
    pub action: Action,
    /// The engine's command, with a script for submissions.
    pub call: Submission,
    /// What became of it.
    pub happened: Option<Happened>,
}

impl Autoscaler {
    /// Knows nothing yet: the engine's list will say what is there.
    pub fn new(spec: AutoscaleSpec, engine: Box<dyn Engine>) -> Self {
        Self { spec, engine, memory: Memory::default() }
    }

    /// Goes on with what an earlier start knew.
    #[must_use]
    pub fn remembering(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    /// The file.
    pub fn spec(&self) -> &AutoscaleSpec {
        &self.spec
    }

    /// What is known of the submissions.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Looks at the engine, decides, and does what was decided; nothing of it if `is_dry`.
    ///
    /// `work` is none if the coordinator did not answer. `now` is time since any moment before the first turn.
    pub fn turn(&mut self, work: Option<Work>, is_dry: bool, now: Duration) -> Turn {
        let (seen, away) = match self.engine.seen() {
            Ok(seen) => (Some(seen), None),
            Err(error) => (None, Some(Notice::engine_away(&error))),
        };
        let decision = decide(&Observation { work, seen }, &self.memory, &self.spec, now);
        self.memory = decision.memory;
        let mut turn = Turn { shares: decision.shares, done: Vec::new(), notices: decision.notices };
        turn.notices.extend(away);
        for action in decision.actions {
            let Some(call) = self.call(&action).filter(|_| !self.is_paused(&action, now)) else { continue };
            let happened = (!is_dry).then(|| self.act(&action, &call));
            if let Some(happened) = &happened {
                turn.notices.extend(self.memory.note(happened, &self.spec, now));
            }
            turn.done.push(Done { action, call, happened });
        }
        turn
    }

    /// What was decided before the engine refused the others.
    fn is_paused(&self, action: &Action, now: Duration) -> bool {
        matches!(action, Action::Submit { class, .. } if self.memory.paused(class, now).is_some())
    }

    fn call(&self, action: &Action) -> Option<Submission> {
        match action {
            Action::Submit { class, workers } => {
                let class = self.spec.classes.iter().find(|known| known.name == *class)?;
                Some(self.engine.submission(class, *workers))
            }
            Action::Cancel { id, .. } => {
                Some(Submission { command: self.engine.cancellation(id), script: String::new() })
            }
        }
    }

    fn act(&self, action: &Action, call: &Submission) -> Happened {
        match action.clone() {
            Action::Submit { class, workers } => match self.engine.submit(call) {
                Ok(id) => Happened::Submitted { class, id, workers },
                Err(error) => {
                    let (unclear, reason) = (error.is_unclear(), error.to_string());
                    Happened::Refused { class, workers, unclear, reason }
                }
            },
            Action::Cancel { class, id } => match self.engine.cancel(&id) {
                Ok(()) => Happened::Cancelled { class, id },
                Err(error) => Happened::NotCancelled { id, reason: error.to_string() },
            },
        }
    }
}
