//! What a worker says to its coordinator, against a scripted one within the process.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod artifacts;
mod fake;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use artifacts::fetching;
use bitloop_core::device::Device;
use bitloop_core::digest::Digest;
use bitloop_core::state::{Obstacle, ObstacleKind};
use bitloop_core::trial::{Outcome, TrialKey, TrialSpec};
use bitloop_worker::{
    Beforehand, Connection, EmptyExecutor, Endpoint, ExecuteError, Executor, Setting, WorkSummary,
    WorkerError, WorkerOptions, work,
};
use fake::{ADOPTED, Call, Fake};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tracing_subscriber::layer::SubscriberExt;

fn options() -> WorkerOptions {
    WorkerOptions {
        id: "w1".to_owned(),
        host: "here".to_owned(),
        machine: "here".to_owned(),
        threads: 1,
        labels: BTreeMap::new(),
        share: None,
        cache_dir: None,
        connect_timeout: Some(Duration::from_secs(10)),
        max_give_backs: None,
        idle_exit: None,
    }
}

fn sorted(keys: &[TrialKey]) -> Vec<TrialKey> {
    let mut keys = keys.to_vec();
    keys.sort();
    keys
}

struct Running {
    work: JoinHandle<Result<WorkSummary, WorkerError>>,
    shutdown: CancellationToken,
}

impl Running {
    fn start(connection: Connection, executor: impl Executor + 'static) -> Self {
        let shutdown = CancellationToken::new();
        let work = work(connection, Box::new(executor), options(), shutdown.clone());
        Self { work: tokio::spawn(work), shutdown }
    }

    async fn finish(self) -> WorkSummary {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(20), self.work).await;
        ended.expect("the worker ends").unwrap().unwrap()
    }
}

/// Measures nothing; one trial takes until the gate opens or it is stopped.
struct Gated {
    held_up: TrialKey,
    gate: Arc<AtomicBool>,
}

impl Executor for Gated {
    fn device(&self) -> Device {
        Device { class: "gated".to_owned(), ..Device::default() }
    }

    fn run(
        &mut self,
        trials: &[&TrialSpec],
        setting: &Setting<'_>,
        give: &mut dyn FnMut(Outcome),
    ) -> Result<(), ExecuteError> {
        for trial in trials {
            if trial.key() == self.held_up {
                while !self.gate.load(Ordering::Relaxed) && !setting.stop.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            }
            EmptyExecutor.run(&[trial], setting, give)?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_shard_is_measured_and_committed() {
    let (fake, connection) = Fake::start();
    let keys = fake.hand_out(7, 0..600);
    let worker = Running::start(connection, EmptyExecutor);

    fake.until(|script| script.reports.len() >= keys.len()).await;
    let summary = worker.finish().await;

    assert_eq!(fake.with(|script| script.committed()), keys);
    assert_eq!(summary, WorkSummary { shards: 1, committed: 600, lost: 0 });
    let calls = fake.with(|script| script.calls.clone());
    assert_eq!(calls[0], Call::Register { held: vec![] });
    assert_eq!(calls.last(), Some(&Call::Leave));
    assert!(!calls.iter().any(|call| matches!(call, Call::Release { .. })), "nothing was left to release");
}

#[tokio::test]
async fn the_next_shard_comes_with_the_answer_to_the_last_commit() {
    let (fake, connection) = Fake::start();
    let keys = [fake.hand_out(7, 0..2), fake.hand_out(8, 2..4), fake.hand_out(9, 4..6)].concat();
    let worker = Running::start(connection, EmptyExecutor);

    fake.until(|script| script.reports.len() >= keys.len()).await;
    let summary = worker.finish().await;

    assert_eq!(fake.with(|script| script.committed()), keys);
    assert_eq!(summary, WorkSummary { shards: 3, committed: 6, lost: 0 });
    let calls = fake.with(|script| script.calls.clone());
    let last = calls.iter().rposition(|call| matches!(call, Call::Commit { .. })).unwrap();
    let requests = calls[..last].iter().filter(|call| **call == Call::Request).count();
    assert_eq!(requests, 1, "for the first shard: {calls:?}");
}

#[tokio::test]
async fn a_failed_commit_is_repeated_and_no_key_is_lost_or_committed_twice() {
    let (fake, connection) = Fake::start();
    fake.with(|script| script.commit_failures.extend([Code::Unavailable, Code::Unknown]));
    let keys = fake.hand_out(7, 0..5);
    let worker = Running::start(connection, EmptyExecutor);

    fake.until(|script| script.reports.len() >= keys.len()).await;
    worker.finish().await;

    assert_eq!(fake.with(|script| script.committed()), keys);
    let calls = fake.with(|script| script.calls.clone());
    let registrations = calls.iter().filter(|call| matches!(call, Call::Register { .. })).count();
    assert_eq!(registrations, 1, "a coordinator that is away for a moment still knows the worker");
}

#[tokio::test]
async fn an_outcome_that_the_coordinator_refuses_takes_no_other_with_it() {
    let (fake, connection) = Fake::start();
    let mut keys = fake.hand_out(7, 0..5);
    fake.with(|script| script.refused.push(keys[2]));
    let worker = Running::start(connection, EmptyExecutor);

    fake.until(|script| script.reports.len() >= 4).await;
    let summary = worker.finish().await;

    keys.remove(2);
    assert_eq!(fake.with(|script| script.committed()), keys);
    assert_eq!(summary, WorkSummary { shards: 1, committed: 4, lost: 1 });
}

#[tokio::test]
async fn a_new_epoch_makes_the_worker_register_with_what_it_holds_and_go_on() {
    let (fake, connection) = Fake::start();
    let keys = fake.hand_out(7, 0..4);
    let gate = Arc::new(AtomicBool::new(false));
    // The first outcome cannot be committed before the coordinator has started anew.
    fake.with(|script| script.commit_failures.extend([Code::Unavailable; 3]));
    let worker = Running::start(connection, Gated { held_up: keys[1], gate: Arc::clone(&gate) });
    fake.until(|script| script.calls.iter().any(|call| matches!(call, Call::Commit { .. }))).await;

    fake.with(|script| {
        script.epoch = 2;
        script.commit_failures.clear();
    });
    fake.until(|script| script.calls.contains(&Call::Register { held: sorted(&keys) })).await;
    gate.store(true, Ordering::Relaxed);
    fake.until(|script| script.reports.len() >= keys.len()).await;
    let summary = worker.finish().await;

    assert_eq!(fake.with(|script| script.committed()), keys);
    assert_eq!(summary, WorkSummary { shards: 1, committed: 4, lost: 0 });
}

#[tokio::test]
async fn what_could_not_be_sent_outlives_the_worker_and_is_sent_by_the_next_one() {
    let cache = tempfile::tempdir().unwrap();
    let options = WorkerOptions { cache_dir: Some(cache.path().to_owned()), ..options() };
    let (fake, connection) = Fake::start();
    fake.with(|script| script.commit_failures.extend([Code::Unavailable; 1_000]));
    let keys = fake.hand_out(7, 0..3);
    let shutdown = CancellationToken::new();
    let first = work(connection.clone(), Box::new(EmptyExecutor), options.clone(), shutdown.clone());
    let first = tokio::spawn(first);
    fake.until(|script| script.calls.iter().any(|call| matches!(call, Call::Commit { .. }))).await;
    shutdown.cancel();
    let summary = first.await.unwrap().unwrap();
    assert_eq!(summary, WorkSummary { shards: 1, committed: 0, lost: 0 });

    fake.with(|script| {
        script.commit_failures.clear();
        script.calls.clear();
    });
    let shutdown = CancellationToken::new();
    let second = tokio::spawn(work(connection, Box::new(EmptyExecutor), options, shutdown.clone()));
    fake.until(|script| script.reports.len() >= keys.len()).await;
    shutdown.cancel();
    second.await.unwrap().unwrap();

    assert_eq!(fake.with(|script| script.committed()), keys);
    let calls = fake.with(|script| script.calls.clone());
    assert_eq!(calls[0], Call::Register { held: sorted(&keys) });
    let spools = std::fs::read_dir(cache.path().join("spool")).unwrap().count();
    assert_eq!(spools, 0, "what is acknowledged is not kept");
}

#[tokio::test]
async fn a_void_lease_stops_the_work_and_new_work_is_asked_for() {
    let (fake, connection) = Fake::start();
    let first = fake.hand_out(7, 0..3);
    let gate = Arc::new(AtomicBool::new(false));
    let worker = Running::start(connection, Gated { held_up: first[1], gate });
    fake.until(|script| script.committed() == first[..1]).await;

    let second = fake.hand_out(8, 10..12);
    fake.with(|script| script.void.push(7));
    fake.until(|script| script.reports.len() >= 3).await;
    worker.finish().await;

    assert_eq!(fake.with(|script| script.committed()), [&first[..1], &second].concat());
    let calls = fake.with(|script| script.calls.clone());
    assert!(calls.contains(&Call::Release { lease: 7 }), "the coordinator hears that it has stopped");
}

#[tokio::test]
async fn trials_that_could_not_be_given_back_are_given_back_after_a_later_heartbeat() {
    let (fake, connection) = Fake::start();
    let keys = fake.hand_out(7, 0..3);
    let gate = Arc::new(AtomicBool::new(false));
    fake.with(|script| script.release_failures.push_back(Code::Unavailable));
    let worker = Running::start(connection, Gated { held_up: keys[0], gate: Arc::clone(&gate) });
    // The first one is measured alone, to know how long it takes.
    fake.until(|script| script.running == keys[..1]).await;

    fake.with(|script| script.recalled.push(keys[2]));

    let given_back = Call::GiveBack { lease: 7, keys: keys[2..].to_vec() };
    fake.until(|script| script.calls.iter().filter(|call| **call == given_back).count() == 2).await;
    gate.store(true, Ordering::Relaxed);
    fake.until(|script| script.reports.len() >= 2).await;
    worker.finish().await;
    assert_eq!(fake.with(|script| script.committed()), keys[..2]);
    let calls = fake.with(|script| script.calls.clone());
    assert!(!calls.contains(&Call::Release { lease: 7 }), "nothing is left of it");
}

#[tokio::test]
async fn shutdown_commits_what_is_finished_and_releases_the_rest() {
    let (fake, connection) = Fake::start();
    let keys = fake.hand_out(7, 0..3);
    let gate = Arc::new(AtomicBool::new(false));
    let worker = Running::start(connection, Gated { held_up: keys[2], gate });
    fake.until(|script| !script.calls.is_empty() && script.shards.is_empty()).await;
    fake.until(|script| !script.reports.is_empty()).await;

    let summary = worker.finish().await;

    assert_eq!(fake.with(|script| script.committed()), keys[..2]);
    assert_eq!(summary, WorkSummary { shards: 1, committed: 2, lost: 0 });
    let calls = fake.with(|script| script.calls.clone());
    assert_eq!(calls[calls.len() - 2..], [Call::Release { lease: 7 }, Call::Leave]);
}

#[tokio::test]
async fn a_measurement_that_panics_is_given_back_with_its_words() {
    let (fake, connection) = Fake::start();
    let keys = fake.hand_out(7, 0..2);
    let worker = Running::start(connection, fetching());

    fake.until(|script| script.calls.contains(&Call::Release { lease: 7 })).await;
    worker.finish().await;

    let reason = "the measurement panicked: this one cannot be measured".to_owned();
    let expected = Obstacle { kind: ObstacleKind::Panic, reason, trials: vec![keys[0]] };
    assert_eq!(fake.with(|script| script.obstacles.clone()), [expected]);
    assert_eq!(fake.with(|script| script.committed()), []);
}

#[tokio::test]
async fn a_worker_without_work_leaves_by_itself() {
    let (fake, connection) = Fake::start();
    let keys = fake.hand_out(7, 0..2);
    let options = WorkerOptions { idle_exit: Some(Duration::from_secs(2)), ..options() };

    let ended = work(connection, Box::new(EmptyExecutor), options, CancellationToken::new()).await;

    assert_eq!(ended.unwrap(), WorkSummary { shards: 1, committed: 2, lost: 0 });
    assert_eq!(fake.with(|script| script.committed()), keys);
    assert_eq!(fake.with(|script| script.calls.last().cloned()), Some(Call::Leave));
}

#[tokio::test]
async fn a_coordinator_that_is_not_there_is_named() {
    // A port that was free a moment ago and that nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let connection = Connection::Url(Endpoint::parse(&url).unwrap());
    let options = WorkerOptions { connect_timeout: Some(Duration::ZERO), ..options() };

    let ended = work(connection, Box::new(EmptyExecutor), options, CancellationToken::new()).await;

    let error = ended.expect_err("nobody listens").to_string();
    assert!(error.contains(&url), "{error}");
}

#[tokio::test]
async fn the_lease_of_adopted_trials_is_released_at_shutdown() {
    let (fake, connection) = Fake::start();
    let keys = fake.hand_out(7, 0..2);
    let gate = Arc::new(AtomicBool::new(false));
    let worker = Running::start(connection, Gated { held_up: keys[0], gate });
    fake.until(|script| script.shards.is_empty()).await;

    fake.with(|script| script.epoch = 2);
    fake.until(|script| script.calls.contains(&Call::Register { held: sorted(&keys) })).await;
    worker.finish().await;

    let calls = fake.with(|script| script.calls.clone());
    assert_eq!(calls[calls.len() - 2..], [Call::Release { lease: ADOPTED }, Call::Leave]);
}

/// Panics when a trial is among those it is given.
fn explosive(key: TrialKey) -> impl Executor {
    Beforehand::new(move |trials, _| {
        assert!(!trials.iter().any(|trial| trial.key() == key), "this one blows up");
        Ok(())
    })
}

#[tokio::test]
async fn of_trials_measured_together_only_the_one_that_panics_is_blamed() {
    let (fake, connection) = Fake::start();
    let keys = fake.hand_out(7, 0..3);
    let worker = Running::start(connection, explosive(keys[1]));

    fake.until(|script| script.calls.contains(&Call::Release { lease: 7 })).await;
    worker.finish().await;

    let blamed = fake.with(|script| script.obstacles.clone());
    assert_eq!(blamed.len(), 1);
    assert_eq!((blamed[0].kind, blamed[0].trials.as_slice()), (ObstacleKind::Panic, &keys[1..2]));
    assert_eq!(fake.with(|script| script.committed()), keys[..1], "the others go to whoever is next");
}

/// Lets the lines of this process's workers be kept, once for all tests here.
fn keep_lines() {
    static LISTENING: std::sync::Once = std::sync::Once::new();
    LISTENING.call_once(|| {
        let listening = tracing_subscriber::registry().with(bitloop_worker::log_lines());
        tracing::subscriber::set_global_default(listening).unwrap();
    });
}

#[tokio::test]
async fn what_a_worker_writes_while_it_measures_reaches_the_coordinator() {
    keep_lines();
    let (fake, connection) = Fake::start();
    // The first one is measured alone, to know how long it takes.
    let keys = fake.hand_out(7, 0..3);
    let worker = Running::start(connection, explosive(keys[1]));

    fake.until(|script| script.calls.contains(&Call::Release { lease: 7 })).await;
    worker.finish().await;

    let lines = fake.with(|script| script.lines.join("\n"));
    for text in ["measuring kind=evaluate trials=2", "measuring broke off", "this one blows up"] {
        assert!(lines.contains(text), "`{text}` is missing in\n{lines}");
    }
}

#[tokio::test]
async fn lines_that_nobody_takes_cost_no_trial() {
    keep_lines();
    let (fake, connection) = Fake::start();
    fake.with(|script| script.line_failures.extend([Code::Unimplemented, Code::Unavailable].repeat(50)));
    let keys = fake.hand_out(7, 0..5);
    let worker = Running::start(connection, EmptyExecutor);

    fake.until(|script| script.reports.len() >= keys.len()).await;
    let summary = worker.finish().await;

    assert_eq!(summary, WorkSummary { shards: 1, committed: 5, lost: 0 });
    assert_eq!(fake.with(|script| script.lines.len()), 0);
}
