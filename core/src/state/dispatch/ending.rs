//! How leases end, and when what they take of devices is free.
//!
//! A trial that a worker gives back or reports, it is not at any more. One that is taken away from it (another one has reported it, its
//! experiment is paused or over, the worker hangs) it may be at until it hears of that and has stopped: so long the lease is *vacating*,
//! and takes of devices what it took. It ends when the worker says so, or when the worker has stopped by itself, as nobody prolonged
//! the lease.

use std::collections::BTreeSet;

use super::{Dispatch, Lease, LeaseId, Ledger, TrialKey, UnixMillis, Worker, WorkerId, WorkerInfo};

/// A lease that is over while its worker may still be at something of it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::state) struct Vacating {
    pub(in crate::state) lease: Lease,
    /// Its worker, which may be none of the coordinator's any more.
    pub(in crate::state) holder: WorkerInfo,
}

impl Vacating {
    /// When it takes nothing any more, whatever its worker says: one that is not heard has broken off.
    pub(in crate::state) fn until(&self) -> UnixMillis {
        self.lease.deadline
    }
}

impl Dispatch {
    /// A lease is over. Its worker may still be at `running` of its trials.
    pub(super) fn end(&mut self, id: LeaseId, running: &BTreeSet<TrialKey>, ledger: &Ledger) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        let trials = std::mem::take(&mut lease.trials);
        lease.withdrawn.clone_from(running);
        let unbegun = lease.charged_for_unbegun(trials.iter());
        self.served.refund(lease.claim.experiment, unbegun);
        self.finish(id);
        for key in &trials {
            self.let_go(key, id, ledger);
        }
    }

    /// A worker gives trials back that it has not begun.
    pub(super) fn take_back(&mut self, id: LeaseId, trials: &[TrialKey], ledger: &Ledger) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        lease.recalled.clear();
        let returned: Vec<_> = trials.iter().filter(|key| lease.trials.remove(key)).copied().collect();
        self.served.refund(lease.claim.experiment, lease.charged_for_unbegun(returned.iter()));
        if lease.trials.is_empty() {
            self.finish(id);
        }
        for key in returned {
            self.let_go(&key, id, ledger);
        }
    }

    /// Takes a trial away from whoever has it.
    pub(super) fn withdraw(&mut self, key: &TrialKey) {
        for id in [self.leased.remove(key), self.seconds.remove(key)].into_iter().flatten() {
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            lease.recalled.remove(key);
            if lease.trials.remove(key) {
                lease.withdrawn.insert(*key);
            }
            if lease.trials.is_empty() {
                self.finish(id);
            }
        }
    }

    /// A worker is at these trials no more, or has them under a new lease.
    pub(super) fn leave_off(&mut self, worker: &WorkerId, trials: &BTreeSet<TrialKey>) {
        for id in self.holding.get(worker).into_iter().flatten().copied().collect::<Vec<_>>() {
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.withdrawn.retain(|key| !trials.contains(key));
            } else if let Some(Vacating { lease, .. }) = self.vacating.get_mut(&id) {
                lease.withdrawn.retain(|key| !trials.contains(key));
                if lease.withdrawn.is_empty() {
                    self.vacate(id);
                }
            }
        }
    }

    /// Nothing is left of a lease: what it takes is free unless its worker may still be at something.
    fn finish(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.remove(&id) else { return };
        self.turns += 1;
        match self.workers.get(&lease.worker).filter(|_| !lease.withdrawn.is_empty()) {
            Some(Worker { info, .. }) => {
                _ = self.vacating.insert(id, Vacating { holder: info.clone(), lease })
            }
            None => self.let_devices_go(id, &lease.worker),
        }
    }

    /// The worker of a vacating lease is at nothing of it any more.
    pub(super) fn vacate(&mut self, id: LeaseId) {
        let Some(Vacating { lease, .. }) = self.vacating.remove(&id) else { return };
        self.turns += 1;
        self.let_devices_go(id, &lease.worker);
    }

    fn let_devices_go(&mut self, id: LeaseId, worker: &WorkerId) {
        self.occupancy.end(id, worker);
        if let Some(held) = self.holding.get_mut(worker) {
            held.remove(&id);
            if held.is_empty() {
                self.holding.remove(worker);
            }
        }
    }

    /// A lease holds a trial no more: it is queued, unless another lease holds it too.
    fn let_go(&mut self, key: &TrialKey, id: LeaseId, ledger: &Ledger) {
        if self.seconds.get(key) == Some(&id) {
            self.seconds.remove(key);
            return;
        }
        match self.seconds.remove(key) {
            Some(second) => {
                self.leased.insert(*key, second);
                if let Some(lease) = self.leases.get_mut(&second) {
                    lease.second = false;
                }
            }
            None => {
                self.leased.remove(key);
                self.enqueue(key, ledger);
            }
        }
    }

    /// Leases that are over whose workers may still be at something of them.
    pub(in crate::state) fn vacating(&self) -> impl Iterator<Item = (&LeaseId, &Vacating)> {
        self.vacating.iter()
    }

    /// The leases of a worker: those in force, and those that are vacating.
    pub(in crate::state) fn held_by(&self, worker: &WorkerId) -> impl Iterator<Item = (LeaseId, &Lease)> {
        let ids = self.holding.get(worker).into_iter().flatten();
        let lease = |id| self.leases.get(id).or_else(|| Some(&self.vacating.get(id)?.lease));
        ids.filter_map(move |id| Some((*id, lease(id)?)))
    }
}
