//! How fast experiments and workers are, and how busy: smoothed over what was seen each time an overview was taken.

use std::collections::{HashMap, HashSet};

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::{State, UnixMillis, WorkerId};

/// Time after which a value counts for a third of what it did, in milliseconds.
const MEMORY_MS: f64 = 60_000.0;

/// Shortest time between two values, in milliseconds; a rate over less would be noise.
const LOOK_MS: u64 = 200;

/// A share or a rate below this is none: otherwise what fades would never have faded.
const LEAST: f64 = 1e-3;

/// A value that is looked at now and then.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Smoothed {
    sum: f64,
    /// Of what has been looked at; one after a long time.
    weight: f64,
}

impl Smoothed {
    /// Takes a value that held for `millis`.
    fn add(&mut self, value: f64, millis: u64) {
        let keep = (-(millis as f64) / MEMORY_MS).exp();
        self.sum = self.sum * keep + value * (1.0 - keep);
        self.weight = self.weight * keep + (1.0 - keep);
    }

    fn get(&self) -> f64 {
        let value = if self.weight > 0.0 { self.sum / self.weight } else { 0.0 };
        if value < LEAST { 0.0 } else { value }
    }
}

/// A count that grows.
#[derive(Clone, Copy, Debug)]
struct Growth {
    looked: UnixMillis,
    count: u64,
    per_second: Smoothed,
    busy: Smoothed,
}

impl Growth {
    fn new(now: UnixMillis, count: u64) -> Self {
        Self { looked: now, count, per_second: Smoothed::default(), busy: Smoothed::default() }
    }

    fn look(&mut self, now: UnixMillis, count: u64, is_busy: bool) {
        let millis = now.0.saturating_sub(self.looked.0);
        if millis < LOOK_MS {
            return;
        }
        // A worker that came back counts from zero.
        let grown = count.checked_sub(self.count).unwrap_or(count);
        self.per_second.add(grown as f64 * 1e3 / millis as f64, millis);
        self.busy.add(if is_busy { 1.0 } else { 0.0 }, millis);
        (self.looked, self.count) = (now, count);
    }
}

/// The rates of experiments that are not over and of connected workers.
#[derive(Default)]
pub(super) struct Rates {
    experiments: HashMap<ExperimentId, Growth>,
    workers: HashMap<WorkerId, Growth>,
}

impl Rates {
    /// Looks at all counts.
    pub(super) fn look(&mut self, state: &State, now: UnixMillis) {
        for experiment in state.ledger.experiments() {
            if experiment.status.is_over() {
                self.experiments.remove(&experiment.id);
                continue;
            }
            // What others had measured before says nothing of how fast the rest will be.
            let measured = experiment.settled().saturating_sub(experiment.reused);
            match self.experiments.get_mut(&experiment.id) {
                Some(growth) => growth.look(now, measured, true),
                None => {
                    self.experiments.insert(experiment.id.clone(), Growth::new(now, measured));
                }
            }
        }
        let busy: HashSet<&WorkerId> = state.dispatch.leases().map(|(_, lease)| &lease.worker).collect();
        self.workers.retain(|worker, _| state.dispatch.worker(worker).is_some());
        for worker in state.dispatch.workers() {
            let id = &worker.info.id;
            match self.workers.get_mut(id) {
                Some(growth) => growth.look(now, worker.committed, busy.contains(id)),
                None => {
                    self.workers.insert(id.clone(), Growth::new(now, worker.committed));
                }
            }
        }
    }

    /// Whether some rate fades as time passes.
    pub(super) fn are_moving(&self) -> bool {
        let mut all = self.experiments.values().chain(self.workers.values());
        all.any(|growth| growth.per_second.get() > 0.0) || self.workers.values().any(|it| it.busy.get() > 0.0)
    }

    /// Trials of an experiment that are measured per second.
    pub(super) fn of_experiment(&self, id: &ExperimentId) -> f64 {
        self.experiments.get(id).map_or(0.0, |growth| growth.per_second.get())
    }

    /// Trials that a worker commits per second, and the share of the time in which it holds some.
    pub(super) fn of_worker(&self, id: &WorkerId) -> (f64, f64) {
        self.workers.get(id).map_or((0.0, 0.0), |growth| (growth.per_second.get(), growth.busy.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(growth: &mut Growth, seconds: u64, counts: impl Fn(u64) -> u64) -> f64 {
        let start = growth.looked.0;
        for second in 1..=seconds {
            growth.look(UnixMillis(start + second * 1_000), counts(second), true);
        }
        growth.per_second.get()
    }

    #[test]
    fn a_steady_rate_is_known_after_the_first_look_and_stays() {
        let mut growth = Growth::new(UnixMillis(7), 100);

        let first = after(&mut growth, 1, |second| 100 + 8 * second);
        let later = after(&mut growth, 300, |second| 108 + 8 * second);

        assert!((first - 8.0).abs() < 1e-9 && (later - 8.0).abs() < 1e-9, "{first}, {later}");
        assert!((growth.busy.get() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_rate_fades_to_none_when_nothing_comes() {
        let mut growth = Growth::new(UnixMillis(0), 0);
        after(&mut growth, 60, |second| 8 * second);

        let minute = after(&mut growth, 60, |_| 480);
        let hour = after(&mut growth, 3_600, |_| 480);

        assert!((1.0..4.0).contains(&minute), "{minute}");
        assert!(hour == 0.0, "{hour}");
    }

    #[test]
    fn two_looks_at_one_moment_are_one() {
        let mut growth = Growth::new(UnixMillis(0), 0);

        growth.look(UnixMillis(LOOK_MS - 1), 5, true);

        assert_eq!((growth.count, growth.per_second), (0, Smoothed::default()));
    }
}
