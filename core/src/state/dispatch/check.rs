//! What must always hold of who works on what.

use std::collections::BTreeSet;

use super::{Claim, Dispatch, LeaseId, Ledger, Occupancy, Share, Trial, TrialKey, TrialState};

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
        for (id, lease) in &self.leases {
            if let Some(holder) = self.workers.get(&lease.worker) {
                occupancy.begin(*id, lease, &holder.info);
            }
        }
        if occupancy != self.occupancy {
            return Err("what is known to be taken of devices is not what leases take".to_owned());
        }
        for lease in self.leases.values() {
            let Some(holder) = self.workers.get(&lease.worker) else { continue };
            let taken = self.taken(&holder.info, None);
            let probed = lease.probed.as_ref().map(|place| self.taken_at(place, None));
            for taken in [Some(taken), probed].into_iter().flatten() {
                if taken.exclusive.is_some() && taken.holders > 1 {
                    return Err(format!("{} measures beside an exclusive lease", holder.info.id.0));
                }
            }
            if taken.share > Share::WHOLE.ten_thousandths() {
                return Err(format!("more than all of {}'s device is leased", holder.info.id.0));
            }
        }
        Ok(())
    }
}
