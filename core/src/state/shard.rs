//! Cutting the queue into shards.

use crate::digest::Digest;
use crate::trial::{TrialKey, TrialSpec};

use super::dispatch::{Dispatch, LeaseId, WorkerId};
use super::ledger::Ledger;

/// How long a shard should keep a worker busy: long beside a round trip, short beside a lease term.
const TARGET_SHARD_MS: f64 = 2_000.0;

/// The most trials in a shard, so that one commit stays a small message.
const MAX_SHARD_TRIALS: usize = 512;

/// The part of the queue that one worker takes at most; the rest is left for the others until the tail.
const QUEUE_SHARE: usize = 2;

/// Trials leased together, in the order in which they should be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Shard {
    /// The lease they are under.
    pub lease: LeaseId,
    /// What its evaluations share.
    pub context: Option<Digest>,
    /// The trials.
    pub trials: Vec<(TrialKey, TrialSpec)>,
}

/// Chooses the trials of the next shard for `worker`: the head of the queue, as far as it shares one context.
///
/// The number follows from the time the worker takes for a trial, and shrinks as the queue does, so that all
/// workers end together. A trial that a worker was lost with goes alone, to tell whether it was the reason.
pub(super) fn next_shard<'a>(
    ledger: &'a Ledger,
    dispatch: &Dispatch,
    worker: &WorkerId,
) -> Vec<(&'a TrialKey, &'a TrialSpec)> {
    let workers = dispatch.workers().len().max(1);
    let fair_share = dispatch.queue().len().div_ceil(QUEUE_SHARE * workers);
    let by_time = match dispatch.worker(worker).and_then(|worker| worker.trial_ms) {
        Some(trial_ms) => (TARGET_SHARD_MS / trial_ms.max(f64::MIN_POSITIVE)) as usize,
        None => 1,
    };
    let size = by_time.min(fair_share).clamp(1, MAX_SHARD_TRIALS);
    let mut shard: Vec<(&TrialKey, &TrialSpec)> = Vec::with_capacity(size);
    for key in dispatch.queue().take(size) {
        let (key, trial) = ledger.entry(key).expect("only known trials are queued");
        let is_suspect = dispatch.losses(key) > 0;
        let ends =
            shard.first().is_some_and(|(_, first)| is_suspect || context(first) != context(&trial.spec));
        if ends {
            break;
        }
        shard.push((key, &trial.spec));
        if is_suspect {
            break;
        }
    }
    shard
}

/// What the evaluations like this one share.
pub(super) fn context(spec: &TrialSpec) -> Option<Digest> {
    match spec {
        TrialSpec::Prepare(_) => None,
        TrialSpec::Evaluate { context, .. } => Some(*context),
    }
}
