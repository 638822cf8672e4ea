//! Cutting the queue into shards.

use std::collections::BTreeMap;

use crate::bits::BitConfig;
use crate::digest::Digest;
use crate::trial::{Company, Numerics, TrialKey, TrialSpec};

use super::dispatch::{Dispatch, LeaseId, Worker};
use super::ledger::Ledger;
use super::queue::Group;

/// How long a shard should keep a worker busy: long beside a round trip, short beside a lease term.
const TARGET_SHARD_MS: f64 = 2_000.0;

/// The most trials in a shard, so that one commit stays a small message.
const MAX_SHARD_TRIALS: usize = 512;

/// The part of the queue that one worker takes at most; the rest is left for the others until the tail.
const QUEUE_SHARE: usize = 2;

/// A shard is not made shorter than this part of its length for the sake of a better cut.
const CUT_SHARE: usize = 2;

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

/// Chooses the trials of the next shard for `worker`: some that are measured together, in the order of their trie.
///
/// The number follows from the time the worker takes for a trial, and shrinks as the queue does, so that all
/// workers end together. A trial that a worker was lost with goes alone, to tell whether it was the reason.
pub(super) fn next_shard<'a>(
    ledger: &'a Ledger,
    dispatch: &Dispatch,
    worker: &Worker,
) -> Vec<(&'a TrialKey, &'a TrialSpec)> {
    let Some(group) = choose_group(ledger, dispatch, worker) else { return Vec::new() };
    let workers = dispatch.workers().len().max(1);
    let fair_share = dispatch.queue().len().div_ceil(QUEUE_SHARE * workers);
    let by_time = match worker.trial_ms {
        Some(trial_ms) => (TARGET_SHARD_MS / trial_ms.max(f64::MIN_POSITIVE)) as usize,
        None => 1,
    };
    let size = by_time.min(fair_share).clamp(1, MAX_SHARD_TRIALS);
    let mut trials: Vec<(&TrialKey, &TrialSpec)> = Vec::with_capacity(size + 1);
    // One more than wanted, to see what a cut behind the last one would part.
    for key in group.trials().take(size + 1) {
        let (key, trial) = ledger.entry(key).expect("only known trials are queued");
        if dispatch.losses(key) == 0 {
            trials.push((key, &trial.spec));
        } else if trials.is_empty() {
            return vec![(key, &trial.spec)];
        } else {
            break;
        }
    }
    trials.truncate(cut(&trials, size));
    trials
}

/// The group of the trial that was proposed first, among those that the worker can measure; or another part of the same
/// context's images.
///
/// A worker keeps what a context's float network and baseline give on the parts that it has seen. So it stays with its
/// part as long as that lasts, and then takes one that fewest others are at.
fn choose_group<'a>(ledger: &Ledger, dispatch: &'a Dispatch, worker: &Worker) -> Option<&'a Group> {
    let can_measure = |company: &Option<Company>| {
        let context = company.as_ref().and_then(|company| ledger.context(&company.context));
        !worker.info.float_only || context.is_none_or(|context| context.numerics == Numerics::Float)
    };
    let groups = dispatch.groups().filter(|(company, _)| can_measure(company));
    let (company, first) = groups.min_by_key(|(_, group)| group.first())?;
    let Some(company) = company else { return Some(first) };
    let mut others: BTreeMap<&Company, usize> = BTreeMap::new();
    for other in dispatch.workers().filter(|other| other.info.id != worker.info.id) {
        if let Some(company) = &other.company {
            *others.entry(company).or_default() += 1;
        }
    }
    let parts = dispatch.groups().filter_map(|(part, group)| Some((part.as_ref()?, group)));
    let parts = parts.filter(|(part, _)| part.context == company.context);
    let best = parts.min_by_key(|(part, group)| {
        let is_others = worker.company.as_ref() != Some(*part);
        (is_others, others.get(part).copied().unwrap_or(0), group.first())
    });
    best.map(|(_, group)| group)
}

/// Where to end a shard of at most `size` trials: where neighbours have fewest changes in common, since what they have in
/// common is computed on both sides of the cut. Of equals the last.
fn cut(trials: &[(&TrialKey, &TrialSpec)], size: usize) -> usize {
    if trials.len() <= size {
        return trials.len();
    }
    let shared = |end: &usize| match (trials[*end - 1].1, trials[*end].1) {
        (TrialSpec::Evaluate { config: a, .. }, TrialSpec::Evaluate { config: b, .. }) => {
            shared_changes(a, b)
        }
        _ => 0,
    };
    (size.div_ceil(CUT_SHARE)..=size).rev().min_by_key(shared).unwrap_or(size)
}

/// How many of the first changes two configs have in common.
fn shared_changes(a: &BitConfig, b: &BitConfig) -> usize {
    a.changes().zip(b.changes()).take_while(|(a, b)| a == b).count()
}
