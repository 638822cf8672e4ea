//! Artifacts that are gone or damaged when a coordinator starts, and made again.

use bitloop_core::state::{Report, Shard};
use bitloop_core::trial::TrialResult;

use super::chronicle::text_of;
use super::*;

/// What preparing gives on another kind of CPU.
const AGAIN: &[u8] = b"prepared again";

/// Reports of a worker where preparing gives `artifact`, which it has stored.
fn reports_with(handle: &Handle, shard: &Shard, artifact: &[u8]) -> Vec<Report> {
    store(handle.artifacts(), artifact);
    let mut reports = reports(shard);
    for report in &mut reports {
        if let TrialResult::Prepared { artifact: prepared, .. } = &mut report.outcome.result {
            *prepared = Digest::of(artifact);
        }
    }
    reports
}

/// Works until an experiment is over; returns how often its model was prepared.
async fn work_off_with(handle: &Handle, id: &ExperimentId, artifact: &[u8]) -> usize {
    let worker = register(handle, "w1").await;
    let mut prepared = 0;
    while let Some(shard) = next_shard(handle, &worker, id).await {
        prepared += shard.trials.iter().filter(|(_, spec)| matches!(spec, TrialSpec::Prepare(_))).count();
        handle.commit(&worker, reports_with(handle, &shard, artifact), 1.0).await.unwrap();
    }
    prepared
}

/// The facts and results of a sweep that nothing disturbs.
async fn undisturbed(artifact: &[u8]) -> (Vec<Fact>, Vec<u8>) {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let id = submit(&coordinator.handle(), "sweep").await;
    work_off_with(&coordinator.handle(), &id, artifact).await;
    (fixture.facts(), fs::read(fixture.results(&id)).unwrap())
}

fn place_of(facts: &[Fact], is_it: impl Fn(&Fact) -> bool) -> usize {
    facts.iter().position(is_it).unwrap()
}

/// The prepared models that proposals name, in order.
fn models(facts: &[Fact]) -> Vec<Digest> {
    let contexts = facts.iter().filter_map(|fact| match fact {
        Fact::StepProposed { batch, .. } => batch.context.as_ref(),
        _ => None,
    });
    contexts.map(|context| context.prepared).collect()
}

impl Fixture {
    fn artifact(&self, bytes: &[u8]) -> std::path::PathBuf {
        self.folder.path().join("artifacts").join(Digest::of(bytes).hex())
    }

    /// What a coordinator left that had stored these facts; its prepared model is damaged.
    fn damaged_after(facts: &[Fact]) -> Self {
        let fixture = Self::new();
        fixture.store.clone().append(facts).unwrap();
        store_inputs(&fixture.parts().artifacts);
        fs::write(fixture.artifact(PREPARED), "other").unwrap();
        fixture
    }
}

#[tokio::test]
async fn a_prepared_model_that_was_lost_is_made_again() {
    let (facts, results) = undisturbed(PREPARED).await;
    let proposed = place_of(&facts, |fact| matches!(fact, Fact::StepProposed { stage: 1, .. }));

    // Before and after the sweep was proposed.
    for known in [proposed, proposed + 3] {
        let fixture = Fixture::damaged_after(&facts[..known]);

        let coordinator = fixture.open();
        let (handle, id) = (coordinator.handle(), plan("sweep").id());
        assert_eq!(summary_now(&handle, &id).await.status, Status::Active);
        assert!(!fixture.artifact(PREPARED).exists());
        let worker = register(&handle, "w1").await;
        let shard = handle.request_shard(&worker).await.unwrap().unwrap();
        assert!(matches!(shard.trials[0].1, TrialSpec::Prepare(_)), "it comes first");
        let reports = reports_with(&handle, &shard, PREPARED);
        assert_eq!(handle.commit(&worker, reports, 1.0).await.unwrap().accepted, 1);
        work_off(&handle, &worker, &id).await;

        assert_eq!(fs::read(fixture.results(&id)).unwrap(), results);
        assert_eq!(models(&fixture.facts()).len(), 1, "what was proposed stays");
    }
}

#[tokio::test]
async fn a_prepared_model_that_was_made_again_with_other_bytes_is_the_one_from_then_on() {
    let (facts, _) = undisturbed(PREPARED).await;
    let (_, results) = undisturbed(AGAIN).await;
    let proposed = place_of(&facts, |fact| matches!(fact, Fact::StepProposed { stage: 1, .. }));

    for known in [proposed, proposed + 1, proposed + 4] {
        let fixture = Fixture::damaged_after(&facts[..known]);
        let coordinator = fixture.open();
        let (handle, id) = (coordinator.handle(), plan("sweep").id());
        let worker = register(&handle, "w1").await;
        let shard = handle.request_shard(&worker).await.unwrap().unwrap();
        let reports = reports_with(&handle, &shard, AGAIN);
        assert_eq!(handle.commit(&worker, reports, 1.0).await.unwrap().accepted, 1);
        work_once(&handle, &worker).await;
        drop((handle, coordinator));

        // The start after that finds it whole, and prepares nothing.
        let coordinator = fixture.open();
        assert_eq!(work_off_with(&coordinator.handle(), &id, AGAIN).await, 0, "{known} facts");

        assert_eq!(fs::read(fixture.results(&id)).unwrap(), results, "{known} facts");
        let facts = fixture.facts();
        let replaced = place_of(&facts, |fact| matches!(fact, Fact::OutcomeReplaced { .. }));
        assert_eq!(models(&facts[replaced..]), [Digest::of(AGAIN)], "one model for the whole sweep");
    }
}

#[tokio::test]
async fn results_outlive_the_model_that_they_were_measured_with() {
    let (facts, results) = undisturbed(PREPARED).await;
    let fixture = Fixture::damaged_after(&facts);
    let id = plan("sweep").id();

    let coordinator = fixture.open();
    let handle = coordinator.handle();
    let other = handle.submit(plan("other"), Sources::new(), 0).await.unwrap().experiment;
    assert_eq!(work_off_with(&handle, &other, AGAIN).await, 1);

    assert_eq!(handle.report(&id).await.unwrap().0.to_csv().into_bytes(), results);
    assert_eq!(summary_now(&handle, &id).await.status, Status::Finished);
    let facts = fixture.facts();
    let since = place_of(&facts, |fact| matches!(fact, Fact::OutcomeLost { .. }));
    assert_eq!(models(&facts[since..]), [Digest::of(AGAIN)]);
}

#[tokio::test]
async fn a_store_whose_artifacts_come_back_goes_on_as_if_they_had_never_been_away() {
    let (facts, results) = undisturbed(PREPARED).await;
    let proposed = place_of(&facts, |fact| matches!(fact, Fact::StepProposed { stage: 1, .. }));
    let fixture = Fixture::damaged_after(&facts[..proposed + 3]);
    drop(fixture.open());
    store_inputs(&fixture.parts().artifacts);

    let coordinator = fixture.open();
    let id = plan("sweep").id();
    let prepared = work_off_with(&coordinator.handle(), &id, PREPARED).await;

    assert_eq!(prepared, 0);
    assert_eq!(fs::read(fixture.results(&id)).unwrap(), results);
}

#[tokio::test]
async fn people_are_told_of_a_model_that_was_lost_and_of_another_one() {
    let (facts, _) = undisturbed(PREPARED).await;
    let proposed = place_of(&facts, |fact| matches!(fact, Fact::StepProposed { stage: 1, .. }));
    let fixture = Fixture::damaged_after(&facts[..proposed + 3]);
    let coordinator = fixture.open();
    let (handle, id) = (coordinator.handle(), plan("sweep").id());

    work_off_with(&handle, &id, AGAIN).await;

    assert!(text_of(&handle, "outcome_lost").contains("gone or damaged"));
    assert!(text_of(&handle, "outcome_replaced").contains("another artifact"));
}
