//! Workers that come, come back with trials they still hold, go, and are given up.

use std::collections::BTreeSet;

use crate::trial::{Company, TrialKey};

use super::blame;
use super::change::Change;
use super::decide::{Decision, Reply, grant};
use super::dispatch::{Lease, LeaseId, WorkerId, WorkerInfo};
use super::ledger::{Claim, Trial};
use super::placement::numerics;
use super::queue::Lane;
use super::shard::{MAX_SHARD_TRIALS, Portion, is_hung, predicted};
use super::troubles::Loss;
use super::{Event, LEASE_TERM_MS, State, UnixMillis};

/// The most workers that have a trial at a time.
const HOLDERS_MAX: usize = 2;

pub(super) fn register(state: &State, info: &WorkerInfo, held: &[TrialKey], now: UnixMillis) -> Decision {
    // Its trials are others' at once. Of devices that it measures alone it need not say the truth: a registration may be late, or come
    // twice.
    let named: BTreeSet<&TrialKey> = held.iter().collect();
    let mut events = leave(state, &info.id, |lease, key| lease.exclusive || named.contains(key));
    events.push(Change::WorkerJoined { info: info.clone(), now }.into());
    let adopted = still_held(state, info, held).map(|portion| {
        let (grant, shard) = grant(state, &info.id, portion, now);
        events.push(grant.into());
        shard
    });
    Decision::new(events, Reply::Registered { adopted })
}

/// The trials that a worker goes on with: it may, beside one other that has got them meanwhile.
///
/// A shard has one context, and no more trials than any. The context is that of the last trial, which is one that is still to be
/// measured; results of others, which an earlier process may have left, are welcome without a lease.
fn still_held<'a>(state: &'a State, info: &WorkerInfo, held: &[TrialKey]) -> Option<Portion<'a>> {
    let others =
        |key: &TrialKey| state.dispatch.holders(key).filter(|lease: &&Lease| lease.worker != info.id).count();
    let mut named = BTreeSet::new();
    let free = held.iter().rev().filter(|key| named.insert(**key) && others(key) < HOLDERS_MAX);
    let trials = free.filter_map(|key| state.ledger.trial(key));
    let claims = trials.filter_map(|trial| Some((trial, claim_met(state, info, trial)?)));
    let mut claimed: Vec<(&Trial, Claim)> = claims.take(MAX_SHARD_TRIALS).collect();
    let (last, claim) = *claimed.first()?;
    claimed.reverse();
    let context = |trial: &Trial| trial.spec.company().map(|Company { context, .. }| context);
    let together = || claimed.iter().filter(|(trial, _)| context(trial) == context(last));
    let lanes = || together().map(|(trial, claim)| Lane::of(*claim, trial));
    let exclusive = lanes().any(|lane| state.ledger.requirements(&lane).exclusive);
    let probed = lanes().find_map(|lane| info.probed(state.ledger.requirements(&lane)));
    let second = together().all(|(trial, _)| others(&trial.key) > 0);
    let trials: Vec<_> = together().map(|(trial, _)| (&trial.key, &trial.spec)).collect();
    let predicted_ms = predicted(&state.dispatch, info, &trials);
    Some(Portion { claim, trials, predicted_ms, exclusive, probed, second })
}

/// Whom a worker measures a trial for that it holds already.
fn claim_met(state: &State, info: &WorkerInfo, trial: &Trial) -> Option<Claim> {
    state.ledger.claims(trial).into_iter().find(|claim| {
        let lane = Lane::of(*claim, trial);
        let requirements = state.ledger.requirements(&lane);
        let numerics = numerics(&state.ledger, &lane);
        let is_met = info.unmet(requirements, numerics).is_none();
        is_met && state.dispatch.has_room(info, requirements)
    })
}

/// Ends what a worker holds and forgets it; nothing is held against anyone. It may still be at trials that are running.
pub(super) fn leave(
    state: &State,
    worker: &WorkerId,
    is_running: impl Fn(&Lease, &TrialKey) -> bool,
) -> Vec<Event> {
    let end = |(id, lease): (LeaseId, &Lease)| {
        let taken = lease.trials.union(&lease.withdrawn);
        let running: BTreeSet<TrialKey> = taken.filter(|key| is_running(lease, key)).copied().collect();
        match state.dispatch.lease(id) {
            Some(_) => Some(Change::LeaseEnded { lease: id, running }.into()),
            None => running.is_empty().then(|| Change::DeviceVacated { lease: id }.into()),
        }
    };
    let mut events: Vec<Event> = state.dispatch.held_by(worker).filter_map(end).collect();
    if state.dispatch.worker(worker).is_some() {
        events.push(Change::WorkerLeft { worker: worker.clone() }.into());
    }
    events
}

pub(super) fn tick(state: &State, stalled_ms: u64, now: UnixMillis) -> Vec<Event> {
    if stalled_ms > 0 {
        // Heartbeats could not get through meanwhile.
        return vec![Change::HeldUp { millis: stalled_ms, now }.into()];
    }
    let late = state.dispatch.workers().filter(|worker| worker.last_seen.after(LEASE_TERM_MS) < now);
    let silent: BTreeSet<&WorkerId> = late.map(|worker| &worker.info.id).collect();
    let (mut events, mut lost) = (Vec::new(), Vec::new());
    let vacated = state.dispatch.vacating().filter(|(_, over)| over.until() < now);
    events.extend(vacated.map(|(id, _)| Event::from(Change::DeviceVacated { lease: *id })));
    for (id, lease) in state.dispatch.leases() {
        let is_lost = silent.contains(&lease.worker) || is_hung(lease, now);
        if is_lost || lease.deadline < now {
            // One that hangs is told to stop. What a worker evaluates that is not heard it goes on with, and nobody waits for that.
            let may_stop = lease.deadline >= now;
            let running = lease.trials.union(&lease.withdrawn).filter(|_| may_stop).copied().collect();
            events.push(Change::LeaseEnded { lease: *id, running }.into());
        }
        if is_lost {
            let loss = if silent.contains(&lease.worker) { blame::silent(now) } else { Loss::Hung };
            lost.extend(blame::lost(lease, loss));
        }
    }
    events.extend(silent.into_iter().map(|worker| Change::WorkerLeft { worker: worker.clone() }.into()));
    events.extend(lost);
    events.extend(blame::quarantined(state, now));
    events.extend(state.ledger.ends_cut_off().map(Event::from));
    if state.dispatch.unsettled_until().is_some_and(|until| until <= now) {
        events.push(Change::Settled.into());
    }
    events
}
