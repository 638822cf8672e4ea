//! What readers see without asking the driver, and what they ask it for.

use bitloop_core::report::{Effort, Report};
use bitloop_core::trial::TrialResult;

use super::*;

#[tokio::test]
async fn whoever_changes_something_and_then_looks_sees_it() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();

    // The clock stands still, so nothing but the change itself can have the overview taken.
    let id = submit(&handle, "sweep").await;
    assert_eq!(handle.summary(&id).unwrap().status, Status::Active);
    let worker = register(&handle, "w1").await;
    assert_eq!(handle.workers().unwrap()[0].info.id, worker);
    assert_eq!(handle.act(&id, Action::Pause).await.unwrap().status, Status::Paused);
    assert_eq!(handle.act(&id, Action::Resume).await.unwrap().status, Status::Active);
    assert_eq!(handle.act(&id, Action::Cancel).await.unwrap().status, Status::Cancelled);
    handle.leave(&worker).await.unwrap();
    assert_eq!(handle.workers().unwrap(), []);
    assert_eq!(handle.show(&id).await.unwrap().plan, plan("sweep").to_document());
}

#[tokio::test]
async fn an_overview_is_taken_when_something_has_changed_and_not_too_often() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    let mut overview = handle.overview();
    let pass = async |millis| {
        fixture.clock_ms.fetch_add(millis, Ordering::SeqCst);
        settle(&handle).await;
        settle(&handle).await;
    };
    pass(1_000).await;
    overview.mark_unchanged();

    pass(TICK_MS).await;
    pass(TICK_MS).await;
    assert!(!overview.has_changed().unwrap(), "nothing has happened");

    let worker = register(&handle, "w1").await;
    assert!(overview.has_changed().unwrap());
    overview.mark_unchanged();
    handle.heartbeat(&worker, None, Vec::new()).await.unwrap();
    settle(&handle).await;
    assert!(!overview.has_changed().unwrap(), "a heartbeat can wait");
    pass(250).await;
    assert!(overview.has_changed().unwrap(), "but not for ever");
}

/// Goal: whoever changes something as fast as it goes keeps the driver from nothing else, and still finds what was changed.
#[test]
fn while_the_driver_rests_those_who_change_something_wait_together_and_nobody_else_does() {
    let fixture = Fixture::new();
    let (mut driver, handle) = Driver::open(fixture.parts()).unwrap();
    let plan = Box::new(plan("sweep"));
    let id = plan.id();
    driver.step(&Input::Submit { plan, sources: Sources::new(), priority: 0 }).unwrap();
    driver.step(&Input::Register { info: worker("w1"), held: Vec::new() }).unwrap();
    driver.round(None).unwrap();
    // As on a large cluster.
    driver.board.taken(driver.clock.now(), Duration::from_millis(30));
    let taken = handle.overview().borrow().taken;
    let ask = |driver: &mut Driver, input: Input| {
        let (reply, answer) = oneshot::channel();
        driver.round(Some(Command::Input { input: Box::new(input), reply })).unwrap();
        answer
    };
    let act = |action| Input::Act { experiment: id.clone(), action };

    let actions = [Action::Pause, Action::Resume, Action::Pause, Action::Pause];
    let mut waiting = actions.map(|action| ask(&mut driver, act(action)));
    let beat = Input::Heartbeat { worker: worker("w1").id, lease: None, running: Vec::new() };
    assert!(matches!(ask(&mut driver, beat).try_recv(), Ok(Ok(Reply::Heartbeat { .. }))));
    assert!(waiting.iter_mut().all(|answer| answer.try_recv().is_err()), "nobody could see it yet");
    assert_eq!(handle.overview().borrow().taken, taken);

    fixture.clock_ms.fetch_add(250, Ordering::SeqCst);
    driver.round(None).unwrap();

    assert!(waiting.iter_mut().all(|answer| answer.try_recv() == Ok(Ok(Reply::Done))));
    assert_eq!(handle.summary(&id).unwrap().status, Status::Paused);
}

/// Goal: a store that takes its time holds up the driver, and no reader.
#[tokio::test(flavor = "multi_thread")]
async fn reads_are_answered_while_the_driver_is_held_up() {
    let fixture = Fixture::new();
    let hold = Hold::default();
    let coordinator =
        fixture.open_on(Box::new(HeldStore { inner: fixture.store.clone(), hold: hold.clone() }));
    let handle = coordinator.handle();
    let id = submit(&handle, "sweep").await;
    let worker = register(&handle, "w1").await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();
    hold.close();
    let committing = tokio::spawn({
        let (handle, worker) = (handle.clone(), worker.clone());
        async move { handle.commit(&worker, reports(&shard), 1.0).await }
    });
    hold.await_held();
    fixture.clock_ms.fetch_add(7_000, Ordering::SeqCst);

    let observed = handle.observe().unwrap();
    assert_eq!(observed.overview.experiments[0].settled, 0, "what is not stored is not shown");
    assert_eq!(observed.since(observed.counts.alive), 7_000);
    assert_eq!(handle.experiments().unwrap(), observed.overview.experiments);
    assert_eq!(handle.workers().unwrap()[0].silent_ms, 7_000);
    assert_eq!(handle.resolve("sweep"), Ok(id.clone()));
    assert_eq!(handle.show(&id).await.unwrap().plan, plan("sweep").to_document());
    assert!(!committing.is_finished());

    hold.open();
    assert_eq!(committing.await.unwrap().unwrap().accepted, 1);
    let mut overview = handle.overview();
    overview.wait_for(|overview| overview.experiments[0].settled == 1).await.unwrap();
}

/// Goal: a report that is gathered page by page is the one that the whole ledger gives, wherever the sweep is.
#[tokio::test]
async fn a_report_in_pages_is_the_report() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    let other = submit(&handle, "other").await;
    let id = submit(&handle, "sweep").await;
    let worker = register(&handle, "w1").await;
    let whole = async || {
        let id = id.clone();
        let made = handle.ask(move |view| {
            let ledger = &view.state.ledger;
            let experiment = ledger.experiment(&id).unwrap();
            (Report::new(ledger, experiment).unwrap(), Effort::new(ledger, experiment))
        });
        made.await.unwrap()
    };

    let mut shards = 0;
    assert_eq!(handle.report(&id).await.unwrap(), whole().await);
    while let Some(shard) = next_shard(&handle, &worker, &id).await {
        assert_eq!(handle.report(&id).await.unwrap(), whole().await);
        let reports = if shards == 1 { other_reports(&shard) } else { reports(&shard) };
        handle.commit(&worker, reports, 500.0).await.unwrap();
        shards += 1;
    }

    let (report, effort) = handle.report(&id).await.unwrap();
    assert_eq!((report, effort), whole().await);
    assert!(shards > 2, "{shards} shards");
    let unknown = handle.report(&ExperimentId("nobody".to_owned())).await;
    assert_eq!(unknown, Err(Rejection::UnknownExperiment(ExperimentId("nobody".to_owned())).into()));
    drop(other);
}

#[tokio::test]
async fn a_trial_is_explained_by_the_digits_that_its_key_begins_with() {
    let fixture = Fixture::new();
    let (_coordinator, handle, id, worker) = sweep(&fixture).await;
    work_once(&handle, &worker).await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();

    for (key, _) in &shard.trials {
        for digits in [&key.0.hex()[..10], &key.0.hex(), &key.0.hex().to_uppercase()[..12]] {
            let explained = handle.explain(digits).await.unwrap();
            assert_eq!((explained.subject, explained.standing.as_str()), (key.0.hex(), "measuring"));
        }
    }

    assert_eq!(handle.explain("sweep").await.unwrap().subject, id.0);
    let absent = "0123456789abcdef".to_owned();
    assert_eq!(handle.explain(&absent).await, Err(RequestError::UnknownSubject(absent)));
    assert!(matches!(handle.explain("abc").await, Err(RequestError::Rejected(_))), "too short for a key");
}

#[tokio::test]
async fn failures_and_rates_are_shown_with_whom_they_are_of() {
    let fixture = Fixture::new();
    let (_coordinator, handle, id, worker) = sweep(&fixture).await;
    work_once(&handle, &worker).await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();
    let (key, spec) = shard.trials[0].clone();
    let running = vec![key];
    handle.heartbeat(&worker, Some(shard.lease), running).await.unwrap();
    fixture.clock_ms.fetch_add(1_000, Ordering::SeqCst);
    settle(&handle).await;
    let before = handle.observe().unwrap();
    let mut outcome = outcome(&key, &spec);
    outcome.result = TrialResult::Failed { reason: "out of memory".repeat(100) };
    let failed = bitloop_core::state::Report { key, outcome };
    handle.commit(&worker, vec![failed], 500.0).await.unwrap();
    fixture.clock_ms.fetch_add(1_000, Ordering::SeqCst);
    settle(&handle).await;
    settle(&handle).await;

    let seen = &before.overview.workers[0];
    assert_eq!((seen.experiment.as_ref(), seen.running), (Some(&id), Some(key)));
    let observed = handle.observe().unwrap();
    let [failure] = observed.overview.failures.as_slice() else { panic!("{observed:?}") };
    assert_eq!((failure.trial, failure.experiment.as_ref()), (key, Some(&id)));
    assert_eq!(failure.worker.as_ref(), Some(&worker));
    assert!(failure.reason.starts_with("out of memory") && failure.reason.len() == 500);
    assert_eq!(observed.since(failure.at), 1_000);
    let seen = &observed.overview.workers[0];
    assert_eq!((seen.failed, seen.committed), (1, 2));
    assert!(seen.per_second > 0.0 && seen.busy > 0.0, "{seen:?}");
    assert!(observed.overview.experiments[0].per_second > 0.0);
    assert_eq!((observed.counts.succeeded, observed.counts.failed), (1, 1));
    assert!(observed.counts.commit_ms.is_some() && observed.counts.commit_p99_ms.is_some());
}
