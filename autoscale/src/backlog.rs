//! Work, and which class of workers it is for.

use std::collections::BTreeMap;
use std::time::Duration;

use bitloop_core::device::DeviceKind;
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
    /// How many they are, waiting and leased.
    pub trials: u64,
    /// Estimated work for one worker.
    pub seconds: f64,
}

impl Demand {
    fn is_met_by(&self, offers: &Offers) -> bool {
        let device = self.device.as_deref().is_none_or(|device| device == offers.device.as_str());
        let labels = self.labels.iter().all(|(key, value)| offers.labels.get(key) == Some(value));
        let exact = !self.exact || offers.device == DeviceKind::Cpu;
        device && labels && exact && self.gpu_memory_bytes <= offers.gpu_memory_bytes
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

/// Divides work among classes, in their order: what one has no workers for goes to the next that can do it.
///
/// Returns a share for each class, and the work that no class can do at all.
pub fn shares<'a>(classes: &[WorkerClass], backlog: &'a [Demand]) -> (Vec<Share>, Vec<&'a Demand>) {
    let mut shares = vec![Share::default(); classes.len()];
    let mut strange = Vec::new();
    for demand in backlog.iter().filter(|demand| demand.trials > 0) {
        let mut left = Left { seconds: demand.seconds.max(0.0), trials: demand.trials };
        let able = |class: &WorkerClass| demand.is_met_by(&class.offers);
        for (class, share) in classes.iter().zip(&mut shares).filter(|(class, _)| able(class)) {
            left.give_to(class, share);
        }
        if !classes.iter().any(able) {
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
    /// A worker for each `target` of work, but none without a trial.
    fn give_to(&mut self, class: &WorkerClass, share: &mut Share) {
        if self.trials == 0 {
            return;
        }
        let room = class.workers_max - share.workers;
        let target = class.target.max(Duration::from_millis(1)).as_secs_f64();
        // A little work is worth a worker too. The conversion saturates.
        let wanted = ((self.seconds / target).ceil() as u64).max(1).min(self.trials);
        let workers = u32::try_from(wanted).unwrap_or(u32::MAX).min(room);
        let taken = if u64::from(workers) == wanted { self.seconds } else { f64::from(workers) * target };
        share.workers += workers;
        share.seconds += taken;
        self.seconds -= taken;
        self.trials = if u64::from(workers) == wanted { 0 } else { self.trials - u64::from(workers) };
    }
}
