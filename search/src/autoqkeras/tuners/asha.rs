//! ASHA: successive halving without waiting.

use super::draws::{Draws, assignments};
use super::trial::better_first;
use super::{Ask, Epochs, Outcome, Place, Proposal, Trial, Tuner, answer};

/// Promotes an assignment as soon as it is among the best `1 / factor` of those settled in its rung, and starts another
/// one where none is.
///
/// Source: Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht and Talwalkar, "A system for massively parallel
/// hyperparameter tuning", 2020, algorithm 2.
#[derive(Clone, Debug)]
pub(super) struct Asha {
    pub(super) sizes: Vec<u8>,
    pub(super) seed: u64,
    pub(super) max_trials: u32,
    pub(super) min_epochs: u32,
    pub(super) max_epochs: u32,
    pub(super) factor: u32,
}

impl Asha {
    /// The epochs of each rung: `min_epochs * factor^rung`, the last one `max_epochs`.
    fn rungs(&self) -> Vec<u32> {
        let factor = u64::from(self.factor);
        let mut epochs = u64::from(self.min_epochs);
        let mut rungs = Vec::new();
        while epochs < u64::from(self.max_epochs) {
            rungs.push(epochs as u32);
            epochs *= factor;
        }
        rungs.push(self.max_epochs);
        rungs
    }

    /// The next promotion, from the highest rung that has one.
    fn promotion(&self, trials: &[Trial], rungs: &[u32]) -> Option<Ask> {
        (0..rungs.len() as u32 - 1).rev().find_map(|rung| {
            let trial = self.promotable(trials, rung)?;
            let at = rung as usize;
            Some(Ask {
                place: Place { rung: rung + 1, ..trial.ask.place },
                levels: trial.ask.levels.clone(),
                epochs: Some(Epochs { from: rungs[at], to: rungs[at + 1] }),
            })
        })
    }

    fn promotable<'a>(&self, trials: &'a [Trial], rung: u32) -> Option<&'a Trial> {
        let in_rung = |rung: u32| trials.iter().filter(move |trial| trial.ask.place.rung == rung);
        let mut settled: Vec<&Trial> = in_rung(rung).filter(|trial| trial.is_settled()).collect();
        settled.sort_by(better_first);
        settled.truncate(settled.len() / self.factor as usize);
        let is_promoted = |slot: u32| in_rung(rung + 1).any(|above| above.ask.place.slot == slot);
        settled.into_iter().find(|trial| trial.score().is_some() && !is_promoted(trial.ask.place.slot))
    }
}

impl Tuner for Asha {
    fn most(&self) -> u64 {
        // Usually one in `factor` gets a rung further, but if each is better than those before it, all are promoted.
        u64::from(self.max_trials).min(assignments(&self.sizes)) * self.rungs().len() as u64
    }

    fn most_epochs(&self) -> Option<u64> {
        let most = u64::from(self.max_trials).min(assignments(&self.sizes));
        Some(most * u64::from(self.max_epochs))
    }

    fn propose(&self, trials: &[Trial], room: usize) -> Proposal {
        let rungs = self.rungs();
        let started = trials.iter().filter(|trial| trial.ask.place.rung == 0).count();
        let draws = Draws::new(&self.sizes, self.seed).take(self.max_trials as usize);
        let mut starts = (0u32..).zip(draws).skip(started);
        let mut known = trials.to_vec();
        let mut asks = Vec::new();
        while asks.len() < room {
            let start = |(slot, levels)| Ask {
                place: Place { slot, ..Place::default() },
                levels,
                epochs: Some(Epochs { from: 0, to: rungs[0] }),
            };
            let Some(ask) = self.promotion(&known, &rungs).or_else(|| starts.next().map(start)) else {
                let is_done = known.iter().all(Trial::is_settled);
                return answer(asks, is_done);
            };
            known.push(Trial { ask: ask.clone(), outcome: Outcome::Running });
            asks.push(ask);
        }
        answer(asks, false)
    }
}
