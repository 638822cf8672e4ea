use std::collections::BTreeMap;

use bitloop_core::device::{DeviceKind, Requirements};
use bitloop_core::plan::{Plan, ProbePlan, StagePlan};
use bitloop_core::state::{Backlog, WorkerInfo};
use bitloop_core::trial::{Numerics, ProbeTarget};

use super::*;

async fn classes(fixture: &Fixture, handle: &Handle) -> Vec<Backlog> {
    fixture.clock_ms.fetch_add(TICK_MS, Ordering::Relaxed);
    settle(handle).await;
    handle.overview().borrow().backlog.clone()
}

#[tokio::test]
async fn open_trials_are_counted_by_what_workers_must_have() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    assert_eq!(classes(&fixture, &handle).await, []);
    store_inputs(handle.artifacts());
    let exact = Plan { numerics: Numerics::Exact, ..plan("exact") };
    handle.submit(exact, Sources::new(), 0).await.unwrap();
    let able = register(&handle, "able").await;
    let floating = WorkerInfo { float_only: true, ..worker("floating") };
    handle.register(floating, Vec::new()).await.unwrap();

    let preparing = classes(&fixture, &handle).await;
    let shard = handle.request_shard(&able).await.unwrap().unwrap();
    let leased = classes(&fixture, &handle).await;
    handle.commit(&able, reports(&shard), 250.0).await.unwrap();
    let evaluating = classes(&fixture, &handle).await;

    let anybody = Backlog {
        requirements: Requirements::NONE,
        numerics: Numerics::Float,
        queued: 1,
        leased: 0,
        // Of a trial whose pace nobody knows.
        predicted_ms: 1_000.0,
        wanted_ms: 1_000.0,
        workers: 2,
    };
    assert_eq!(preparing, std::slice::from_ref(&anybody));
    assert_eq!(leased, [Backlog { queued: 0, leased: 1, ..anybody.clone() }]);
    let queued = PLAN_TRIALS - 1;
    let predicted_ms = queued as f64 * 1_000.0;
    let wanted_ms = predicted_ms;
    let exact = Backlog { numerics: Numerics::Exact, queued, predicted_ms, wanted_ms, workers: 1, ..anybody };
    assert_eq!(evaluating, std::slice::from_ref(&exact));
    assert_eq!(exact.device(), Some(DeviceKind::Cpu));
    coordinator.close().await.unwrap();
}

#[tokio::test]
async fn that_nobody_has_exact_arithmetic_is_said_in_so_many_words() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    store_inputs(handle.artifacts());
    let floating = WorkerInfo { float_only: true, ..worker("floating") };
    handle.register(floating, Vec::new()).await.unwrap();
    let exact = Plan { numerics: Numerics::Exact, ..plan("exact") };

    let id = handle.submit(exact, Sources::new(), 0).await.unwrap().experiment;

    let warnings = handle.warnings(&id).await.unwrap();
    assert_eq!(
        warnings,
        ["none of the 1 connected workers can measure stage `sensitivity` (exact arithmetic)"]
    );
}

#[tokio::test]
async fn that_nobody_has_the_probe_that_a_device_is_measured_with_is_said_with_its_labels() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    store_inputs(handle.artifacts());
    handle.register(worker("probeless"), Vec::new()).await.unwrap();
    let on = BTreeMap::from([("board".to_owned(), "pi5".to_owned())]);
    let target = ProbeTarget { probe: "integer".to_owned(), on, class: None };
    let mut measuring = plan("measuring");
    measuring.requirements = vec![Requirements::NONE; measuring.stages.len()];
    measuring.requirements.push(target.requirements());
    measuring.stages.push(StagePlan::Probe(Box::new(ProbePlan::uniform(target))));

    let id = handle.submit(measuring, Sources::new(), 0).await.unwrap().experiment;

    let warnings = handle.warnings(&id).await.unwrap();
    assert_eq!(
        warnings,
        [
            "none of the 1 connected workers can measure stage `probe` (probe integer, label board=pi5, the device to itself)"
        ]
    );
}
