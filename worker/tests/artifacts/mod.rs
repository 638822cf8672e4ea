//! What trials read, and what they leave.

use super::*;

#[tokio::test]
async fn a_prepared_model_is_stored_before_its_outcome_is_committed() {
    let (fake, connection) = Fake::start();
    let key = fake.hand_out_prepare(7, Digest::of(b"model"));
    let worker = Running::start(connection, EmptyExecutor);

    fake.until(|script| !script.reports.is_empty()).await;
    worker.finish().await;

    let calls = fake.with(|script| script.calls.clone());
    let stored = calls.iter().position(|call| matches!(call, Call::StoreArtifact(_))).unwrap();
    let committed =
        calls.iter().position(|call| *call == Call::Commit { epoch: 1, keys: vec![key] }).unwrap();
    assert!(stored < committed);
}

/// Fetches the model of a prepare trial, twice, and panics if it is not what its digest says.
pub(super) fn fetching() -> impl Executor {
    Beforehand::new(|trials, setting| {
        let [TrialSpec::Prepare(prepare)] = trials else { panic!("this one cannot be measured") };
        for _ in 0..2 {
            assert_eq!(Digest::of(&setting.artifacts.fetch(&prepare.model)?), prepare.model);
        }
        Ok(())
    })
}

#[tokio::test]
async fn an_artifact_is_fetched_once() {
    let (fake, connection) = Fake::start();
    let model: Vec<u8> = (0..1_000_000u32).map(|index| (index % 251) as u8).collect();
    let digest = Digest::of(&model);
    fake.with(|script| script.artifacts.insert(digest, model));
    fake.hand_out_prepare(7, digest);
    let worker = Running::start(connection, fetching());

    fake.until(|script| !script.reports.is_empty()).await;
    worker.finish().await;

    let calls = fake.with(|script| script.calls.clone());
    assert_eq!(calls.iter().filter(|call| **call == Call::FetchArtifact(digest)).count(), 1);
}

#[tokio::test]
async fn a_download_ends_with_its_lease() {
    let (fake, connection) = Fake::start();
    let (stuck, model) = (Digest::of(b"stuck"), Digest::of(b"model"));
    fake.with(|script| {
        script.stuck.push(stuck);
        script.artifacts.insert(model, b"model".to_vec());
    });
    fake.hand_out_prepare(7, stuck);
    let worker = Running::start(connection, fetching());
    fake.until(|script| script.calls.contains(&Call::FetchArtifact(stuck))).await;

    let key = fake.hand_out_prepare(8, model);
    fake.with(|script| script.void.push(7));
    fake.until(|script| !script.reports.is_empty()).await;
    worker.finish().await;

    assert_eq!(fake.with(|script| script.committed()), [key]);
    let calls = fake.with(|script| script.calls.clone());
    assert!(calls.contains(&Call::Release { lease: 7 }), "the coordinator hears that it has stopped");
}

#[tokio::test]
async fn a_trial_whose_artifact_is_missing_or_damaged_is_given_back_and_not_failed() {
    let (fake, connection) = Fake::start();
    let (missing, damaged) = (Digest::of(b"missing"), Digest::of(b"damaged"));
    fake.with(|script| script.artifacts.insert(damaged, b"something else".to_vec()));
    fake.hand_out_prepare(7, missing);
    fake.hand_out_prepare(8, damaged);
    let worker = Running::start(connection, fetching());

    fake.until(|script| script.calls.contains(&Call::Release { lease: 8 })).await;
    worker.finish().await;

    assert!(fake.with(|script| script.calls.contains(&Call::Release { lease: 7 })));
    let obstacles = fake.with(|script| script.obstacles.clone());
    assert!(obstacles.iter().all(|obstacle| obstacle.kind == ObstacleKind::Supply), "{obstacles:?}");
    assert!(obstacles[0].reason.contains(&missing.to_string()), "{obstacles:?}");
    assert_eq!(fake.with(|script| script.committed()), []);
}

#[tokio::test]
async fn a_worker_that_cannot_get_an_artifact_ends_with_its_name_where_nobody_can_bring_it() {
    let (fake, connection) = Fake::start();
    let missing = Digest::of(b"missing");
    fake.hand_out_prepare(7, missing);
    fake.hand_out_prepare(8, missing);
    let options = WorkerOptions { max_give_backs: Some(2), ..options() };

    let ended = work(connection, Box::new(fetching()), options, CancellationToken::new()).await;

    let Err(WorkerError::GaveUp { reason }) = ended else { panic!("{ended:?}") };
    assert!(reason.contains(&missing.to_string()), "{reason}");
    let calls = fake.with(|script| script.calls.clone());
    assert!(calls.contains(&Call::Release { lease: 8 }) && calls.last() == Some(&Call::Leave));
}
