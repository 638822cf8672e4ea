//! Energies and number types beside those of QTools.

#[path = "common/qkeras.rs"]
mod qkeras;

use bitloop_search::energy::{
    EnergyOptions, LayerTypes, Memory, NumberKind, NumberType, Operator, Process, Profile, Role,
    TypedNetwork, ValueCounts, View, types,
};
use bitloop_search::goal::{SourceNumber, source_number};
use bitloop_search::network::Network;
use qkeras::{array, file, word};
use serde_json::{Value, json};

/// One instance of QTools: a network, its options, and what came out.
struct Instance<'v> {
    name: String,
    network: Network,
    counts: &'v Value,
    expected: &'v Value,
}

fn instances(energy: &Value) -> Vec<Instance<'_>> {
    let mut instances = Vec::new();
    for model in array(&energy["models"]) {
        let name = word(&model["model"]).to_owned();
        let network = network(&model["layers"]);
        instances.extend(array(&model["reference"]).iter().map(|expected| Instance {
            name: format!("{name} {}", expected["options"]),
            network: network.clone(),
            counts: &Value::Null,
            expected,
        }));
        for case in array(&model["quantized"]) {
            let network = self::network(&case["layers"]);
            instances.extend(array(&case["runs"]).iter().map(|expected| Instance {
                name: format!("{name}/{} {}", word(&case["variant"]), expected["options"]),
                network: network.clone(),
                counts: &case["unique_value_counts"],
                expected,
            }));
        }
    }
    instances
}

fn network(layers: &Value) -> Network {
    serde_json::from_value(layers.clone()).expect("layers as Keras has them")
}

fn number(text: &Value) -> NumberType {
    let number: Option<SourceNumber> = serde_json::from_value(text.clone()).expect("a number type");
    number.map_or(NumberType::DEFAULT, |number| source_number(&number, true).expect("QTools knows it"))
}

fn options(instance: &Instance<'_>) -> EnergyOptions {
    let options = &instance.expected["options"];
    let sources = options["source_quantizers"].as_array();
    let view = if options["for_reference"] == true { View::Reference } else { View::Trial };
    let counted = match (options["is_inference"] == true, options["model_weights_already_quantized"] == false)
    {
        (false, _) => None,
        (true, false) => Some("raw"),
        (true, true) => Some("quantized"),
    };
    let mut values = ValueCounts::new();
    if let (Some(counted), Some(layers)) = (counted, instance.counts.as_object()) {
        let count = |count: &Value| count.as_u64().expect("a count");
        values.extend(
            layers
                .iter()
                .map(|(layer, counts)| (layer.clone(), array(&counts[counted]).iter().map(count).collect())),
        );
    }
    EnergyOptions {
        view,
        sources: sources.map_or_else(Vec::new, |sources| sources.iter().map(number).collect()),
        plain_weights: number(&options["keras_quantizer"]),
        plain_accumulator: number(&options["keras_accumulator"]),
        values,
        qkeras: true,
    }
}

fn typed(instance: &Instance<'_>) -> TypedNetwork {
    types(&instance.network, &options(instance)).unwrap_or_else(|error| panic!("{}: {error}", instance.name))
}

/// A type as the reference writes it: name, mode, bits, bits before the point, signed, float, and two more for powers.
fn written(number: &NumberType) -> Value {
    let start = |mode: u64| {
        let (signed, float) = (u64::from(number.signed), u64::from(number.is_float()));
        vec![
            json!(number.name),
            json!(mode),
            json!(number.bits),
            json!(number.int_bits),
            json!(signed),
            json!(float),
        ]
    };
    Value::Array(match number.kind {
        NumberKind::Fixed => start(0),
        NumberKind::PowerOfTwo { max_value, values } => {
            let max_value = max_value.map_or(-1, |max| max as i64);
            let values = values.map_or(-1, |values| values as i64);
            [start(1), vec![json!(max_value), json!(values)]].concat()
        }
        NumberKind::Ternary => start(2),
        NumberKind::Binary => start(3),
        NumberKind::ZeroOne => start(4),
        NumberKind::Float => start(5),
    })
}

#[track_caller]
fn assert_operator(found: &Operator, expected: &Value, what: &str) {
    assert_eq!(format!("{:?}", found.implementation), word(&expected["impl"]), "{what}");
    let circuit = serde_json::to_value(found.implementation.circuit()).expect("a word");
    assert_eq!(circuit, expected["as"], "{what}");
    assert_eq!(written(&found.output), expected["output"], "{what}");
    let Some(gate) = expected["gate"].as_array() else { return };
    for (found, expected) in [(found.gate_factor, &gate[0]), (found.gate_bits, &gate[1])] {
        let expected = expected.as_f64().expect("a number");
        assert!((found - expected).abs() <= 1e-9 * expected, "{what}: gate {found} instead of {expected}");
    }
}

fn assert_types(layer: &LayerTypes, expected: &Value, instance: &str) {
    for (key, expected) in expected.as_object().expect("types by what they are of") {
        let what = format!("{instance}, {}: {key}", layer.name);
        let role = |role: Role| layer.operator(role).unwrap_or_else(|| panic!("{what} is missing"));
        let weight = |name: &str| {
            let parameter = layer.parameter(name).unwrap_or_else(|| panic!("{what} is missing"));
            assert_eq!(written(&parameter.number), *expected, "{what}");
        };
        match key.as_str() {
            "inputs" => {
                let inputs = layer.inputs.iter().map(|(number, _)| written(number));
                assert_eq!(Value::Array(inputs.collect()), *expected, "{what}");
            }
            "output" => assert_eq!(written(&layer.output), *expected, "{what}"),
            "operation_count" => assert_eq!(Some(layer.operation_count), expected.as_u64(), "{what}"),
            "weight_quantizer" => weight("kernel"),
            "bias_quantizer" => weight("bias"),
            "gamma_quantizer" => weight("gamma"),
            "beta_quantizer" => weight("beta"),
            "mean_quantizer" => weight("moving_mean"),
            "variance_quantizer" => weight("moving_variance"),
            "multiplier" => assert_operator(role(Role::Multiplier), expected, &what),
            "accumulator" => assert_operator(role(Role::Accumulator), expected, &what),
            "internal_divide_quantizer" => assert_operator(role(Role::InternalDivider), expected, &what),
            "internal_multiplier" => assert_operator(role(Role::InternalMultiplier), expected, &what),
            "internal_accumulator" => assert_operator(role(Role::InternalAccumulator), expected, &what),
            _ => panic!("{what} is not compared"),
        }
    }
}

#[test]
fn golden_energy_types_operators_and_gates() {
    let Some(energy) = file("energy.json") else { return };
    let mut layers = 0;
    for instance in instances(&energy) {
        let typed = typed(&instance);
        let expected = instance.expected["data_types"].as_object().expect("types by layer");
        assert_eq!(typed.layers.len(), expected.len(), "{}", instance.name);
        for layer in &typed.layers {
            assert_types(layer, &expected[&layer.name], &instance.name);
            layers += 1;
        }
    }
    eprintln!("{layers} layers");
}

#[test]
fn golden_energy_profiles_and_sums() {
    let Some(energy) = file("energy.json") else { return };
    let (mut profiles, mut largest) = (0, 0.0_f64);
    for instance in instances(&energy) {
        let typed = typed(&instance);
        for result in array(&instance.expected["results"]) {
            let memory: Memory = serde_json::from_value(result["pe"].clone()).expect("a memory");
            let profile = typed.profile(Process::Horowitz, &memory).expect("everything has a price");
            let what = format!("{} {}", instance.name, result["pe"]);
            largest = largest.max(assert_profile(&profile, &result["profile"], &what));
            for (found, key) in [(profile.energy_sum, "energy_sum"), (profile.total_cost, "total_cost")] {
                let expected = result[key].as_u64().expect("a whole number");
                assert!(found.abs_diff(expected) <= 1, "{what}: {key} {found} instead of {expected}");
            }
            profiles += 1;
        }
    }
    eprintln!("{profiles} profiles, at most {largest:.1e} pJ apart");
}

/// Entries are rounded to two decimals on either side, so that they may differ by one unit of the last.
fn assert_profile(profile: &Profile, expected: &Value, what: &str) -> f64 {
    let expected = expected.as_object().expect("entries by layer");
    assert_eq!(profile.layers.len(), expected.len(), "{what}");
    let mut largest = 0.0_f64;
    for layer in &profile.layers {
        let name = &layer.types.name;
        let found = [layer.inputs, layer.outputs, layer.parameters, layer.op_cost, layer.total];
        let expected = array(&expected[name]);
        assert_eq!(expected.len(), found.len());
        for (found, expected) in found.into_iter().zip(expected) {
            let difference = (found - expected.as_f64().expect("a number")).abs();
            assert!(difference <= 0.01 + 1e-6, "{what}, {name}: {found} instead of {expected}");
            largest = largest.max(difference);
        }
    }
    largest
}
