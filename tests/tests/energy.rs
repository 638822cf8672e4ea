//! What an inference costs: networks of the zoo beside QTools's results, and `bitloop inspect --energy` as typed.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use bitloop_core::graph::{Graph, Input, Shape};
use bitloop_core::qkeras::Grammar;
use bitloop_core::spec::{ConvBlock, Initializer, Separable};
use bitloop_quant::zoo::conv_block;
use bitloop_search::energy::{EnergyOptions, Memory, NumberType, Process, Profile, View, types};
use bitloop_search::goal::{SourceNumber, source_number};
use bitloop_search::network::{Network, QuantizerDictionary};
use bitloop_tests::process::{Said, say};
use bitloop_tests::{root, shared};
use serde_json::{Value, json};

/// Images of MNIST and Fashion-MNIST.
const SIZE: usize = 28;
const CLASSES: usize = 10;

/// The architecture that AutoQKeras's examples have for a data set.
fn architecture(data_set: &str) -> Option<ConvBlock> {
    let plain = ConvBlock {
        filters: [16, 32, 48, 64, 128].map(|filters| vec![filters]).to_vec(),
        kernel: 3,
        max_pooling: false,
        separable: Separable::None,
        xnornet_trick: false,
        batch_norm: true,
        all_conv: false,
        dropout: 0.2,
        initializer: Initializer::HeNormal,
    };
    match data_set {
        "mnist" => Some(plain),
        "fashion_mnist" => Some(ConvBlock {
            filters: vec![vec![16], vec![32; 3], vec![64; 3]],
            max_pooling: true,
            separable: Separable::Mobilenet,
            xnornet_trick: true,
            ..plain
        }),
        _ => None,
    }
}

fn graph(spec: &ConvBlock, name: &str) -> Graph {
    let input = Input { shape: Shape::image(1, SIZE, SIZE), mean: vec![0.0], std: vec![1.0] };
    conv_block(spec, name, input, CLASSES).expect("the zoo makes it")
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn number(text: &Value) -> NumberType {
    let number: Option<SourceNumber> = serde_json::from_value(text.clone()).expect("a number type");
    number.map_or(NumberType::DEFAULT, |number| source_number(&number, true).expect("QTools knows it"))
}

/// The profiles of a network with the options of a QTools instance, beside those that it gave.
fn assert_profiles(network: &Network, expected: &Value, what: &str) {
    let options = &expected["options"];
    let sources = options["source_quantizers"].as_array();
    let options = EnergyOptions {
        view: if options["for_reference"] == true { View::Reference } else { View::Trial },
        sources: sources.map_or_else(Vec::new, |sources| sources.iter().map(number).collect()),
        plain_weights: number(&options["keras_quantizer"]),
        plain_accumulator: number(&options["keras_accumulator"]),
        qkeras: true,
        ..EnergyOptions::default()
    };
    let typed = types(network, &options).unwrap_or_else(|error| panic!("{what}: {error}"));
    for result in array(&expected["results"]) {
        let memory: Memory = serde_json::from_value(result["pe"].clone()).expect("a memory");
        let profile = typed.profile(Process::Horowitz, &memory).expect("everything has a price");
        assert_profile(&profile, result, &format!("{what} {}", result["pe"]));
    }
}

/// Entries are rounded to two decimals on either side, so that they may differ by one unit of the last; sums are cut off.
fn assert_profile(profile: &Profile, expected: &Value, what: &str) {
    let layers = expected["profile"].as_object().expect("entries by layer");
    assert_eq!(profile.layers.len(), layers.len(), "{what}");
    for layer in &profile.layers {
        let name = &layer.types.name;
        let found = [layer.inputs, layer.outputs, layer.parameters, layer.op_cost, layer.total];
        let expected = layers.get(name).unwrap_or_else(|| panic!("{what}: QTools has no layer {name}"));
        for (found, expected) in found.into_iter().zip(array(expected)) {
            let expected = expected.as_f64().expect("a number");
            assert!((found - expected).abs() <= 0.01 + 1e-6, "{what}, {name}: {found} is not {expected}");
        }
    }
    for (found, key) in [(profile.energy_sum, "energy_sum"), (profile.total_cost, "total_cost")] {
        let expected = expected[key].as_u64().expect("a whole number");
        assert!(found.abs_diff(expected) <= 1, "{what}: {key} {found} is not {expected}");
    }
}

#[test]
fn golden_networks_of_the_zoo_cost_what_qtools_says() {
    let path = shared().join("reference/qkeras/energy.json");
    let Ok(text) = fs::read_to_string(&path) else {
        drop(writeln!(std::io::stderr(), "skipped: {} is not there", path.display()));
        return;
    };
    let energy: Value = serde_json::from_str(&text).expect("JSON");
    let mut compared = 0;
    for model in array(&energy["models"]) {
        let name = model["model"].as_str().expect("a name");
        let Some(spec) = architecture(name) else {
            drop(writeln!(std::io::stderr(), "skipped: {name} is not of the zoo"));
            continue;
        };
        let network = Network::of_graph(&graph(&spec, name)).expect("the zoo's graphs are right");
        let described = |layer: &Value| (layer["name"].clone(), layer["class"].clone());
        let found = serde_json::to_value(&network).expect("layers can be written");
        let found: Vec<_> = array(&found).iter().map(described).collect();
        assert_eq!(found, array(&model["layers"]).iter().map(described).collect::<Vec<_>>(), "{name}");
        for expected in array(&model["reference"]) {
            assert_profiles(&network, expected, name);
            compared += 1;
        }
        for case in array(&model["quantized"]) {
            let dictionary: QuantizerDictionary =
                serde_json::from_value(case["quantization_dict"].clone()).expect("a dictionary");
            let quantized = network.quantized(&dictionary, 4, Grammar::Qkeras).expect("it fits");
            // With `is_inference`, QTools looks at trained weights.
            let instances = array(&case["runs"]).iter();
            for expected in instances.filter(|instance| instance["options"]["is_inference"] == false) {
                assert_profiles(&quantized, expected, &format!("{name} {}", case["variant"]));
                compared += 1;
            }
        }
    }
    assert!(compared > 0, "{} has nothing that the zoo makes", path.display());
    eprintln!("{compared} instances");
}

fn inspect(folder: &Path, more: &[&str]) -> Said {
    let model = root().join("configs/quickstart/convblock.safetensors").display().to_string();
    say(folder, [&["inspect", &model, "--energy"], more].concat())
}

fn inspected(folder: &Path, more: &[&str]) -> Value {
    let said = inspect(folder, &[more, &["--output", "json"]].concat()).ok();
    serde_json::from_str(&said.out).expect("standard output is JSON")
}

/// Names of the layers of a class.
fn of_class(profile: &Value, class: &str) -> Vec<String> {
    let layers = array(&profile["layers"]).iter();
    let named = layers.filter(|layer| layer["types"]["class"] == class);
    named.map(|layer| layer["types"]["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn energy_of_the_reference_and_of_a_trial_as_typed() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let dictionary = json!({
        "QDense": { "kernel_quantizer": "quantized_bits(4,0,1)", "bias_quantizer": "quantized_bits(4,0,1)" },
        "QConv2D": { "kernel_quantizer": "ternary" },
        "QActivation": { "relu": "quantized_relu(4,2)" },
    });
    fs::write(folder.join("quantizers.json"), dictionary.to_string()).expect("a file");
    let memory = ["--weights-in", "sram", "--activations-in", "sram", "--read-write-on-io", "false"];
    let trial = [&memory[..], &["--quantizers", "quantizers.json", "--compat", "qkeras"]].concat();

    let (alone, both) = (inspected(folder, &memory), inspected(folder, &trial));

    assert_eq!(alone["trial"], Value::Null);
    assert_eq!(alone["reference"]["energy_sum"], both["reference"]["energy_sum"]);
    let sum = |profile: &Value| profile["energy_sum"].as_u64().expect("a whole number");
    assert!(sum(&both["trial"]) < sum(&both["reference"]), "{both}");
    assert_eq!(of_class(&both["trial"], "QDense"), of_class(&both["reference"], "Dense"));
    assert_eq!(of_class(&both["trial"], "QConv2D"), of_class(&both["reference"], "Conv2D"));
    let total = |layer: &Value| layer["total"].as_f64().expect("a number");
    let totals: f64 = array(&both["trial"]["layers"]).iter().map(total).sum();
    assert_eq!(totals as u64, sum(&both["trial"]));

    let text = inspect(folder, &trial).ok().out;
    for word in ["reference, in pJ", "trial, in pJ", "QDense", "Mux", "trial / reference"] {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }
    assert!(!text.contains("assumed"), "{text}");
}

#[test]
fn quantizers_that_qtools_lacks_are_marked_or_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let dictionary = json!({ "QDense": { "kernel_quantizer": "quantized_linear(4)" } });
    fs::write(folder.join("quantizers.json"), dictionary.to_string()).expect("a file");
    let trial = ["--quantizers", "quantizers.json"];

    let marked = inspected(folder, &trial);
    let text = inspect(folder, &trial).ok().out;
    let refused = inspect(folder, &[&trial[..], &["--compat", "qkeras"]].concat());

    assert_eq!(marked["trial"]["assumed"], json!(of_class(&marked["trial"], "QDense")));
    assert_eq!(marked["reference"]["assumed"], json!([]));
    assert!(text.contains("quantized_linear") && text.contains("does not know"), "{text}");
    assert_eq!(refused.status.code(), Some(2), "{}", refused.err);
    assert!(refused.err.contains("quantized_linear"), "{}", refused.err);
}

#[test]
fn wrong_energy_settings_have_one_clear_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let cases: [(&str, &[&str]); 6] = [
        ("{", &["quantizers.json", "line 1"]),
        ("[1]", &["quantizers.json", "kernel_quantizer"]),
        (r#"{ "nothing": {} }"#, &["quantizers.json", "`nothing`"]),
        (r#"{ "QDense": { "kernel": "binary" } }"#, &["quantizers.json", "has no kernel"]),
        (r#"{ "QDense": { "kernel_quantizer": "binery" } }"#, &["quantizers.json", "binery"]),
        (r#"{ "QFlatten": { "kernel_quantizer": "binary" } }"#, &["quantizers.json", "Flatten"]),
    ];
    for (text, words) in cases {
        fs::write(folder.join("quantizers.json"), text).expect("a file");
        let said = inspect(folder, &["--quantizers", "quantizers.json"]);
        assert_eq!(said.status.code(), Some(2), "{text}: {}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
        for word in words {
            assert!(said.err.contains(word), "`{word}` is missing in: {}", said.err);
        }
    }
    let missing = inspect(folder, &["--quantizers", "missing.json"]);
    assert!(missing.status.code() == Some(2) && missing.err.contains("missing.json"), "{}", missing.err);
    let setting = inspect(folder, &["--weights-in", "flash"]);
    assert!(setting.status.code() == Some(2) && setting.err.contains("sram"), "{}", setting.err);
}
