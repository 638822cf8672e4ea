//! What a report, its CSV file and their readers make of experiments, whatever stages they have.

use bitloop_core::evaluation::Adaptive;
use bitloop_core::plan::{Amount, Metric, SearchMethod};
use bitloop_core::report::{ConfigRow, RowState};

use super::stages::{IMAGES, search, staged, sweep};
use super::*;
use crate::measurements::Measurements;
use crate::priced::priced;
use crate::searched::Searched;
use crate::tables::{ResultsError, from_csv, from_report};

fn demoted() -> Driver {
    let plan = staged(4, Vec::new());
    let stages = vec![StagePlan::Prepare, search(SearchMethod::Demotion { drop_max_ppm: 20_000 }, None)];
    Driver::run(Plan { stages, ..plan })
}

/// The same experiment's results by both of their forms.
fn both(results: &Results) -> [Result<Measurements, ResultsError>; 2] {
    let json = serde_json::to_string(results).unwrap();
    [from_csv(&results.to_csv(), Metric::Top1Drop), from_report(&json, Metric::Top1Drop)]
}

/// Cells of a CSV file's lines, by the names of their columns.
fn cells(csv: &str) -> Vec<BTreeMap<&str, &str>> {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    lines.map(|line| header.iter().copied().zip(line).collect()).collect()
}

#[test]
fn a_search_without_a_sweep_loses_none_of_its_measurements() {
    let driver = demoted();

    let results = driver.results();

    assert!(results.rows.is_empty());
    assert_eq!((results.float.as_str(), results.baseline.as_str()), ("done", "done"));
    let singles: Vec<&ConfigRow> = results.configs.iter().filter(|row| row.changes.len() == 1).collect();
    assert_eq!(singles.len(), driver.plan.points.len());
    let configs = driver.configs().into_iter().filter(|config| {
        config.changes().len() > 0 && config.changes().all(|(_, choice)| choice != Choice::Float)
    });
    assert_eq!(results.configs.len(), configs.count());
    let csv = results.to_csv();
    assert!(cells(&csv).iter().all(|line| line["state"] == "done"), "{csv}");
    for (line, row) in cells(&csv)[2..].iter().zip(&results.configs) {
        let kinds: Vec<&str> = row.changes.keys().map(|point| results.kinds[point].as_str()).collect();
        assert_eq!(
            (line["stage"], line["state"], line["kind"]),
            ("search", "done", kinds.join(" ").as_str())
        );
        let is_alone = row.changes.len() == 1;
        assert_eq!(is_alone, !line["point"].is_empty() && !line["bits"].is_empty(), "{line:?}");
    }
}

#[test]
fn both_forms_of_results_without_a_sweep_give_every_measurement() {
    let driver = demoted();
    let results = driver.results();

    let [csv, json] = both(&results).map(Result::unwrap);

    assert_eq!(json.rows.len(), results.configs.len());
    assert_eq!((&csv.space, csv.rows.len()), (&json.space, json.rows.len()));
    for (csv, json) in csv.rows.iter().zip(&json.rows) {
        assert_eq!(csv.changes, json.changes);
        // The CSV file has six decimals of a share, which are four of percentage points.
        assert!((csv.loss - json.loss).abs() < 1e-4, "{} {}", csv.loss, json.loss);
    }
    assert_eq!(json.space.variables.len(), driver.plan.points.len());
    for variable in &json.space.variables {
        let point = driver.plan.points.iter().find(|point| point.name == variable.name).unwrap();
        assert_eq!(variable.kind, point.kind);
        assert_eq!(variable.widths.len(), 2, "the lowest width and the baseline's");
    }
}

#[test]
fn the_front_of_a_search_without_a_sweep_has_the_baseline_and_the_single_points() {
    let driver = demoted();
    let results = driver.results();

    let priced = priced(&driver.plan, &results, "size_bits", Metric::Top1Drop).unwrap();

    assert_eq!(priced.len(), 1 + results.configs.len());
    let baseline = priced.iter().find(|row| row.changes.is_empty()).unwrap();
    assert_eq!(baseline.standing, "front");
    assert!(priced.iter().any(|row| row.changes.len() == 1 && row.standing == "front"));
}

#[test]
fn a_line_without_the_kind_of_every_change_is_refused_by_its_number() {
    let csv = demoted().results().to_csv();
    let broken = csv.replacen("activation weight", "activation wait", 1);

    let error = from_csv(&broken, Metric::Top1Drop).unwrap_err().to_string();

    assert!(error.starts_with("line 4: ") && error.ends_with("is no list of a kind per change"), "{error}");
}

#[test]
fn nothing_is_read_before_something_is_measured() {
    let mut driver = Driver::new(staged(2, Vec::new()));
    driver.prepare();

    for read in both(&driver.results()) {
        assert_eq!(read, Err(ResultsError::Empty));
    }
}

#[test]
fn what_is_verified_is_listed_once_and_nothing_else_is() {
    let plan = staged(3, Vec::new());
    let found = || search(SearchMethod::Exact, Some(("size_bits", Amount::OfBaselinePpm(500_000))));
    let verify = StagePlan::verify(2, true);
    let sweep = sweep(&plan, None, Some(super::stages::random(20)));
    // The second search comes to the same end as the first.
    let plan = Plan { stages: vec![StagePlan::Prepare, sweep, found(), found(), verify], ..plan };

    let results = Driver::run(plan).results();

    assert!(results.searches[0].top.len() > 2, "the searches keep more than is verified");
    let csv = results.to_csv();
    let lines = cells(&csv);
    assert!(lines.iter().all(|line| line["state"] == "done"), "{csv}");
    let verified: Vec<&str> =
        lines.iter().filter(|line| line["stage"] == "verify").map(|line| line["changes"]).collect();
    let distinct: BTreeSet<&&str> = verified.iter().collect();
    // Two of the searches, and all points at 4 bits.
    assert_eq!((verified.len(), distinct.len()), (3, 3));
    let top = results.searches[0].top.iter().map(|top| &top.row.changes).take(2);
    let found = &results.verified.as_ref().unwrap().found;
    assert_eq!(found.iter().map(|row| &row.changes).collect::<Vec<_>>(), top.collect::<Vec<_>>());
    assert!(found.iter().all(|row| matches!(&row.result, RowState::Done(measured) if measured.n == IMAGES)));
}

/// A sweep that decides on some of the images, then a search within a size that one lowered weight keeps.
fn decided_then_searched() -> Plan {
    let mode = Adaptive { tolerance_ppm: 10_000, confidence_ppm: 950_000, part_images: IMAGES / 4 };
    let plan = Plan { evaluation: EvaluationMode::Adaptive(mode), ..staged(3, Vec::new()) };
    let found = search(SearchMethod::Exact, Some(("size_bits", Amount::OfBaselinePpm(850_000))));
    Plan { stages: vec![StagePlan::Prepare, sweep(&plan, None, None), found], ..plan }
}

#[test]
fn what_a_search_recommends_is_measured_on_all_images_though_a_sweep_decided_on_some() {
    let driver = Driver::run(decided_then_searched());

    let results = driver.results();

    let top = &results.searches[0].top;
    assert_eq!(top[0].row.changes.len(), 1);
    for top in top {
        let RowState::Done(measured) = &top.row.result else { panic!("{top:?}") };
        assert_eq!(measured.n, IMAGES);
    }
    let (point, bits) = top[0].row.changes.first_key_value().unwrap();
    let swept = results.rows.iter().find(|row| row.point == *point && row.bits == *bits).unwrap();
    assert_eq!(swept.result, top[0].row.result);
    assert!(results.rows.iter().any(|row| matches!(row.result, RowState::Decided(_))));
    let on_front = priced(&driver.plan, &results, "size_bits", Metric::Top1Drop).unwrap();
    assert!(on_front.iter().any(|row| row.changes == top[0].row.changes && row.standing == "front"));
}

#[test]
fn a_complete_result_is_what_a_search_learns_from() {
    let plan = decided_then_searched();
    let demotion = search(SearchMethod::Demotion { drop_max_ppm: 20_000 }, None);
    let [prepare, sweep, found] = <[StagePlan; 3]>::try_from(plan.stages.clone()).unwrap();
    let mut driver = Driver::new(Plan { stages: vec![prepare, demotion, sweep, found], ..plan });
    driver.prepare();
    loop {
        driver.ask();
        let experiment = driver.state.ledger.experiment(&driver.plan.id()).unwrap();
        if driver.state.history(experiment).unwrap().stage() == 3 {
            break;
        }
        driver.measure();
    }
    let experiment = driver.state.ledger.experiment(&driver.plan.id()).unwrap();
    let history = driver.state.history(experiment).unwrap();

    let measured = Searched::new(&driver.plan).measurements(&history, Metric::Top1Drop);

    let results = driver.results();
    let done: Vec<_> = results.rows.iter().filter(|row| row.result.as_str() == "done").collect();
    assert_eq!(done.len(), driver.plan.points.len(), "the demotion measured each at its lowest width");
    for row in done {
        let variable = measured.space.find(&row.point).unwrap();
        let known = measured.rows.iter().find(|known| known.changes == [(variable as u32, 0)]).unwrap();
        let full = row.result.measured().unwrap().loss_by(Metric::Top1Drop);
        assert_eq!((known.loss, known.error), (full.value, Some(0.0)));
    }
    // What is decided on some of the images says less of all of them.
    let partial = measured.rows.iter().filter(|row| row.error != Some(0.0)).count();
    assert!(partial > 0 && measured.rows.iter().all(|row| row.error.is_some_and(|error| error >= 0.0)));
}
