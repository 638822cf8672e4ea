//! Cutting the queue into shards, and finding work for those who would have none.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::bits::BitConfig;
use crate::digest::Digest;
use crate::trial::{Company, TrialKey, TrialSpec};

use super::UnixMillis;
use super::dispatch::{Dispatch, Lease, LeaseId, Worker, WorkerInfo};
use super::ledger::{Claim, Ledger, Trial};
use super::occupancy::Place;
use super::placement::{Fitting, Moment, may_share};
use super::queue::{Group, Lane};
use super::rests::RestFrom;

/// How long a shard should keep a worker busy, in milliseconds: long beside a round trip, short beside a lease term.
pub(super) const TARGET_SHARD_MS: f64 = 2_000.0;

/// The most trials in a shard, so that one commit stays a small message.
pub(super) const MAX_SHARD_TRIALS: usize = 512;

/// The part of the queue that one worker takes at most; the rest is left for the others until the tail.
const QUEUE_SHARE: usize = 2;

/// A shard is not made shorter than this part of its length for the sake of a better cut.
const CUT_SHARE: usize = 2;

/// A shard is late when it has taken so many times as long as it should.
const LATE_FACTOR: f64 = 2.0;

/// A shard of which nobody knew how long it takes is late after so long, in milliseconds: preparing a model takes minutes.
const LATE_UNKNOWN_MS: f64 = 600_000.0;

/// A worker hangs when its shard has taken so many times as long as it should.
const HUNG_FACTOR: f64 = 20.0;

/// No worker hangs before so long, in milliseconds: it may have something to fetch or to wait for.
const HUNG_MS_MIN: f64 = 3_600_000.0;

/// A worker hangs after so long, in milliseconds, when nobody knew how long its shard takes: a first training may take a day.
const HUNG_UNKNOWN_MS: f64 = 3.0 * 86_400_000.0;

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

/// Trials for one worker.
pub(super) struct Portion<'a> {
    /// Whom they are measured for.
    pub(super) claim: Claim,
    pub(super) trials: Vec<(&'a TrialKey, &'a TrialSpec)>,
    /// How long they take it, if anyone knows.
    pub(super) predicted_ms: Option<f64>,
    /// Whether it must have its device to itself.
    pub(super) exclusive: bool,
    /// The device of a probe that nobody else may measure on meanwhile.
    pub(super) probed: Option<Place>,
    /// Whether another worker has all of them too.
    pub(super) second: bool,
}

/// Chooses the trials of the next shard for `worker`: some that are measured together, in the order of their trie.
///
/// The number follows from the time that workers of its class take for them, and shrinks as the queue does, so that all
/// workers end together. A trial that a worker was lost with, or that came back from one together with others, goes alone, to
/// tell whether it was the reason.
pub(super) fn next_shard<'a>(
    ledger: &'a Ledger,
    dispatch: &'a Dispatch,
    (worker, now): (&Worker, UnixMillis),
) -> Option<Portion<'a>> {
    let fitting = Fitting::find(ledger, dispatch, (worker, now));
    let (lane, group) = choose_lane(dispatch, worker, &fitting.lanes)?;
    let workers = dispatch.workers().len().max(1);
    // A trial may wait in several lanes.
    let waiting = fitting.lanes.iter().map(|(_, group)| group.len()).sum::<usize>().min(dispatch.waiting());
    let share = waiting.div_ceil(QUEUE_SHARE * workers);
    let most = share.clamp(1, most_trials(dispatch, (worker, now)));
    let trials = take(ledger, dispatch, (worker, group, most), &fitting.barred);
    let requirements = ledger.requirements(lane);
    let (exclusive, probed) = (requirements.exclusive, worker.info.probed(requirements));
    let predicted_ms = predicted(dispatch, &worker.info, &trials);
    Some(Portion { claim: lane.claim, trials, predicted_ms, exclusive, probed, second: false })
}

/// How many trials a worker gets at most. From one that measured nothing of late one is enough to see whether it can do anything, and what
/// comes back together is measured alone.
fn most_trials(dispatch: &Dispatch, (worker, now): (&Worker, UnixMillis)) -> usize {
    match dispatch.rests().times(&Place::of(&worker.info), RestFrom::Everything, now) {
        0 => MAX_SHARD_TRIALS,
        _ => 1,
    }
}

/// Takes the first trials of a group: as many as fill a shard, at most `most`, cut where it costs least.
fn take<'a>(
    ledger: &'a Ledger,
    dispatch: &Dispatch,
    (worker, group, most): (&Worker, &Group, usize),
    barred: &BTreeSet<TrialKey>,
) -> Vec<(&'a TrialKey, &'a TrialSpec)> {
    let class = worker.info.class();
    let mut trials: Vec<(&TrialKey, &TrialSpec)> = Vec::new();
    let (mut size, mut filled_ms) = (0, 0.0);
    for sequence in group.trials() {
        let trial = ledger.proposed_at(sequence);
        let key = &trial.key;
        if barred.contains(key) {
            continue;
        }
        if dispatch.troubles().goes_alone(key) {
            if trials.is_empty() {
                return vec![(key, &trial.spec)];
            }
            break;
        }
        trials.push((key, &trial.spec));
        // One more than wanted was taken, to see what a cut before it would part.
        if trials.len() > size + 1 {
            break;
        }
        // Without knowing how long they take, one is enough to find out.
        let trial_ms = dispatch.pace().predict(&class, &trial.spec).unwrap_or(f64::INFINITY);
        if size == 0 || (size < most && filled_ms + trial_ms <= TARGET_SHARD_MS) {
            size += 1;
            filled_ms += trial_ms;
        }
    }
    let size = size.min(trials.len());
    trials.truncate(cut(&trials, size));
    trials
}

/// How long trials take a worker, if anyone knows.
pub(super) fn predicted(
    dispatch: &Dispatch,
    info: &WorkerInfo,
    trials: &[(&TrialKey, &TrialSpec)],
) -> Option<f64> {
    let class = info.class();
    trials.iter().map(|(_, spec)| dispatch.pace().predict(&class, spec)).sum()
}

/// The lane of the trial that was proposed first, of the experiment whose turn it is, or another part of the same context's
/// images.
///
/// A worker keeps what a context's float network and baseline give on the parts that it has seen. So it stays with its
/// part as long as that lasts, and then takes one that fewest others are at.
fn choose_lane<'a>(
    dispatch: &Dispatch,
    worker: &Worker,
    fitting: &[(&'a Lane, &'a Group)],
) -> Option<(&'a Lane, &'a Group)> {
    let mut experiments: Vec<u32> = fitting.iter().map(|(lane, _)| lane.claim.experiment).collect();
    experiments.dedup();
    let experiment = dispatch.served().choose(&experiments, worker.experiment)?;
    let own = fitting.iter().filter(|(lane, _)| lane.claim.experiment == experiment);
    let first = own.clone().min_by_key(|(_, group)| group.first())?;
    let Some(company) = &first.0.company else { return Some(*first) };
    let parts = own.filter_map(|(lane, group)| Some((lane.company.as_ref()?, lane, group)));
    let mut parts: Vec<_> = parts.filter(|(part, _, _)| part.context == company.context).collect();
    if parts.iter().any(|(part, _, _)| worker.company.as_ref() == Some(*part)) {
        parts.retain(|(part, _, _)| worker.company.as_ref() == Some(*part));
    }
    // Nobody looks at all workers without a choice to make.
    let others = if parts.len() > 1 { others_at(dispatch, worker) } else { BTreeMap::new() };
    let best =
        parts.iter().min_by_key(|(part, _, group)| (others.get(part).copied().unwrap_or(0), group.first()));
    best.map(|(_, lane, group)| (**lane, **group))
}

/// How many other workers are at which part.
fn others_at<'a>(dispatch: &'a Dispatch, worker: &Worker) -> BTreeMap<&'a Company, usize> {
    let mut others: BTreeMap<&Company, usize> = BTreeMap::new();
    for other in dispatch.workers().filter(|other| other.info.id != worker.info.id) {
        if let Some(company) = &other.company {
            *others.entry(company).or_default() += 1;
        }
    }
    others
}

/// Whether there is anything for workers that would wait otherwise: trials that others are late with, or have not begun, or that
/// a device may be asked for again.
pub(super) fn is_spare(ledger: &Ledger, dispatch: &Dispatch, now: UnixMillis) -> bool {
    let is_retried = dispatch.troubles().retried(now).filter_map(|key| ledger.trial(key));
    let mut is_retried = is_retried.filter(|trial| dispatch.is_queued(trial));
    is_retried.next().is_some()
        || (dispatch.waiting() > 0 && dispatch.rests().has_ended(now))
        || dispatch.leases().any(|(_, lease)| {
            let is_single = |lease: &Lease| lease.trials.iter().any(|key| !dispatch.has_second(key));
            (is_late(lease, now) && is_single(lease)) || unbegun(ledger, dispatch, lease).is_some()
        })
}

/// Whether another worker may measure a lease's trials too, as they take too long where they are.
///
/// Nothing that must have a device to itself is measured twice.
fn is_late(lease: &Lease, now: UnixMillis) -> bool {
    let limit_ms = lease.predicted_ms.map_or(LATE_UNKNOWN_MS, |ms| LATE_FACTOR * ms.max(TARGET_SHARD_MS));
    !lease.exclusive && !lease.second && taken_ms(lease, now) > limit_ms
}

/// Whether a worker holds a lease for so long that it gets nowhere, though it says that it is alive.
pub(super) fn is_hung(lease: &Lease, now: UnixMillis) -> bool {
    let limit_ms = lease.predicted_ms.map_or(HUNG_UNKNOWN_MS, |ms| HUNG_MS_MIN.max(HUNG_FACTOR * ms));
    taken_ms(lease, now) > limit_ms
}

fn taken_ms(lease: &Lease, now: UnixMillis) -> f64 {
    now.0.saturating_sub(lease.since.0) as f64
}

/// Chooses trials that another worker is late with, for a worker that would wait otherwise; the first result wins.
///
/// Nothing is measured by three.
pub(super) fn late_trials<'a>(
    ledger: &'a Ledger,
    dispatch: &'a Dispatch,
    (worker, now): (&Worker, UnixMillis),
) -> Option<Portion<'a>> {
    let most = most_trials(dispatch, (worker, now));
    let may_be = |lease: &&Lease| is_late(lease, now) && lease.worker != worker.info.id;
    let mut late: Vec<&Lease> = dispatch.leases().map(|(_, lease)| lease).filter(may_be).collect();
    late.sort_by_key(|lease| lease.since);
    // What may have ended a worker, or what a device could not do, goes alone and ends no second one meanwhile.
    let is_welcome = |key: &&TrialKey| !dispatch.has_second(key) && !dispatch.troubles().goes_alone(key);
    let room = Room::new((ledger, dispatch), (worker, now));
    // Since they were leased, whom they are measured for may have come to need a device alone.
    let claim_met = |trial: &Trial| room.claim_met(trial, |lane| !ledger.requirements(lane).exclusive);
    let (claim, trials) = late.into_iter().find_map(|lease| {
        let single = lease.trials.iter().filter(is_welcome).filter_map(|key| ledger.trial(key));
        let mut single = single.peekable();
        // They were leased for one claim, so that one tells of all.
        let claim = claim_met(single.peek()?)?;
        let met = single.filter(|trial| claim_met(trial).is_some()).take(most);
        Some((claim, met.map(|trial| (&trial.key, &trial.spec)).collect::<Vec<_>>()))
    })?;
    let predicted_ms = predicted(dispatch, &worker.info, &trials);
    Some(Portion { claim, trials, predicted_ms, exclusive: false, probed: None, second: true })
}

/// Chooses trials that another worker holds and has not begun, to be asked back for a worker that would wait otherwise:
/// half of those of the lease that has most of them.
pub(super) fn unbegun_trials(
    ledger: &Ledger,
    dispatch: &Dispatch,
    (worker, now): (&Worker, UnixMillis),
) -> Option<(LeaseId, Vec<TrialKey>)> {
    let room = Room::new((ledger, dispatch), (worker, now));
    let most = most_trials(dispatch, (worker, now));
    let of_lease = |(id, lease): (&LeaseId, &Lease)| {
        let trials = unbegun(ledger, dispatch, lease).filter(|_| lease.worker != worker.info.id)?;
        let fits = trials.iter().all(|trial| room.claim_met(trial, |_| true).is_some());
        let half = trials.len().div_ceil(2).min(most);
        let keys: Vec<TrialKey> = trials.iter().take(half).map(|trial| trial.key).collect();
        fits.then_some((*id, keys))
    };
    dispatch.leases().filter_map(of_lease).max_by_key(|(_, keys)| keys.len())
}

/// The trials of a lease that its worker has not begun, if they would keep it busy for longer than a shard should.
///
/// A lease is asked once at a time.
fn unbegun<'a>(ledger: &'a Ledger, dispatch: &Dispatch, lease: &Lease) -> Option<Vec<&'a Trial>> {
    if lease.second || !lease.recalled.is_empty() || lease.running.is_empty() {
        return None;
    }
    // What most leases come to: there may be as many of them as workers, and each worker that waits looks at all.
    if lease.trials.is_subset(&lease.running) {
        return None;
    }
    let holder = dispatch.worker(&lease.worker)?;
    let unbegun = lease.trials.difference(&lease.running);
    let trials: Vec<&Trial> = unbegun.filter_map(|key| ledger.trial(key)).collect();
    let entries: Vec<_> = trials.iter().map(|trial| (&trial.key, &trial.spec)).collect();
    let is_long = predicted(dispatch, &holder.info, &entries).is_none_or(|ms| ms > TARGET_SHARD_MS);
    (is_long && !trials.is_empty()).then_some(trials)
}

/// What one worker can take at one moment.
struct Room<'a> {
    moment: Moment<'a>,
    dispatch: &'a Dispatch,
    worker: &'a Worker,
    now: UnixMillis,
    /// Trials that are held by others may be many, and their lanes are few.
    met: RefCell<BTreeMap<Lane, bool>>,
}

impl<'a> Room<'a> {
    fn new((ledger, dispatch): (&'a Ledger, &'a Dispatch), (worker, now): (&'a Worker, UnixMillis)) -> Self {
        let moment = Moment::new((ledger, dispatch), now);
        Self { moment, dispatch, worker, now, met: RefCell::default() }
    }

    /// Whom the worker can measure a trial for now: the first that it is for and that `is_meant`.
    fn claim_met(&self, trial: &Trial, is_meant: impl Fn(&Lane) -> bool) -> Option<Claim> {
        if !may_share(self.dispatch, (self.worker, self.now), trial) {
            return None;
        }
        let mut met = self.met.borrow_mut();
        self.moment.claims(trial).into_iter().find(|claim| {
            let lane = Lane::of(*claim, trial);
            if !is_meant(&lane) {
                return false;
            }
            let is_met = || self.moment.hindrance(self.worker, &lane).is_none();
            *met.entry(lane).or_insert_with(is_met)
        })
    }
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
