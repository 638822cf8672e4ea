//! The published predictor against every number of its reference files.

#[path = "common/held_out.rs"]
mod held_out;

use std::collections::BTreeMap;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_search::measurements::{Measurements, Row};
use bitloop_search::predict::published::{Influences, influences, objectives, pairs};
use bitloop_search::predict::statistics::{pearson, r2, rmse, spearman};
use bitloop_search::predict::{Method, fit};
use bitloop_search::space::Space;
use serde_json::Value;

use held_out::models;

fn near(what: &str, found: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().unwrap_or_else(|| panic!("{what} is not a number"));
    assert!((found - expected).abs() <= tolerance, "{what}: {found} is not {expected}");
}

fn near_all(what: &str, found: &[f64], expected: &Value, tolerance: f64) {
    let expected = expected.as_array().unwrap_or_else(|| panic!("{what} is not a list"));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        near(&format!("{what} {index}"), *found, expected, tolerance);
    }
}

fn near_by_name(what: &str, space: &Space, found: &[Option<f64>], expected: &Value) {
    let expected = expected.as_object().unwrap_or_else(|| panic!("{what} is not a map"));
    let found: BTreeMap<&str, f64> = space
        .variables
        .iter()
        .zip(found)
        .filter_map(|(variable, value)| value.map(|value| (variable.name.as_str(), value)))
        .collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (name, expected) in expected {
        near(&format!("{what} of {name}"), found[name.as_str()], expected, 1e-9);
    }
}

fn subsets(measurements: &Measurements) -> Vec<&Row> {
    measurements.rows.iter().filter(|row| row.changes.len() > 2).collect()
}

/// Compares Pearson, Spearman, RMSE and R2 of rows.
fn near_figures(predicted: &[f64], rows: &[&Row], expected: &Value) {
    let losses: Vec<f64> = rows.iter().map(|row| row.loss).collect();
    near("pearson", pearson(predicted, &losses), &expected["pearson"], 1e-10);
    near("spearman", spearman(predicted, &losses), &expected["spearman"], 1e-9);
    near("rmse", rmse(predicted, &losses), &expected["rmse"], 1e-9);
    near("r2", r2(predicted, &losses), &expected["r2"], 1e-9);
}

/// Single losses of a row's layers, summed.
fn sum_of_singles(measurements: &Measurements, row: &Row) -> f64 {
    let single = |variable: u32| {
        let row = measurements.of_size(1).find(|row| row.changes[0].0 == variable);
        row.expect("every layer has a single loss").loss
    };
    row.changes.iter().map(|(variable, _)| single(*variable)).sum()
}

#[test]
fn golden_tables_outliers_and_correlations_are_those_published() {
    for (expected, published) in models() {
        let measurements = &published.measurements;
        let space = &measurements.space;
        let found = influences(measurements);

        let count =
            |key: &str| expected[key].as_u64().unwrap_or_else(|| panic!("{key} is not a count")) as usize;
        assert_eq!(space.variables.len(), count("n_variables"), "{}", expected["model"]);
        assert_eq!(measurements.of_size(2).count(), count("n_pair_rows"));
        assert_eq!(subsets(measurements).len(), count("n_multiple_rows"));
        assert_eq!(found.kept.iter().filter(|kept| **kept).count(), count("n_kept"));
        let largest = measurements.rows.iter().map(|row| row.changes.len()).max();
        assert_eq!(largest, Some(count("max_layer_count")));
        near("quantile", found.threshold, &expected["quantile_value"], 1e-9);
        near(
            "baseline",
            published.baseline_accuracy.expect("rows have accuracies"),
            &expected["baseline_accuracy"],
            1e-9,
        );
        let outliers = space.variables.iter().zip(&found.kept).filter(|(_, kept)| !**kept);
        let outliers: Vec<&str> = outliers.map(|(variable, _)| variable.name.as_str()).collect();
        let named: Vec<&str> = expected["outlier_variables"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(outliers, named);
        let kept_pair = |row: &&Row| row.changes.iter().all(|(variable, _)| found.kept[*variable as usize]);
        assert_eq!(measurements.of_size(2).filter(kept_pair).count(), count("n_pair_rows_filtered"));
        near("pairs", found.pair_mean.expect("there are pairs"), &expected["pair_mean_correlation"], 1e-9);
        near_all("correlation", &found.by_changed, &expected["avg_corr_by_count"], 1e-9);
    }
}

#[test]
fn golden_influences_are_those_published() {
    for (expected, published) in models() {
        let measurements = &published.measurements;
        let space = &measurements.space;

        let found = influences(measurements);
        let from_pairs = pairs(measurements).expect("there are pairs").influence;

        near_by_name("influence", space, &found.influence, &expected["influence_from_multiple"]);
        near("constant", found.dropped_constant, &expected["regression_intercept_dropped"], 1e-9);
        near_by_name("influence from pairs", space, &from_pairs, &expected["influence_from_pairs"]);
        for (found, column) in from_pairs.iter().zip(&published.influence) {
            assert_eq!(found.is_some(), column.is_some());
            assert!((found.unwrap_or(0.0) - column.unwrap_or(0.0)).abs() < 1e-8);
        }
    }
}

#[test]
fn golden_predictions_are_those_published() {
    for (expected, published) in models() {
        let measurements = &published.measurements;
        let space = &measurements.space;
        let rows = subsets(measurements);

        let predictor = fit(Method::Published, measurements).expect("published rows can be fitted");

        let predicted: Vec<f64> =
            rows.iter().map(|row| predictor.predict(&row.levels(space)).value).collect();
        let first = expected["predictions_first_20_rows"].as_array().expect("a list").len();
        near_all("prediction", &predicted[..first], &expected["predictions_first_20_rows"], 1e-9);
        near_figures(&predicted, &rows, &expected);
        let losses: Vec<f64> = rows.iter().map(|row| row.loss).collect();
        let sums: Vec<f64> = rows.iter().map(|row| sum_of_singles(measurements, row)).collect();
        near("pearson of F1", pearson(&sums, &losses), &expected["pearson_F1_only"], 1e-10);
        let by_column = by_influences(measurements, &influences(measurements), &published.influence, &rows);
        near("with the column", pearson(&by_column, &losses), &expected["pearson_with_csv_influence"], 1e-10);
    }
}

/// Predictions with other influences.
fn by_influences(
    measurements: &Measurements,
    found: &Influences,
    influence: &[Option<f64>],
    rows: &[&Row],
) -> Vec<f64> {
    let of_row = |row: &&Row| {
        let influences = row.changes.iter().filter_map(|(variable, _)| influence[*variable as usize]);
        sum_of_singles(measurements, row) + found.by_changed[row.changes.len()] + influences.sum::<f64>()
    };
    rows.iter().map(of_row).collect()
}

#[test]
fn golden_odd_rows_are_predicted_from_even_ones() {
    for (expected, published) in models() {
        let measurements = &published.measurements;
        let expected = &expected["fit_even_rows_eval_odd_rows"];
        let rows = subsets(measurements);
        let [even, odd]: [Vec<&Row>; 2] =
            [0, 1].map(|rest| rows.iter().copied().skip(rest).step_by(2).collect());
        let others = measurements.rows.iter().filter(|row| row.changes.len() <= 2);
        let fitted = Measurements { rows: others.chain(even).cloned().collect(), ..measurements.clone() };

        let found = influences(&fitted);

        near_by_name("influence", &measurements.space, &found.influence, &expected["influence"]);
        let predictor = fit(Method::Published, &fitted).expect("published rows can be fitted");
        let predicted: Vec<f64> =
            odd.iter().map(|row| predictor.predict(&row.levels(&measurements.space)).value).collect();
        near_figures(&predicted, &odd, expected);
    }
}

#[test]
fn golden_objectives_of_listed_bit_configs_are_those_published() {
    for (expected, published) in models() {
        let measurements = &published.measurements;
        let mut space = measurements.space.clone();
        let widths: Vec<Bits> = (4..=8).map(|bits| Bits::new(bits).expect("a width")).collect();
        space.variables.iter_mut().for_each(|variable| variable.widths = widths.clone());

        let forms = objectives(measurements, &published.influence, &space).expect("all layers are measured");

        // Some bit configs are listed with their costs alone.
        let listed = expected["configs"].as_array().expect("a list").iter();
        let configs: Vec<&Value> = listed.filter(|config| !config["f1_all_variables"].is_null()).collect();
        assert!(!configs.is_empty(), "{}", expected["model"]);
        for config in configs {
            let bits = config["bits"].as_array().expect("a list");
            let all: Vec<u8> = bits.iter().map(|bits| bits.as_u64().expect("a width") as u8 - 4).collect();
            let weights = space.variables.iter().zip(&all).map(|(variable, level)| match variable.kind {
                PointKind::Weight => *level,
                PointKind::Activation => variable.reference(),
            });
            for (levels, of) in [(weights.collect(), "weights_only"), (all.clone(), "all_variables")] {
                for (form, objective) in forms.iter().zip(["f1", "f2"]) {
                    let expected = &config[format!("{objective}_{of}")];
                    let size = expected.as_f64().expect("a number").abs();
                    near(objective, form.value(&space, &levels), expected, 1e-9 * size);
                }
            }
        }
    }
}
