//! What travels between workers and the coordinator.

use bitloop_core::digest::Digest;
use bitloop_core::plan::ExperimentId;
use bitloop_core::state::{LeaseId, WorkerId};
use bitloop_core::trial::TrialKey;
use bitloop_core::worker::{Answer, Beat, Call, Epoch, FailureKind};
use bitloop_search::Concluded;

/// Milliseconds since the simulation began, which no clock within it shows.
pub(crate) type Instant = u64;

/// A process of a worker: which host it runs on, and which of the host's processes it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) host: usize,
    pub(crate) number: u64,
}

/// What a worker sends.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) from: Process,
    /// Tells calls of a process apart, so that a late answer is not taken for another one's.
    pub(crate) call: u64,
    pub(crate) worker: WorkerId,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Call(Call),
    Beat {
        beat: Beat,
        running: Vec<TrialKey>,
    },
    /// What the heartbeat's answer asked for.
    GiveBack {
        epoch: Epoch,
        lease: LeaseId,
        trials: Vec<TrialKey>,
    },
}

/// What comes back.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) to: Process,
    pub(crate) call: u64,
    pub(crate) body: Returned,
}

#[derive(Clone, Debug)]
pub(crate) enum Returned {
    Call(Result<Answer, FailureKind>),
    Beat(Result<Pulse, FailureKind>),
    GaveBack(Result<(), FailureKind>),
}

/// The answer to a heartbeat.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    /// Whether the lease is in force.
    pub(crate) lease_valid: bool,
    /// Trials that others wait for.
    pub(crate) recalled: Vec<TrialKey>,
}

impl Body {
    /// The answer that no coordinator gives: why there is none.
    pub(crate) fn failed(&self, kind: FailureKind) -> Returned {
        match self {
            Self::Call(_) => Returned::Call(Err(kind)),
            Self::Beat { .. } => Returned::Beat(Err(kind)),
            Self::GiveBack { .. } => Returned::GaveBack(Err(kind)),
        }
    }
}

/// What happens, and when it is due.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A request reaches the coordinator.
    Request(Request),
    /// An answer reaches a worker.
    Reply(Reply),
    /// Nobody waits for an answer any more.
    Deadline { to: Process, call: u64, body: Returned },
    /// Time passes for a worker's protocol.
    Wake(Process),
    /// A worker's heartbeat is due.
    Beat(Process),
    /// A worker's compute thread has something to say.
    Compute { process: Process, order: u64 },
    /// The coordinator's loop goes round.
    Round { start: u64 },
    /// The coordinator's disk has answered.
    Stored { start: u64 },
    /// A searcher has thought.
    Concluded { start: u64, thought: Concluded },
    /// The coordinator hears of an artifact that a reader has missed.
    Missed { start: u64, artifact: Digest },
    /// An artifact that was gone is there again.
    Restored { artifact: Digest },
    /// Something breaks.
    Fault,
    /// A host's process starts.
    StartWorker { host: usize },
    /// The coordinator starts.
    StartCoordinator,
    /// A network that was cut is whole again.
    Heal { host: usize },
    /// A disk that was full has space.
    Space { host: Option<usize> },
    /// A user submits one of the experiments, or looks whether it is there.
    Submit { number: usize },
    /// A paused or cancelled experiment goes on.
    Resume(ExperimentId),
    /// Every worker is to be back by now.
    Back { start: u64 },
}
