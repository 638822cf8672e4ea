//! Tuners: which assignments are tried next, given what the trials before them scored.
//!
//! A [`Tuner`] sees how many levels each hyperparameter has and nothing of what they mean. It keeps nothing: every answer
//! follows from its settings and the trials asked for so far, so that whoever stores those replays a search exactly.
//! [`tuner`] is the registry: a method is one file and a line there. Start reading at [`Tuner::propose`].

mod asha;
mod bayesian;
mod draws;
mod hyperband;
mod keras_random;
mod mersenne;
mod process;
mod random;
mod settings;
mod trial;

use bitloop_core::autoqkeras::{Ask, Epochs, Place};

pub use mersenne::first_uniform;
pub use settings::{SettingsError, tuner};
pub use trial::{Outcome, Trial, best};

/// What a tuner answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Proposal {
    /// These are next, at least one.
    Trials(Vec<Ask>),
    /// Nothing can be said until a trial that was asked for is settled, or there is room.
    Wait,
    /// Nothing more will be asked for.
    Done,
}

/// Says which trials are next.
pub trait Tuner: Send {
    /// The number of trials that a search comes to at most.
    fn most(&self) -> u64;

    /// Epochs of all these trials together, at most; none where the tuner does not say how long they are.
    fn most_epochs(&self) -> Option<u64> {
        None
    }

    /// Says what is next, at most `room` trials, given all trials asked for so far in the order of being asked.
    ///
    /// The same trials with the same outcomes give the same answer. Trials that wait for a worker count as running.
    fn propose(&self, trials: &[Trial], room: usize) -> Proposal;
}

/// The answer for what was gathered, when nothing but outcomes that are still to come could lead to more.
fn answer(asks: Vec<Ask>, is_done: bool) -> Proposal {
    match (asks.is_empty(), is_done) {
        (false, _) => Proposal::Trials(asks),
        (true, false) => Proposal::Wait,
        (true, true) => Proposal::Done,
    }
}

#[cfg(test)]
mod tests;
