//! Random assignments, none twice.

use std::collections::BTreeSet;

use bitloop_core::rng::rng;

/// Draws in a row that may all be known already before a space counts as used up.
const REDRAWS: usize = 1000;

/// Gives assignments of a space in a random order that the seed fixes: the n-th needs step n of the seed's numbers, and
/// nothing but those before it.
#[derive(Clone, Debug)]
pub(super) struct Draws<'a> {
    sizes: &'a [u8],
    seed: u64,
    step: u64,
    drawn: BTreeSet<Vec<u8>>,
}

impl<'a> Draws<'a> {
    /// `sizes` is the number of levels of each hyperparameter.
    pub(super) fn new(sizes: &'a [u8], seed: u64) -> Self {
        Self { sizes, seed, step: 0, drawn: BTreeSet::new() }
    }
}

impl Iterator for Draws<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.drawn.len() as u64 >= assignments(self.sizes) {
            return None;
        }
        let mut random = rng(self.seed, self.step);
        self.step += 1;
        for _ in 0..REDRAWS {
            let levels: Vec<u8> =
                self.sizes.iter().map(|size| random.below(usize::from(*size)) as u8).collect();
            if self.drawn.insert(levels.clone()) {
                return Some(levels);
            }
        }
        None
    }
}

/// The number of assignments there are; the largest number if that is more.
pub(super) fn assignments(sizes: &[u8]) -> u64 {
    sizes.iter().fold(1u64, |product, size| product.saturating_mul(u64::from(*size)))
}
