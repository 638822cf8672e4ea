//! What leases take of each device, kept up as they come and go: every request for work asks for it, and there may be as
//! many leases as workers.

use std::collections::{BTreeMap, HashMap};

use super::dispatch::{Lease, LeaseId, WorkerId, WorkerInfo};

/// A device, by its machine where that matters, and its own name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) machine: String,
    pub(super) device: String,
}

impl Place {
    /// Where a worker measures.
    pub(super) fn of(info: &WorkerInfo) -> Self {
        let (machine, device) = info.place();
        Self { machine: machine.to_owned(), device: device.to_owned() }
    }
}

/// What a worker has of its device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    /// A worker whose request arrived twice may hold a lease that it never heard of; it works on one.
    leases: u32,
    /// In ten-thousandths.
    share: u32,
}

/// The leases on one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Holders {
    parts: BTreeMap<WorkerId, Part>,
    /// Sum of the parts' shares.
    share: u32,
    /// Leases that want the device for themselves.
    exclusive: BTreeMap<LeaseId, WorkerId>,
}

/// The leases on every device.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Occupancy {
    devices: HashMap<Place, Holders>,
    places: HashMap<LeaseId, Place>,
    /// Devices of probes, wherever their workers are; most leases take none.
    probed: BTreeMap<String, BTreeMap<LeaseId, WorkerId>>,
}

/// What leases take of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken<'a> {
    /// How many workers hold them.
    pub(super) holders: u32,
    /// Sum of those workers' shares, in ten-thousandths.
    pub(super) share: u32,
    /// Who has it to itself.
    pub(super) exclusive: Option<&'a WorkerId>,
}

impl Occupancy {
    /// A worker got a lease.
    pub(super) fn begin(&mut self, id: LeaseId, lease: &Lease, holder: &WorkerInfo) {
        let place = Place::of(holder);
        let holders = self.devices.entry(place.clone()).or_default();
        let part = holders.parts.entry(holder.id.clone()).or_default();
        if part.leases == 0 {
            part.share = holder.share.ten_thousandths();
            holders.share += part.share;
        }
        part.leases += 1;
        if lease.exclusive {
            holders.exclusive.insert(id, holder.id.clone());
        }
        self.places.insert(id, place);
        if let Some(device) = &lease.probed {
            self.probed.entry(device.clone()).or_default().insert(id, holder.id.clone());
        }
    }

    /// A lease of a worker is over.
    pub(super) fn end(&mut self, id: LeaseId, holder: &WorkerId) {
        let Some(place) = self.places.remove(&id) else { return };
        self.probed.retain(|_, leases| {
            leases.remove(&id);
            !leases.is_empty()
        });
        let Some(holders) = self.devices.get_mut(&place) else { return };
        holders.exclusive.remove(&id);
        if let Some(part) = holders.parts.get_mut(holder) {
            part.leases -= 1;
            if part.leases == 0 {
                holders.share -= part.share;
                holders.parts.remove(holder);
            }
        }
        if holders.parts.is_empty() {
            self.devices.remove(&place);
        }
    }

    /// Who, beside `but`, measures on a probe's device.
    pub(super) fn prober(&self, device: &str, but: &WorkerId) -> Option<&WorkerId> {
        self.probed.get(device)?.values().find(|worker| *worker != but)
    }

    /// What is taken of a worker's device, by others than `but`.
    pub(super) fn taken(&self, info: &WorkerInfo, but: Option<&WorkerId>) -> Taken<'_> {
        let Some(holders) = self.devices.get(&Place::of(info)) else { return Taken::default() };
        let own = but.and_then(|but| holders.parts.get(but));
        Taken {
            holders: holders.parts.len() as u32 - u32::from(own.is_some()),
            share: holders.share - own.map_or(0, |own| own.share),
            exclusive: holders.exclusive.values().find(|worker| Some(*worker) != but),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::device::{Device, Share};
    use crate::state::UnixMillis;
    use crate::state::ledger::Claim;

    use super::*;

    fn worker(name: &str, device: &str, share: u32) -> WorkerInfo {
        WorkerInfo {
            id: WorkerId(name.to_owned()),
            machine: "here".to_owned(),
            device: Device { id: device.to_owned(), ..Device::default() },
            share: Share::new(share).unwrap(),
            ..WorkerInfo::default()
        }
    }

    fn lease(worker: &WorkerInfo, exclusive: bool) -> Lease {
        Lease {
            worker: worker.id.clone(),
            claim: Claim { experiment: 0, stage: 0 },
            trials: BTreeSet::new(),
            running: BTreeSet::new(),
            deadline: UnixMillis(0),
            since: UnixMillis(0),
            predicted_ms: None,
            exclusive,
            probed: None,
            second: false,
            charge_ms: 0.0,
            recalled: BTreeSet::new(),
        }
    }

    #[test]
    fn a_worker_counts_once_and_nobody_counts_against_itself() {
        let (one, two, away) =
            (worker("w1", "gpu", 4_000), worker("w2", "gpu", 2_500), worker("w3", "cpu", 0));
        let mut occupancy = Occupancy::default();
        occupancy.begin(LeaseId(1), &lease(&one, false), &one);
        occupancy.begin(LeaseId(2), &lease(&one, true), &one);
        occupancy.begin(LeaseId(3), &lease(&two, false), &two);

        let all = occupancy.taken(&two, None);
        assert_eq!((all.holders, all.share, all.exclusive), (2, 6_500, Some(&one.id)));
        let others = occupancy.taken(&one, Some(&one.id));
        assert_eq!((others.holders, others.share, others.exclusive), (1, 2_500, None));
        assert_eq!(occupancy.taken(&away, None), Taken::default());
    }

    #[test]
    fn what_was_begun_and_ended_leaves_nothing() {
        let one = worker("w1", "gpu", 4_000);
        let mut occupancy = Occupancy::default();
        for id in [1, 2] {
            occupancy.begin(LeaseId(id), &lease(&one, true), &one);
        }

        occupancy.end(LeaseId(1), &one.id);
        assert_eq!(occupancy.taken(&one, None).holders, 1);
        occupancy.end(LeaseId(2), &one.id);
        occupancy.end(LeaseId(2), &one.id);

        assert_eq!(occupancy, Occupancy::default());
    }
}
