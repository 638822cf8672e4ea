//! What leases take of each device, kept up as they come and go: every request for work asks for it, and there may be as
//! many leases as workers.

use std::collections::{BTreeMap, HashMap};

use super::dispatch::{Lease, LeaseId, WorkerId, WorkerInfo};
use crate::device::DeviceKind;

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

    /// Where a probe measures: on the device that it names, which no other one is called, or on its worker's processor.
    pub(super) fn of_probe(named: Option<&str>, worker: &WorkerInfo) -> Self {
        let (machine, device) =
            named.map_or_else(|| (worker.machine.as_str(), DeviceKind::Cpu.as_str()), |device| ("", device));
        Self { machine: machine.to_owned(), device: device.to_owned() }
    }
}

/// What a worker has of a device.
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

impl Holders {
    fn begin(&mut self, (id, holder): (LeaseId, &WorkerId), share: u32, is_exclusive: bool) {
        let part = self.parts.entry(holder.clone()).or_default();
        if part.leases == 0 {
            part.share = share;
            self.share += share;
        }
        part.leases += 1;
        if is_exclusive {
            self.exclusive.insert(id, holder.clone());
        }
    }

    fn end(&mut self, id: LeaseId, holder: &WorkerId) {
        self.exclusive.remove(&id);
        let Some(part) = self.parts.get_mut(holder) else { return };
        part.leases -= 1;
        if part.leases == 0 {
            self.share -= part.share;
            self.parts.remove(holder);
        }
    }
}

/// The leases on every device.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Occupancy {
    devices: HashMap<Place, Holders>,
    places: HashMap<LeaseId, Held>,
}

/// What one lease takes.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    /// Its worker's device.
    own: Place,
    /// That of a probe, if it is another one; most leases take none.
    probed: Option<Place>,
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
        let held = Held { own: Place::of(holder), probed: lease.probed.clone() };
        let own = self.devices.entry(held.own.clone()).or_default();
        own.begin((id, &holder.id), holder.share.ten_thousandths(), lease.exclusive);
        if let Some(probed) = &held.probed {
            // A share is one of the worker's own device, and a probe takes all of the other.
            self.devices.entry(probed.clone()).or_default().begin((id, &holder.id), 0, true);
        }
        self.places.insert(id, held);
    }

    /// A lease of a worker is over.
    pub(super) fn end(&mut self, id: LeaseId, holder: &WorkerId) {
        let Some(Held { own, probed }) = self.places.remove(&id) else { return };
        for place in [Some(own), probed].into_iter().flatten() {
            let Some(holders) = self.devices.get_mut(&place) else { continue };
            holders.end(id, holder);
            if holders.parts.is_empty() {
                self.devices.remove(&place);
            }
        }
    }

    /// What is taken of a device, by others than `but`.
    pub(super) fn taken(&self, place: &Place, but: Option<&WorkerId>) -> Taken<'_> {
        let Some(holders) = self.devices.get(place) else { return Taken::default() };
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
            withdrawn: BTreeSet::new(),
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

        let taken = |info: &WorkerInfo, but| occupancy.taken(&Place::of(info), but);
        let all = taken(&two, None);
        assert_eq!((all.holders, all.share, all.exclusive), (2, 6_500, Some(&one.id)));
        let others = taken(&one, Some(&one.id));
        assert_eq!((others.holders, others.share, others.exclusive), (1, 2_500, None));
        assert_eq!(taken(&away, None), Taken::default());
    }

    #[test]
    fn what_was_begun_and_ended_leaves_nothing() {
        let one = worker("w1", "gpu", 4_000);
        let mut occupancy = Occupancy::default();
        let board = Place::of_probe(Some("pi5"), &one);
        for id in [1, 2] {
            occupancy.begin(LeaseId(id), &Lease { probed: Some(board.clone()), ..lease(&one, true) }, &one);
        }

        occupancy.end(LeaseId(1), &one.id);
        assert_eq!(occupancy.taken(&Place::of(&one), None).holders, 1);
        assert_eq!(occupancy.taken(&board, None).exclusive, Some(&one.id));
        occupancy.end(LeaseId(2), &one.id);
        occupancy.end(LeaseId(2), &one.id);

        assert_eq!(occupancy, Occupancy::default());
    }

    #[test]
    fn a_probe_takes_its_workers_device_and_the_one_that_it_measures() {
        let gpu = |name: &str, id: &str| {
            let device = Device { kind: DeviceKind::Cuda, id: id.to_owned(), ..Device::default() };
            WorkerInfo { device, ..worker(name, id, 10_000) }
        };
        let (on_gpu, on_processor) = (gpu("w1", "gpu-x"), worker("w2", "cpu", 0));
        let processor = Place::of_probe(None, &on_gpu);
        let mut occupancy = Occupancy::default();
        occupancy.begin(LeaseId(1), &Lease { probed: Some(processor), ..lease(&on_gpu, true) }, &on_gpu);

        for place in [Place::of(&on_processor), Place::of(&gpu("w3", "gpu-x"))] {
            assert_eq!(occupancy.taken(&place, None).exclusive, Some(&on_gpu.id), "{place:?}");
        }
        assert_eq!(occupancy.taken(&Place::of(&on_processor), None).share, 0, "no share of the other device");
        assert_eq!(Place::of_probe(Some("gpu-x"), &on_processor), Place::of(&on_gpu));
    }
}
