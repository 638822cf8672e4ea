//! Predictors on networks made up here, of which the truth is known.

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_core::rng::rng;

use super::*;
use crate::measurements::Metric;
use crate::space::Variable;

fn space(variables: usize, widths: &[u8]) -> Space {
    let widths: Vec<Bits> = widths.iter().map(|bits| Bits::new(*bits).unwrap()).collect();
    let variable = |index| {
        let kind = if index % 2 == 0 { PointKind::Activation } else { PointKind::Weight };
        Variable { name: format!("v{index}"), kind, widths: widths.clone() }
    };
    Space { variables: (0..variables).map(variable).collect() }
}

/// A loss that is quadratic in what the changes do by themselves.
fn truth(changes: &[(u32, u8)], scale: f64) -> f64 {
    let harm =
        |(variable, level): &(u32, u8)| (0.1 + f64::from(*variable % 7) / 10.0) / f64::from(1 + *level);
    let sum: f64 = changes.iter().map(harm).sum();
    let squares: f64 = changes.iter().map(|change| harm(change) * harm(change)).sum();
    scale * (sum + 0.05 * (sum * sum - squares))
}

fn measured(space: &Space, subsets: usize, scale: f64) -> Measurements {
    let row = |changes: Vec<(u32, u8)>| Row { loss: truth(&changes, scale), changes, error: None };
    let lower = |variable: usize| 0..space.variables[variable].reference();
    let all = 0..space.variables.len();
    let mut rows: Vec<Row> =
        all.clone().flat_map(|v| lower(v).map(move |level| vec![(v as u32, level)])).map(row).collect();
    let mut random = rng(5, 0);
    for _ in 0..subsets {
        let mut variables: Vec<usize> = all.clone().collect();
        random.shuffle(&mut variables);
        variables.truncate(3 + random.below(space.variables.len() / 2));
        variables.sort_unstable();
        let level = |v: usize, draw: usize| (v as u32, draw as u8);
        let changes = variables.iter().map(|v| level(*v, random.below(lower(*v).len()))).collect();
        rows.push(row(changes));
    }
    Measurements { space: space.clone(), metric: Metric::LossIncrease, rows }
}

fn split(measurements: &Measurements, held_out: usize) -> (Measurements, Vec<Row>) {
    let mut fitted = measurements.clone();
    let rest = fitted.rows.split_off(measurements.rows.len() - held_out);
    (fitted, rest)
}

fn correlation(predictor: &dyn Predictor, rows: &[Row], space: &Space) -> f64 {
    let predicted: Vec<f64> = rows.iter().map(|row| predictor.predict(&row.levels(space)).value).collect();
    statistics::pearson(&predicted, &rows.iter().map(|row| row.loss).collect::<Vec<_>>())
}

#[test]
fn every_method_predicts_and_gives_a_form_of_the_same_value() {
    let space = space(12, &[2, 4, 8]);
    let (fitted, rest) = split(&measured(&space, 260, 1.0), 60);

    for method in Method::ALL {
        let predictor = fit(method, &fitted).unwrap();

        let form = predictor.form();
        for row in &rest {
            let levels = row.levels(&space);
            let Prediction { value, low, high } = predictor.predict(&levels);
            assert!((form.value(&space, &levels) - value).abs() < 1e-9 * (1.0 + value.abs()), "{method}");
            assert!(low < value && value < high, "{method}");
        }
        let found = correlation(predictor.as_ref(), &rest, &space);
        let least = match method {
            Method::Auto | Method::Quadratic => 0.999,
            Method::Ridge => 0.99,
            Method::Additive | Method::Published => 0.95,
        };
        assert!(found > least, "{method}: {found}");
    }
}

#[test]
fn predictions_do_not_depend_on_the_unit() {
    let space = space(10, &[4, 8]);
    let [(small, rest), (large, _)] = [1e-4, 1e3].map(|scale| split(&measured(&space, 130, scale), 30));

    for method in Method::ALL {
        let [small, large] = [&small, &large].map(|measurements| fit(method, measurements).unwrap());
        for row in &rest {
            let [small, large] = [&small, &large].map(|predictor| predictor.predict(&row.levels(&space)));
            assert!((large.value - 1e7 * small.value).abs() < 1e-3 * large.value.abs(), "{method}");
            assert!(
                ((large.high - large.low) / (1e7 * (small.high - small.low)) - 1.0).abs() < 1e-2,
                "{method}"
            );
        }
    }
}

#[test]
fn singles_alone_give_their_sum_and_wide_intervals() {
    let space = space(10, &[4, 8]);
    let measurements = measured(&space, 0, 1.0);

    for method in Method::ALL {
        let predictor = fit(method, &measurements).unwrap();

        let all = predictor.predict(&[0; 10]);
        let sum: f64 = measurements.rows.iter().map(|row| row.loss).sum();
        assert!((all.value - sum).abs() < 1e-9, "{method}");
        assert!(all.high - all.low > sum, "{method}");
        // Nobody knows of an offset between single losses and others: as little may be lost as little is lowered.
        assert!(all.high - all.low < 8.0 * sum, "{method}: {} to {} for {sum}", all.low, all.high);
        let nothing = predictor.predict(&space.reference());
        assert!(nothing.high - nothing.low < 0.1 * sum, "{method}: {} to {}", nothing.low, nothing.high);
        assert!(!predictor.notes().is_empty(), "{method}");
    }
}

#[test]
fn widths_between_measured_ones_are_interpolated_and_noted() {
    let space = space(10, &[4, 6, 8]);
    let mut measurements = measured(&space, 0, 1.0);
    measurements.rows.retain(|row| row.changes[0].1 == 0);

    let predictor = fit(Method::Auto, &measurements).unwrap();

    let [lowest, between] = [0, 1].map(|level| {
        let mut levels = space.reference();
        levels[3] = level;
        predictor.predict(&levels).value
    });
    assert!((between - lowest / 2.0).abs() < 1e-12);
    assert!(predictor.notes().iter().any(|note| note.contains("10 widths were never measured alone")));
}

#[test]
fn intervals_narrow_as_subsets_are_measured() {
    let space = space(20, &[4, 8]);
    let width = |subsets| {
        let all = fit(Method::Auto, &measured(&space, subsets, 1.0)).unwrap().predict(&[0; 20]);
        all.high - all.low
    };

    let widths = [0, 10, 40, 160].map(width);

    assert!(widths.is_sorted_by(|a, b| a > b), "{widths:?}");
}

#[test]
fn losses_that_are_all_alike_or_nothing_can_be_fitted() {
    let space = space(8, &[4, 8]);
    for loss in [0.0, -0.5, 2.0] {
        let mut measurements = measured(&space, 30, 1.0);
        measurements.rows.iter_mut().for_each(|row| row.loss = loss);

        for method in Method::ALL {
            let predictor =
                fit(method, &measurements).unwrap_or_else(|error| panic!("{method} {loss}: {error}"));
            let Prediction { value, low, high } = predictor.predict(&[0, 0, 0, 0, 0, 1, 1, 1]);
            assert!(low <= value && value <= high, "{method}: {low} {value} {high}");
            if method != Method::Additive {
                assert!((value - loss).abs() < 0.3, "{method}: {value} is not {loss}");
            }
        }
    }
}

#[test]
fn a_variable_of_one_width_is_left_alone() {
    let mut space = space(8, &[4, 8]);
    let measurements = measured(&space, 30, 1.0);
    let more = Measurements { space: space.clone(), ..measurements.clone() };
    space.variables.push(Variable { name: "fixed".to_owned(), ..space.variables[0].clone() });
    space.variables[8].widths.remove(0);
    let with = Measurements { space: space.clone(), ..more };

    for method in [Method::Auto, Method::Ridge] {
        let [without, with] = [&measurements, &with].map(|all| fit(method, all).unwrap());
        let expected = without.predict(&[0; 8]).value;
        let found = with.predict(&[0; 9]).value;
        assert!((found - expected).abs() < 1e-6 * expected.abs(), "{method}: {found} is not {expected}");
    }
}

#[test]
fn an_offset_between_sweeps_is_found_and_learned() {
    let space = space(16, &[4, 8]);
    let mut measurements = measured(&space, 120, 1.0);
    assert!(!offset(&measurements).unwrap().is_suspicious());
    for row in measurements.rows.iter_mut().filter(|row| row.changes.len() > 1) {
        row.loss += 20.0;
    }
    let (fitted, rest) = split(&measurements, 40);

    let found = offset(&fitted).unwrap();
    let predictor = fit(Method::Auto, &fitted).unwrap();

    assert!(found.is_suspicious());
    assert!((found.value - 20.0).abs() < 1.0, "{found}");
    assert!(found.to_string().ends_with("different calibration?"), "{found}");
    assert!(predictor.notes().iter().any(|note| note.contains("offset")));
    for row in rest {
        assert!((predictor.predict(&row.levels(&space)).value - row.loss).abs() < 0.5);
    }
}

#[test]
fn rows_that_cannot_be_fitted_are_refused() {
    let space = space(3, &[4, 8]);
    let refusal = |changes: Vec<(u32, u8)>, loss: f64, error: Option<f64>| {
        let rows = vec![Row { changes, loss, error }];
        let measurements = Measurements { space: space.clone(), metric: Metric::LossIncrease, rows };
        fit(Method::Auto, &measurements).err().expect("it is refused")
    };

    assert!(matches!(refusal(vec![(0, 0)], f64::NAN, None), FitError::NotFinite { row: 0, .. }));
    assert!(matches!(refusal(vec![(0, 0)], 1.0, Some(-1.0)), FitError::NotFinite { row: 0, .. }));
    assert_eq!(refusal(vec![(3, 0)], 1.0, None), FitError::UnknownLevel { row: 0, variable: 3, level: 0 });
    assert_eq!(refusal(vec![(1, 2)], 1.0, None), FitError::UnknownLevel { row: 0, variable: 1, level: 2 });
    assert_eq!(refusal(vec![(1, 1)], 1.0, None), FitError::BadChanges { row: 0 });
    assert_eq!(refusal(vec![(1, 0), (0, 0)], 1.0, None), FitError::BadChanges { row: 0 });
    let none = Measurements { space: space.clone(), metric: Metric::LossIncrease, rows: Vec::new() };
    assert_eq!(fit(Method::Auto, &none).err(), Some(FitError::NoRows));
}

#[test]
fn what_was_measured_tells_less_than_what_was_not() {
    let space = space(12, &[4, 8]);
    let measurements = measured(&space, 60, 1.0);
    let known = measurements.rows.last().unwrap().levels(&space);
    let mut unknown = space.reference();
    unknown[..8].fill(0);
    let mut like_it = unknown.clone();
    like_it[8] = 0;

    let model = uncertainty(&measurements).unwrap();
    let chosen =
        model.most_informative(&[known.clone(), unknown.clone(), unknown.clone(), space.reference()], 2);

    assert!(model.variance(&known) < model.variance(&like_it));
    assert_eq!(chosen[0], 1);
    assert_eq!(most_informative(&measurements, &[known, unknown], 5).unwrap().len(), 2);
}

#[test]
fn nothing_measured_leaves_everything_open() {
    let space = space(4, &[4, 8]);
    let empty = Measurements { space, metric: Metric::LossIncrease, rows: Vec::new() };

    let chosen =
        most_informative(&empty, &[vec![1, 1, 1, 1], vec![0, 0, 0, 0], vec![0, 1, 1, 1]], 3).unwrap();

    assert_eq!(chosen[0], 1);
    assert_eq!(chosen.len(), 3);
}

#[test]
fn methods_are_known_by_their_words() {
    for method in Method::ALL {
        assert_eq!(method.to_string().parse(), Ok(method));
    }
    let unknown = "best".parse::<Method>().unwrap_err().to_string();
    assert_eq!(unknown, "there is no predictor `best`; choose auto, additive, published, ridge or quadratic");
}
