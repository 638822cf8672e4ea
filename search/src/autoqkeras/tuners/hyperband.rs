//! Hyperband: brackets of successive halving, each waiting for all trials of a rung.

use super::draws::Draws;
use super::trial::better_first;
use super::{Ask, Epochs, Place, Proposal, Trial, Tuner, answer};

/// Asks for brackets of trials that begin with many assignments and few epochs, or the other way round; of each rung the
/// best go on with `factor` times the epochs.
///
/// Source: Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar, "Hyperband: a novel bandit-based approach to hyperparameter
/// optimization", 2018, algorithm 1.
#[derive(Clone, Debug)]
pub(super) struct Hyperband {
    pub(super) sizes: Vec<u8>,
    pub(super) seed: u64,
    pub(super) max_epochs: u32,
    pub(super) factor: u32,
    pub(super) iterations: u32,
}

/// One rung of a bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rung {
    trials: usize,
    epochs: u32,
}

impl Hyperband {
    /// The largest number of promotions: `floor(log(max_epochs) / log(factor))`.
    fn promotions(&self) -> u32 {
        self.max_epochs.ilog(self.factor)
    }

    /// The rungs of the bracket with this many promotions.
    fn rungs(&self, promotions: u32) -> Vec<Rung> {
        let power = |exponent: u32| u64::from(self.factor).pow(exponent);
        let brackets = u64::from(self.promotions()) + 1;
        let first = (brackets * power(promotions)).div_ceil(u64::from(promotions) + 1);
        let rung = |at: u32| Rung {
            trials: (first / power(at)) as usize,
            epochs: (u64::from(self.max_epochs) / power(promotions - at)).max(1) as u32,
        };
        (0..=promotions).map(rung).collect()
    }

    /// Every bracket, in order: of each iteration first the one with most promotions.
    fn brackets(&self) -> Vec<Vec<Rung>> {
        let once = || (0..=self.promotions()).rev().map(|promotions| self.rungs(promotions));
        (0..self.iterations).flat_map(|_| once()).collect()
    }
}

impl Tuner for Hyperband {
    fn most(&self) -> u64 {
        self.brackets().iter().flatten().map(|rung| rung.trials as u64).sum()
    }

    fn most_epochs(&self) -> Option<u64> {
        let brackets = self.brackets();
        let epochs = brackets.iter().map(|rungs| {
            let before = std::iter::once(0).chain(rungs.iter().map(|rung| rung.epochs));
            let each = rungs.iter().zip(before);
            each.map(|(rung, before)| rung.trials as u64 * u64::from(rung.epochs - before)).sum::<u64>()
        });
        Some(epochs.sum())
    }

    fn propose(&self, trials: &[Trial], room: usize) -> Proposal {
        let mut draws = Draws::new(&self.sizes, self.seed);
        let mut asks = Vec::new();
        let mut is_done = true;
        for (number, rungs) in (0u32..).zip(self.brackets()) {
            let starts: Vec<Vec<u8>> = draws.by_ref().take(rungs[0].trials).collect();
            let bracket = Bracket { number, rungs, starts, trials };
            is_done &= bracket.gather(&mut asks);
        }
        asks.truncate(room);
        answer(asks, is_done)
    }
}

struct Bracket<'a> {
    number: u32,
    rungs: Vec<Rung>,
    starts: Vec<Vec<u8>>,
    trials: &'a [Trial],
}

impl Bracket<'_> {
    /// Adds what can be asked for now and was not; says whether all of the bracket is settled.
    fn gather(&self, asks: &mut Vec<Ask>) -> bool {
        let mut entrants: Vec<(u32, Vec<u8>)> = (0u32..).zip(self.starts.iter().cloned()).collect();
        let mut from = 0;
        for (rung, shape) in (0u32..).zip(&self.rungs) {
            let asked: Vec<&Trial> = self.asked(rung);
            let missing =
                entrants.iter().filter(|(slot, _)| asked.iter().all(|trial| trial.ask.place.slot != *slot));
            let epochs = Epochs { from, to: shape.epochs };
            let place = |slot| Place { bracket: self.number, rung, slot };
            let before = asks.len();
            asks.extend(missing.map(|(slot, levels)| Ask {
                place: place(*slot),
                levels: levels.clone(),
                epochs: Some(epochs),
            }));
            if asks.len() > before || asked.iter().any(|trial| !trial.is_settled()) {
                return false;
            }
            from = shape.epochs;
            entrants = self.promoted(asked, rung);
        }
        true
    }

    fn asked(&self, rung: u32) -> Vec<&Trial> {
        let is_here = |place: Place| place.bracket == self.number && place.rung == rung;
        self.trials.iter().filter(|trial| is_here(trial.ask.place)).collect()
    }

    /// The best of a rung whose trials are all settled, in the order of their slots; failed ones never go on.
    fn promoted(&self, mut settled: Vec<&Trial>, rung: u32) -> Vec<(u32, Vec<u8>)> {
        let places = self.rungs.get(rung as usize + 1).map_or(0, |next| next.trials);
        settled.retain(|trial| trial.score().is_some());
        settled.sort_by(better_first);
        settled.truncate(places);
        settled.sort_by_key(|trial| trial.ask.place);
        settled.into_iter().map(|trial| (trial.ask.place.slot, trial.ask.levels.clone())).collect()
    }
}
