//! Results files, and what is said of experiments until they are there.

use super::*;
use crate::chronicle::{Event, EventKind};

#[tokio::test]
async fn a_results_file_that_a_crash_left_unwritten_is_written_at_the_next_start() {
    let fixture = Fixture::new();
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    let id = submit(&handle, "sweep").await;
    let worker = register(&handle, "w1").await;
    work_off(&handle, &worker, &id).await;
    drop(coordinator);
    let csv = fs::read(fixture.results(&id)).unwrap();
    fs::remove_file(fixture.results(&id)).unwrap();

    let coordinator = fixture.open();
    let mut overview = coordinator.handle().overview();
    overview.wait_for(|overview| overview.experiments[0].status == Status::Finished).await.unwrap();

    assert_eq!(fs::read(fixture.results(&id)).unwrap(), csv);
    let events = coordinator.handle().chronicle().events(None).events;
    let finished = |event: &&Arc<Event>| event.what.kind == EventKind::ExperimentFinished;
    assert_eq!(events.iter().filter(finished).count(), 1, "it is no news");
    drop(coordinator);
}

/// Brings the only experiment to its end; returns it.
fn end(driver: &mut Driver) -> ExperimentId {
    let facts = facts(2);
    let Fact::ExperimentSubmitted { plan, .. } = &facts[0] else { panic!("it is submitted first") };
    let id = plan.id();
    driver.round.facts.clone_from(&facts);
    driver.round.facts.push(Fact::ExperimentFinished { experiment: id.clone() });
    driver.round.facts.clone().into_iter().for_each(|fact| driver.state.apply(&fact.into()));
    driver.store_facts().unwrap();
    driver.results.go_on(&driver.state);
    id
}

impl Driver {
    fn status(&self, id: &ExperimentId) -> Status {
        self.view(self.clock.now()).overview().experiment(id).unwrap().status.clone()
    }

    /// Waits for the writer, and hears what came of it.
    async fn hear(&mut self) {
        let ended = self.results.next_ended().await.unwrap();
        self.results_ended(ended);
    }
}

fn told(handle: &Handle) -> Vec<EventKind> {
    handle.chronicle().events(None).events.iter().map(|event| event.what.kind).collect()
}

fn unwritten(handle: &Handle) -> bool {
    let metrics = handle.metrics().to_text(&handle.overview().borrow());
    metrics.contains("\nbitloop_unwritten_results 1\n")
}

#[tokio::test]
async fn nobody_is_told_of_an_end_before_the_results_file_is_there() {
    let fixture = Fixture::new();
    let (mut driver, handle) = Driver::open(fixture.parts()).unwrap();
    let id = end(&mut driver);

    assert_eq!(driver.status(&id), Status::Active);
    assert_eq!(told(&handle), [EventKind::CoordinatorStarted]);
    driver.hear().await;

    assert_eq!(driver.status(&id), Status::Finished);
    assert_eq!(told(&handle), [EventKind::CoordinatorStarted, EventKind::ExperimentFinished]);
    assert!(fixture.results(&id).exists());
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_tried_until_it_can_and_nobody_hears_of_an_end() {
    let fixture = Fixture::new();
    let (mut driver, handle) = Driver::open(fixture.parts()).unwrap();
    let folder = fixture.folder.path().join("results");
    fs::remove_dir(&folder).unwrap();
    fs::write(&folder, "a file stands in the way").unwrap();
    let id = end(&mut driver);

    for _ in 0..2 {
        driver.hear().await;
        assert_eq!(driver.status(&id), Status::Active);
        assert_eq!(told(&handle), [EventKind::CoordinatorStarted, EventKind::ResultsUnwritable]);
        assert!(unwritten(&handle));
        driver.results.owe_again();
        driver.results.go_on(&driver.state);
    }
    driver.hear().await;
    fs::remove_file(&folder).unwrap();
    fixture.clock_ms.fetch_add(TICK_MS, Ordering::SeqCst);
    driver.round(None).unwrap();
    driver.hear().await;

    assert_eq!(driver.status(&id), Status::Finished);
    assert_eq!(told(&handle).last(), Some(&EventKind::ExperimentFinished));
    assert!(fixture.results(&id).exists() && !unwritten(&handle));
}

#[tokio::test]
async fn a_report_that_breaks_off_holds_up_nobody_and_is_said() {
    let fixture = Fixture::new();
    let (mut driver, handle) = Driver::open(fixture.parts()).unwrap();
    driver.results.make = |_, _, _| panic!("told by a test");
    let id = end(&mut driver);

    driver.hear().await;

    assert_eq!(driver.status(&id), Status::Finished);
    let expected =
        [EventKind::CoordinatorStarted, EventKind::ResultsUnwritable, EventKind::ExperimentFinished];
    assert_eq!(told(&handle), expected);
    assert!(unwritten(&handle) && !fixture.results(&id).exists());
}
