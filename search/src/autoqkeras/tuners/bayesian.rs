//! Bayesian optimization with a Gaussian process over assignments.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use bitloop_core::rng::{Rng, rng};

use super::draws::{Draws, assignments};
use super::process::{Belief, Process};
use super::{Ask, Place, Proposal, Trial, Tuner, answer};

/// Random assignments among which each proposal begins.
const RANDOM: usize = 512;
/// The best assignments so far whose neighbours each proposal begins with too.
const BEST: usize = 5;
/// Of what a proposal begins with, how many are improved by single changes.
const CLIMBS: usize = 3;
/// Changes of one improved assignment, at most.
const STEPS: usize = 20;
/// Parts the draws of proposals from those of the first assignments.
const PROPOSALS: u64 = 0x5eed_0b01;

/// Asks for `initial` random assignments, then for those with the largest expected improvement.
///
/// Proposal `n` knows the scores of trials `0..=n - in_flight` and takes what it expects of those after them as theirs,
/// even if they are settled: so that up to `in_flight` trials are under way and no decision depends on their order.
///
/// Source: Jones, Schonlau and Welch, "Efficient global optimization of expensive black-box functions", 1998, equation 15.
#[derive(Clone, Debug)]
pub(super) struct Bayesian {
    pub(super) sizes: Vec<u8>,
    pub(super) seed: u64,
    pub(super) max_trials: u32,
    pub(super) initial: u32,
    pub(super) in_flight: u32,
}

impl Tuner for Bayesian {
    fn most(&self) -> u64 {
        u64::from(self.max_trials).min(assignments(&self.sizes))
    }

    fn propose(&self, trials: &[Trial], room: usize) -> Proposal {
        let mut asked: Vec<Vec<u8>> = trials.iter().map(|trial| trial.ask.levels.clone()).collect();
        let before = asked.len();
        let mut is_done = false;
        while asked.len() - before < room {
            let number = asked.len();
            let known = self.known(number);
            if number as u64 >= self.most() {
                is_done = true;
                break;
            }
            if trials.len() < known || trials[..known].iter().any(|trial| !trial.is_settled()) {
                break;
            }
            match self.levels(&trials[..known], &asked) {
                Some(levels) => asked.push(levels),
                None => {
                    is_done = true;
                    break;
                }
            }
        }
        let asks = asked.into_iter().enumerate().skip(before).map(|(slot, levels)| Ask {
            place: Place { slot: slot as u32, ..Place::default() },
            levels,
            epochs: None,
        });
        answer(asks.collect(), is_done)
    }
}

impl Bayesian {
    /// How many trials a proposal knows the scores of.
    fn known(&self, number: usize) -> usize {
        if number < self.initial as usize {
            return 0;
        }
        (number + 1).saturating_sub(self.in_flight as usize)
    }

    /// The assignment that comes after those asked for; none if all were.
    fn levels(&self, known: &[Trial], asked: &[Vec<u8>]) -> Option<Vec<u8>> {
        if asked.len() < self.initial as usize {
            return Draws::new(&self.sizes, self.seed).nth(asked.len());
        }
        let mut random = rng(self.seed ^ PROPOSALS, asked.len() as u64);
        let taken: BTreeSet<&[u8]> = asked.iter().map(Vec::as_slice).collect();
        let search = Search { sizes: &self.sizes, taken };
        match self.beliefs(known, asked) {
            Some((process, best)) => search.most_improving(&process, &best, &mut random),
            None => search.random(&mut random).into_iter().next(),
        }
        // Few are left, and none of them was met: the first one in counting order.
        .or_else(|| search.first_left())
    }

    /// The process that knows what is known and believes the rest, and the assignments that are best by it.
    fn beliefs(&self, known: &[Trial], asked: &[Vec<u8>]) -> Option<(Process, Vec<Vec<u8>>)> {
        let worst = known.iter().filter_map(Trial::score).fold(f64::INFINITY, f64::min);
        if !worst.is_finite() {
            return None;
        }
        let rows: Vec<Vec<u8>> = known.iter().map(|trial| trial.ask.levels.clone()).collect();
        // A trial that failed says that its like should not be tried, so it counts as the worst score.
        let scores: Vec<f64> = known.iter().map(|trial| trial.score().unwrap_or(worst)).collect();
        let free = self.sizes.iter().filter(|size| **size > 1).count();
        let process = Process::fit(&rows, &scores, free)?
            .believing(asked.get(known.len()..).unwrap_or(&[]), &scores)?;
        let mut best: Vec<(f64, &Vec<u8>)> =
            asked.iter().map(|levels| (process.belief(levels).mean, levels)).collect();
        best.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        Some((process, best.into_iter().take(BEST).map(|(_, levels)| levels.clone()).collect()))
    }
}

/// The search for the assignment that is worth most.
struct Search<'a> {
    sizes: &'a [u8],
    taken: BTreeSet<&'a [u8]>,
}

impl Search<'_> {
    fn most_improving(&self, process: &Process, best: &[Vec<u8>], random: &mut Rng) -> Option<Vec<u8>> {
        // The best by what is expected, not by what was scored: scores are noisy.
        let incumbent = process.belief(best.first()?).mean;
        let value = |levels: &[u8]| log_expected_improvement(process.belief(levels), incumbent);
        let starts =
            self.random(random).into_iter().chain(best.iter().flat_map(|levels| self.around(levels)));
        let mut valued: Vec<(f64, Vec<u8>)> = starts.map(|levels| (value(&levels), levels)).collect();
        valued.sort_by(more);
        valued.dedup_by(|a, b| a.1 == b.1);
        valued.truncate(CLIMBS);
        let climbed = valued.into_iter().map(|start| self.climb(start, &value));
        climbed.min_by(more).map(|(_, levels)| levels)
    }

    fn climb(&self, start: (f64, Vec<u8>), value: &impl Fn(&[u8]) -> f64) -> (f64, Vec<u8>) {
        let mut at = start;
        for _ in 0..STEPS {
            let around = self.around(&at.1).map(|levels| (value(&levels), levels)).min_by(more);
            match around {
                Some(next) if next.0 > at.0 => at = next,
                _ => break,
            }
        }
        at
    }

    /// Random assignments that were not asked for.
    fn random(&self, random: &mut Rng) -> Vec<Vec<u8>> {
        let mut draw = || self.sizes.iter().map(|size| random.below(usize::from(*size)) as u8).collect();
        let draws: Vec<Vec<u8>> = (0..RANDOM).map(|_| draw()).collect();
        draws.into_iter().filter(|levels| !self.taken.contains(levels.as_slice())).collect()
    }

    /// The assignments that differ in one hyperparameter and were not asked for.
    fn around<'b>(&'b self, levels: &[u8]) -> impl Iterator<Item = Vec<u8>> + use<'b> {
        let levels = levels.to_vec();
        let changes = self.sizes.iter().enumerate().flat_map(|(at, size)| (0..*size).map(move |to| (at, to)));
        changes.filter_map(move |(at, to)| {
            let mut changed = levels.clone();
            changed[at] = to;
            (levels[at] != to && !self.taken.contains(changed.as_slice())).then_some(changed)
        })
    }

    fn first_left(&self) -> Option<Vec<u8>> {
        let mut levels = vec![0; self.sizes.len()];
        // One more than were taken is enough to meet one that was not.
        for _ in 0..=self.taken.len() {
            if !self.taken.contains(levels.as_slice()) {
                return Some(levels);
            }
            let at = (0..levels.len()).rev().find(|at| levels[*at] + 1 < self.sizes[*at])?;
            levels[at] += 1;
            levels[at + 1..].fill(0);
        }
        None
    }
}

/// Orders what is worth more first; ties by assignment.
fn more(a: &(f64, Vec<u8>), b: &(f64, Vec<u8>)) -> Ordering {
    b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1))
}

/// The logarithm of `s (z N(z) + n(z))` with `z = (mean - incumbent) / s`, which still tells small improvements apart.
fn log_expected_improvement(belief: Belief, incumbent: f64) -> f64 {
    let deviation = belief.deviation.max(f64::MIN_POSITIVE);
    let z = (belief.mean - incumbent) / deviation;
    let density = |z: f64| -0.5 * z * z - 0.5 * libm::log(std::f64::consts::TAU);
    // Far below the mean the sum cancels; there it is the density over z squared.
    if z < -6.0 {
        return libm::log(deviation) + density(z) - 2.0 * libm::log(-z);
    }
    let below = 0.5 * libm::erfc(-z / std::f64::consts::SQRT_2);
    libm::log(deviation) + libm::log(z * below + libm::exp(density(z)))
}
