//! KerasTuner's random search, number for number.

use std::collections::BTreeSet;

use super::mersenne::first_uniform;
use super::random::in_sequence;
use super::{Proposal, Trial, Tuner};

/// Assignments in a row that may be known already; one more ends the search.
const COLLISIONS: usize = 20;

/// Asks for the assignments that KerasTuner's random search proposes: each hyperparameter, fixed ones too, is drawn from
/// a Mersenne twister of its own, seeded by one more than the one before; an assignment that was tried is drawn again.
#[derive(Clone, Debug)]
pub(super) struct KerasRandom {
    pub(super) sizes: Vec<u8>,
    pub(super) seed: u64,
    pub(super) max_trials: u32,
}

impl Tuner for KerasRandom {
    fn most(&self) -> u64 {
        u64::from(self.max_trials)
    }

    fn propose(&self, trials: &[Trial], room: usize) -> Proposal {
        let sequence = Sequence { sizes: &self.sizes, seed: self.seed, tried: BTreeSet::new() };
        in_sequence(sequence.take(self.max_trials as usize), trials, room)
    }
}

struct Sequence<'a> {
    sizes: &'a [u8],
    seed: u64,
    tried: BTreeSet<Vec<u8>>,
}

impl Iterator for Sequence<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        for _ in 0..=COLLISIONS {
            let levels: Vec<u8> = (0u64..)
                .zip(self.sizes)
                .map(|(at, size)| level(first_uniform(self.seed.wrapping_add(at)), *size))
                .collect();
            self.seed = self.seed.wrapping_add(self.sizes.len() as u64);
            if self.tried.insert(levels.clone()) {
                return Some(levels);
            }
        }
        None
    }
}

/// The level whose share of 0..1 holds a uniform number; divided as KerasTuner does, whose rounding can differ from that
/// of a product.
fn level(uniform: f64, size: u8) -> u8 {
    let share = 1.0 / f64::from(size);
    ((uniform / share).floor() as u8).min(size - 1)
}
