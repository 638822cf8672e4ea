//! Results files, and what is said of experiments until they are there.

use bitloop_core::report::Report;
use bitloop_core::trial::{Provenance, TrialKey};

use super::*;
use crate::chronicle::{Event, EventKind};
use crate::driver::results::Said;

#[tokio::test]
async fn a_results_file_that_a_crash_left_unwritten_is_written_at_the_next_start() {
    let fixture = Fixture::new();
    let (coordinator, handle, id, worker) = sweep(&fixture).await;
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

fn end(driver: &mut Driver) -> ExperimentId {
    end_after(driver, 2)
}

/// Brings the only experiment to its end after so many trials; returns it.
fn end_after(driver: &mut Driver, trials: u32) -> ExperimentId {
    let facts = facts(trials);
    let Fact::ExperimentSubmitted { plan, .. } = &facts[0] else { panic!("it is submitted first") };
    let id = plan.id();
    driver.round.facts.clone_from(&facts);
    driver.round.facts.push(Fact::ExperimentFinished { experiment: id.clone() });
    driver.round.facts.clone().into_iter().for_each(|fact| driver.state.apply(&fact.into()));
    driver.store_facts().unwrap();
    driver.go_on_with_results();
    id
}

impl Driver {
    fn status(&self, id: &ExperimentId) -> Status {
        self.view(self.clock.now()).overview().experiment(id).unwrap().status.clone()
    }

    /// Lets the writer have its pages, a round for each, and hears what became of the file; returns how many rounds.
    async fn hear(&mut self) -> usize {
        let mut rounds = 0;
        loop {
            let said = self.results.next_said().await.unwrap();
            let is_end = matches!(said, Said::Ended(_));
            self.results_said(said);
            if is_end {
                return rounds;
            }
            self.round(None).unwrap();
            rounds += 1;
        }
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
        fixture.clock_ms.fetch_add(2 * TICK_MS, Ordering::SeqCst);
        driver.round(None).unwrap();
    }
    driver.hear().await;
    fs::remove_file(&folder).unwrap();
    fixture.clock_ms.fetch_add(4 * TICK_MS, Ordering::SeqCst);
    driver.round(None).unwrap();
    driver.hear().await;

    assert_eq!(driver.status(&id), Status::Finished);
    assert_eq!(told(&handle).last(), Some(&EventKind::ExperimentFinished));
    assert!(fixture.results(&id).exists() && !unwritten(&handle));
}

#[tokio::test]
async fn a_file_that_does_not_fit_is_tried_ever_more_rarely() {
    let fixture = Fixture::new();
    let (mut driver, _handle) = Driver::open(fixture.parts()).unwrap();
    driver.results.make = |_, _, _| Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into());
    let id = end(&mut driver);

    let mut begun_ms = Vec::new();
    for passed_ms in (0..3_600_000).step_by(TICK_MS as usize) {
        if driver.results.writing.is_some() {
            begun_ms.push(passed_ms);
            driver.hear().await;
        }
        fixture.clock_ms.fetch_add(TICK_MS, Ordering::SeqCst);
        driver.round(None).unwrap();
    }

    let waits_ms: Vec<u64> = begun_ms.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let doubling = (0..11).map(|failures| 500 << failures);
    assert_eq!(waits_ms, doubling.chain([600_000; 4]).collect::<Vec<_>>());
    driver.results.make = |_, _, _| Ok(());
    fixture.clock_ms.fetch_add(600_000, Ordering::SeqCst);
    driver.round(None).unwrap();
    driver.hear().await;
    assert_eq!(driver.status(&id), Status::Finished);
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

/// Goal: the end of a sweep holds up nobody, however many trials it has.
#[tokio::test]
async fn whoever_wants_something_while_a_file_is_made_waits_for_a_page_at_most() {
    let fixture = Fixture::new();
    let (mut driver, handle) = Driver::open(fixture.parts()).unwrap();
    driver.step(&Input::Register { info: worker("w1"), held: Vec::new() }).unwrap();
    let (trials, pages) = (10, 4);
    let id = end_after(&mut driver, trials);

    for asked in 0..pages {
        let said = driver.results.next_said().await.unwrap();
        assert!(matches!(said, Said::Wants(_)), "{asked} pages were asked for");
        let (reply, mut answer) = oneshot::channel();
        let beat = Input::Heartbeat { worker: worker("w1").id, lease: None, running: Vec::new() };
        driver.results_said(said);
        driver.round(Some(Command::Input { input: Box::new(beat), reply })).unwrap();
        assert!(matches!(answer.try_recv(), Ok(Ok(Reply::Heartbeat { .. }))), "in the same round");
        assert_eq!(driver.status(&id), Status::Active);
    }
    assert_eq!(driver.hear().await, 0);

    assert_eq!(driver.status(&id), Status::Finished);
    let csv = fs::read_to_string(fixture.results(&id)).unwrap();
    let experiment = driver.state.ledger.experiment(&id).unwrap();
    assert_eq!(csv, Report::new(&driver.state.ledger, experiment).unwrap().to_csv());
    drop(handle);
}

#[tokio::test]
async fn a_file_that_still_lacks_pages_holds_up_no_stop() {
    let fixture = Fixture::new();
    let (mut driver, handle) = Driver::open(fixture.parts()).unwrap();
    let id = end(&mut driver);
    let said = driver.results.next_said().await.unwrap();
    driver.results_said(said);

    drop((driver, handle));

    assert!(!fixture.results(&id).exists());
    let coordinator = fixture.open();
    let mut overview = coordinator.handle().overview();
    overview.wait_for(|overview| overview.experiments[0].status == Status::Finished).await.unwrap();
    assert!(fixture.results(&id).exists(), "the next start makes it");
}

#[tokio::test]
async fn results_that_change_while_they_are_copied_are_copied_again() {
    let fixture = Fixture::new();
    let (_coordinator, handle, id, worker) = sweep(&fixture).await;
    work_once(&handle, &worker).await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();
    let mut given_up = other_reports(&shard);
    for report in &mut given_up {
        report.outcome.provenance = Provenance::of_nobody("cpu".to_owned());
    }
    handle.commit(&worker, given_up, 1.0).await.unwrap();
    let outlined = id.clone();
    let outline = handle.ask(move |view| view.outline(&outlined)).await.unwrap().unwrap();
    let copy = async |start| {
        let id = id.clone();
        handle.ask(move |view| view.page(&id, start).map(|_| ())).await.unwrap()
    };
    let start = outline.pages()[0];
    assert_eq!(copy(start).await, Ok(()));

    assert_eq!(handle.commit(&worker, reports(&shard), 1.0).await.unwrap().accepted, 1);

    assert_eq!(copy(start).await, Err(RequestError::Changed(id.clone())));
    assert!(handle.report(&id).await.is_ok());
}

/// The trials of which nobody could measure any, and the results, of an experiment whose second shard was given up.
async fn with_gaps(handle: &Handle, worker: &WorkerId, id: &ExperimentId) -> (Vec<TrialKey>, String) {
    work_once(handle, worker).await;
    let shard = handle.request_shard(worker).await.unwrap().unwrap();
    let mut given_up = other_reports(&shard);
    for report in &mut given_up {
        report.outcome.provenance = Provenance::of_nobody("cpu".to_owned());
    }
    handle.commit(worker, given_up, 1.0).await.unwrap();
    work_off(handle, worker, id).await;
    let keys = shard.trials.iter().map(|(key, _)| *key).collect();
    (keys, handle.report(id).await.unwrap().0.to_csv())
}

#[tokio::test]
async fn what_nobody_could_measure_is_measured_for_the_next_experiment_and_the_first_one_keeps_its_results() {
    let undisturbed = Fixture::new();
    let (_coordinator, handle, _, worker) = sweep(&undisturbed).await;
    let id = submit(&handle, "another").await;
    work_off(&handle, &worker, &id).await;
    let whole = handle.report(&id).await.unwrap().0.to_csv();
    let fixture = Fixture::new();
    let (coordinator, handle, first, worker) = sweep(&fixture).await;
    let (missed, gaps) = with_gaps(&handle, &worker, &first).await;
    assert!(gaps.contains(",failed,") && !whole.contains(",failed,"));

    let second = submit(&handle, "another").await;
    let shard = next_shard(&handle, &worker, &second).await.unwrap();
    let asked: Vec<TrialKey> = shard.trials.iter().map(|(key, _)| *key).collect();
    handle.commit(&worker, reports(&shard), 1.0).await.unwrap();
    work_off(&handle, &worker, &second).await;

    assert_eq!(asked, missed, "the others are known");
    assert_eq!(handle.report(&second).await.unwrap().0.to_csv(), whole);
    assert_eq!(handle.report(&first).await.unwrap().0.to_csv(), gaps);
    drop((handle, coordinator));
    let coordinator = fixture.open();
    let handle = coordinator.handle();
    assert_eq!(handle.report(&second).await.unwrap().0.to_csv(), whole);
    assert_eq!(handle.report(&first).await.unwrap().0.to_csv(), gaps);
    assert_eq!(fs::read_to_string(fixture.results(&first)).unwrap(), gaps);
}
