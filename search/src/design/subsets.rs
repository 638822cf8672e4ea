//! Random subsets of the variables, an equal number of each size.

use bitloop_core::rng::{Rng, rng};

use super::permutation::{Permutation, binomial, combination};
use super::{Change, Design, DesignError, Items};

/// How many variables a subset lowers: `min`, `min + step` and so on, not above `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubsetSizes {
    /// The smallest size, at least 1.
    pub min: u32,
    /// The largest size; sizes beyond the number of variables give no config.
    pub max: u32,
    /// Distance between sizes, at least 1.
    pub step: u32,
}

/// Configs that lower a random subset of the variables, each to a random one of its levels.
///
/// Sizes take turns: any run of as many configs as there are sizes has nearly one of each, spread over the range, and
/// each size gets an equal number until it has no more configs; then the others go on. Of each size, all subsets are
/// equally likely, and none comes again before all of them came; so does each config of a subset. A longer design
/// begins with the configs of a shorter one.
///
/// No config comes twice, as long as the subsets of a size, and the levels of a subset, are at most `2^128`: they are
/// permuted by their rank. Beyond that they are drawn independently, and a duplicate is less likely than `n^2 / 2^129`
/// in `n` configs; whoever measures configs skips those it has.
///
/// Takes at most 24 bytes per size, whatever the number of configs, beyond the items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subsets {
    items: Items,
    sizes: SubsetSizes,
    /// Size -> how many configs it has, at most `u64::MAX`.
    room: Box<[u64]>,
    /// Runs of configs during which the same sizes take turns.
    phases: Box<[Phase]>,
    len: u64,
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Phase {
    /// The first config of the phase.
    index: u64,
    /// How many configs each of its sizes had before.
    drawn: u64,
}

/// What the generator of a size is used for.
#[derive(Clone, Copy)]
enum Use {
    Variables = 0,
    Levels = 1,
}

impl Subsets {
    /// The design over some items, cut to the number of configs that are certain to differ: of each size the subsets,
    /// times the levels of the one that has fewest. That is all there are where variables have equally many levels.
    ///
    /// Errors: [`DesignError::Sizes`].
    pub fn new(items: Items, sizes: SubsetSizes, configs: u64, seed: u64) -> Result<Self, DesignError> {
        let SubsetSizes { min, max, step } = sizes;
        if min == 0 || step == 0 || min > max {
            return Err(DesignError::Sizes { min, max, step });
        }
        let mut counts: Vec<u64> =
            (0..items.groups.len()).map(|group| items.levels_of(group).len() as u64).collect();
        counts.sort_unstable();
        let max = max.min(counts.len() as u32);
        let room: Vec<u64> = (min..=max).step_by(step as usize).map(|size| room(&counts, size)).collect();
        let (phases, all) = phases(&room);
        Ok(Self { items, sizes, room: room.into(), phases: phases.into(), len: configs.min(all), seed })
    }

    /// The size of the config at `index`, and how many configs of that size come before it.
    fn place(&self, index: u64) -> (u32, u64) {
        let Phase { index: first, drawn } =
            self.phases[self.phases.partition_point(|phase| phase.index <= index) - 1];
        let active =
            || self.room.iter().enumerate().filter(|(_, room)| **room > drawn).map(|(size, _)| size as u64);
        let sizes = active().count() as u64;
        let (round, turn) = ((index - first) / sizes, (index - first) % sizes);
        let turn = u128::from(turn) * u128::from(stride(sizes)) % u128::from(sizes);
        let size = active().nth(turn as usize).expect("turns are fewer than the sizes that take them");
        (self.sizes.min + size as u32 * self.sizes.step, drawn + round)
    }

    /// One of the configs of a size.
    fn draw(&self, size: u32, draw: u64) -> Vec<Change> {
        let variables = self.items.groups.len() as u32;
        let (mut chosen, round, mut rng) = match binomial(variables, size) {
            Some(ways) => {
                let order = Permutation::new(ways, &mut self.generator(size, Use::Variables, 0));
                let rank = order.at(u128::from(draw) % ways);
                let chosen = combination(variables, size, ways, rank);
                (chosen, u128::from(draw) / ways, self.generator(size, Use::Levels, rank))
            }
            None => {
                let mut rng = self.generator(size, Use::Variables, draw.into());
                (any(variables, size, &mut rng), 0, rng)
            }
        };
        chosen.sort_unstable();
        self.levels(&chosen, round, &mut rng)
    }

    /// Some variables with the levels of one of their configs.
    fn levels(&self, chosen: &[u32], round: u128, rng: &mut Rng) -> Vec<Change> {
        let of = |group: &u32| {
            (self.items.groups[*group as usize].variable, self.items.levels_of(*group as usize))
        };
        let ways = chosen.iter().try_fold(1_u128, |ways, group| ways.checked_mul(of(group).1.len() as u128));
        let Some(ways) = ways else {
            // Each round has numbers of its own.
            let mut rng = self::rng(rng.next_u64(), round as u64);
            let level = |group| {
                let (variable, levels) = of(group);
                (variable, levels[rng.below(levels.len())])
            };
            return chosen.iter().map(level).collect();
        };
        let mut rank = Permutation::new(ways, rng).at(round);
        let level = |group| {
            let (variable, levels) = of(group);
            let level = levels[(rank % levels.len() as u128) as usize];
            rank /= levels.len() as u128;
            (variable, level)
        };
        chosen.iter().map(level).collect()
    }

    fn generator(&self, size: u32, of: Use, rank: u128) -> Rng {
        let seed = rng(self.seed, u64::from(size) << 1 | of as u64).next_u64();
        rng(seed ^ rng(seed, (rank >> 64) as u64).next_u64(), rank as u64)
    }
}

impl Design for Subsets {
    fn len(&self) -> u64 {
        self.len
    }

    fn get(&self, index: u64) -> Option<Vec<Change>> {
        (index < self.len).then(|| {
            let (size, draw) = self.place(index);
            self.draw(size, draw)
        })
    }
}

/// How many configs of a size are certain to differ: the subsets, times the levels of the one that has fewest.
fn room(ascending_counts: &[u64], size: u32) -> u64 {
    let subsets = binomial(ascending_counts.len() as u32, size).unwrap_or(u128::MAX);
    let levels =
        ascending_counts[..size as usize].iter().fold(1_u64, |ways, count| ways.saturating_mul(*count));
    u64::try_from(subsets.saturating_mul(u128::from(levels))).unwrap_or(u64::MAX)
}

/// The phases of sizes with this much room, and the number of all configs.
fn phases(room: &[u64]) -> (Vec<Phase>, u64) {
    let mut ends: Vec<u64> = room.to_vec();
    ends.sort_unstable();
    ends.dedup();
    let mut phases = Vec::new();
    let (mut index, mut drawn) = (0_u64, 0_u64);
    for end in ends {
        phases.push(Phase { index, drawn });
        let active = room.iter().filter(|room| **room > drawn).count() as u64;
        index = index.saturating_add(active.saturating_mul(end - drawn));
        drawn = end;
    }
    (phases, index)
}

/// A step that visits all of `sizes` before it comes back, near their golden section, so that any few are far apart.
fn stride(sizes: u64) -> u64 {
    const GOLDEN_SECTION: f64 = 0.618_033_988_749_895;
    let coprime = |step: &u64| {
        let (mut a, mut b) = (*step, sizes);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    let nearest = (sizes as f64 * GOLDEN_SECTION).round().max(1.0) as u64;
    (nearest..=sizes).find(coprime).unwrap_or(1)
}

/// `size` of `variables`, each subset equally likely.
fn any(variables: u32, size: u32, rng: &mut Rng) -> Vec<u32> {
    let mut all: Vec<u32> = (0..variables).collect();
    for place in 0..size as usize {
        let other = place + rng.below(all.len() - place);
        all.swap(place, other);
    }
    all.truncate(size as usize);
    all
}
