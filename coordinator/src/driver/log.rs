//! What the log says of events.

use bitloop_core::state::{Change, Event, Fact, Loss, State};
use tracing::{debug, info, warn};

/// Logs an event once, when it happens; a replay is silent. `state` is that before it.
pub(super) fn write(state: &State, event: &Event) {
    match event {
        Event::Fact(fact) => write_fact(state, fact),
        Event::Change(change) => write_change(change),
    }
}

fn write_fact(state: &State, fact: &Fact) {
    match fact {
        Fact::ExperimentSubmitted { plan, .. } => info!(experiment = %plan.id(), "experiment submitted"),
        Fact::ExperimentPaused { experiment } => info!(%experiment, "experiment paused"),
        Fact::ExperimentResumed { experiment } => info!(%experiment, "experiment resumed"),
        Fact::ExperimentCancelled { experiment } => info!(%experiment, "experiment cancelled"),
        Fact::StepProposed { experiment, stage, batch } => {
            debug!(%experiment, stage, trials = batch.trials.len(), "trials proposed")
        }
        Fact::StageFinished { experiment, stage, .. } => info!(%experiment, stage, "stage finished"),
        Fact::ExperimentFinished { experiment } => info!(%experiment, "experiment finished"),
        Fact::ExperimentFailed { experiment, reason } => warn!(%experiment, reason, "experiment failed"),
        Fact::OutcomeCommitted { key, outcome } => {
            debug!(trial = %key, device = outcome.provenance.device, "outcome committed");
        }
        Fact::OutcomeLost { key } if state.ledger.is_unmeasured(key) => {
            debug!(trial = %key, "what nobody could measure is tried again for another experiment");
        }
        Fact::OutcomeLost { key } => {
            warn!(trial = %key, "an outcome's artifact is gone or damaged; it is measured again");
        }
        Fact::OutcomeReplaced { key, outcome } => {
            info!(trial = %key, artifact = ?outcome.result.artifact(), "an outcome that counts no more is replaced");
        }
        Fact::ConflictSeen { key, outcome } => {
            warn!(trial = %key, device = outcome.provenance.device, "a repeated measurement differs");
        }
        Fact::TrialQuarantined { key, losses } => warn!(trial = %key, losses, "trial quarantined"),
    }
}

fn write_change(change: &Change) {
    match change {
        Change::WorkerJoined { info, .. } => {
            let (worker, host, device) = (&info.id.0, &info.host, &info.device.class);
            info!(worker, host, device, "worker joined");
        }
        Change::WorkerLeft { worker } => info!(worker = worker.0, "worker left"),
        Change::WorkerSeen { .. }
        | Change::WorkerCommitted { .. }
        | Change::LeaseRenewed { .. }
        | Change::TrialsLeft { .. }
        | Change::Started { .. }
        | Change::Settled
        | Change::HeldUp { .. } => {}
        Change::LeaseGranted { lease, terms } => {
            let (worker, trials, second) = (&terms.worker.0, terms.trials.len(), terms.second);
            debug!(lease = lease.0, worker, trials, second, "lease granted");
        }
        Change::TrialsRecalled { lease, trials } => {
            debug!(lease = lease.0, trials = trials.len(), "unbegun trials are asked back");
        }
        Change::TrialsReturned { lease, trials } => {
            debug!(lease = lease.0, trials = trials.len(), "unbegun trials came back");
        }
        Change::LeaseEnded { lease, running } => {
            debug!(lease = lease.0, running = running.len(), "lease ended");
        }
        Change::DeviceVacated { lease } => debug!(lease = lease.0, "what it took is free"),
        Change::TrialLost { key, worker, loss: Loss::Silent { .. } } => {
            warn!(trial = %key, worker = worker.0, "a worker was lost while it ran a trial; it may come back");
        }
        Change::TrialLost { key, worker, loss: Loss::Hung } => {
            warn!(trial = %key, worker = worker.0, "a worker got nowhere with a trial");
        }
        Change::TrialLost { key, worker, loss: Loss::Suspected } => {
            debug!(trial = %key, worker = worker.0, "a worker was lost while it held a trial and others");
        }
        Change::TrialsGivenBack { worker, obstacle, .. } => {
            let (worker, reason, trials) = (&worker.0, &obstacle.reason, obstacle.trials.len());
            debug!(worker, reason, trials, "trials were given back");
        }
    }
}
