//! Workers that take their next shard with the answer to a commit.

use bitloop_core::state::{Report, Shard};
use bitloop_core::trial::TrialKey;

use super::*;

/// A sweep, and a worker that holds its first trial, which is to prepare the model.
async fn preparing(fixture: &Fixture, store: Box<dyn Store>) -> (Coordinator, WorkerId, Shard, ExperimentId) {
    let coordinator = fixture.open_on(store);
    let handle = coordinator.handle();
    let id = submit(&handle, "sweep").await;
    let worker = register(&handle, "w1").await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();
    (coordinator, worker, shard, id)
}

#[tokio::test]
async fn the_answer_to_a_commit_brings_what_it_made_possible() {
    let fixture = Fixture::new();
    let (coordinator, worker, shard, id) = preparing(&fixture, Box::new(fixture.store.clone())).await;
    let handle = coordinator.handle();

    let (committed, next) = handle.commit_last(&worker, reports(&shard), 1.0).await.unwrap();

    assert_eq!(committed, Committed { accepted: 1, duplicates: 0, conflicts: 0 });
    let next = next.expect("the searcher has said meanwhile what is to be evaluated");
    assert!(next.trials.iter().all(|(_, spec)| matches!(spec, TrialSpec::Evaluate { .. })));
    assert_eq!(summary_now(&handle, &id).await.leased, next.trials.len() as u64, "nothing else is leased");
}

#[tokio::test]
async fn a_commit_does_not_wait_for_work() {
    let fixture = Fixture::new();
    let (coordinator, worker, shard, id) = preparing(&fixture, Box::new(fixture.store.clone())).await;
    let handle = coordinator.handle();
    handle.act(&id, Action::Pause).await.unwrap();

    let (committed, next) = handle.commit_last(&worker, reports(&shard), 1.0).await.unwrap();

    assert_eq!((committed.accepted, next), (1, None));
}

#[tokio::test]
async fn a_worker_that_is_not_known_any_more_is_rid_of_its_results_and_gets_nothing() {
    let fixture = Fixture::new();
    let (coordinator, worker, shard, id) = preparing(&fixture, Box::new(fixture.store.clone())).await;
    let handle = coordinator.handle();
    handle.leave(&worker).await.unwrap();

    let (committed, next) = handle.commit_last(&worker, reports(&shard), 1.0).await.unwrap();

    assert_eq!((committed.accepted, next), (1, None));
    assert_eq!(summary_now(&handle, &id).await.leased, 0);
}

#[tokio::test]
async fn a_commit_that_is_refused_brings_no_shard() {
    let fixture = Fixture::new();
    let (coordinator, worker, shard, id) = preparing(&fixture, Box::new(fixture.store.clone())).await;
    let handle = coordinator.handle();
    let unknown = Report { key: TrialKey(Digest::of(b"unknown")), ..reports(&shard).remove(0) };

    let refused = handle.commit_last(&worker, vec![unknown], 1.0).await.unwrap_err();

    assert!(matches!(refused, RequestError::Rejected(Rejection::UnknownTrial(_))), "{refused}");
    assert_eq!(summary_now(&handle, &id).await.leased, 1, "it still has what it had");
}

#[tokio::test]
async fn a_shard_goes_with_its_commit_when_that_cannot_be_stored() {
    let fixture = Fixture::new();
    let disk = Failure::default();
    let store = FailingStore { inner: fixture.store.clone(), failure: disk.clone() };
    let (coordinator, worker, shard, id) = preparing(&fixture, Box::new(store)).await;
    let handle = coordinator.handle();
    disk.disk_full();

    let refused = handle.commit_last(&worker, reports(&shard), 1.0).await.unwrap_err();

    assert!(matches!(refused, RequestError::NotStored(_)), "{refused}");
    disk.clear();
    let again = loop {
        match handle.commit_last(&worker, reports(&shard), 1.0).await {
            Ok(again) => break again,
            Err(refused) => assert!(matches!(refused, RequestError::NotStored(_)), "{refused}"),
        }
    };
    let (Committed { accepted: 0, duplicates: 1, .. }, Some(next)) = again else { panic!("{again:?}") };
    assert_eq!(summary_now(&handle, &id).await.leased, next.trials.len() as u64, "one shard, not two");
}
