//! How the coordinator is at the moment, for people. The driver writes, anyone reads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::UnixMillis;

use super::{Histogram, Metrics};
use crate::store::StoreError;

/// Weight of the latest commit in the smoothed time of one.
const COMMIT_WEIGHT: f64 = 0.1;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Now {
    alive_ms: AtomicU64,
    /// Bits of a float; milliseconds.
    commit_ms: AtomicU64,
    store_error: Mutex<Option<String>>,
    /// Finished experiments whose results files cannot be made or written.
    unwritten: Mutex<BTreeSet<ExperimentId>>,
}

/// What is counted, and how the coordinator is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) duplicates: u64,
    pub(crate) leases_expired: u64,
    pub(crate) workers_lost: u64,
    /// From taking up a commit to its durable answer, smoothed over the latest; none before the first.
    pub(crate) commit_ms: Option<f64>,
    /// 99 of 100 commits took no longer, among the times that are told apart; infinite above them.
    pub(crate) commit_p99_ms: Option<f64>,
    /// When the driver was last at work.
    pub(crate) alive: UnixMillis,
    /// Why facts cannot be stored, while they cannot.
    pub(crate) store_error: Option<String>,
}

impl Metrics {
    /// The driver is at work.
    pub(crate) fn is_alive(&self, now: UnixMillis) {
        self.now.alive_ms.store(now.0, Ordering::Relaxed);
    }

    pub(crate) fn cannot_store(&self, cause: &StoreError) {
        *self.now.store_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause.to_string());
    }

    pub(crate) fn can_store(&self) {
        *self.now.store_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The results file of an experiment cannot be made or written; returns whether that is new.
    pub(crate) fn cannot_write_results(&self, experiment: &ExperimentId) -> bool {
        let mut unwritten = self.now.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        unwritten.insert(experiment.clone())
    }

    pub(crate) fn can_write_results(&self, experiment: &ExperimentId) {
        self.now.unwritten.lock().unwrap_or_else(PoisonError::into_inner).remove(experiment);
    }

    pub(crate) fn has_unwritten_results(&self, experiment: &ExperimentId) -> bool {
        self.now.unwritten.lock().unwrap_or_else(PoisonError::into_inner).contains(experiment)
    }

    /// Experiments whose results files cannot be made or written.
    pub(super) fn unwritten_results(&self) -> usize {
        self.now.unwritten.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// One commit took so long. Only the driver's thread comes here.
    pub(super) fn note_commit(&self, took: Duration) {
        let millis = took.as_secs_f64() * 1e3;
        let before = f64::from_bits(self.now.commit_ms.load(Ordering::Relaxed));
        let is_first = self.commit_seconds.observations() <= 1;
        let smoothed = if is_first { millis } else { before + COMMIT_WEIGHT * (millis - before) };
        self.now.commit_ms.store(smoothed.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        let is_any = self.commit_seconds.observations() > 0;
        let commit_ms = f64::from_bits(self.now.commit_ms.load(Ordering::Relaxed));
        Counts {
            succeeded: self.succeeded.get(),
            failed: self.failed.get(),
            duplicates: self.duplicates.get(),
            leases_expired: self.leases_expired.get(),
            workers_lost: self.workers_lost.get(),
            commit_ms: is_any.then_some(commit_ms),
            commit_p99_ms: self.commit_seconds.bound_of(0.99).map(|seconds| seconds * 1e3),
            alive: UnixMillis(self.now.alive_ms.load(Ordering::Relaxed)),
            store_error: self.now.store_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Histogram {
    fn observations(&self) -> u64 {
        self.counts.iter().map(super::Counter::get).sum()
    }

    /// The least bound that this share of the values does not exceed; infinite if there is none, and none without values.
    fn bound_of(&self, share: f64) -> Option<f64> {
        let counts: Vec<u64> = self.counts.iter().map(super::Counter::get).collect();
        let all: u64 = counts.iter().sum();
        if all == 0 {
            return None;
        }
        let wanted = (all as f64 * share).ceil() as u64;
        let reached = counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        let place = reached.take_while(|sum| *sum < wanted).count();
        Some(self.bounds.get(place).copied().unwrap_or(f64::INFINITY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_of_a_share_is_the_least_that_so_many_keep() {
        let histogram = Histogram::new(&[1.0, 2.0, 4.0]);
        assert_eq!(histogram.bound_of(0.99), None);

        (0..99).for_each(|_| histogram.observe(0.5));
        histogram.observe(3.0);

        assert_eq!(histogram.bound_of(0.99), Some(1.0));
        assert_eq!(histogram.bound_of(0.995), Some(4.0));
        (0..9).for_each(|_| histogram.observe(9.0));
        assert_eq!(histogram.bound_of(0.99), Some(f64::INFINITY));
    }
}
