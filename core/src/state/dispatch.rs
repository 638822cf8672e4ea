//! Who works on what right now. Nothing here is stored: after a restart the queue is what the ledger owes, and
//! workers re-attach the trials they still hold.

mod check;
mod ending;
mod info;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::device::{Requirements, Share};
use crate::trial::{Company, TrialKey};

use super::change::Change;
use super::fairness::Served;
use super::ledger::{Claim, Ledger, Trial, TrialState};
use super::occupancy::{Occupancy, Place, Taken};
use super::pace::Pace;
use super::queue::{Group, Lane, Queue, Queued};
use super::rests::{RestFrom, Rests};
use super::troubles::{Obstacle, ObstacleKind, Troubles};
use super::{LEASE_TERM_MS, UnixMillis};

use ending::Vacating;
pub use info::WorkerInfo;

/// A worker's name: stable while its process lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub String);

/// Number of a lease; never used twice within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// A worker that has been heard from lately.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// What it says of itself.
    pub info: WorkerInfo,
    /// When it was last heard from.
    pub last_seen: UnixMillis,
    /// Trials it has committed.
    pub committed: u64,
    /// Smoothed time of one trial in milliseconds, once known.
    pub trial_ms: Option<f64>,
    /// What its last shard was measured with.
    pub company: Option<Company>,
    /// Position of the experiment that its last shard was for.
    pub(super) experiment: Option<u32>,
}

/// The right of one worker to report some trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// Who holds it.
    pub worker: WorkerId,
    /// Whom its trials are measured for: under whose requirements, and out of whose share of the workers.
    pub(super) claim: Claim,
    /// What is still to be reported.
    pub trials: BTreeSet<TrialKey>,
    /// The trials that the worker said it was busy with.
    pub running: BTreeSet<TrialKey>,
    /// When it ends unless renewed.
    pub deadline: UnixMillis,
    /// When it was granted.
    pub since: UnixMillis,
    /// How long all of it was expected to take, if anyone knew.
    pub predicted_ms: Option<f64>,
    /// Whether nobody else may measure on the device meanwhile.
    pub exclusive: bool,
    /// The device of a probe that nobody else may measure on meanwhile, if it is not the worker's own.
    pub(super) probed: Option<Place>,
    /// Whether another worker has all of these trials too; the first result wins.
    pub second: bool,
    /// What its experiment is charged for each of its trials, and gets back for one that is not begun, in milliseconds.
    pub(super) charge_ms: f64,
    /// Trials that the worker is asked to give back unless it has begun them.
    pub recalled: BTreeSet<TrialKey>,
    /// Trials that were taken away from the worker, which may still be at them.
    pub(super) withdrawn: BTreeSet<TrialKey>,
}

impl Lease {
    /// What its experiment was charged for those of these trials that the worker has not begun.
    fn charged_for_unbegun<'a>(&self, trials: impl Iterator<Item = &'a TrialKey>) -> f64 {
        self.charge_ms * trials.filter(|key| !self.running.contains(key)).count() as f64
    }
}

/// Weight of the newest measurement in a worker's smoothed trial time.
const TRIAL_TIME_SMOOTHING: f64 = 0.3;

/// Queue, leases and workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dispatch {
    queue: Queue,
    leased: HashMap<TrialKey, LeaseId>,
    /// Leases that hold a trial beside the one in `leased`.
    seconds: HashMap<TrialKey, LeaseId>,
    leases: BTreeMap<LeaseId, Lease>,
    /// Leases that are over while their workers may still be at trials that were taken away, so that the devices are not free yet.
    vacating: BTreeMap<LeaseId, Vacating>,
    /// The leases of each worker, also those that are vacating.
    holding: HashMap<WorkerId, BTreeSet<LeaseId>>,
    occupancy: Occupancy,
    workers: BTreeMap<WorkerId, Worker>,
    troubles: Troubles,
    rests: Rests,
    granted: u64,
    /// How often anything changed, beside the queue, that decides who may take trials from it.
    turns: u64,
    pace: Pace,
    served: Served,
    /// Until when a device may be measured for the coordinator before, by a worker that has not come back.
    unsettled_until: Option<UnixMillis>,
}

impl Dispatch {
    /// Records a change.
    pub(super) fn apply(&mut self, change: &Change, ledger: &Ledger) {
        match change {
            Change::Started { now } => {
                // Of a paused experiment nothing is queued, and a worker may be at it still.
                let may_be_measured = ledger.has_probes();
                self.unsettled_until = may_be_measured.then(|| now.after(LEASE_TERM_MS));
            }
            Change::Settled => {
                self.unsettled_until = None;
                self.turns += 1;
            }
            Change::WorkerJoined { info, now } => {
                let (info, last_seen) = (info.clone(), *now);
                let worker =
                    Worker { info, last_seen, committed: 0, trial_ms: None, company: None, experiment: None };
                // No other process ever has its name, so that whatever it was lost with did not end it.
                for key in self.troubles.absolve(&worker.info.id) {
                    self.enqueue(&key, ledger);
                }
                self.workers.insert(worker.info.id.clone(), worker);
                self.turns += 1;
            }
            Change::WorkerLeft { worker } => self.forget(worker),
            Change::WorkerSeen { worker, now } => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.last_seen = *now;
                }
            }
            Change::WorkerCommitted { worker, trials, trial_ms, subject, companies } => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    let place = Place::of(&worker.info);
                    let lanes = companies.iter().map(|company| RestFrom::lane(*company));
                    for from in lanes.chain([RestFrom::Everything]) {
                        self.turns += u64::from(self.rests.end(&place, from));
                    }
                    worker.committed += trials;
                    let old = worker.trial_ms.unwrap_or(*trial_ms);
                    worker.trial_ms = Some(old + TRIAL_TIME_SMOOTHING * (trial_ms - old));
                    if let Some((subject, units)) = subject {
                        self.pace.learn(&worker.info.class(), *subject, (*units, *trial_ms));
                    }
                }
            }
            Change::HeldUp { millis, now } => self.put_off(*millis, *now),
            Change::LeaseGranted { lease, terms } => self.grant(*lease, terms, ledger),
            Change::LeaseRenewed { lease, running, deadline } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.running.clone_from(running);
                    lease.deadline = *deadline;
                }
            }
            Change::TrialsRecalled { lease, trials } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.recalled.clone_from(trials);
                }
            }
            Change::TrialsReturned { lease, trials } => self.take_back(*lease, trials, ledger),
            Change::TrialsLeft { worker, trials } => self.leave_off(worker, trials),
            Change::LeaseEnded { lease, running } => self.end(*lease, running, ledger),
            Change::DeviceVacated { lease } => self.vacate(*lease),
            Change::TrialLost { key, worker, loss } => {
                self.troubles.lose(*key, worker, *loss);
                self.enqueue(key, ledger);
            }
            Change::TrialsGivenBack { worker, obstacle, now } => {
                self.give_back(worker, (obstacle, *now), ledger);
            }
        }
    }

    fn give_back(
        &mut self,
        worker: &WorkerId,
        (obstacle, now): (&Arc<Obstacle>, UnixMillis),
        ledger: &Ledger,
    ) {
        let Some(worker) = self.workers.get(worker) else { return };
        let place = Place::of(&worker.info);
        let by = (&place, &worker.info.id);
        match obstacle.kind {
            ObstacleKind::Supply => {
                for trial in obstacle.trials.iter().filter_map(|key| ledger.trial(key)) {
                    self.rests.begin(by, RestFrom::trial(trial), (obstacle, now));
                    self.rests.begin(by, RestFrom::lane(trial.spec.company()), (obstacle, now));
                }
            }
            ObstacleKind::Device | ObstacleKind::Panic => {
                self.rests.begin(by, RestFrom::Everything, (obstacle, now));
                for key in &obstacle.trials {
                    self.troubles.refuse(*key, (place.clone(), &worker.info), (obstacle, now));
                }
            }
        }
        self.turns += 1;
    }

    fn forget(&mut self, worker: &WorkerId) {
        let Some(left) = self.workers.remove(worker) else { return };
        if !self.workers.values().any(|other| other.info.place() == left.info.place()) {
            self.rests.forget(&Place::of(&left.info));
        }
        self.turns += 1;
    }

    /// Moves everything that is counted from the past: deadlines, but also since when leases are held.
    fn put_off(&mut self, millis: u64, now: UnixMillis) {
        for lease in self.leases.values_mut() {
            lease.deadline = lease.deadline.after(millis);
            lease.since = lease.since.after(millis).min(now);
        }
        for Vacating { lease, .. } in self.vacating.values_mut() {
            lease.deadline = lease.deadline.after(millis);
        }
        for worker in self.workers.values_mut() {
            worker.last_seen = now;
        }
        self.troubles.put_off(millis, now);
        // What came to an end meanwhile may have given somebody something to do.
        self.turns += 1;
    }

    fn grant(&mut self, id: LeaseId, terms: &Lease, ledger: &Ledger) {
        let mut company = None;
        for key in &terms.trials {
            if let Some(trial) = ledger.trial(key) {
                self.queue.remove(trial);
                company = trial.spec.company();
            }
            match self.leased.contains_key(key) {
                true => self.seconds.insert(*key, id),
                false => self.leased.insert(*key, id),
            };
        }
        let experiment = terms.claim.experiment;
        if let Some(worker) = self.workers.get_mut(&terms.worker) {
            worker.company = company;
            worker.experiment = Some(experiment);
        }
        if terms.charge_ms > 0.0 {
            self.served.charge(experiment, terms.charge_ms * terms.trials.len() as f64);
        }
        self.turns += 1;
        self.granted = self.granted.max(id.0 + 1);
        if let Some(holder) = self.workers.get(&terms.worker) {
            self.occupancy.begin(id, terms, &holder.info);
        }
        self.leave_off(&terms.worker, &terms.trials);
        self.leases.insert(id, terms.clone());
        self.holding.entry(terms.worker.clone()).or_default().insert(id);
    }

    /// Puts a trial into the queue if it is owed and nobody holds it, unless it is withheld; takes it out if it is owed no
    /// more.
    pub(super) fn enqueue(&mut self, key: &TrialKey, ledger: &Ledger) {
        let Some(trial) = ledger.trial(key) else { return };
        match self.leased.contains_key(key) || self.troubles.is_withheld(key) {
            true => self.queue.remove(trial),
            false => self.queue.set(trial, &ledger.claims(trial)),
        }
    }

    /// Takes a settled trial out of queue and lease.
    pub(super) fn settle(&mut self, key: &TrialKey, ledger: &Ledger) {
        self.troubles.settle(key);
        self.withdraw(key);
        self.enqueue(key, ledger);
    }

    /// Queues a trial that has come to be owed; withdraws one that is owed no more, also from its lease.
    pub(super) fn reconsider(&mut self, key: &TrialKey, ledger: &Ledger) {
        // Also when only a priority is another one.
        self.turns += 1;
        if !ledger.trial(key).is_some_and(|trial| ledger.is_owed(trial)) {
            self.withdraw(key);
        }
        self.enqueue(key, ledger);
    }

    /// How many trials wait for a worker.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// A number that rises whenever a worker that was given nothing out of the queue may be given something now. As long as it
    /// stays, only time can bring it work: trials that others are late with or have not begun, or that its device may be asked for
    /// again.
    pub fn openings(&self) -> u64 {
        self.queue.changes() + self.turns
    }

    /// Trials that wait for a worker, in order of proposal.
    pub fn queue<'a>(&'a self, ledger: &'a Ledger) -> impl Iterator<Item = &'a TrialKey> {
        self.queue.trials().map(|sequence| &ledger.proposed_at(sequence).key)
    }

    /// How many trials wait for a worker, by kind.
    pub fn queued(&self) -> Queued {
        self.queue.queued()
    }

    /// Whether a trial waits for a worker.
    pub(super) fn is_queued(&self, trial: &Trial) -> bool {
        self.queue.contains(trial)
    }

    /// The same by what is measured together, for whom.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (&Lane, &Group)> {
        self.queue.groups()
    }

    /// How many trials wait in a lane, if any.
    pub(super) fn waiting_in(&self, lane: &Lane) -> Option<usize> {
        self.queue.group(lane).map(Group::len)
    }

    /// How long trials take.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// How much of the workers' time experiments have had.
    pub(super) fn served(&self) -> &Served {
        &self.served
    }

    /// Leases in force.
    pub fn leases(&self) -> impl ExactSizeIterator<Item = (&LeaseId, &Lease)> {
        self.leases.iter()
    }

    /// Finds a lease.
    pub fn lease(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// The lease that a trial is under.
    pub fn lease_of(&self, key: &TrialKey) -> Option<LeaseId> {
        self.leased.get(key).copied()
    }

    /// The leases that a trial is under.
    pub(super) fn holders(&self, key: &TrialKey) -> impl Iterator<Item = &Lease> {
        let held = [self.leased.get(key), self.seconds.get(key)].into_iter().flatten();
        held.filter_map(|id| self.leases.get(id))
    }

    /// Whether two workers have this trial.
    pub(super) fn has_second(&self, key: &TrialKey) -> bool {
        self.seconds.contains_key(key)
    }

    /// Workers heard from lately.
    pub fn workers(&self) -> impl ExactSizeIterator<Item = &Worker> {
        self.workers.values()
    }

    /// Finds a worker.
    pub fn worker(&self, id: &WorkerId) -> Option<&Worker> {
        self.workers.get(id)
    }

    /// How many workers were lost while they ran this trial, and have not come back.
    pub fn losses(&self, key: &TrialKey) -> u32 {
        self.troubles.losses(key)
    }

    /// What came of attempts that came to nothing.
    pub(super) fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    /// What devices rest from.
    pub(super) fn rests(&self) -> &Rests {
        &self.rests
    }

    /// How often in a row a worker's device gave trials back for want of what this one needs, or for any other reason.
    pub fn given_back(
        &self,
        info: &WorkerInfo,
        (trial, kind): (&Trial, ObstacleKind),
        now: UnixMillis,
    ) -> u32 {
        let from = match kind {
            ObstacleKind::Supply => RestFrom::trial(trial),
            ObstacleKind::Device | ObstacleKind::Panic => RestFrom::Everything,
        };
        self.rests.times(&Place::of(info), from, now)
    }

    /// Until when no probe is begun, as the device may be measured for the coordinator before.
    pub(super) fn unsettled_until(&self) -> Option<UnixMillis> {
        self.unsettled_until
    }

    /// A number no lease has had.
    pub(super) fn next_lease(&self) -> LeaseId {
        LeaseId(self.granted)
    }

    /// Whether what others have taken of a worker's device leaves it as much as it needs.
    pub(super) fn has_room(&self, info: &WorkerInfo, requirements: &Requirements) -> bool {
        let Taken { holders, share, exclusive: alone } = self.taken(info, Some(&info.id));
        let fits = share + info.share.ten_thousandths() <= Share::WHOLE.ten_thousandths();
        let is_probed =
            info.probed(requirements).is_some_and(|place| self.taken_at(&place, Some(&info.id)).holders > 0);
        alone.is_none() && fits && !(requirements.exclusive && holders > 0) && !is_probed
    }

    /// What leases take of a worker's device, those of `but` left out.
    pub(super) fn taken(&self, info: &WorkerInfo, but: Option<&WorkerId>) -> Taken<'_> {
        self.taken_at(&Place::of(info), but)
    }

    /// What leases take of a device, those of `but` left out.
    pub(super) fn taken_at(&self, place: &Place, but: Option<&WorkerId>) -> Taken<'_> {
        self.occupancy.taken(place, but)
    }
}
