//! How many workers a cluster's engine is asked for: a client of the coordinator, and no part of it.
//!
//! Start at [`Autoscaler::turn`]: the engine is looked at, [`decide()`] says what to submit and to cancel, and that is
//! done. [`decide()`] and [`Memory`] are pure; [`Engine`] is what they know of Slurm and PBS, whose commands are called
//! with lists of arguments, never through a shell. Nothing is kept on disk: after a restart the engine's own list says
//! what is there. What trials are, and how workers are spoken to, is none of this crate's business.

mod autoscaler;
mod backlog;
mod decide;
mod engine;
mod health;
mod memory;
mod notes;
mod notice;
#[cfg(test)]
mod tests;

pub use autoscaler::{Autoscaler, Done, Turn};
pub use backlog::{Demand, Other, Share, Work, shares};
pub use decide::{Action, Decision, Observation, decide};
pub use engine::{Engine, EngineError, Phase, Seen, Submission, SubmissionId, WorkerCommand, engine_of};
pub use memory::{Counts, Happened, Memory};
pub use notes::NotesError;
pub use notice::Notice;
