//! Who works on what right now. Nothing here is stored: after a restart the queue is what the ledger owes, and
//! workers re-attach the trials they still hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::trial::{Company, TrialKey};

use super::UnixMillis;
use super::ledger::Ledger;
use super::queue::{Group, Queue, Queued};

/// A worker's name: stable while its process lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub String);

/// Number of a lease; never used twice within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// What a worker says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its name.
    pub id: WorkerId,
    /// Host it runs on, for people.
    pub host: String,
    /// Class of its device, such as the CPU's model.
    pub device: String,
    /// Threads it evaluates with.
    pub threads: u32,
    /// Whether it cannot measure with exact arithmetic.
    pub float_only: bool,
}

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
}

/// The right of one worker to report some trials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it.
    pub worker: WorkerId,
    /// What is still to be reported.
    pub trials: BTreeSet<TrialKey>,
    /// The trials that the worker said it was busy with.
    pub running: Vec<TrialKey>,
    /// When it ends unless renewed.
    pub deadline: UnixMillis,
}

/// A change to who works on what.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A worker came, or came back.
    WorkerJoined {
        /// The worker.
        info: WorkerInfo,
        /// When.
        now: UnixMillis,
    },
    /// A worker left or was given up.
    WorkerLeft {
        /// Which.
        worker: WorkerId,
    },
    /// A worker was heard from.
    WorkerSeen {
        /// Which.
        worker: WorkerId,
        /// When.
        now: UnixMillis,
    },
    /// A worker reported trials.
    WorkerCommitted {
        /// Which.
        worker: WorkerId,
        /// How many trials were new.
        trials: u64,
        /// Time of one trial in milliseconds.
        trial_ms: f64,
    },
    /// Trials were handed to a worker.
    LeaseGranted {
        /// Under which number.
        lease: LeaseId,
        /// To whom, what and until when.
        terms: Lease,
    },
    /// A lease was prolonged.
    LeaseRenewed {
        /// Which.
        lease: LeaseId,
        /// What the worker is busy with.
        running: Vec<TrialKey>,
        /// Until when.
        deadline: UnixMillis,
    },
    /// What is left of a lease goes back to the queue.
    LeaseEnded {
        /// Which.
        lease: LeaseId,
    },
    /// A worker was lost while it ran this trial, maybe together with others.
    TrialLost {
        /// Which.
        key: TrialKey,
    },
}

/// Weight of the newest measurement in a worker's smoothed trial time.
const TRIAL_TIME_SMOOTHING: f64 = 0.3;

/// Queue, leases and workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dispatch {
    queue: Queue,
    leased: HashMap<TrialKey, LeaseId>,
    leases: BTreeMap<LeaseId, Lease>,
    workers: BTreeMap<WorkerId, Worker>,
    losses: HashMap<TrialKey, u32>,
    granted: u64,
}

impl Dispatch {
    /// Records a change.
    pub(super) fn apply(&mut self, change: &Change, ledger: &Ledger) {
        match change {
            Change::WorkerJoined { info, now } => {
                let (info, last_seen) = (info.clone(), *now);
                let worker = Worker { info, last_seen, committed: 0, trial_ms: None, company: None };
                self.workers.insert(worker.info.id.clone(), worker);
            }
            Change::WorkerLeft { worker } => {
                self.workers.remove(worker);
            }
            Change::WorkerSeen { worker, now } => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.last_seen = *now;
                }
            }
            Change::WorkerCommitted { worker, trials, trial_ms } => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.committed += trials;
                    let old = worker.trial_ms.unwrap_or(*trial_ms);
                    worker.trial_ms = Some(old + TRIAL_TIME_SMOOTHING * (trial_ms - old));
                }
            }
            Change::LeaseGranted { lease, terms } => self.grant(*lease, terms, ledger),
            Change::LeaseRenewed { lease, running, deadline } => {
                if let Some(lease) = self.leases.get_mut(lease) {
                    lease.running.clone_from(running);
                    lease.deadline = *deadline;
                }
            }
            Change::LeaseEnded { lease } => self.end(*lease, ledger),
            Change::TrialLost { key } => *self.losses.entry(*key).or_default() += 1,
        }
    }

    fn grant(&mut self, id: LeaseId, terms: &Lease, ledger: &Ledger) {
        let mut company = None;
        for key in &terms.trials {
            if let Some(trial) = ledger.trial(key) {
                self.queue.remove(trial);
                company = trial.spec.company();
            }
            self.leased.insert(*key, id);
        }
        if let Some(worker) = self.workers.get_mut(&terms.worker) {
            worker.company = company;
        }
        self.granted = self.granted.max(id.0 + 1);
        self.leases.insert(id, terms.clone());
    }

    fn end(&mut self, id: LeaseId, ledger: &Ledger) {
        let Some(lease) = self.leases.remove(&id) else {
            return;
        };
        for key in lease.trials {
            self.leased.remove(&key);
            self.enqueue(&key, ledger);
        }
    }

    /// Puts a trial into the queue if it is owed and nobody holds it; takes it out if it is owed no more.
    pub(super) fn enqueue(&mut self, key: &TrialKey, ledger: &Ledger) {
        let Some(trial) = ledger.trial(key) else { return };
        if ledger.is_owed(trial) && !self.leased.contains_key(key) {
            self.queue.insert(*key, trial);
        } else {
            self.queue.remove(trial);
        }
    }

    /// Takes a settled trial out of queue and lease.
    pub(super) fn settle(&mut self, key: &TrialKey, ledger: &Ledger) {
        self.losses.remove(key);
        self.withdraw(key);
        self.enqueue(key, ledger);
    }

    /// Queues a trial that has come to be owed; withdraws one that is owed no more, also from its lease.
    pub(super) fn reconsider(&mut self, key: &TrialKey, ledger: &Ledger) {
        if !ledger.trial(key).is_some_and(|trial| ledger.is_owed(trial)) {
            self.withdraw(key);
        }
        self.enqueue(key, ledger);
    }

    fn withdraw(&mut self, key: &TrialKey) {
        let Some(id) = self.leased.remove(key) else { return };
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        lease.trials.remove(key);
        if lease.trials.is_empty() {
            self.leases.remove(&id);
        }
    }

    /// Trials that wait for a worker, in order of proposal.
    pub fn queue(&self) -> impl ExactSizeIterator<Item = &TrialKey> {
        self.queue.trials().map(|(_, key)| key)
    }

    /// How many trials wait for a worker, by kind.
    pub fn queued(&self) -> Queued {
        self.queue.queued()
    }

    /// The same by what is measured together.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Option<Company>, &Group)> {
        self.queue.groups()
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

    /// Workers heard from lately.
    pub fn workers(&self) -> impl ExactSizeIterator<Item = &Worker> {
        self.workers.values()
    }

    /// Finds a worker.
    pub fn worker(&self, id: &WorkerId) -> Option<&Worker> {
        self.workers.get(id)
    }

    /// How many workers were lost while they ran this trial.
    pub fn losses(&self, key: &TrialKey) -> u32 {
        self.losses.get(key).copied().unwrap_or(0)
    }

    /// A number no lease has had.
    pub(super) fn next_lease(&self) -> LeaseId {
        LeaseId(self.granted)
    }

    /// Checks what must always hold; returns the first breach.
    pub(super) fn check(&self, ledger: &Ledger) -> Result<(), String> {
        self.queue.check()?;
        for (sequence, key) in self.queue.trials() {
            let trial = ledger.trial(key).ok_or(format!("queued trial {key} is unknown"))?;
            if trial.sequence != *sequence || self.leased.contains_key(key) || !ledger.is_owed(trial) {
                return Err(format!("trial {key} is queued but leased, settled or not wanted"));
            }
        }
        for (key, trial) in ledger.trials() {
            let held = self.leased.contains_key(key) || self.queue.contains(trial);
            if ledger.is_owed(trial) && !held {
                return Err(format!("trial {key} is owed but neither queued nor leased"));
            }
        }
        let in_leases: usize = self.leases.values().map(|lease| lease.trials.len()).sum();
        let consistent = self.leases.iter().all(|(id, lease)| {
            !lease.trials.is_empty() && lease.trials.iter().all(|key| self.leased.get(key) == Some(id))
        });
        if in_leases != self.leased.len() || !consistent {
            return Err("leases and leased trials disagree".to_owned());
        }
        Ok(())
    }
}
