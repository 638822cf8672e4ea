//! What must always hold of who works on what.

use std::collections::BTreeSet;

use super::{
    Claim, Dispatch, Lease, LeaseId, Ledger, Occupancy, Share, Trial, TrialKey, TrialState, Vacating,
    WorkerInfo,
};

impl Dispatch {
    /// Checks what must always hold; returns the first breach.
    pub(in crate::state) fn check(&self, ledger: &Ledger) -> Result<(), String> {
        self.queue.check()?;
        let is_open = |trial: &Trial| matches!(trial.state, TrialState::Open);
        self.troubles.check(|key| ledger.trial(key).is_some_and(is_open))?;
        for sequence in self.queue.trials() {
            let trial = ledger.proposed_at(sequence);
            let key = &trial.key;
            let wanted: BTreeSet<Claim> = ledger.claims(trial).into_iter().collect();
            let is_elsewhere = self.leased.contains_key(key) || self.troubles.is_withheld(key);
            if is_elsewhere || !self.queue.claims_of(trial).eq(wanted) {
                return Err(format!("trial {key} is queued but leased, withheld, settled or not wanted so"));
            }
        }
        for trial in ledger.trials() {
            let key = &trial.key;
            let held = self.leased.contains_key(key) || self.queue.contains(trial);
            if ledger.is_owed(trial) && !held && !self.troubles.is_withheld(key) {
                return Err(format!("trial {key} is owed but neither queued, leased nor withheld"));
            }
        }
        let in_leases: usize = self.leases.values().map(|lease| lease.trials.len()).sum();
        let holds = |id: &LeaseId, key: &TrialKey| {
            self.leased.get(key) == Some(id) || self.seconds.get(key) == Some(id)
        };
        let consistent = self.leases.iter().all(|(id, lease)| {
            let recalled = lease.recalled.is_subset(&lease.trials);
            !lease.trials.is_empty() && recalled && lease.trials.iter().all(|key| holds(id, key))
        });
        let beside_first =
            self.seconds.iter().all(|(key, id)| self.leased.get(key).is_some_and(|first| first != id));
        if in_leases != self.leased.len() + self.seconds.len() || !consistent || !beside_first {
            return Err("leases and leased trials disagree".to_owned());
        }
        self.check_devices()
    }

    /// No device is given out more than once, and what is kept of the devices is what the leases say.
    fn check_devices(&self) -> Result<(), String> {
        let mut occupancy = Occupancy::default();
        let in_force = self.leases.iter().filter_map(|(id, lease)| {
            let holder = self.workers.get(&lease.worker)?;
            Some((id, lease, &holder.info))
        });
        let vacating = self.vacating.iter().map(|(id, Vacating { lease, holder })| (id, lease, holder));
        let held: Vec<(&LeaseId, &Lease, &WorkerInfo)> = in_force.chain(vacating).collect();
        for (id, lease, holder) in &held {
            occupancy.begin(**id, lease, holder);
        }
        if occupancy != self.occupancy {
            return Err("what is known to be taken of devices is not what leases take".to_owned());
        }
        let known = self.holding.values().map(BTreeSet::len).sum::<usize>();
        let is_known = |(id, lease, _): &(&LeaseId, &Lease, &WorkerInfo)| {
            self.holding.get(&lease.worker).is_some_and(|ids| ids.contains(*id))
        };
        if known != held.len() || !held.iter().all(is_known) {
            return Err("what is known of each worker's leases is not what they are".to_owned());
        }
        if let Some((id, _)) = self.vacating.iter().find(|(_, over)| over.lease.withdrawn.is_empty()) {
            return Err(format!("{id:?} takes devices for nothing"));
        }
        for (_, lease, holder) in held {
            let taken = self.taken(holder, None);
            let probed = lease.probed.as_ref().map(|place| self.taken_at(place, None));
            for taken in [Some(taken), probed].into_iter().flatten() {
                if taken.exclusive.is_some() && taken.holders > 1 {
                    return Err(format!("{} measures beside an exclusive lease", holder.id.0));
                }
            }
            if taken.share > Share::WHOLE.ten_thousandths() {
                return Err(format!("more than all of {}'s device is leased", holder.id.0));
            }
        }
        Ok(())
    }
}
