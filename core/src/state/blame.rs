//! What lost workers and trials that are given back say about trials.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::trial::{Outcome, Provenance, TrialKey, TrialResult, Work};

use super::change::Change;
use super::dispatch::{Lease, WorkerInfo};
use super::fact::Fact;
use super::occupancy::Place;
use super::placement;
use super::troubles::{Loss, Obstacle, ObstacleKind};
use super::{Event, LOSS_DOUBT_MS, QUARANTINE_LOSSES, State, UnixMillis};

/// Holds the loss of a worker against the trials that it ran.
///
/// What ends a process at once does so before a heartbeat tells that it runs: then it may be any of the lease's, and each goes
/// alone from then on, so that next time it is known.
pub(super) fn lost(lease: &Lease, loss: Loss) -> impl Iterator<Item = Event> {
    let ran: BTreeSet<TrialKey> = lease.running.intersection(&lease.trials).copied().collect();
    let (keys, loss) = match (ran.is_empty(), lease.trials.len()) {
        (false, _) => (ran, loss),
        (true, 1) => (lease.trials.clone(), loss),
        (true, _) => (lease.trials.clone(), Loss::Suspected),
    };
    let worker = lease.worker.clone();
    keys.into_iter().map(move |key| Change::TrialLost { key, worker: worker.clone(), loss }.into())
}

/// How a worker that is not heard any more is lost.
pub(super) fn silent(now: UnixMillis) -> Loss {
    Loss::Silent { doubtful_until: now.after(LOSS_DOUBT_MS) }
}

/// Trials that have certainly cost too many workers are not tried again.
pub(super) fn quarantined(state: &State, now: UnixMillis) -> impl Iterator<Item = Event> {
    state.dispatch.troubles().withheld().filter_map(move |(key, trouble)| {
        let losses = trouble.certain(now);
        let is_owed = state.ledger.trial(key).is_some_and(|trial| state.ledger.is_owed(trial));
        let is_over = is_owed && losses >= QUARANTINE_LOSSES;
        is_over.then(|| Fact::TrialQuarantined { key: *key, losses }.into())
    })
}

/// Takes note of why a worker gives trials back. One that could not be measured often enough has failed, unless somebody still
/// measures it.
pub(super) fn given_back(
    state: &State,
    (lease, info): (&Lease, &WorkerInfo),
    obstacle: &Obstacle,
    now: UnixMillis,
) -> Vec<Event> {
    let named: BTreeSet<TrialKey> = obstacle.trials.iter().copied().collect();
    let trials: Vec<TrialKey> = named.intersection(&lease.trials).copied().collect();
    let obstacle = Arc::new(Obstacle { trials, ..obstacle.clone() });
    if obstacle.trials.is_empty() {
        return Vec::new();
    }
    let has_failed = has_failed(state, (lease, info), &obstacle, now);
    let last = obstacle.trials.first().filter(|_| has_failed);
    let outcome = last.map(|key| state.ledger.outcome_of(*key, failed(info, &obstacle.reason)).into());
    // The device came to nothing with its last attempt, too.
    let given_back = Change::TrialsGivenBack { worker: info.id.clone(), obstacle, now };
    [given_back.into()].into_iter().chain(outcome).collect()
}

/// Whether a trial that comes back alone could not be measured often enough.
fn has_failed(
    state: &State,
    (lease, info): (&Lease, &WorkerInfo),
    obstacle: &Obstacle,
    now: UnixMillis,
) -> bool {
    let [key] = obstacle.trials.as_slice() else { return false };
    let is_held_against_it = match obstacle.kind {
        ObstacleKind::Supply => false,
        ObstacleKind::Device | ObstacleKind::Panic => true,
    };
    let is_elsewhere = || state.dispatch.holders(key).any(|held| held.worker != lease.worker);
    let is_able_elsewhere = || is_able_elsewhere(state, (key, &Place::of(info)), now);
    let refusal = (info.machine.as_str(), obstacle.kind);
    let is_final = || state.dispatch.troubles().is_final(key, refusal, is_able_elsewhere);
    is_held_against_it && !is_elsewhere() && is_final()
}

/// Whether a device is there that may measure a trial and has not tried.
fn is_able_elsewhere(state: &State, (key, but): (&TrialKey, &Place), now: UnixMillis) -> bool {
    let trial = state.ledger.trial(key);
    trial.is_some_and(|trial| placement::may_elsewhere(&state.ledger, &state.dispatch, (trial, but), now))
}

/// What the last worker said counts, word for word: it does not depend on who tried when.
fn failed(info: &WorkerInfo, reason: &str) -> Outcome {
    let device = info.device.class.clone();
    let result = TrialResult::Failed { reason: reason.to_owned() };
    Outcome { result, provenance: Provenance::of_nobody(device), work: Work::default() }
}
