//! What lost workers and trials that are given back say about trials.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::trial::{Outcome, Provenance, TrialKey, TrialResult, Work};

use super::change::Change;
use super::dispatch::{Lease, WorkerInfo};
use super::fact::Fact;
use super::occupancy::Place;
use super::troubles::{Loss, Obstacle, ObstacleKind};
use super::{Event, LOSS_DOUBT_MS, QUARANTINE_LOSSES, State, UnixMillis};

/// A device that could not measure a trial is asked again after so long, in milliseconds: what took its memory may be over.
const RETRY_MS: u64 = 15_000;

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

/// Takes note of why a worker gives trials back. One that too many devices could not measure has failed, unless somebody still
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
    let retry_at = match obstacle.kind {
        ObstacleKind::Device => now.after(RETRY_MS),
        // The worker waits by itself; and a second panic is no other than the first.
        ObstacleKind::Supply | ObstacleKind::Panic => now,
    };
    let place = Place::of(info);
    let mut events = Vec::new();
    for key in obstacle.trials.iter().copied() {
        let is_elsewhere = state.dispatch.holders(&key).any(|held| held.worker != lease.worker);
        if state.dispatch.troubles().is_final(&key, &place, &obstacle) && !is_elsewhere {
            let outcome = failed(info, &obstacle.reason);
            events.push(Fact::OutcomeCommitted { key, outcome }.into());
        } else {
            let (worker, obstacle) = (info.id.clone(), Arc::clone(&obstacle));
            events.push(Change::TrialGivenBack { key, worker, obstacle, retry_at }.into());
        }
    }
    events
}

/// What the last worker said counts, word for word: it does not depend on who tried when.
fn failed(info: &WorkerInfo, reason: &str) -> Outcome {
    let text = str::to_owned;
    let device = info.device.class.clone();
    let provenance = Provenance { engine: text("bitloop"), device, kernels: text("none") };
    Outcome { result: TrialResult::Failed { reason: text(reason) }, provenance, work: Work::default() }
}
