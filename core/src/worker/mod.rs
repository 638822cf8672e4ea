//! What a worker says to its coordinator and when: the protocol's decisions, without clock, sockets, disk or threads.
//!
//! Start at [`Protocol`]. The worker's program feeds it with what happens and carries out its [`Effect`]s; a simulation
//! drives the same code. How a trial is measured is none of its business, nor how a call travels.

mod backoff;
mod pending;
mod protocol;
mod spool;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::digest::Digest;
use crate::state::{LeaseId, Obstacle, Report, Shard, WorkerInfo};
use crate::trial::{EvaluateContext, TrialKey, TrialSpec};

pub use backoff::Backoff;
pub use pending::{BATCH, Measured};
pub use protocol::{Protocol, Settings, Summary};
pub use spool::{Recovered, SPOOL_FORMAT, read_spool, spool_head, spool_line};

/// Deadline of calls that only touch the coordinator's memory, in milliseconds.
pub const QUICK_MS: u64 = 5_000;

/// Deadline of calls that wait for the coordinator's disk, in milliseconds.
pub const DURABLE_MS: u64 = 20_000;

/// Deadline of a request for work, in milliseconds; the coordinator holds it back for less than this.
pub const LONG_POLL_MS: u64 = 40_000;

/// Milliseconds since the worker started, on a clock that never jumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// The time `millis` later.
    pub fn after(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// Number of a coordinator's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub u64);

/// What a heartbeat says of the worker: under which epoch it is registered, and which lease it works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The epoch.
    pub epoch: Epoch,
    /// The lease, if there is one.
    pub lease: Option<LeaseId>,
}

/// How a shard ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every trial has an outcome.
    Finished,
    /// It was told to stop.
    Stopped,
    /// Trials could not be measured here, now.
    GaveUp(Obstacle),
}

/// Something that happens to a worker.
#[derive(Clone, Debug)]
pub enum Input {
    /// The call under way was answered.
    Answered(Answer),
    /// The call under way came to nothing.
    Failed(Failure),
    /// A trial of the current order was measured.
    Measured(Measured),
    /// The current order is over; nothing more comes of it.
    Ended(End),
    /// A heartbeat was told that its lease is not in force any more.
    LeaseVoid(Beat),
    /// A heartbeat was told to register again.
    Displaced(Epoch),
    /// A heartbeat was not answered.
    Silence,
    /// A heartbeat was told that its lease is in force.
    Heard {
        /// What it said.
        beat: Beat,
        /// How long ago it was sent, in milliseconds: the coordinator heard it no earlier.
        ago_ms: u64,
    },
    /// Trials of the current order that others wait for are not measured here any more, and the coordinator knows it.
    GivenBack {
        /// What the heartbeat said that was told of them.
        beat: Beat,
        /// Which.
        trials: Vec<TrialKey>,
    },
    /// The outcomes of the last [`Effect::Spool`] could not be written down.
    SpoolFailed,
    /// Time passed; due at [`Protocol::due`].
    Time,
    /// The worker is to end.
    Shutdown,
}

/// What the worker is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make this call and feed in what comes of it. There is one at a time.
    Call(Call),
    /// Forget the call under way: what comes of it is not to be fed in any more.
    Abandon,
    /// Measure these trials.
    Measure(Order),
    /// Stop measuring as soon as possible; the order ends all the same.
    Stop,
    /// Write these outcomes down, so that they outlive the worker.
    Spool(Vec<Measured>),
    /// Everything that was written down is acknowledged.
    ClearSpool,
    /// Tell people.
    Tell(Notice),
    /// It is over: leave.
    Finish(Finish),
}

/// A shard to be measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// What its evaluations share.
    pub context: Option<Arc<EvaluateContext>>,
    /// The trials, in order.
    pub trials: Vec<(TrialKey, TrialSpec)>,
}

/// Something that the coordinator is asked or told.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// The worker is there, and still holds these trials.
    Register {
        /// What it says of itself.
        info: Box<WorkerInfo>,
        /// In the order in which they were measured, then those that are not yet.
        held: Vec<TrialKey>,
    },
    /// It wants work.
    RequestShard {
        /// Of which start of the coordinator.
        epoch: Epoch,
    },
    /// It wants what evaluations share.
    FetchContext {
        /// Which.
        digest: Digest,
    },
    /// It has measured trials.
    Commit {
        /// Of which start of the coordinator.
        epoch: Epoch,
        /// What came out.
        reports: Vec<Report>,
        /// Mean time of one of them in milliseconds.
        trial_ms: f64,
        /// Whether nothing is left to do behind them: it takes its next shard with the answer.
        wants_shard: bool,
    },
    /// It gives the rest of a lease back.
    Release {
        /// Of which start of the coordinator.
        epoch: Epoch,
        /// Which.
        lease: LeaseId,
        /// What kept it from measuring trials of it, if anything did.
        obstacle: Option<Obstacle>,
    },
    /// It goes.
    Leave,
}

impl Call {
    /// After how many milliseconds nobody waits for the answer any more.
    pub fn deadline_ms(&self) -> u64 {
        match self {
            Self::Register { .. } | Self::FetchContext { .. } | Self::Release { .. } | Self::Leave => {
                QUICK_MS
            }
            Self::Commit { .. } => DURABLE_MS,
            Self::RequestShard { .. } => LONG_POLL_MS,
        }
    }
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The worker is registered.
    Registered {
        /// With which start of the coordinator.
        epoch: Epoch,
        /// The lease that the trials it holds are under now, if any of them is owed.
        adopted: Option<Shard>,
    },
    /// Work, or none right now.
    Shard(Option<Shard>),
    /// What evaluations share.
    Context(Arc<EvaluateContext>),
    /// The reports are durable.
    Committed {
        /// The shard that was wanted, if there is work right now.
        next: Option<Shard>,
    },
    /// The lease has ended.
    Released,
    /// The coordinator knows that the worker goes.
    Left,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What follows from it.
    pub kind: FailureKind,
    /// Why, for people.
    pub reason: String,
}

/// What follows from a call that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Nobody answered in time, or the coordinator cannot right now: the same call may succeed later.
    Away,
    /// The coordinator started anew, or gave the worker up: it has to register.
    NotRegistered,
    /// The coordinator does not know what was named.
    NotFound,
    /// What was said makes no sense to the coordinator.
    Invalid,
    /// The answer makes no sense.
    Garbled,
    /// The coordinator will never accept the call.
    Refused,
}

/// What people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The coordinator knows the worker.
    Registered {
        /// Its epoch.
        epoch: Epoch,
    },
    /// Trials still held are under a new lease.
    Adopted {
        /// Which.
        lease: LeaseId,
        /// How many.
        trials: usize,
    },
    /// The coordinator does not want an outcome.
    Dropped {
        /// Why.
        reason: String,
    },
    /// Trials were given back, for a reason not told last time.
    CannotMeasure {
        /// Why.
        reason: String,
    },
    /// A lease ended before its shard was done.
    LeaseEnded,
    /// The worker leaves, as no shard has come for so long.
    Idle {
        /// In milliseconds.
        limit_ms: u64,
    },
    /// The trial under way did not stop in time.
    DidNotStop,
    /// The coordinator does not know that the worker leaves.
    NoGoodbye,
}

/// How the work ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It was told to.
    Shutdown,
    /// The coordinator refuses the last call that failed.
    Refused,
    /// Too many shards in a row could not be measured.
    GaveUp {
        /// Why the last one could not.
        reason: String,
    },
}
