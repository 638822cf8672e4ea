//! How fast experiments and workers are, and how busy: smoothed over what was seen each time an overview was taken.

use std::collections::{HashMap, HashSet, VecDeque};

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

/// Steps of a count that are remembered; where they took longer than the smoothed rate's memory, they make the rate.
const STEPS: usize = 8;

/// A count that takes its steps so many times as long as on average takes none any more.
const STANDSTILL: u64 = 8;

/// A count that grows.
#[derive(Clone, Debug)]
struct Growth {
    looked: UnixMillis,
    count: u64,
    per_second: Smoothed,
    busy: Smoothed,
    /// The beginning, and when it grew lately by how much.
    steps: VecDeque<(UnixMillis, u64)>,
}

impl Growth {
    fn new(now: UnixMillis, count: u64) -> Self {
        let steps = VecDeque::from([(now, 0)]);
        Self { looked: now, count, per_second: Smoothed::default(), busy: Smoothed::default(), steps }
    }

    /// What it grows by per second: of about the last minute, or since some steps ago where those took longer.
    fn rate(&self) -> f64 {
        let (Some((first, _)), Some((last, _))) = (self.steps.front(), self.steps.back()) else { return 0.0 };
        let took_ms = last.0.saturating_sub(first.0);
        if (took_ms as f64) < MEMORY_MS {
            return self.per_second.get();
        }
        let steps = self.steps.len() as u64 - 1;
        let silent_ms = self.looked.0.saturating_sub(last.0);
        if silent_ms > STANDSTILL * took_ms / steps {
            return 0.0;
        }
        let grown: u64 = self.steps.iter().skip(1).map(|(_, grown)| grown).sum();
        grown as f64 * 1e3 / (took_ms + silent_ms) as f64
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
        if grown > 0 {
            self.steps.push_back((now, grown));
            if self.steps.len() > STEPS + 1 {
                self.steps.pop_front();
            }
        }
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
        all.any(|growth| growth.rate() > 0.0) || self.workers.values().any(|it| it.busy.get() > 0.0)
    }

    /// Trials of an experiment that are measured per second.
    pub(super) fn of_experiment(&self, id: &ExperimentId) -> f64 {
        self.experiments.get(id).map_or(0.0, Growth::rate)
    }

    /// Trials that a worker commits per second, and the share of the time in which it holds some.
    pub(super) fn of_worker(&self, id: &WorkerId) -> (f64, f64) {
        self.workers.get(id).map_or((0.0, 0.0), |growth| (growth.rate(), growth.busy.get()))
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
        growth.rate()
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
    fn trials_that_take_half_an_hour_have_a_rate_at_any_time() {
        const PERIOD: u64 = 1_800;
        let mut growth = Growth::new(UnixMillis(0), 0);
        assert_eq!(after(&mut growth, PERIOD - 1, |_| 0), 0.0, "nothing is known of the first");

        for second in PERIOD..12 * PERIOD {
            growth.look(UnixMillis(second * 1_000), second / PERIOD, true);
            let times = growth.rate() * PERIOD as f64;
            assert!((0.5..=2.0).contains(&times), "{times} times the rate after {second} s");
        }
        assert!(after(&mut growth, 7 * PERIOD, |_| 11) > 0.0, "it may be late");
        assert_eq!(after(&mut growth, 2 * PERIOD, |_| 11), 0.0);
    }

    #[test]
    fn two_looks_at_one_moment_are_one() {
        let mut growth = Growth::new(UnixMillis(0), 0);

        growth.look(UnixMillis(LOOK_MS - 1), 5, true);

        assert_eq!((growth.count, growth.per_second), (0, Smoothed::default()));
    }
}
