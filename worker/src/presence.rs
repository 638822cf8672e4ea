//! What the heartbeat thread has to know, shared with the compute thread and the session.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitloop_core::trial::TrialKey;
use bitloop_core::worker::Beat;

#[derive(Debug, Default)]
struct Inner {
    beat: Option<Beat>,
    running: Vec<TrialKey>,
    /// Trials of the order at hand that are not begun.
    unbegun: BTreeSet<TrialKey>,
    /// Trials taken out of it for others; the coordinator may not know it yet.
    withdrawn: BTreeSet<TrialKey>,
}

/// Under which epoch and lease the worker works, and on what.
#[derive(Debug, Default)]
pub(crate) struct Presence(Mutex<Inner>);

impl Presence {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nobody panics within an update, so that none is half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says under which epoch and lease the worker works; none while it is not registered.
    pub(crate) fn works_under(&self, beat: Option<Beat>) {
        self.lock().beat = beat;
    }

    /// Says which trials are measured one after another from now on.
    pub(crate) fn ordered(&self, keys: impl IntoIterator<Item = TrialKey>) {
        let mut inner = self.lock();
        inner.unbegun = keys.into_iter().collect();
        // The session gives them back with the lease, at the end of their shard.
        inner.withdrawn.clear();
    }

    /// Begins to measure trials together; returns those that were not given back meanwhile.
    pub(crate) fn begin(&self, keys: impl IntoIterator<Item = TrialKey>) -> BTreeSet<TrialKey> {
        let mut inner = self.lock();
        let begun: BTreeSet<TrialKey> = keys.into_iter().filter(|key| inner.unbegun.remove(key)).collect();
        inner.running = begun.iter().copied().collect();
        begun
    }

    /// Takes trials out of the order that are not begun; returns all that are taken out and not [given back](Self::gave_back).
    pub(crate) fn withdraw(&self, keys: &[TrialKey]) -> Vec<TrialKey> {
        let mut inner = self.lock();
        for key in keys {
            if inner.unbegun.remove(key) {
                inner.withdrawn.insert(*key);
            }
        }
        inner.withdrawn.iter().copied().collect()
    }

    /// Says that the coordinator has trials back.
    pub(crate) fn gave_back(&self, keys: &[TrialKey]) {
        self.lock().withdrawn.retain(|key| !keys.contains(key));
    }

    /// Says which trials are measured now, together.
    pub(crate) fn running(&self, keys: Vec<TrialKey>) {
        self.lock().running = keys;
    }

    /// What the next heartbeat says; none while the worker is not registered.
    pub(crate) fn beat(&self) -> Option<(Beat, Vec<TrialKey>)> {
        let inner = self.lock();
        let beat = inner.beat?;
        // A trial is only held against a lease that it belongs to.
        let running = if beat.lease.is_some() { inner.running.clone() } else { Vec::new() };
        Some((beat, running))
    }
}

#[cfg(test)]
mod tests {
    use bitloop_core::digest::Digest;

    use super::*;

    fn keys(count: u8) -> Vec<TrialKey> {
        (0..count).map(|number| TrialKey(Digest::of(&[number]))).collect()
    }

    #[test]
    fn what_is_begun_is_not_given_back_and_what_was_given_back_is_not_begun() {
        let presence = Presence::default();
        let keys = keys(4);
        presence.ordered(keys.iter().copied());
        assert_eq!(presence.begin([keys[0]]), BTreeSet::from([keys[0]]));

        assert_eq!(presence.withdraw(&[keys[0], keys[2]]), [keys[2]]);
        presence.gave_back(&[keys[2]]);

        assert_eq!(presence.begin([keys[1], keys[2]]), BTreeSet::from([keys[1]]));
        assert_eq!(presence.withdraw(&keys), [keys[3]]);
    }

    #[test]
    fn what_could_not_be_given_back_is_given_back_later_and_not_begun_meanwhile() {
        let presence = Presence::default();
        let keys = keys(3);
        presence.ordered(keys.iter().copied());
        assert_eq!(presence.withdraw(&keys[1..2]), keys[1..2]);

        assert_eq!(presence.withdraw(&[]), keys[1..2]);
        assert_eq!(BTreeSet::from_iter(presence.withdraw(&keys[2..])), BTreeSet::from([keys[1], keys[2]]));
        assert_eq!(presence.begin(keys.iter().copied()), BTreeSet::from([keys[0]]));

        presence.gave_back(&keys[1..]);
        assert_eq!(presence.withdraw(&[]), []);
    }

    #[test]
    fn an_order_that_is_over_leaves_nothing_to_give_back() {
        let presence = Presence::default();
        let keys = keys(2);
        presence.ordered(keys.iter().copied());
        presence.withdraw(&keys[..1]);

        presence.ordered([]);

        assert_eq!(presence.withdraw(&keys), []);
    }
}
