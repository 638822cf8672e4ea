//! The messages that people's views are made of.

use bitloop_core::state::{Backlog, Status as ExperimentStatus};
use bitloop_core::trial::Numerics;
use bitloop_proto::convert::digest_to_wire;
use bitloop_proto::v1;

use super::VERSION;
use crate::driver::{Observed, Summary, TrialFailure, WorkerSummary};

/// Everything that a person watches.
pub(super) fn overview(observed: &Observed) -> v1::OverviewResponse {
    let overview = &observed.overview;
    let age_ms = observed.since(overview.taken);
    let worker = |worker: &WorkerSummary| {
        let silent_ms = worker.silent_ms + age_ms;
        v1::WorkerSummary { silent_ms, ..worker_to_wire(worker) }
    };
    v1::OverviewResponse {
        coordinator: Some(coordinator(observed)),
        experiments: overview.experiments.iter().map(summary_to_wire).collect(),
        workers: overview.workers.iter().map(worker).collect(),
        failures: overview.failures.iter().map(|it| failure_to_wire(it, observed.since(it.at))).collect(),
    }
}

fn coordinator(observed: &Observed) -> v1::CoordinatorSummary {
    let (overview, counts) = (&observed.overview, &observed.counts);
    let queued = overview.queued;
    v1::CoordinatorSummary {
        version: VERSION.to_owned(),
        epoch: observed.epoch,
        uptime_ms: observed.uptime_ms,
        age_ms: observed.since(overview.taken),
        silent_ms: observed.since(counts.alive),
        store_error: counts.store_error.clone().unwrap_or_default(),
        queued: queued.all(),
        leases: overview.leases.count,
        leased: overview.leases.trials,
        commit_ms: counts.commit_ms.unwrap_or(0.0),
        commit_p99_ms: counts.commit_p99_ms.unwrap_or(0.0),
        succeeded: counts.succeeded,
        failed: counts.failed,
        duplicates: counts.duplicates,
        conflicts: overview.conflicts,
        leases_expired: counts.leases_expired,
        workers_lost: counts.workers_lost,
    }
}

fn failure_to_wire(failure: &TrialFailure, age_ms: u64) -> v1::TrialFailure {
    v1::TrialFailure {
        trial: digest_to_wire(&failure.trial.0),
        experiment: failure.experiment.as_ref().map(ToString::to_string).unwrap_or_default(),
        worker: failure.worker.as_ref().map(|worker| worker.0.clone()).unwrap_or_default(),
        reason: failure.reason.clone(),
        age_ms,
    }
}

/// The message of a summary.
pub(super) fn summary_to_wire(summary: &Summary) -> v1::ExperimentSummary {
    let reason = match &summary.status {
        ExperimentStatus::Failed { reason } => reason.clone(),
        ExperimentStatus::Active
        | ExperimentStatus::Paused
        | ExperimentStatus::Cancelled
        | ExperimentStatus::Finished => String::new(),
    };
    v1::ExperimentSummary {
        id: summary.id.0.clone(),
        name: summary.name.clone(),
        status: v1::ExperimentStatus::from(&summary.status).into(),
        reason,
        stage: summary.stage.unwrap_or_default().to_owned(),
        total: summary.total,
        settled: summary.settled,
        failed: summary.failed,
        reused: summary.reused,
        leased: summary.leased,
        workers: summary.workers,
        conflicts: summary.conflicts,
        priority: summary.priority,
        per_second: summary.per_second,
    }
}

/// The message of a worker.
pub(super) fn worker_to_wire(worker: &WorkerSummary) -> v1::WorkerSummary {
    v1::WorkerSummary {
        info: Some((&worker.info).into()),
        committed: worker.committed,
        leased: worker.leased,
        trial_ms: worker.trial_ms.unwrap_or(0.0),
        silent_ms: worker.silent_ms,
        failed: worker.failed,
        per_second: worker.per_second,
        busy: worker.busy,
        experiment: worker.experiment.as_ref().map(ToString::to_string).unwrap_or_default(),
        running: worker.running.map(|trial| digest_to_wire(&trial.0)).unwrap_or_default(),
    }
}

/// The message of a class of open trials.
pub(super) fn backlog_to_wire(class: &Backlog) -> v1::BacklogClass {
    let requires = &class.requirements;
    v1::BacklogClass {
        requires: Some(v1::Requirements {
            device: class.device().map_or_else(String::new, |kind| kind.as_str().to_owned()),
            gpu_memory_bytes: requires.gpu_memory_bytes.unwrap_or(0),
            labels: requires.labels.clone().into_iter().collect(),
            exact: class.numerics == Numerics::Exact,
            probe: requires.probe.as_ref().map(|need| need.name.clone()).unwrap_or_default(),
            probe_class: requires.probe.as_ref().and_then(|need| need.class.clone()).unwrap_or_default(),
        }),
        queued: class.queued,
        leased: class.leased,
        seconds: class.predicted_ms / 1e3,
        workers_that_fit: class.workers,
    }
}
