//! Random orders of ranks that are too many to be held, and the combinations that ranks stand for.

use bitloop_core::rng::{Rng, rng};

/// Rounds of the network; four are enough for an order that looks random, the others are for very few ranks.
const ROUNDS: usize = 8;

/// A random order of `0..size`, computed rank by rank.
///
/// A Feistel network permutes the smallest power of 4 that holds all ranks; what falls outside goes through it again
/// until it falls inside, less than four times on average.
///
/// Source: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002 (the cycle-walking cipher,
/// over a Feistel network).
#[derive(Clone, Debug)]
pub(super) struct Permutation {
    size: u128,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    pub(super) fn new(size: u128, rng: &mut Rng) -> Self {
        let bits = u128::BITS - size.saturating_sub(1).leading_zeros();
        Self { size, half_bits: bits.div_ceil(2), keys: std::array::from_fn(|_| rng.next_u64()) }
    }

    /// What stands at a place; `place` is below the size.
    pub(super) fn at(&self, place: u128) -> u128 {
        if self.size <= 1 {
            return 0;
        }
        let mut rank = self.network(place);
        while rank >= self.size {
            rank = self.network(rank);
        }
        rank
    }

    fn network(&self, place: u128) -> u128 {
        let mask = u64::MAX >> (u64::BITS - self.half_bits);
        let (mut left, mut right) = ((place >> self.half_bits) as u64, place as u64 & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (rng(key, right).next_u64() & mask));
        }
        u128::from(left) << self.half_bits | u128::from(right)
    }
}

/// How many ways there are to choose `k` of `n`; none if they are more than a `u128` counts.
pub(super) fn binomial(n: u32, k: u32) -> Option<u128> {
    if k > n {
        return Some(0);
    }
    let k = k.min(n - k);
    (1..=k).try_fold(1_u128, |ways, i| times(ways, n - k + i, i))
}

/// The `k` of `n` that stand at a rank among all combinations, descending.
///
/// Combinations are ordered by their largest member, then the next one and so on: the combinatorial number system.
/// `ways` is `binomial(n, k)` and `rank` is below it.
pub(super) fn combination(n: u32, k: u32, ways: u128, mut rank: u128) -> Vec<u32> {
    let mut chosen = Vec::with_capacity(k as usize);
    // `ways` are those to choose `left` of `candidate` throughout.
    let (mut candidate, mut ways) = (n, ways);
    for left in (1..=k).rev() {
        while ways > rank {
            ways = times(ways, candidate - left, candidate)
                .expect("fewer ways than before fit where they fitted");
            candidate -= 1;
        }
        rank -= ways;
        chosen.push(candidate);
        // The others are chosen of those below.
        if left > 1 {
            ways = times(ways, left, candidate).expect("fewer ways than before fit where they fitted");
            candidate -= 1;
        }
    }
    chosen
}

/// `value * factor / divisor`, where the result is whole; none if it does not fit.
fn times(value: u128, factor: u32, divisor: u32) -> Option<u128> {
    let (factor, divisor) = (u128::from(factor), u128::from(divisor));
    let whole = (value / divisor).checked_mul(factor)?;
    whole.checked_add(value % divisor * factor / divisor)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rank_comes_once() {
        for size in 1..300_u128 {
            let order = Permutation::new(size, &mut rng(size as u64, 0));

            let ranks: BTreeSet<u128> = (0..size).map(|place| order.at(place)).collect();

            assert_eq!(ranks, (0..size).collect());
        }
    }

    #[test]
    fn every_rank_is_equally_likely_to_come_first() {
        let size = 10;
        let mut times = [0_u32; 10];

        for seed in 0..5000 {
            times[Permutation::new(size, &mut rng(seed, 0)).at(0) as usize] += 1;
        }

        // Five standard deviations of the binomial distribution.
        assert!(times.iter().all(|times| times.abs_diff(500) < 107), "{times:?}");
    }

    #[test]
    fn ranks_up_to_the_largest_number_are_permuted() {
        for size in [1 << 64, u128::MAX / 3, u128::MAX] {
            let order = Permutation::new(size, &mut rng(1, 0));

            let ranks: BTreeSet<u128> = (0..1000).map(|place| order.at(place)).collect();

            assert_eq!(ranks.len(), 1000);
            assert!(ranks.iter().all(|rank| *rank < size) && *ranks.last().unwrap() > size / 2);
        }
    }

    #[test]
    fn binomials_are_those_of_the_triangle_and_end_where_they_do_not_fit() {
        for n in 0..40 {
            for k in 0..=n {
                let above = |k: Option<u32>| k.map_or(Some(0), |k| binomial(n, k));
                let sum = above(Some(k)).zip(above(k.checked_sub(1))).map(|(a, b)| a + b);
                assert_eq!(binomial(n + 1, k), sum);
            }
        }
        assert_eq!((binomial(5, 0), binomial(5, 6)), (Some(1), Some(0)));
        assert_eq!(binomial(128, 64), Some(23_951_146_041_928_082_866_135_587_776_380_551_750));
        assert_eq!(binomial(132, 66), None);
        assert_eq!(binomial(1000, 3), Some(166_167_000));
    }

    #[test]
    fn combinations_are_all_subsets_in_their_order() {
        for (n, k) in [(1, 1), (6, 1), (7, 3), (9, 8), (5, 5)] {
            let ways = binomial(n, k).unwrap();

            let all: Vec<Vec<u32>> = (0..ways).map(|rank| combination(n, k, ways, rank)).collect();

            assert!(all.is_sorted() && all.iter().collect::<BTreeSet<_>>().len() as u128 == ways);
            assert!(all.iter().all(|chosen| chosen.len() == k as usize && chosen[0] < n));
            assert!(all.iter().all(|chosen| chosen.is_sorted_by(|a, b| a > b)));
        }
    }

    #[test]
    fn the_last_of_very_many_combinations_is_the_highest_one() {
        let ways = binomial(130, 60).unwrap();

        assert_eq!(combination(130, 60, ways, ways - 1), (70..130).rev().collect::<Vec<_>>());
        assert_eq!(combination(130, 60, ways, 0), (0..60).rev().collect::<Vec<_>>());
    }
}
