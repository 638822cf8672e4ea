//! Searches within limits on several devices at once.

use super::*;

#[test]
fn a_fleet_gets_configs_that_keep_the_limits_of_all_its_devices() {
    let weights = Board { layer: |weight, _| 0.15 * f64::from(weight), ..PLAIN };
    let inputs = Board { layer: |_, input| 0.15 * f64::from(input), ..PLAIN };
    let limits = vec![limit("one", Amount::Of(4.0)), limit("two", Amount::Of(4.3))];
    let plan = experiment(&["one", "two"], limited(limits));

    let driver = run(plan, &[("one", weights), ("two", inputs)]);

    assert_eq!(driver.status(), "finished");
    let results = driver.results();
    let search = &results.searches[0];
    for top in &search.top {
        let [one, two] = top.devices.as_slice() else { panic!("two devices") };
        assert!(one.measured.unwrap().median <= 4.0 && two.measured.unwrap().median <= 4.3);
    }
    assert_eq!(results.devices.len(), 2);
    assert!(results.devices.iter().all(|device| device.fronts.len() == 1));
}

#[test]
fn a_latency_is_lowered_on_one_device_within_a_limit_on_another() {
    let weights = Board { layer: |weight, _| 0.15 * f64::from(weight), ..PLAIN };
    let inputs = Board { layer: |_, input| 0.15 * f64::from(input), ..PLAIN };
    let lowers = Some(Lowered { cost: "latency_ms".to_owned(), target: target("one"), loss_max: 2.0 });
    let search = SearchPlan { lowers, ..limited(vec![limit("two", Amount::OfBaselinePpm(990_000))]) };
    let plan = experiment(&["one", "two"], search);

    let driver = run(plan, &[("one", weights), ("two", inputs)]);

    assert_eq!(driver.status(), "finished");
    let results = driver.results();
    let top = &results.searches[0].top;
    let of = |row: &bitloop_core::report::TopRow| row.devices[0].measured.unwrap().median;
    assert!(of(&top[0]) < 5.0 && top.windows(2).all(|pair| of(&pair[0]) <= of(&pair[1])));
    let at_most = results.devices[1].at_most(&results.searches[0].plan.limits[0]).unwrap();
    for row in top {
        let [_, two] = row.devices.as_slice() else { panic!("two devices") };
        assert!(two.measured.unwrap().median <= at_most * 1.001, "{at_most}: {two:?}");
        assert!(row.row.result.measured().unwrap().loss_by(Metric::Top1Drop).value <= 2.0);
    }
}
