//! Work, and which class of workers it is for.

use std::collections::BTreeMap;
use std::time::Duration;

use bitloop_core::device::{DeviceKind, ProbeNeed, ProbeOffer};
use bitloop_core::spec::{Offers, WorkerClass};

/// Open trials that need the same of a worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    /// The device it must compute on, as the coordinator calls it; any if none.
    pub device: Option<String>,
    /// Memory of one GPU.
    pub gpu_memory_bytes: u64,
    /// Labels that it must carry.
    pub labels: BTreeMap<String, String>,
    /// Whether it must measure with exact arithmetic.
    pub exact: bool,
    /// What it must be able to measure a device with.
    pub probe: Option<ProbeNeed>,
    /// How many they are, waiting and leased.
    pub trials: u64,
    /// Estimated work for one worker.
    pub seconds: f64,
}

/// A worker that is there already and was not asked for here: started by hand, say, or by another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// What it has, but for probes.
    pub offers: Offers,
    /// Whether it measures with exact arithmetic.
    pub exact: bool,
    /// What it measures devices with.
    pub probes: Vec<ProbeOffer>,
}

/// What a look at the coordinator showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work {
    /// Open trials by what they need.
    pub demands: Vec<Demand>,
    /// Workers that nobody here asked for.
    pub others: Vec<Other>,
}

impl Demand {
    /// Whether workers of a class can do it. Of which class the devices of their probes are nobody knows before they are there.
    fn is_met_by(&self, offers: &Offers) -> bool {
        let probe = self.probe.as_ref().is_none_or(|need| offers.probes.contains_key(&need.name));
        probe && self.is_met_but_for_probes(offers)
    }

    fn is_met_but_for_probes(&self, offers: &Offers) -> bool {
        let device = self.device.as_deref().is_none_or(|device| device == offers.device.as_str());
        let labels = self.labels.iter().all(|(key, value)| offers.labels.get(key) == Some(value));
        let exact = !self.exact || offers.device == DeviceKind::Cpu;
        device && labels && exact && self.gpu_memory_bytes <= offers.gpu_memory_bytes
    }

    fn is_met_by_other(&self, other: &Other) -> bool {
        let has = |need: &ProbeNeed| other.probes.iter().any(|offer| need.is_met(offer));
        self.probe.as_ref().is_none_or(has)
            && self.is_met_but_for_probes(&other.offers)
            && (other.exact || !self.exact)
    }
}

/// What falls to one class of workers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// Work, estimated for one worker.
    pub seconds: f64,
    /// Workers worth having for it, within the class's limits.
    pub workers: u32,
}

/// Divides work among classes, in their order: what one has no workers for goes to the next that can do it. Workers that
/// others started take their part first, each as much as a worker of the first class that can do the work would.
///
/// Returns a share for each class, and the work that nobody can do at all.
pub fn shares<'a>(classes: &[WorkerClass], work: &'a Work) -> (Vec<Share>, Vec<&'a Demand>) {
    let mut shares = vec![Share::default(); classes.len()];
    let mut strange = Vec::new();
    let mut free: Vec<&Other> = work.others.iter().collect();
    // Those that can do the least come first, so that work which needs more finds the others.
    free.sort_by_key(|other| {
        let Offers { device, gpu_memory_bytes, labels, probes: _ } = &other.offers;
        (other.probes.len(), *device, *gpu_memory_bytes, labels.len())
    });
    for demand in work.demands.iter().filter(|demand| demand.trials > 0) {
        let mut left = Left { seconds: demand.seconds.max(0.0), trials: demand.trials };
        let able = |class: &WorkerClass| demand.is_met_by(&class.offers);
        if let Some(class) = classes.iter().find(|class| able(class)) {
            left.give_to_others(class, demand, &mut free);
        }
        for (class, share) in classes.iter().zip(&mut shares).filter(|(class, _)| able(class)) {
            left.give_to(class, share);
        }
        if !classes.iter().any(able) && !work.others.iter().any(|other| demand.is_met_by_other(other)) {
            strange.push(demand);
        }
    }
    for (class, share) in classes.iter().zip(&mut shares) {
        share.workers = share.workers.clamp(class.workers_min, class.workers_max);
    }
    (shares, strange)
}

struct Left {
    seconds: f64,
    trials: u64,
}

impl Left {
    fn give_to(&mut self, class: &WorkerClass, share: &mut Share) {
        let (workers, seconds) = self.take(class, class.workers_max - share.workers);
        share.workers += workers;
        share.seconds += seconds;
    }

    /// Whoever takes a part has no time for other work.
    fn give_to_others(&mut self, class: &WorkerClass, demand: &Demand, free: &mut Vec<&Other>) {
        let able = free.iter().filter(|other| demand.is_met_by_other(other)).count();
        let (mut taken, _) = self.take(class, u32::try_from(able).unwrap_or(u32::MAX));
        free.retain(|other| {
            let stays = taken == 0 || !demand.is_met_by_other(other);
            taken -= u32::from(!stays);
            stays
        });
    }

    /// Takes out what keeps up to `room` workers busy: one for each `target` of work, but none without a trial. Returns
    /// how many they are, and their work in seconds.
    fn take(&mut self, class: &WorkerClass, room: u32) -> (u32, f64) {
        if self.trials == 0 {
            return (0, 0.0);
        }
        let target = class.target.max(Duration::from_millis(1)).as_secs_f64();
        // A little work is worth a worker too. The conversion saturates.
        let wanted = ((self.seconds / target).ceil() as u64).max(1).min(self.trials);
        let workers = u32::try_from(wanted).unwrap_or(u32::MAX).min(room);
        let is_all = u64::from(workers) == wanted;
        let seconds = if is_all { self.seconds } else { f64::from(workers) * target };
        self.seconds -= seconds;
        self.trials = if is_all { 0 } else { self.trials - u64::from(workers) };
        (workers, seconds)
    }
}
