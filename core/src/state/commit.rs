//! What workers report: which of it counts.

use std::collections::BTreeSet;

use crate::trial::{Numerics, Outcome, TrialKey, TrialResult, TrialSpec};

use super::State;
use super::change::Change;
use super::decide::{Decision, Rejection, Reply, Report};
use super::dispatch::WorkerId;
use super::fact::Fact;
use super::ledger::{Trial, TrialState};
use super::pace::{self, Subject};

/// Decides what becomes of the reports of a worker, all of them or none.
///
/// It need not hold a lease: what it measured is as good as any.
pub(super) fn commit(
    state: &State,
    worker: &WorkerId,
    reports: &[Report],
    trial_ms: f64,
) -> Result<Decision, Rejection> {
    let mut events = Vec::new();
    let mut seen: BTreeSet<TrialKey> = BTreeSet::new();
    let (mut accepted, mut duplicates, mut conflicts) = (0, 0, 0);
    for report in reports {
        let trial = state.ledger.trial(&report.key).ok_or(Rejection::UnknownTrial(report.key))?;
        let (key, outcome) = (report.key, report.outcome.clone());
        if !trial.spec.may_give(&outcome.result) {
            return Err(Rejection::WrongResult(key));
        }
        match &trial.state {
            // A search that trains has gone on without it, and what came of that is to stay.
            TrialState::Quarantined { .. } if matches!(trial.spec, TrialSpec::Train(_)) => duplicates += 1,
            // Finished experiments keep their results, also those that they lack.
            TrialState::Quarantined { .. } if !state.ledger.is_in_use(&key) => duplicates += 1,
            // A correct outcome is welcome from any attempt, also for a trial that was given up.
            TrialState::Open | TrialState::Quarantined { .. } if seen.insert(key) => {
                accepted += 1;
                events.push(state.ledger.outcome_of(key, outcome).into());
            }
            TrialState::Open | TrialState::Quarantined { .. } => duplicates += 1,
            TrialState::Done(first)
                if is_welcome(first, trial, &outcome) && state.ledger.is_in_use(&key) && seen.insert(key) =>
            {
                accepted += 1;
                events.push(state.ledger.outcome_of(key, outcome).into());
            }
            // That nobody could measure it was no result, with which another one could be in conflict.
            TrialState::Done(first) if first.is_given_up() => duplicates += 1,
            // No measurement of a device is like another, and each has its repetition in its key.
            TrialState::Done(_) if matches!(trial.spec, TrialSpec::Probe(_)) => duplicates += 1,
            TrialState::Done(first) if first.agrees_with(&outcome, numerics(state, &trial.spec)) => {
                duplicates += 1;
            }
            // A worker that repeats a commit repeats its conflicts; one commit adds one of a trial.
            TrialState::Done(_) if state.ledger.has_conflict(&key, &outcome) || !seen.insert(key) => {
                conflicts += 1;
            }
            TrialState::Done(_) => {
                conflicts += 1;
                events.push(Fact::ConflictSeen { key, outcome }.into());
            }
        }
    }
    if accepted > 0 && trial_ms.is_finite() && trial_ms > 0.0 {
        let (worker, trials) = (worker.clone(), u64::from(accepted));
        let subject = subject(state, reports);
        let measured = reports.iter().filter_map(|report| state.ledger.trial(&report.key));
        let companies = measured.map(|trial| trial.spec.company()).collect();
        events.push(Change::WorkerCommitted { worker, trials, trial_ms, subject, companies }.into());
    }
    if state.dispatch.held_by(worker).next().is_some() {
        // Behind the outcomes, which take the trials away from whoever has them.
        let trials = reports.iter().map(|report| report.key).collect();
        events.push(Change::TrialsLeft { worker: worker.clone(), trials }.into());
    }
    Ok(Decision::new(events, Reply::Committed { accepted, duplicates, conflicts }))
}

/// Whether an outcome counts though there is one: that only says that nobody could measure the trial. A search that trains has
/// gone on without it.
fn is_welcome(first: &Outcome, trial: &Trial, outcome: &Outcome) -> bool {
    let is_failed = matches!(outcome.result, TrialResult::Failed { .. });
    first.is_given_up() && !is_failed && !matches!(trial.spec, TrialSpec::Train(_))
}

/// The arithmetic that a trial's results are compared by. Only evaluations may differ by rounding.
fn numerics(state: &State, spec: &TrialSpec) -> Numerics {
    let context = spec.company().and_then(|company| state.ledger.context(&company.context));
    context.map_or(Numerics::Exact, |context| context.numerics)
}

/// What reports are about and the units of one on average, if they are all about the same and none failed, perhaps early.
fn subject(state: &State, reports: &[Report]) -> Option<(Subject, f64)> {
    let failed = |report: &&Report| matches!(report.outcome.result, TrialResult::Failed { .. });
    let specs =
        || reports.iter().filter_map(|report| state.ledger.trial(&report.key)).map(|trial| &trial.spec);
    let first = specs().next().map(Subject::of)?;
    if reports.iter().any(|report| failed(&report)) || specs().any(|spec| Subject::of(spec) != first) {
        return None;
    }
    let units: f64 = specs().map(|spec| pace::units(spec) as f64).sum();
    Some((first, units / specs().count() as f64))
}
