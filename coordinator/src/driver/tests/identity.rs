//! Experiments whose ids are equal: an id has eight digits of its plan's digest, and somebody who wants to finds two plans.

use std::collections::HashMap;

use bitloop_core::plan::{Plan, StagePlan};

use super::*;

/// A number of images that stands nowhere else in a plan's document.
const MARK: u64 = 987_654_321;

/// Two plans with one id, the second with fewer stages, found by trying.
fn twins() -> [Plan; 2] {
    let long = |images| {
        let mut plan = plan("twin");
        plan.data.report.images = images;
        plan
    };
    let short = |images| Plan { stages: vec![StagePlan::Prepare], ..long(images) };
    let documents = [long(MARK), short(MARK)].map(|plan| String::from_utf8(plan.to_document()).unwrap());
    let mark = MARK.to_string();
    let parts = documents.each_ref().map(|document| document.split_once(&mark).unwrap());
    let mut tried: [HashMap<[u8; 4], u64>; 2] = Default::default();
    for images in 0.. {
        for (of, (before, after)) in parts.iter().enumerate() {
            let digest = Digest::of(format!("{before}{images}{after}").as_bytes());
            let start = digest.as_bytes()[..4].try_into().unwrap();
            tried[of].insert(start, images);
            if let [Some(one), Some(other)] = [0, 1].map(|of| tried[of].get(&start)) {
                return [long(*one), short(*other)];
            }
        }
    }
    unreachable!("there are not so many digests")
}

#[tokio::test]
async fn a_plan_with_the_id_of_another_is_refused_and_nothing_is_stored_of_it() {
    let [first, second] = twins();
    assert_eq!(first.id(), second.id());
    assert_ne!(first, second);
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    store_inputs(handle.artifacts());
    let id = handle.submit(first.clone(), Sources::new(), 0).await.unwrap().experiment;
    let stored = fixture.facts();

    for sources in [Sources::new(), Sources::from([("m".to_owned(), Digest::of(MODEL))])] {
        let refused = handle.submit(second.clone(), sources, 7).await.unwrap_err();

        assert_eq!(refused, Rejection::IdTaken(id.clone()).into());
        assert!(refused.to_string().contains("give this one another name"), "{refused}");
    }
    assert_eq!(fixture.facts(), stored);
    assert!(!handle.submit(first, Sources::new(), 0).await.unwrap().fresh);
}

#[tokio::test]
async fn a_store_in_which_two_plans_have_one_id_loads_and_goes_on_with_the_first() {
    let fixture = Fixture::new();
    let submitted = twins().map(|plan| Fact::ExperimentSubmitted {
        plan: Box::new(plan),
        sources: Sources::new(),
        priority: 0,
    });
    let Fact::ExperimentSubmitted { plan, .. } = &submitted[0] else { panic!("it is submitted") };
    let id = plan.id();
    let finished = Fact::StageFinished { experiment: id.clone(), stage: 1, selection: None };
    fixture.store.clone().append(&[&submitted[..], &[finished]].concat()).unwrap();
    store_inputs(&fixture.parts().artifacts);

    let coordinator = fixture.open();

    assert_eq!(summary_now(&coordinator.handle(), &id).await.status, Status::Active);
}
