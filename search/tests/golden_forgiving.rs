//! Sizes, forgiving factors and scores beside those of AutoQKeras.

#[path = "common/qkeras.rs"]
mod qkeras;

use bitloop_search::energy::ValueCounts;
use bitloop_search::goal::{self, BitsGoal, Comparison, ForgivingFactor, Goal, LayerBits, Size};
use bitloop_search::network::{Kind, Network};
use qkeras::{array, file, word};
use serde_json::Value;
use std::io::Write as _;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[track_caller]
fn assert_close(found: f64, expected: &Value, what: &str) {
    let expected = match expected.as_str() {
        Some(text) => text.parse().expect("a number"),
        None => number(expected),
    };
    let close = found == expected || (found - expected).abs() <= 2e-6 * expected.abs();
    assert!(close, "{what}: {found} instead of {expected}");
}

/// The network that a dictionary of quantizers makes of a plain one, as far as its bits go.
fn quantized(plain: &Network, case: &Value) -> Network {
    let mut network = plain.clone();
    for layer in &mut network.layers {
        let Some(entry) = case["quantization_dict"].get(&layer.name) else { continue };
        layer.class.quantized = true;
        if layer.class.kind == Kind::Activation {
            layer.activation_text = Some(word(entry).to_owned());
            continue;
        }
        let quantizer = |name: &str| entry.get(name).map(|text| word(text).to_owned());
        layer.quantizers = vec![
            quantizer("kernel_quantizer").or_else(|| quantizer("depthwise_quantizer")),
            quantizer("bias_quantizer"),
        ];
        if layer.activation() == Some("relu") {
            layer.activation_text = Some(format!("quantized_relu({})", case["activation_bits"]));
        }
    }
    network
}

fn assert_layers(found: &[LayerBits], expected: &Value, what: &str) {
    let expected = expected.as_object().expect("sizes by layer");
    for layer in found {
        let of = |key: &str| expected[&layer.name][key].as_u64();
        assert_eq!(Some(layer.parameters), of("parameters"), "{what}, {}", layer.name);
        assert_eq!(Some(layer.activations), of("activations"), "{what}, {}", layer.name);
        assert_eq!(Some(layer.total), of("total"), "{what}, {}", layer.name);
    }
    for (name, layer) in expected {
        let is_found = found.iter().any(|found| found.name == *name);
        assert!(is_found || layer["total"] == 0, "{what}: {name} is not counted");
    }
}

#[test]
fn golden_forgiving_factors_and_scores() {
    let Some(cases) = file("forgiving_factor.json") else { return };
    let cases = array(&cases["delta_cases"]);
    for case in cases {
        let factor: ForgivingFactor = serde_json::from_value(case.clone()).expect("four numbers");
        factor.check().expect("they make sense");
        let size = |key: &str| Size { total: number(&case[key]), layers: Vec::new() };

        let comparison = factor.compare(&size("reference"), &size("trial"));

        assert_close(comparison.delta, &case["delta"], &case.to_string());
        let score = comparison.score(number(&case["metric"]));
        assert_close(f64::from(score), &case["score_f32"], &case.to_string());
    }
    eprintln!("{} cases", cases.len());
}

#[test]
fn golden_forgiving_bits_of_layers_and_networks() {
    let (Some(cases), Some(energy)) = (file("forgiving_factor.json"), file("energy.json")) else { return };
    for case in array(&cases["bits_cases"]) {
        let name = word(&case["model"]);
        let model = array(&energy["models"]).iter().find(|model| word(&model["model"]) == name);
        let model = model.expect("the model is described with the energies");
        let network: Network = serde_json::from_value(model["layers"].clone()).expect("layers of Keras");
        let trial = quantized(&network, case);
        let goal: BitsGoal = serde_json::from_value(case["params"].clone()).expect("a goal's numbers");
        let layers = |network: &Network| {
            goal::bits_of_layers(&goal, network, true).expect("quantizers that can be read")
        };
        assert_layers(&layers(&network), &case["reference_per_layer"], name);
        assert_layers(&layers(&trial), &case["trial_per_layer"], name);

        let goal = Goal::Bits(goal);
        let reference = goal::reference(&goal, &network, true).expect("quantizers that can be read");
        let trial =
            goal::trial(&goal, &trial, &ValueCounts::new(), true).expect("quantizers that can be read");
        let comparison = goal.factor().compare(&reference, &trial);

        assert_comparison(&comparison, case);
        eprintln!("{name}: {} of {} bits", trial.total, reference.total);
    }
}

fn assert_comparison(comparison: &Comparison, case: &Value) {
    let name = word(&case["model"]);
    assert_eq!(comparison.reference, number(&case["reference_size"]), "{name}");
    assert_eq!(comparison.trial, number(&case["trial_size"]), "{name}");
    assert_close(comparison.delta, &case["delta"], name);
    assert_close(comparison.total_factor, &case["total_factor"], name);
}

#[test]
fn golden_energy_goals_have_the_reference_of_the_scheduler() {
    let (Some(cases), Some(energy)) = (file("scheduler.json"), file("energy.json")) else { return };
    let mut checked = 0;
    for case in array(&cases["cases"]) {
        let name = word(&case["model"]);
        let model = array(&energy["models"]).iter().find(|model| word(&model["model"]) == name);
        let Some(model) = model else {
            drop(writeln!(std::io::stderr(), "skipped: {name} is not described"));
            continue;
        };
        let network: Network = serde_json::from_value(model["layers"].clone()).expect("layers of Keras");
        let goal: Goal = serde_json::from_value(case["goal"].clone()).expect("a goal");

        let reference = goal::reference(&goal, &network, true).expect("a size");

        let stressed = reference.total * goal.factor().stress;
        let expected = number(&case["reference_size"]);
        assert!((stressed - expected).abs() <= 1.0, "{name}: {stressed} instead of {expected}");
        for (layer, cost) in case["layer_costs"].as_object().expect("costs by layer") {
            let (found, cost) = (reference.of_layer(layer), number(cost));
            assert!((found - cost).abs() <= 0.01 + 1e-6 * cost, "{name}, {layer}: {found} instead of {cost}");
        }
        checked += 1;
    }
    eprintln!("{checked} goals");
}
