//! What the driver tells of what happens.

use bitloop_core::state::{LEASE_TERM_MS, Obstacle, ObstacleKind};
use bitloop_core::trial::{TrialKey, TrialResult};
use bitloop_proto::convert::{LogLevel, LogLine};
use std::collections::BTreeSet;

use super::*;
use crate::chronicle::{Entry, What};

/// The kinds of all events, in order.
fn kinds(handle: &Handle) -> Vec<&'static str> {
    let page = handle.chronicle().events(None);
    assert_eq!(page.missed, 0);
    page.events.iter().map(|event| event.what.kind.as_str()).collect()
}

pub(super) fn text_of(handle: &Handle, kind: &str) -> String {
    let page = handle.chronicle().events(None);
    let event = page.events.iter().find(|event| event.what.kind.as_str() == kind);
    event.unwrap_or_else(|| panic!("no {kind}")).what.text.clone()
}

/// A trial's log, once something stands in it.
async fn log_with(handle: &Handle, key: &TrialKey, is_there: impl Fn(&Entry) -> bool) -> Vec<Entry> {
    let mut written = handle.chronicle().written();
    loop {
        let entries = handle.chronicle().trial(key).read().0;
        if entries.iter().any(&is_there) {
            return entries;
        }
        written.changed().await.unwrap();
    }
}

fn whats(entries: &[Entry]) -> Vec<(u32, &str)> {
    entries.iter().map(|entry| (entry.attempt, entry.what.as_str())).collect()
}

async fn pass_a_lease_term(fixture: &Fixture, handle: &Handle) {
    for _ in 0..=LEASE_TERM_MS / 1_000 {
        fixture.clock_ms.fetch_add(1_000, Ordering::SeqCst);
        settle(handle).await;
    }
}

#[tokio::test]
async fn a_lost_worker_its_lease_and_its_trials_are_told_of() {
    let fixture = Fixture::new();
    let (coordinator, handle, id, worker) = sweep(&fixture).await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();
    let key = shard.trials[0].0;
    handle.heartbeat(&worker, Some(shard.lease), vec![key]).await.unwrap();

    pass_a_lease_term(&fixture, &handle).await;
    let second = register(&handle, "w2").await;
    let shard = handle.request_shard(&second).await.unwrap().unwrap();
    handle.release(&second, shard.lease, (None, None)).await.unwrap();
    handle.leave(&second).await.unwrap();

    assert_eq!(
        kinds(&handle),
        [
            "coordinator_started",
            "experiment_submitted",
            "worker_joined",
            "worker_lost",
            "lease_taken_back",
            "worker_joined",
            "worker_left"
        ]
    );
    let events = handle.chronicle().events(None).events;
    let own = events.iter().filter(|event| event.what.experiments == [id.0.as_str()]);
    let own: Vec<&str> = own.map(|event| event.what.kind.as_str()).collect();
    assert_eq!(own, ["experiment_submitted", "worker_lost", "lease_taken_back"], "it was measured there");
    assert_eq!(text_of(&handle, "worker_lost"), "nothing was heard of it for 10 s");
    let taken = text_of(&handle, "lease_taken_back");
    assert!(taken.contains("1 trials go to others, 1 had begun"), "{taken}");
    let entries = log_with(&handle, &key, |entry| entry.what == What::GivenBack).await;
    let expected = [(1, "leased"), (1, "begun"), (1, "lost"), (2, "leased"), (2, "given_back")];
    assert_eq!(whats(&entries), expected);
    coordinator.close().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_comes_back_with_what_it_has_is_not_said_to_help_a_late_one() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    submit(&handle, "sweep").await;
    let first = register(&handle, "w1").await;
    let shard = handle.request_shard(&first).await.unwrap().unwrap();
    let key = shard.trials[0].0;
    handle.register(worker("w1"), vec![key]).await.unwrap();

    let entries = log_with(&handle, &key, |entry| entry.attempt == 2).await;

    assert_eq!(whats(&entries), [(1, "leased"), (1, "ended"), (2, "leased")]);
    assert!(entries[2].text.ends_with(", as it has it already"), "{}", entries[2].text);
    coordinator.close().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_beats_and_gets_nowhere_is_told_of_as_such() {
    let fixture = Fixture::new();
    let (coordinator, handle, _, worker) = sweep(&fixture).await;
    // How long trials take is known from one of them.
    work_once(&handle, &worker).await;
    work_once(&handle, &worker).await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();
    let key = shard.trials[0].0;

    let mut beats = 0;
    while handle.heartbeat(&worker, Some(shard.lease), vec![key]).await.unwrap().lease_valid {
        fixture.clock_ms.fetch_add(1_900, Ordering::SeqCst);
        settle(&handle).await;
        beats += 1;
        assert!(beats < 5_000, "its lease goes on for ever");
    }

    let taken = text_of(&handle, "lease_taken_back");
    assert!(taken.contains("lives but gets nowhere, restart it"), "{taken}");
    let entries = log_with(&handle, &key, |entry| entry.what == What::Lost).await;
    assert!(entries.iter().any(|entry| entry.text.contains("restart that worker")), "{entries:?}");
    assert!(!kinds(&handle).contains(&"worker_lost"));
    coordinator.close().await.unwrap();
}

#[tokio::test]
async fn failures_duplicates_and_conflicts_are_told_of_and_measurements_are_not() {
    let fixture = Fixture::new();
    let (coordinator, handle, id, worker) = sweep(&fixture).await;
    work_once(&handle, &worker).await;
    let before = kinds(&handle).len();
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();
    let mut failing = reports(&shard);
    let reason = "no such layer\nanywhere".to_owned();
    failing[0].outcome.result = TrialResult::Failed { reason: reason.clone() };

    handle.commit(&worker, failing.clone(), 1.0).await.unwrap();
    handle.commit(&worker, failing, 1.0).await.unwrap();
    let other = handle.request_shard(&worker).await.unwrap().unwrap();
    handle.commit(&worker, reports(&other), 1.0).await.unwrap();
    let mut differing = other_reports(&other);
    differing.truncate(1);
    handle.commit(&worker, differing, 1.0).await.unwrap();

    let kinds = kinds(&handle).split_off(before);
    assert_eq!(kinds.iter().filter(|kind| **kind == "trial_failed").count(), 1, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "duplicates").count(), 1, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "conflict").count(), 1, "{kinds:?}");
    let page = handle.chronicle().events(None);
    let failed = page.events.iter().find(|event| event.what.kind.as_str() == "trial_failed").unwrap();
    let key = shard.trials[0].0;
    assert_eq!(failed.what.experiments, std::slice::from_ref(&id.0));
    assert_eq!(failed.what.trial.as_deref(), Some(&key.0.hex()[..16]));
    assert_eq!((failed.what.worker.as_deref(), &failed.what.text), (Some("w1"), &reason));
    let entries = log_with(&handle, &key, |entry| entry.what == What::Duplicate).await;
    assert_eq!(whats(&entries), [(1, "leased"), (1, "failed"), (1, "duplicate")]);
    assert_eq!(entries[1].text, reason);
    coordinator.close().await.unwrap();
}

#[tokio::test]
async fn a_trial_that_nobody_can_measure_has_failed_for_good_and_is_told_of() {
    let fixture = Fixture::new();
    let (coordinator, handle, id, worker) = sweep(&fixture).await;
    work_once(&handle, &worker).await;
    let mut tried = Vec::new();
    for _ in 0..2 {
        let shard = handle.request_shard(&worker).await.unwrap().unwrap();
        let trials = vec![shard.trials[0].0];
        tried.push(trials[0]);
        let (kind, reason) = (ObstacleKind::Panic, "it blows up".to_owned());
        let obstacle = Obstacle { kind, reason, trials };
        handle.release(&worker, shard.lease, (None, Some(obstacle))).await.unwrap();
    }

    assert_eq!(tried[0], tried[1]);
    assert_eq!(text_of(&handle, "trial_failed"), "it blows up");
    let entries = log_with(&handle, &tried[0], |entry| entry.what == What::Failed).await;
    let expected = [(1, "leased"), (1, "given_back"), (2, "leased"), (2, "given_back"), (2, "failed")];
    assert_eq!(whats(&entries), expected);
    assert_eq!(entries[1].text, "the worker gave it back (panic): it blows up");
    assert_eq!(summary_now(&handle, &id).await.failed, 1);
    let failed = |fact: &&Fact| {
        let Fact::OutcomeCommitted { key, outcome } = fact else { return false };
        *key == tried[0] && matches!(outcome.result, TrialResult::Failed { .. })
    };
    assert_eq!(fixture.facts().iter().filter(failed).count(), 1);
    coordinator.close().await.unwrap();
}

#[tokio::test]
async fn many_failures_in_one_report_are_a_few_events() {
    let fixture = Fixture::new();
    let (_coordinator, handle, _, worker) = sweep(&fixture).await;
    work_once(&handle, &worker).await;
    let mut failing = Vec::new();
    while (failing.len() as u64) < PLAN_TRIALS - 1 {
        let holder = register(&handle, &format!("holder{}", failing.len())).await;
        let shard = handle.request_shard(&holder).await.unwrap().unwrap();
        failing.extend(other_reports(&shard));
    }
    handle.commit(&worker, failing, 1.0).await.unwrap();

    let page = handle.chronicle().events(None);
    let failed = page.events.iter().filter(|event| event.what.kind.as_str() == "trial_failed");
    let failed: Vec<&str> = failed.map(|event| event.what.text.as_str()).collect();
    assert_eq!(failed.len(), 9, "{failed:?}");
    assert_eq!(failed[8], "1 more trials of the same report failed");
    let about_none = page.events.iter().filter(|event| event.what.experiments.is_empty());
    let about_none: BTreeSet<&str> = about_none.map(|event| event.what.kind.as_str()).collect();
    assert_eq!(about_none.into_iter().collect::<Vec<_>>(), ["coordinator_started", "worker_joined"]);
}

#[tokio::test]
async fn what_happened_can_be_read_after_a_restart() {
    let fixture = Fixture::new();
    let first = fixture.open();
    let handle = first.handle();
    submit(&handle, "sweep").await;
    let worker = register(&handle, "w1").await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();
    let key = shard.trials[0].0;
    let line = |trial, text: &str| LogLine {
        trial,
        alone: true,
        ago_ms: 7,
        level: LogLevel::Warn,
        text: text.to_owned(),
    };
    let foreign = TrialKey(Digest::of(b"another trial"));
    let lines = vec![line(key, "the disk is slow"), line(foreign, "not its own")];
    assert_eq!(handle.chronicle().write_lines(&worker, lines, 3), Ok(1), "one of them is refused");
    let seen = handle.chronicle().events(None).events.last().unwrap().cursor;
    first.close().await.unwrap();

    let second = fixture.open();
    let handle = second.handle();

    let entries = log_with(&handle, &key, |entry| entry.what == What::Ended).await;
    let expected = [(1, "leased"), (1, "left_out"), (1, "line"), (1, "ended")];
    assert_eq!(whats(&entries), expected, "a lease ends with the coordinator");
    let line = &entries[2];
    assert_eq!(
        (line.level.as_str(), line.text.as_str(), line.unix_ms),
        ("warn", "the disk is slow", 999_993)
    );
    let after = handle.chronicle().events(Some(seen));
    let after: Vec<&str> = after.events.iter().map(|event| event.what.kind.as_str()).collect();
    assert_eq!(after, ["coordinator_started"], "the cursor is good in the next start");
    assert_eq!(kinds(&handle).len(), 4);
    second.close().await.unwrap();
}

#[tokio::test]
async fn without_files_a_start_tells_of_experiments_from_the_facts() {
    let fixture = Fixture::new();
    let first = fixture.open();
    let id = submit(&first.handle(), "sweep").await;
    let worker = register(&first.handle(), "w1").await;
    work_off(&first.handle(), &worker, &id).await;
    first.close().await.unwrap();
    fs::remove_dir_all(fixture.folder.path().join("logs")).unwrap();

    let second = fixture.open();

    let expected = [
        "experiment_submitted",
        "stage_finished",
        "stage_finished",
        "experiment_finished",
        "coordinator_started",
    ];
    assert_eq!(kinds(&second.handle()), expected);
    let first = &second.handle().chronicle().events(None).events[0];
    assert_eq!((first.what.unix_ms, &first.what.experiments[0]), (0, &id.0), "nobody knows when");
    second.close().await.unwrap();
}

#[tokio::test]
async fn an_outage_of_the_store_is_told_of_and_nothing_that_is_not_stored() {
    let fixture = Fixture::new();
    let disk = Failure::default();
    let store = FailingStore { inner: fixture.store.clone(), failure: disk.clone() };
    let coordinator = fixture.open_on(Box::new(store));
    let handle = coordinator.handle();
    store_inputs(handle.artifacts());
    disk.disk_full();
    handle.submit(plan("sweep"), Sources::new(), 0).await.unwrap_err();

    assert_eq!(kinds(&handle), ["coordinator_started", "store_unwritable"]);
    assert!(text_of(&handle, "store_unwritable").contains("no space left"));

    disk.clear();
    let mut announced = handle.chronicle().announced();
    while !kinds(&handle).contains(&"experiment_submitted") {
        announced.changed().await.unwrap();
    }
    let expected = ["coordinator_started", "store_unwritable", "store_writable", "experiment_submitted"];
    assert_eq!(kinds(&handle), expected);
    coordinator.close().await.unwrap();
}
