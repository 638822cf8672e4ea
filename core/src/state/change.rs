//! What happens to who works on what.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::trial::{Company, TrialKey};

use super::UnixMillis;
use super::dispatch::{Lease, LeaseId, WorkerId, WorkerInfo};
use super::pace::Subject;
use super::troubles::{Loss, Obstacle};

/// A change to who works on what.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A coordinator began with what is stored. Who measures on devices it does not know yet.
    Started {
        /// When.
        now: UnixMillis,
    },
    /// Whoever measured on a device when the coordinator began has come back or has broken off.
    Settled,
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
        /// What they were about and how much there was to do in one of them, if that is one thing.
        subject: Option<(Subject, f64)>,
        /// What they were measured together with: whatever that needs is there.
        companies: BTreeSet<Option<Company>>,
    },
    /// The coordinator itself was held up and heard nobody; so nobody is late for it.
    HeldUp {
        /// For how long, in milliseconds.
        millis: u64,
        /// Until when.
        now: UnixMillis,
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
        running: BTreeSet<TrialKey>,
        /// Until when.
        deadline: UnixMillis,
    },
    /// A worker is to give trials back that it has not begun.
    TrialsRecalled {
        /// Of which lease.
        lease: LeaseId,
        /// Which.
        trials: BTreeSet<TrialKey>,
    },
    /// A worker gave some trials of a lease back, and keeps the others.
    TrialsReturned {
        /// Of which lease.
        lease: LeaseId,
        /// Which.
        trials: Vec<TrialKey>,
    },
    /// A worker is not at these trials any more: it has reported them, or gives them back.
    TrialsLeft {
        /// Which worker.
        worker: WorkerId,
        /// Which trials.
        trials: BTreeSet<TrialKey>,
    },
    /// What is left of a lease goes back to the queue.
    LeaseEnded {
        /// Which.
        lease: LeaseId,
        /// Trials that its worker may still be at, so that its devices are not free yet.
        running: BTreeSet<TrialKey>,
    },
    /// A worker is at nothing any more of a lease that was over before.
    DeviceVacated {
        /// Which.
        lease: LeaseId,
    },
    /// A worker was lost with this trial, or stays lost.
    TrialLost {
        /// Which trial.
        key: TrialKey,
        /// Which worker.
        worker: WorkerId,
        /// How.
        loss: Loss,
    },
    /// A worker could not measure trials, which may be measured later or elsewhere.
    TrialsGivenBack {
        /// Which worker.
        worker: WorkerId,
        /// Why, and which trials.
        obstacle: Arc<Obstacle>,
        /// When.
        now: UnixMillis,
    },
}
