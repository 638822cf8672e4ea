//! A store that cannot be written for a while.

use bitloop_core::state::Shard;

use super::*;
use crate::coordinator::ServeError;

struct Outage {
    fixture: Fixture,
    coordinator: Coordinator,
    disk: Failure,
    id: ExperimentId,
    worker: WorkerId,
    /// The sweep's next trials.
    shard: Shard,
}

/// A sweep whose prepare trial is stored, before its disk fills up.
async fn before_the_outage() -> Outage {
    let fixture = Fixture::new();
    let disk = Failure::default();
    let store = FailingStore { inner: fixture.store.clone(), failure: disk.clone() };
    let coordinator = fixture.open_on(Box::new(store));
    let handle = coordinator.handle();
    let id = submit(&handle, "sweep").await;
    let worker = register(&handle, "w1").await;
    work_once(&handle, &worker).await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();
    Outage { fixture, coordinator, disk, id, worker, shard }
}

/// Reports a shard until that is acknowledged, as a worker does.
async fn commit_at_last(handle: &Handle, worker: &WorkerId, shard: &Shard) -> Committed {
    loop {
        match handle.commit(worker, reports(shard), 1.0).await {
            Ok(committed) => return committed,
            Err(refused) => assert!(matches!(refused, RequestError::NotStored(_)), "{refused}"),
        }
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_store_cannot_be_written() {
    let Outage { fixture, coordinator, disk, id, worker, shard } = before_the_outage().await;
    let handle = coordinator.handle();
    let stored = fixture.facts();
    disk.disk_full();

    let refused = handle.commit(&worker, reports(&shard), 1.0).await.unwrap_err();

    assert!(matches!(refused, RequestError::NotStored(StoreError::Write { .. })), "{refused}");
    assert!(refused.to_string().contains("no space left"), "{refused}");
    for answer in [
        handle.heartbeat(&worker, None, Vec::new()).await.map(|_| ()),
        handle.request_shard(&worker).await.map(|_| ()),
        handle.report(&id).await.map(|_| ()),
        handle.explain(&id.0).await.map(|_| ()),
    ] {
        assert_eq!(answer, Err(refused.clone()));
    }
    // What is published is there to be read all the same, and says what is wrong.
    let observed = handle.observe().unwrap();
    assert_eq!(observed.overview.experiments[0].settled, 1, "nobody sees what is not stored");
    assert!(observed.counts.store_error.is_some_and(|error| error.contains("no space left")));
    assert_eq!(handle.experiments().unwrap().len(), 1);
    assert_eq!(fixture.facts(), stored);
}

#[tokio::test]
async fn work_goes_on_without_a_restart_as_soon_as_there_is_space() {
    let Outage { fixture, coordinator, disk, id, worker, shard } = before_the_outage().await;
    let handle = coordinator.handle();
    disk.disk_full();
    handle.commit(&worker, reports(&shard), 1.0).await.unwrap_err();
    disk.clear();

    let committed = commit_at_last(&handle, &worker, &shard).await;

    assert_eq!(handle.observe().unwrap().counts.store_error, None);
    let reported = shard.trials.len() as u32;
    assert_eq!(committed.accepted + committed.duplicates, reported, "each is there once");
    assert!(handle.heartbeat(&worker, None, Vec::new()).await.is_ok(), "workers stay registered");
    work_off(&handle, &worker, &id).await;
    coordinator.close().await.unwrap();
    let state = State::replayed(fixture.facts(), |_, _| {});
    assert_eq!(state.check(), Ok(()));
    let undisturbed = Fixture::new();
    let other = undisturbed.open();
    submit(&other.handle(), "sweep").await;
    let worker = register(&other.handle(), "w1").await;
    work_off(&other.handle(), &worker, &id).await;
    assert_eq!(fs::read(fixture.results(&id)).unwrap(), fs::read(undisturbed.results(&id)).unwrap());
}

#[test]
fn a_lease_granted_in_a_round_that_was_not_stored_comes_back() {
    let fixture = Fixture::new();
    let (mut driver, handle) = Driver::open(fixture.parts()).unwrap();
    driver.step(&Input::Register { info: worker("w1"), held: Vec::new() }).unwrap();
    driver
        .step(&Input::Submit { plan: Box::new(plan("sweep")), sources: Sources::new(), priority: 0 })
        .unwrap();
    driver.advance();
    let disk = Failure::default();
    disk.disk_full();
    driver.store = Box::new(FailingStore { inner: fixture.store, failure: disk });
    let (reply, answer) = oneshot::channel();
    driver.take(Command::Input { input: Box::new(Input::Request { worker: worker("w1").id }), reply });
    assert_eq!(driver.state.dispatch.leases().len(), 1);
    let cause = driver.round(None).unwrap_err();
    let stop = CancellationToken::new();
    stop.cancel();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ended = driver.sit_out(cause.clone(), &runtime, &stop);

    assert_eq!(ended, Err(cause.clone()));
    assert_eq!(driver.state.dispatch.leases().len(), 0);
    assert_eq!(answer.blocking_recv().unwrap(), Err(RequestError::NotStored(cause)));
    drop(handle);
}

#[tokio::test]
async fn a_stop_during_an_outage_loses_nothing_that_was_acknowledged() {
    let Outage { fixture, coordinator, disk, id, worker, shard } = before_the_outage().await;
    disk.disk_full();
    coordinator.handle().commit(&worker, reports(&shard), 1.0).await.unwrap_err();

    let cause = coordinator.close().await.unwrap_err();

    assert!(matches!(cause, ServeError::Store(StoreError::Write { .. })), "{cause}");
    let reopened = fixture.open();
    assert_eq!(reopened.handle().summary(&id).unwrap().settled, 1);
}
