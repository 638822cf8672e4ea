//! What the heartbeat thread has to know, shared with the compute thread and the session.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitloop_core::state::LeaseId;
use bitloop_core::trial::TrialKey;
use tokio::sync::Notify;

use crate::client::Epoch;

/// What a heartbeat says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Beat {
    pub(crate) epoch: Epoch,
    pub(crate) lease: Option<LeaseId>,
    pub(crate) running: Vec<TrialKey>,
}

#[derive(Debug, Default)]
struct Inner {
    epoch: Option<Epoch>,
    lease: Option<(LeaseId, Arc<AtomicBool>)>,
    running: Vec<TrialKey>,
    /// Trials of the order at hand that are not begun.
    unbegun: BTreeSet<TrialKey>,
}

/// Under which epoch and lease the worker works, and on what.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    inner: Mutex<Inner>,
    displaced: Notify,
}

impl Presence {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every update is one assignment, so a panic elsewhere leaves nothing half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn registered(&self, epoch: Epoch) {
        self.lock().epoch = Some(epoch);
    }

    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.lock().epoch
    }

    /// Says which lease is worked on; `stop` ends that work.
    pub(crate) fn took(&self, lease: LeaseId, stop: &Arc<AtomicBool>) {
        self.lock().lease = Some((lease, Arc::clone(stop)));
    }

    /// Says which trials are measured one after another from now on.
    pub(crate) fn ordered(&self, keys: impl IntoIterator<Item = TrialKey>) {
        self.lock().unbegun = keys.into_iter().collect();
    }

    /// Begins to measure trials together; returns those that were not given back meanwhile.
    pub(crate) fn begin(&self, keys: impl IntoIterator<Item = TrialKey>) -> BTreeSet<TrialKey> {
        let mut inner = self.lock();
        let begun: BTreeSet<TrialKey> = keys.into_iter().filter(|key| inner.unbegun.remove(key)).collect();
        inner.running = begun.iter().copied().collect();
        begun
    }

    /// Takes trials out of the order that are not begun; returns which.
    pub(crate) fn withdraw(&self, keys: &[TrialKey]) -> Vec<TrialKey> {
        let mut inner = self.lock();
        keys.iter().copied().filter(|key| inner.unbegun.remove(key)).collect()
    }

    /// Says which trials are measured now, together.
    pub(crate) fn running(&self, keys: Vec<TrialKey>) {
        self.lock().running = keys;
    }

    /// Forgets the lease and returns it, if it is still believed to be in force.
    pub(crate) fn take_lease(&self) -> Option<LeaseId> {
        self.lock().lease.take().map(|(lease, _)| lease)
    }

    /// What the next heartbeat says; none while the worker is not registered.
    pub(crate) fn beat(&self) -> Option<Beat> {
        let inner = self.lock();
        let lease = inner.lease.as_ref().map(|(lease, _)| *lease);
        // A trial is only held against a lease that it belongs to.
        let running = if lease.is_some() { inner.running.clone() } else { Vec::new() };
        inner.epoch.map(|epoch| Beat { epoch, lease, running })
    }

    /// Stops the work under a lease that is not in force any more, unless another one took its place meanwhile.
    pub(crate) fn revoke(&self, beat: &Beat) {
        let mut inner = self.lock();
        if inner.epoch == Some(beat.epoch)
            && let Some((_, stop)) = inner.lease.take_if(|(lease, _)| Some(*lease) == beat.lease)
        {
            stop.store(true, Ordering::Relaxed);
        }
    }

    /// Asks the session to register again, unless it has done so meanwhile.
    pub(crate) fn displace(&self, epoch: Epoch) {
        let mut inner = self.lock();
        if inner.epoch == Some(epoch) {
            inner.epoch = None;
            self.displaced.notify_one();
        }
    }

    /// Waits until the worker has to register again.
    pub(crate) async fn displaced(&self) {
        self.displaced.notified().await;
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

        assert_eq!(presence.begin([keys[1], keys[2]]), BTreeSet::from([keys[1]]));
        assert_eq!(presence.withdraw(&keys), [keys[3]]);
    }

    #[test]
    fn an_order_that_is_over_leaves_nothing_to_give_back() {
        let presence = Presence::default();
        let keys = keys(2);
        presence.ordered(keys.iter().copied());

        presence.ordered([]);

        assert_eq!(presence.withdraw(&keys), []);
    }
}
