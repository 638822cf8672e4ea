//! Overviews that no coordinator gave.

use bitloop_proto::v1::{
    CoordinatorSummary, Device, ExperimentStatus, ExperimentSummary, OverviewResponse, TrialFailure,
    WorkerInfo, WorkerSummary,
};

fn experiment(name: &str, status: ExperimentStatus, settled: u64) -> ExperimentSummary {
    let is_active = status == ExperimentStatus::Active;
    ExperimentSummary {
        id: format!("{name}-0123456789ab"),
        name: name.to_owned(),
        status: status.into(),
        stage: if is_active { "sensitivity".to_owned() } else { String::new() },
        total: 12_000,
        settled,
        leased: if is_active { 80 } else { 0 },
        workers: 2,
        per_second: if is_active { 8.25 } else { 0.0 },
        ..ExperimentSummary::default()
    }
}

fn worker(name: &str, committed: u64) -> WorkerSummary {
    let device = Device { class: "AMD EPYC 7763".to_owned(), ..Device::default() };
    let labels = [("board".to_owned(), "orin".to_owned())].into();
    let info = WorkerInfo { id: name.to_owned(), device: Some(device), labels, ..WorkerInfo::default() };
    WorkerSummary {
        info: Some(info),
        committed,
        leased: 40,
        trial_ms: 120.26,
        silent_ms: 900,
        per_second: 4.125,
        busy: 0.985,
        experiment: "first-0123456789ab".to_owned(),
        ..WorkerSummary::default()
    }
}

pub(super) fn overview() -> OverviewResponse {
    let coordinator = CoordinatorSummary {
        version: "0.1.0".to_owned(),
        epoch: 3,
        uptime_ms: 7_500_000,
        queued: 6_920,
        leases: 2,
        leased: 80,
        commit_ms: 1.23,
        commit_p99_ms: 5.0,
        succeeded: 5_017,
        failed: 1,
        ..CoordinatorSummary::default()
    };
    let failure = TrialFailure {
        trial: vec![0xab; 32],
        experiment: "first-0123456789ab".to_owned(),
        worker: "lab-7-w1".to_owned(),
        reason: "the quantizer of `conv1.weight`\ngave no finite scale".to_owned(),
        age_ms: 61_500,
    };
    OverviewResponse {
        coordinator: Some(coordinator),
        experiments: vec![
            experiment("first", ExperimentStatus::Active, 5_000),
            experiment("second", ExperimentStatus::Finished, 12_000),
        ],
        workers: vec![worker("lab-7-w1", 4_000), WorkerSummary { failed: 1, ..worker("lab-8-w1", 1_018) }],
        failures: vec![failure],
    }
}

pub(super) fn many(count: u64) -> OverviewResponse {
    let workers = (0..count).map(|index| worker(&format!("w{index:03}"), index * 7 % 100)).collect();
    OverviewResponse { workers, ..overview() }
}
