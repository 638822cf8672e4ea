mod backlog;
mod chronicle;
mod givebacks;
mod identity;
mod lost;
mod observe;
mod outage;
mod parked;
mod queries;
mod results;
mod search;
mod takeover;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bitloop_core::digest::Digest;
use bitloop_core::plan::ExperimentId;
use bitloop_core::state::{Action, Sources, Status};
use bitloop_core::trial::TrialSpec;
use tempfile::TempDir;

use super::*;
use crate::coordinator::Coordinator;
use crate::store::{DiskStore, MemoryStore};
use crate::testing::*;

struct Fixture {
    folder: TempDir,
    store: MemoryStore,
    clock_ms: Arc<AtomicU64>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            store: MemoryStore::default(),
            clock_ms: Arc::new(AtomicU64::new(1_000_000)),
        }
    }

    fn parts(&self) -> Parts {
        let data_dir = DataDir::open(self.folder.path()).unwrap();
        Parts {
            store: Box::new(self.store.clone()),
            artifacts: Artifacts::in_folder(data_dir.artifacts()),
            data_dir,
            clock: Clock::manual(self.clock_ms.clone()),
            took_over: false,
        }
    }

    fn open(&self) -> Coordinator {
        self.open_on(Box::new(self.store.clone()))
    }

    fn open_on(&self, store: Box<dyn Store>) -> Coordinator {
        Coordinator::start(Parts { store, ..self.parts() }).unwrap()
    }

    fn facts(&self) -> Vec<Fact> {
        self.store.clone().load().unwrap().facts
    }

    fn results(&self, id: &ExperimentId) -> std::path::PathBuf {
        self.folder.path().join(format!("results/{id}.csv"))
    }
}

/// Lets everything sent before be worked on: the driver takes commands in order.
async fn settle(handle: &Handle) {
    handle.answers().await.unwrap();
}

/// A sweep that was submitted to a coordinator, and a worker that holds nothing yet.
async fn sweep(fixture: &Fixture) -> (Coordinator, Handle, ExperimentId, WorkerId) {
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    let id = submit(&handle, "sweep").await;
    let worker = register(&handle, "w1").await;
    (coordinator, handle, id, worker)
}

#[tokio::test]
async fn a_sweep_runs_to_its_results_file() {
    let fixture = Fixture::new();
    let (coordinator, handle, id, worker) = sweep(&fixture).await;

    let mut overview = handle.overview();
    let results = fixture.results(&id);
    let finished = async {
        let over = |overview: &Arc<Overview>| overview.experiments[0].status == Status::Finished;
        overview.wait_for(over).await.unwrap();
        fs::read_to_string(&results).unwrap()
    };
    let (csv, ()) = tokio::join!(finished, work_off(&handle, &worker, &id));

    assert_eq!(csv, handle.report(&id).await.unwrap().0.to_csv());
    assert_eq!(csv.lines().count() as u64, PLAN_TRIALS, "a header, and all trials but the prepare");
    let summary = summary_now(&handle, &id).await;
    assert_eq!((summary.settled, summary.total, summary.leased), (PLAN_TRIALS, PLAN_TRIALS, 0));
    assert_eq!((summary.failed, summary.reused, summary.stage), (0, 0, None));
    assert_eq!(workers_now(&handle).await[0].committed, PLAN_TRIALS);
    coordinator.close().await.unwrap();
}

#[tokio::test]
async fn a_coordinator_that_was_killed_goes_on_where_it_was() {
    let whole = Fixture::new();
    let handle = whole.open();
    let id = submit(&handle.handle(), "sweep").await;
    let worker = register(&handle.handle(), "w1").await;
    work_off(&handle.handle(), &worker, &id).await;

    let fixture = Fixture::new();
    for shards in 0.. {
        let coordinator = fixture.open();
        let handle = coordinator.handle();
        assert_eq!(handle.epoch(), shards + 1);
        assert_eq!(submit(&handle, "sweep").await, id);
        let worker = register(&handle, "w1").await;
        let before = summary_now(&handle, &id).await;
        if before.status.is_over() {
            break;
        }
        let committed = work_once(&handle, &worker).await;
        // A lease that the kill takes away.
        let shard = match before.settled + u64::from(committed.accepted) == PLAN_TRIALS {
            true => None,
            false => handle.request_shard(&worker).await.unwrap(),
        };
        let after = summary_now(&handle, &id).await;
        assert_eq!(after.settled, before.settled + u64::from(committed.accepted));
        assert_eq!(after.leased, shard.map_or(0, |shard| shard.trials.len() as u64));
        drop(coordinator);
    }

    assert_eq!(fs::read(fixture.results(&id)).unwrap(), fs::read(whole.results(&id)).unwrap());
    let outcomes = |facts: &[Fact]| {
        facts.iter().filter(|fact| matches!(fact, Fact::OutcomeCommitted { .. })).count() as u64
    };
    assert_eq!(outcomes(&fixture.facts()), PLAN_TRIALS);
}

#[tokio::test]
async fn a_repeated_outcome_is_a_duplicate_and_another_one_a_conflict() {
    let fixture = Fixture::new();
    let (_coordinator, handle, id, worker) = sweep(&fixture).await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();

    let first = handle.commit(&worker, reports(&shard), 1.0).await.unwrap();
    let again = handle.commit(&worker, reports(&shard), 1.0).await.unwrap();
    let other = handle.commit(&worker, other_reports(&shard), 1.0).await.unwrap();

    assert_eq!(first, Committed { accepted: 1, duplicates: 0, conflicts: 0 });
    assert_eq!(again, Committed { accepted: 0, duplicates: 1, conflicts: 0 });
    assert_eq!(other, Committed { accepted: 0, duplicates: 0, conflicts: 1 });
    let summary = summary_now(&handle, &id).await;
    assert_eq!((summary.settled, summary.failed, summary.conflicts), (1, 0, 1));
}

#[tokio::test]
async fn a_waiting_worker_gets_work_as_soon_as_there_is_some() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    let worker = register(&handle, "w1").await;

    let (shard, id) = tokio::join!(handle.request_shard(&worker), submit(&handle, "sweep"));

    assert_eq!(shard.unwrap().unwrap().trials.len(), 1);
    assert_eq!(summary_now(&handle, &id).await.leased, 1);
}

#[tokio::test]
async fn a_waiting_worker_is_answered_when_its_time_is_up() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    let worker = register(&handle, "w1").await;

    let later = async {
        settle(&handle).await;
        fixture.clock_ms.fetch_add(LONG_POLL_MS, Ordering::SeqCst);
        settle(&handle).await;
    };
    let (shard, ()) = tokio::join!(handle.request_shard(&worker), later);

    assert_eq!(shard.unwrap(), None);
    // The jump was the coordinator's own, so the silent worker is still there.
    assert_eq!(workers_now(&handle).await.len(), 1);
}

#[tokio::test]
async fn a_newer_request_of_a_worker_replaces_the_older() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    let worker = register(&handle, "w1").await;

    let newer = async {
        settle(&handle).await;
        let (shard, _) = tokio::join!(handle.request_shard(&worker), submit(&handle, "sweep"));
        shard.unwrap()
    };
    let (older, newer) = tokio::join!(handle.request_shard(&worker), newer);

    assert_eq!(older.unwrap(), None);
    assert!(newer.is_some());
}

#[tokio::test]
async fn a_dead_client_that_waits_gets_no_lease() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    let (dead, alive) = (register(&handle, "dead").await, register(&handle, "alive").await);
    tokio::select! {
        biased;
        _ = handle.request_shard(&dead) => panic!("there is no work yet"),
        () = settle(&handle) => {}
    }

    let id = submit(&handle, "sweep").await;

    assert_eq!(summary_now(&handle, &id).await.leased, 0);
    assert!(handle.request_shard(&alive).await.unwrap().is_some());
}

#[test]
fn a_lease_whose_client_goes_while_it_is_stored_comes_back() {
    let fixture = Fixture::new();
    let (mut driver, handle) = Driver::open(fixture.parts()).unwrap();
    let info = worker("w1");
    let id = info.id.clone();
    driver.step(&Input::Register { info, held: Vec::new() }).unwrap();
    driver
        .step(&Input::Submit { plan: Box::new(plan("sweep")), sources: Sources::new(), priority: 0 })
        .unwrap();
    driver.advance();

    let (reply, answer) = oneshot::channel();
    driver.take(Command::Input { input: Box::new(Input::Request { worker: id }), reply });
    assert_eq!(driver.state.dispatch.leases().len(), 1);
    drop(answer);
    let more = driver.round(None).unwrap();

    assert!(more, "waiting workers are looked at again");
    assert_eq!(driver.state.dispatch.leases().len(), 0);
    assert_eq!(driver.state.dispatch.waiting(), 1);
    assert_eq!(driver.state.check(), Ok(()));
    drop(handle);
}

#[tokio::test]
async fn a_plan_is_refused_while_an_artifact_is_missing() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    store_inputs(handle.artifacts());
    let absent = Digest::of(b"absent");

    let refused = handle.submit(plan_on("sweep", absent), Sources::new(), 0).await;

    assert_eq!(refused, Err(RequestError::MissingArtifacts(vec![absent])));
    assert!(fixture.facts().is_empty());
}

#[tokio::test]
async fn a_name_that_is_no_file_name_is_refused() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();

    for name in ["", "../up", ".hidden", "a b", &"x".repeat(65)] {
        let refused = handle.submit(plan(name), Sources::new(), 0).await;
        assert_eq!(refused, Err(RequestError::Name(name.to_owned())));
    }
}

#[tokio::test]
async fn users_name_experiments_as_they_like() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    let quick = submit(&handle, "quick").await;
    let quicker = submit(&handle, "quicker").await;
    store(handle.artifacts(), b"other images");
    let twin = plan_on("quicker", Digest::of(b"other images"));
    let twin = handle.submit(twin, Sources::new(), 0).await.unwrap().experiment;

    assert_eq!(handle.resolve(&quicker.0), Ok(quicker.clone()));
    assert_eq!(handle.resolve("quick"), Ok(quick.clone()));
    assert_eq!(handle.resolve("quick-"), Ok(quick));
    assert_eq!(handle.resolve(&twin.0[..twin.0.len() - 1]), Ok(twin.clone()));
    let candidates = vec![quicker, twin];
    let ambiguous = RequestError::Ambiguous { text: "quicker".to_owned(), candidates };
    assert_eq!(handle.resolve("quicker"), Err(ambiguous));
    for text in ["slow", ""] {
        let unknown = Rejection::UnknownExperiment(ExperimentId(text.to_owned()));
        assert_eq!(handle.resolve(text), Err(unknown.into()));
    }
}

#[tokio::test]
async fn a_paused_experiment_gives_no_work_until_it_is_resumed() {
    let fixture = Fixture::new();
    let (_coordinator, handle, id, worker) = sweep(&fixture).await;
    let paused = handle.act(&id, Action::Pause).await.unwrap();
    assert_eq!(paused.status, Status::Paused);

    let resume = async {
        settle(&handle).await;
        assert_eq!(summary_now(&handle, &id).await.leased, 0);
        handle.act(&id, Action::Resume).await.unwrap()
    };
    let (shard, resumed) = tokio::join!(handle.request_shard(&worker), resume);

    assert!(shard.unwrap().is_some());
    assert_eq!(resumed.status, Status::Active);
}

fn open_on_disk(folder: &Path) -> Coordinator {
    Coordinator::open(folder).unwrap()
}

#[tokio::test]
async fn every_acknowledged_outcome_is_on_disk_after_a_stop_at_any_point() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for shards in [0, 1, 2, 1, 3] {
        let coordinator = open_on_disk(folder.path());
        let handle = coordinator.handle();
        let id = submit(&handle, "sweep").await;
        let worker = register(&handle, "w1").await;
        for _ in 0..shards {
            let shard = handle.request_shard(&worker).await.unwrap().unwrap();
            handle.commit(&worker, reports(&shard), 500.0).await.unwrap();
            acknowledged.extend(reports(&shard));
        }
        assert_eq!(summary_now(&handle, &id).await.settled, acknowledged.len() as u64);
        drop(coordinator);

        let stored = DiskStore::open(folder.path()).unwrap().load().unwrap().facts;
        let outcomes: Vec<_> = stored
            .into_iter()
            .filter_map(|fact| match fact {
                Fact::OutcomeCommitted { key, outcome } => Some((key, outcome)),
                _ => None,
            })
            .collect();
        let expected: Vec<_> =
            acknowledged.iter().map(|report| (report.key, report.outcome.clone())).collect();
        assert_eq!(outcomes, expected);
    }
}

#[tokio::test]
async fn two_coordinators_do_not_share_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let first = Coordinator::open(folder.path()).unwrap();

    let refused = Coordinator::open(folder.path()).unwrap_err().to_string();

    assert!(refused.contains("is in use by another bitloop"), "{refused}");
    first.close().await.unwrap();
    Coordinator::open(folder.path()).unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_silent_worker_is_given_up_and_its_trials_come_back() {
    let fixture = Fixture::new();
    let (_coordinator, handle, id, worker) = sweep(&fixture).await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();

    for _ in 0..=bitloop_core::state::LEASE_TERM_MS / 1_000 {
        assert_eq!(summary_now(&handle, &id).await.leased, 1);
        fixture.clock_ms.fetch_add(1_000, Ordering::SeqCst);
        settle(&handle).await;
    }

    assert_eq!(workers_now(&handle).await, []);
    assert_eq!(summary_now(&handle, &id).await.leased, 0);
    let late = handle.commit(&worker, reports(&shard), 1.0).await.unwrap();
    assert_eq!(late.accepted, 1, "what it measured is welcome all the same");
}

#[tokio::test]
async fn more_commands_than_a_round_takes_are_all_answered() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    let worker = register(&handle, "w1").await;

    let mut beats = tokio::task::JoinSet::new();
    for _ in 0..3 * COMMANDS_PER_ROUND {
        let (handle, worker) = (handle.clone(), worker.clone());
        beats.spawn(async move { handle.heartbeat(&worker, None, Vec::new()).await });
    }

    let answers = beats.join_all().await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|beat| beat.lease_valid)));
}
