//! Fair shares: experiments of equal priority get equal parts of the workers' time.

use std::collections::BTreeMap;

/// What a shard of unknown length is charged, in milliseconds: what one is meant to take.
const UNKNOWN_MS: f64 = super::shard::TARGET_SHARD_MS;

/// The most that a shard is charged, in milliseconds: a prediction may be wrong, and a clock that it set would be far ahead of
/// everyone for good. A day.
const MOST_MS: f64 = 24.0 * 3_600_000.0;

/// A worker stays with its experiment until that is ahead of the others by so much, in milliseconds: going to another
/// costs it the references and packed weights that it has.
const AHEAD_MS: f64 = 5.0 * super::shard::TARGET_SHARD_MS;

/// Milliseconds of workers' time that experiments have been given, on a common clock.
///
/// The clock stands where the shard began that was charged to whoever has had most. Who was away for a while, is new, or found
/// no worker is not owed all that others got meanwhile: when its turn comes, it is charged as if it were no further behind the
/// clock than a worker stays with one experiment. Only then: whose turn it is follows from what experiments really had, so
/// that two which are both far behind take turns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Served {
    ms: BTreeMap<u32, f64>,
    clock_ms: f64,
}

/// What is charged for a shard, in milliseconds.
pub(super) fn charge_ms(predicted_ms: Option<f64>) -> f64 {
    predicted_ms.unwrap_or(UNKNOWN_MS).min(MOST_MS)
}

impl Served {
    /// Charges an experiment for a shard.
    pub(super) fn charge(&mut self, experiment: u32, millis: f64) {
        let start = self.of(experiment).max(self.clock_ms - AHEAD_MS);
        self.clock_ms = self.clock_ms.max(start);
        self.ms.insert(experiment, start + millis);
    }

    /// Gives an experiment back what it was charged for trials that came back as they were.
    pub(super) fn refund(&mut self, experiment: u32, millis: f64) {
        if let Some(served) = self.ms.get_mut(&experiment) {
            *served = (*served - millis).max(0.0);
        }
    }

    /// Whether it is rather the turn of the one experiment than of the other.
    pub(super) fn is_before(&self, one: u32, other: u32) -> bool {
        self.of(one) < self.of(other)
    }

    /// Chooses whom a worker serves next among experiments that it can serve: the one that is furthest behind, of equals
    /// the first; or the one that it served last while that is not far ahead.
    pub(super) fn choose(&self, fitting: &[u32], last: Option<u32>) -> Option<u32> {
        let behind = |a: &&u32, b: &&u32| self.of(**a).total_cmp(&self.of(**b));
        let furthest = *fitting.iter().min_by(behind)?;
        let stays =
            last.filter(|last| fitting.contains(last) && self.of(*last) <= self.of(furthest) + AHEAD_MS);
        Some(stays.unwrap_or(furthest))
    }

    fn of(&self, experiment: u32) -> f64 {
        self.ms.get(&experiment).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_changes_sides_when_its_experiment_is_far_ahead() {
        let mut served = Served::default();
        let mut last = None;
        let mut shards = [0_u32, 0];

        for _ in 0..40 {
            let chosen = served.choose(&[0, 1], last).unwrap();
            served.charge(chosen, 2_000.0);
            shards[chosen as usize] += 1;
            last = Some(chosen);
        }

        assert!(shards[0].abs_diff(shards[1]) <= 6, "{shards:?}");
        assert!(served.choose(&[1], Some(0)) == Some(1), "who can serve one alone serves it");
    }

    #[test]
    fn who_comes_late_gets_an_equal_share_from_then_on_and_no_more() {
        let mut served = Served::default();
        for _ in 0..100 {
            served.charge(0, 2_000.0);
        }

        let mut of_late = 0;
        while served.choose(&[0, 1], None) == Some(1) {
            served.charge(1, 2_000.0);
            of_late += 1;
        }

        assert!((1..=6).contains(&of_late), "{of_late}");
    }

    #[test]
    fn two_who_come_late_do_not_keep_the_first_waiting_for_what_it_has_had() {
        let mut served = Served::default();
        for _ in 0..100 {
            served.charge(0, 2_000.0);
        }

        let (mut last, mut of_late) = (None, 0);
        while let Some(chosen) = served.choose(&[0, 1, 2], last).filter(|chosen| *chosen != 0) {
            served.charge(chosen, 2_000.0);
            (last, of_late) = (Some(chosen), of_late + 1);
        }

        assert!((2..=20).contains(&of_late), "{of_late}");
    }

    #[test]
    fn a_prediction_out_of_all_bounds_does_not_end_fair_shares() {
        let mut served = Served::default();
        served.charge(0, charge_ms(Some(1e300)));
        served.charge(1, charge_ms(Some(1e300)));
        let (mut last, mut shards) = (None, [0_u32; 2]);

        for _ in 0..100 {
            let chosen = served.choose(&[0, 1], last).unwrap();
            served.charge(chosen, 2_000.0);
            shards[chosen as usize] += 1;
            last = Some(chosen);
        }

        assert!(shards[0].abs_diff(shards[1]) <= 6, "{shards:?}");
    }

    #[test]
    fn who_shares_few_workers_with_one_that_has_many_starves_none_of_its_equals() {
        let mut served = Served::default();
        let (mut last, mut shards) = (None, [0_u32; 3]);

        for _ in 0..100 {
            // The first one has a hundred workers of its own.
            (0..100).for_each(|_| served.charge(0, 2_000.0));
            let chosen = served.choose(&[0, 1, 2], last).unwrap();
            served.charge(chosen, 2_000.0);
            shards[chosen as usize] += 1;
            last = Some(chosen);
        }

        assert!(shards[1].abs_diff(shards[2]) <= 6, "{shards:?}");
    }
}
