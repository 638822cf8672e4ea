//! What breaks, and how often.

use bitloop_core::rng::Rng;

use crate::experiment::KINDS;
use crate::message::Instant;

/// How a cluster is treated while faults happen.
#[derive(Clone, Debug)]
pub(crate) struct Climate {
    /// Until when faults happen.
    pub(crate) ends: Instant,
    /// Mean time between two faults in milliseconds.
    pub(crate) period_ms: u64,
    /// Chances of a message, in thousandths.
    pub(crate) dropped: u64,
    pub(crate) repeated: u64,
    pub(crate) late: u64,
    /// Of which kind all CPUs are at first.
    pub(crate) kind: usize,
}

/// Something that breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    CoordinatorCrash,
    CoordinatorStall,
    CoordinatorDiskFull,
    DateJump,
    WorkerCrash,
    WorkerShutdown,
    WorkerSuspended,
    WorkerSlows,
    WorkerDiskFull,
    NetworkCut,
    Pause,
    Cancel,
    StaleLease,
    /// One that outcomes speak of is gone, or damaged, which comes to the same.
    ArtifactLost,
    /// A host goes on with a CPU of another kind.
    OtherCpu,
}

impl Fault {
    /// Common ones stand more than once.
    const ALL: [Self; 21] = [
        Self::CoordinatorCrash,
        Self::CoordinatorCrash,
        Self::CoordinatorCrash,
        Self::CoordinatorStall,
        Self::CoordinatorDiskFull,
        Self::DateJump,
        Self::WorkerCrash,
        Self::WorkerCrash,
        Self::WorkerShutdown,
        Self::WorkerSuspended,
        Self::WorkerSlows,
        Self::WorkerSlows,
        Self::WorkerDiskFull,
        Self::NetworkCut,
        Self::NetworkCut,
        Self::Pause,
        Self::Cancel,
        Self::StaleLease,
        Self::ArtifactLost,
        Self::ArtifactLost,
        Self::OtherCpu,
    ];

    pub(crate) fn draw(rng: &mut Rng) -> Self {
        Self::ALL[rng.below(Self::ALL.len())]
    }
}

/// Draws how long a machine takes for a trial, in milliseconds: many trials in a shard, or one that takes longer than a shard
/// should.
pub(crate) fn draw_pace(rng: &mut Rng) -> u64 {
    50 << rng.below(7)
}

impl Climate {
    /// Nothing breaks.
    pub(crate) fn calm(kind: usize) -> Self {
        Self { ends: 0, period_ms: u64::MAX, dropped: 0, repeated: 0, late: 0, kind }
    }

    /// Each seed has another one, from nearly calm to hardly bearable.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut up_to = |limit: usize| rng.below(limit) as u64;
        Self {
            ends: 20_000 + up_to(100_000),
            period_ms: 500 + up_to(6_000),
            dropped: up_to(100),
            repeated: up_to(60),
            late: up_to(100),
            kind: up_to(KINDS) as usize,
        }
    }
}

/// A rule that is broken on purpose, to see that the simulation notices it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A trial whose worker is not heard is given up.
    TakesSilenceForDeath,
    /// Leases go on whatever becomes of their workers.
    KeepsLeases,
    /// Outcomes are acknowledged and not stored.
    ForgetsOutcomes,
    /// A trial that lost its outcome gets the next one as if it had had none.
    CommitsAgain,
    /// A device is another one's as soon as its trial is taken away.
    FreesDevicesAtOnce,
    /// Workers that commit get their next shard before those who wait.
    ServesCommitsFirst,
}
