//! Limits on energy, on devices with a counter and without.

use bitloop_core::latency::ENERGY_MODEL;
use bitloop_core::report::TopRow;

use super::*;
use crate::cost::ModelledEnergy;

fn energy(at_most: Amount) -> SearchPlan {
    limited(vec![Limit { cost: "energy_mj".to_owned(), ..limit("one", at_most) }])
}

/// Millijoules of a row's config by the model, for inferences of so many images.
fn modelled(plan: &Plan, row: &TopRow, images: u32) -> f64 {
    let point = |name: &str| plan.points.iter().position(|point| point.name == name).unwrap();
    let changes =
        row.row.changes.iter().map(|(name, bits)| (PointIndex(point(name) as u32), Choice::Bits(*bits)));
    let config = BitConfig::against(Choice::Bits(plan.candidates.baseline), changes);
    ModelledEnergy::new(plan, images).unwrap().joules(&config) * 1e3
}

#[test]
fn what_no_counter_tells_is_limited_by_the_energy_model_and_said_to_be() {
    let mut plan = experiment(&["one"], energy(Amount::OfBaselinePpm(700_000)));
    if let StagePlan::Probe(probe) = &mut plan.stages[2] {
        probe.setting.batch = 4;
    }
    let baseline = ModelledEnergy::new(&plan, 4).unwrap().joules(&BitConfig::baseline()) * 1e3;

    let driver = run(plan.clone(), &[("one", PLAIN)]);

    assert_eq!(driver.status(), "finished");
    let results = driver.results();
    let search = &results.searches[0];
    assert!(!search.top.is_empty());
    for row in &search.top {
        let [device] = row.devices.as_slice() else { panic!("one cost") };
        assert_eq!((device.measured, device.energy_source.as_deref()), (None, Some(ENERGY_MODEL)));
        assert!(device.predicted.median <= 0.7 * baseline);
        assert!((device.predicted.median / modelled(&plan, row, 4) - 1.0).abs() < 1e-9, "{device:?}");
        assert_eq!(device.title(), "energy_mj by the energy model");
    }
    let note =
        "energy_mj (integer on board=one) by the energy model: no counter of energy was readable there";
    assert!(search.notes.iter().any(|known| known.starts_with(note)), "{:?}", search.notes);
    let device = &results.devices[0];
    let is_model = |source: &Option<String>| source.as_deref() == Some(ENERGY_MODEL);
    assert!(device.finalists.iter().all(|finalist| is_model(&finalist.energy_source)));
    assert!(device.fronts.iter().all(|front| is_model(&front.energy_source) && front.points.len() > 1));
    // They were measured all the same: whoever names a device is promised nothing that it does not execute.
    assert!(device.networks.iter().any(|row| row.kind == "search" && row.latency_ns.is_some()));
    assert!(device.networks.iter().all(|row| row.energy_joules.is_none() && row.energy_source.is_none()));
}

#[test]
fn a_results_file_says_that_an_energy_is_the_models() {
    let sources = |board: Board, search: SearchPlan| {
        let csv = run(experiment(&["one"], search), &[("one", board)]).results().to_csv();
        let rows: Vec<Vec<String>> =
            csv.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect();
        let column = rows[0].iter().position(|name| name == "device1_energy_source")?;
        let sources: BTreeSet<String> = rows[1..].iter().map(|row| row[column].clone()).collect();
        Some(sources.into_iter().collect::<Vec<_>>())
    };
    let counted = Board { counter: Some("rapl package-0"), ..PLAIN };

    assert_eq!(
        sources(PLAIN, energy(Amount::OfBaselinePpm(700_000))),
        Some(vec![String::new(), "model".to_owned()])
    );
    assert_eq!(
        sources(counted, energy(Amount::Of(4.0))),
        Some(vec![String::new(), "rapl package-0".to_owned()])
    );
    assert_eq!(sources(counted, limited(vec![limit("one", Amount::Of(4.0))])), None);
}

#[test]
fn a_counter_goes_before_the_energy_model() {
    let plan = experiment(&["one"], energy(Amount::Of(4.0)));

    let driver = run(plan, &[("one", Board { counter: Some("rapl package-0"), ..PLAIN })]);

    assert_eq!(driver.status(), "finished");
    let search = driver.results().searches.remove(0);
    assert!(!search.top.is_empty());
    for row in &search.top {
        let device = &row.devices[0];
        assert!(device.measured.unwrap().median <= 4.0);
        assert_eq!(device.energy_source.as_deref(), Some("rapl package-0"));
        assert_eq!(device.title(), "energy_mj");
    }
    assert!(!search.notes.iter().any(|note| note.contains("energy model")), "{:?}", search.notes);
}

#[test]
fn a_counter_that_is_readable_later_changes_nothing_of_a_search() {
    let plan = experiment(&["one"], energy(Amount::OfBaselinePpm(700_000)));
    let without = run(plan.clone(), &[("one", PLAIN)]);

    let with = run(plan, &[("one", Board { finals: Finals::Counted, ..PLAIN })]);

    let top = |driver: &Driver| driver.results().searches[0].top.clone();
    assert_eq!(with.status(), "finished");
    assert_eq!(top(&with), top(&without));
}

#[test]
fn energy_is_lowered_as_far_as_the_loss_allows() {
    let lowers = Lowered { cost: "energy_mj".to_owned(), target: target("one"), loss_max: 0.5 };
    let plan = experiment(&["one"], SearchPlan { lowers: Some(lowers), ..limited(Vec::new()) });

    let driver = run(plan.clone(), &[("one", PLAIN)]);

    assert_eq!(driver.status(), "finished");
    let top = driver.results().searches.remove(0).top;
    let of = |row: &TopRow| row.devices[0].predicted.median;
    let baseline = ModelledEnergy::new(&plan, 1).unwrap().joules(&BitConfig::baseline()) * 1e3;
    assert!(of(&top[0]) < baseline && top.windows(2).all(|pair| of(&pair[0]) <= of(&pair[1])));
    assert!(top.iter().all(|row| row.row.result.measured().unwrap().loss_by(Metric::Top1Drop).value <= 0.5));
}

#[test]
fn a_limit_below_what_the_energy_model_says_of_any_config_names_the_model() {
    let plan = experiment(&["one"], energy(Amount::Of(1e-12)));

    let driver = run(plan, &[("one", PLAIN)]);

    let status = driver.state.ledger.experiment(&driver.plan.id()).unwrap().status.clone();
    let Status::Failed { reason } = status else { panic!("{status:?}") };
    assert!(reason.contains("energy_mj (integer on board=one) by the energy model is at least"), "{reason}");
}
