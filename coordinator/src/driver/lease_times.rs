//! When leases were granted, which is of no use to `decide` and of some to people.

use std::collections::BTreeMap;

use bitloop_core::state::{Change, Event, LeaseId, State, UnixMillis};

use super::view::{LEASE_AGES_MS, LeaseSummary};

/// Times of leases in force; one that has ended is forgotten at the next [`LeaseTimes::forget_ended`].
#[derive(Default)]
pub(crate) struct LeaseTimes(BTreeMap<LeaseId, UnixMillis>);

impl LeaseTimes {
    pub(super) fn note(&mut self, event: &Event, now: UnixMillis) {
        if let Event::Change(Change::LeaseGranted { lease, .. }) = event {
            self.0.insert(*lease, now);
        }
    }

    /// Forgets leases that are no longer in force, and gives how long each lasted in milliseconds.
    pub(super) fn forget_ended(&mut self, state: &State, now: UnixMillis) -> Vec<u64> {
        let ended = self.0.extract_if(.., |lease, _| state.dispatch.lease(*lease).is_none());
        ended.map(|(_, granted)| now.0.saturating_sub(granted.0)).collect()
    }

    pub(super) fn summary(&self, state: &State, now: UnixMillis) -> LeaseSummary {
        let in_force = state.dispatch.leases();
        let granted = self.0.values().min().copied().unwrap_or(now);
        let older =
            |than_ms: u64| self.0.values().filter(|granted| granted.after(than_ms) < now).count() as u64;
        LeaseSummary {
            older_than: LEASE_AGES_MS.map(older),
            count: in_force.len() as u64,
            trials: in_force.map(|(_, lease)| lease.trials.len() as u64).sum(),
            oldest_ms: now.0.saturating_sub(granted.0),
        }
    }
}
