//! Random search: assignments in a random order, none twice.

use super::draws::{Draws, assignments};
use super::{Ask, Place, Proposal, Trial, Tuner, answer};

/// Asks for random assignments.
#[derive(Clone, Debug)]
pub(super) struct Random {
    pub(super) sizes: Vec<u8>,
    pub(super) seed: u64,
    pub(super) max_trials: u32,
}

impl Tuner for Random {
    fn most(&self) -> u64 {
        u64::from(self.max_trials).min(assignments(&self.sizes))
    }

    fn propose(&self, trials: &[Trial], room: usize) -> Proposal {
        in_sequence(Draws::new(&self.sizes, self.seed).take(self.max_trials as usize), trials, room)
    }
}

/// Asks for what of a fixed sequence was not asked for yet.
pub(super) fn in_sequence(
    sequence: impl Iterator<Item = Vec<u8>>,
    trials: &[Trial],
    room: usize,
) -> Proposal {
    let mut rest = sequence.enumerate().skip(trials.len()).peekable();
    let is_done = rest.peek().is_none();
    let place = |slot: usize| Place { slot: slot as u32, ..Place::default() };
    let asks = rest.take(room).map(|(slot, levels)| Ask { place: place(slot), levels, epochs: None });
    answer(asks.collect(), is_done)
}
