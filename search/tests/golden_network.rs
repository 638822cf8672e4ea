//! Networks beside Keras's own descriptions of them.

#[path = "common/qkeras.rs"]
mod qkeras;

use bitloop_core::qkeras::{Grammar, Quantizer};
use bitloop_search::network::{Layer, Network, QuantizerDictionary};
use qkeras::{array, file, word};
use serde_json::Value;

/// Every network of the energy file, under a name.
fn networks(energy: &Value) -> Vec<(String, &Value)> {
    let of = |model: &Value| word(&model["model"]).to_owned();
    let models = array(&energy["models"]).iter();
    models
        .flat_map(|model| {
            let variant = |variant: &Value| word(&variant["variant"]).to_owned();
            let quantized = array(&model["quantized"]).iter();
            let quantized =
                quantized.map(move |case| (format!("{}/{}", of(model), variant(case)), &case["layers"]));
            std::iter::once((of(model), &model["layers"])).chain(quantized)
        })
        .collect()
}

#[test]
fn golden_networks_are_read_whole() {
    let Some(energy) = file("energy.json") else { return };
    for (name, layers) in networks(&energy) {
        let network: Network = serde_json::from_value(layers.clone()).expect("layers as Keras has them");
        let written = serde_json::to_value(&network).expect("layers can be written");
        for (layer, written) in array(layers).iter().zip(array(&written)) {
            for (key, value) in layer.as_object().expect("a layer") {
                let is_absent = value.is_null() && written.get(key).is_none();
                assert!(is_absent || *value == written[key], "{name}, {}: {key}", layer["name"]);
            }
        }
        eprintln!("{name}: {} layers", network.layers.len());
    }
}

#[test]
fn golden_shapes_follow_from_filters_and_units() {
    let Some(energy) = file("energy.json") else { return };
    for (name, layers) in networks(&energy) {
        let expected: Network = serde_json::from_value(layers.clone()).expect("layers as Keras has them");
        let mut network = expected.clone();
        for layer in &mut network.layers {
            layer.filters = layer.filters.map(|filters| filters * 3);
            layer.units = layer.units.map(|units| units + 1);
        }
        network.resize().expect("every layer can follow");
        assert_eq!(
            network.layers.last().map(|layer| layer.output_shape.clone()),
            outputs_plus_one(&expected)
        );

        for (layer, before) in network.layers.iter_mut().zip(&expected.layers) {
            (layer.filters, layer.units) = (before.filters, before.units);
        }
        network.resize().expect("every layer can follow");

        assert_eq!(network, expected, "{name}");
    }
}

fn outputs_plus_one(network: &Network) -> Option<Vec<usize>> {
    network.layers.last().map(|layer| vec![layer.output_shape[0] + 1])
}

#[test]
fn golden_dictionaries_make_the_networks_that_qkeras_makes() {
    let Some(energy) = file("energy.json") else { return };
    let read = |layers: &Value| -> Network { serde_json::from_value(layers.clone()).expect("layers") };
    for model in array(&energy["models"]) {
        let plain = read(&model["layers"]);
        for case in array(&model["quantized"]) {
            let name = format!("{}/{}", word(&model["model"]), word(&case["variant"]));
            let dictionary: QuantizerDictionary =
                serde_json::from_value(case["quantization_dict"].clone()).expect("a dictionary");
            let bits = case["activation_bits"].as_u64().expect("a width") as u32;

            let quantized = plain.quantized(&dictionary, bits, Grammar::Qkeras).expect("it fits");

            let expected = read(&case["layers"]);
            assert_eq!(quantized.layers.len(), expected.layers.len(), "{name}");
            for (quantized, expected) in quantized.layers.iter().zip(&expected.layers) {
                assert_eq!(canonical(quantized), canonical(expected), "{name}");
            }
            eprintln!("{name}: {} entries", dictionary.entries.len());
        }
    }
}

/// A layer whose quantizers are spelled as we spell them.
fn canonical(layer: &Layer) -> Layer {
    let spelled = |text: &String| match Quantizer::parse(text, Grammar::Qkeras) {
        Ok(quantizer) => quantizer.spelling(),
        Err(_) => text.clone(),
    };
    let mut layer = layer.clone();
    layer.activation_text = layer.activation_text.as_ref().map(spelled);
    layer.quantizers = layer.quantizers.iter().map(|text| text.as_ref().map(spelled)).collect();
    layer
}
