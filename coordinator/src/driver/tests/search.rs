//! Stages whose searchers take a while: they think beside the driver.

use bitloop_core::bits::PointIndex;
use bitloop_core::plan::{Amount, Limit, Metric, Plan, SearchPlan, StagePlan};

use super::*;

fn searching(name: &str, at_most: Amount) -> Plan {
    let mut plan = plan(name);
    let limit = Limit::computed("size_kib", at_most);
    plan.stages.push(StagePlan::Search(SearchPlan {
        objective: Metric::LossIncrease,
        trials: Some(6),
        round: 2,
        ..SearchPlan::exact(vec![limit])
    }));
    plan
}

#[tokio::test]
async fn a_search_thinks_beside_the_driver_and_its_selection_survives_a_restart() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    store_inputs(handle.artifacts());
    let plan = searching("found", Amount::OfBaselinePpm(600_000));
    let id = handle.submit(plan, Sources::new(), 0).await.unwrap().experiment;
    let worker = register(&handle, "w1").await;

    while work(&handle, &worker, &id).await {}

    let report = handle.report(&id).await.unwrap().0;
    let [search] = report.searches.as_slice() else { panic!("{:?}", report.searches) };
    assert!(search.is_over && (1..=6).contains(&search.trials), "{search:?}");
    assert!(!search.top.is_empty() && search.proof.is_some());
    assert!(search.top.iter().all(|top| top.costs["size_kib"] <= 0.6 * 840.0 * 8.0 / 8192.0));
    coordinator.close().await.unwrap();
    let again = fixture.open();
    assert_eq!(again.handle().report(&id).await.unwrap().0, report);
}

#[tokio::test]
async fn a_search_that_is_killed_while_it_thinks_or_measures_ends_the_same() {
    let plan = || searching("killed", Amount::OfBaselinePpm(600_000));
    let whole = Fixture::new();
    let coordinator = whole.open();
    store_inputs(coordinator.handle().artifacts());
    let id = coordinator.handle().submit(plan(), Sources::new(), 0).await.unwrap().experiment;
    let worker = register(&coordinator.handle(), "w1").await;
    while work(&coordinator.handle(), &worker, &id).await {}

    let fixture = Fixture::new();
    loop {
        let coordinator = fixture.open();
        let handle = coordinator.handle();
        store_inputs(handle.artifacts());
        handle.submit(plan(), Sources::new(), 0).await.unwrap();
        let worker = register(&handle, "w1").await;
        if summary_now(&handle, &id).await.status.is_over() {
            break;
        }
        // When this returns, the next thought may have begun.
        work(&handle, &worker, &id).await;
        drop(coordinator);
    }

    assert_eq!(fs::read(fixture.results(&id)).unwrap(), fs::read(whole.results(&id)).unwrap());
}

#[tokio::test]
async fn a_plan_whose_limits_nothing_keeps_is_refused() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    store_inputs(handle.artifacts());

    let refused = handle.submit(searching("refused", Amount::Of(0.01)), Sources::new(), 0).await;

    let error = refused.unwrap_err().to_string();
    assert!(error.contains("no bit config keeps the limits: size_kib is at least"), "{error}");
    assert!(fixture.facts().is_empty());
}

#[tokio::test]
async fn a_searcher_that_breaks_off_ends_its_own_experiment_and_no_other() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    store_inputs(handle.artifacts());
    // Plans that are read have no such point; a searcher finds nothing there.
    let stages = vec![StagePlan::Prepare, StagePlan::singles(vec![PointIndex(99)])];
    let broken =
        handle.submit(Plan { stages, ..plan("broken") }, Sources::new(), 0).await.unwrap().experiment;
    let sound = submit(&handle, "sound").await;
    let worker = register(&handle, "w1").await;

    while work(&handle, &worker, &sound).await {}

    assert_eq!(summary_now(&handle, &sound).await.status, Status::Finished);
    let status = summary_now(&handle, &broken).await.status;
    assert!(matches!(&status, Status::Failed { reason } if reason.contains("broke off")), "{status:?}");
    coordinator.close().await.unwrap();
    let again = fixture.open();
    assert_eq!(summary_now(&again.handle(), &broken).await.status, status);
}
