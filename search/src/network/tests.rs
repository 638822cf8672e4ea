use bitloop_core::graph::{Conv2d, Graph, Input, Linear, Op, Padding, Pool, Shape};
use bitloop_core::qkeras::Grammar;
use serde_json::{Value, json};

use super::{Class, Kind, LayerPadding, Network, QuantizeError, QuantizerDictionary, ResizeError, Weight};

fn small_graph() -> Graph {
    let shape = Shape::image(3, 10, 8);
    let mut graph = Graph::new("small", Input { shape, mean: vec![0.0; 3], std: vec![1.0; 3] });
    let conv = |out_channels: usize, kernel: [usize; 2], groups: usize, padding: Padding, bias: bool| {
        Op::Conv2d(Conv2d { out_channels, kernel, stride: [1, 1], padding, dilation: [1, 1], groups, bias })
    };
    let pool = Pool { kernel: [2, 2], stride: [2, 2], padding: Padding::default(), count_padding: false };
    graph.push("conv".to_owned(), conv(4, [3, 3], 1, Padding::all(1), false), &["input"]);
    graph.push("bn".to_owned(), Op::BatchNorm { eps: 1e-3 }, &["conv"]);
    graph.push("act".to_owned(), Op::Relu, &["bn"]);
    graph.push("dw".to_owned(), conv(8, [3, 3], 4, Padding::default(), true), &["act"]);
    graph.push("grouped".to_owned(), conv(6, [1, 1], 2, Padding::default(), true), &["dw"]);
    graph.push("pool".to_owned(), Op::MaxPool(pool), &["grouped"]);
    graph.push("flat".to_owned(), Op::Flatten, &["pool"]);
    graph.push("dense".to_owned(), Op::Linear(Linear { out_features: 5, bias: true }), &["flat"]);
    graph
}

fn small() -> Network {
    Network::of_graph(&small_graph()).expect("the graph is right")
}

fn weights_of<'a>(network: &'a Network, layer: &str) -> &'a [Weight] {
    &network.layer(layer).expect("the layer is there").weights
}

#[test]
fn class_names_come_back_as_they_were() {
    for name in ["Dense", "QDense", "QBatchNormalization", "QAdaptiveActivation", "Lambda", "QOdd", "GRU"] {
        let class: Class = name.parse().expect("every name is a class");

        assert_eq!(class.to_string(), name);
        assert_eq!(class.quantized, name.starts_with('Q') && name != "QOdd");
    }
}

#[test]
fn graph_becomes_layers_with_channels_last() {
    let network = small();

    let layer = |name: &str| network.layer(name).expect("the layer is there");
    assert_eq!(layer("input").output_shape, [10, 8, 3]);
    assert_eq!(layer("conv").padding, Some(LayerPadding::Same));
    assert_eq!(layer("conv").weights, [Weight::new("kernel", &[3, 3, 3, 4])]);
    assert_eq!(layer("bn").weights.len(), 4);
    assert_eq!(layer("act").activation(), Some("relu"));
    assert_eq!(layer("dw").class, Class::plain(Kind::DepthwiseConv2D));
    assert_eq!(layer("dw").output_shape, [8, 6, 8]);
    assert_eq!(
        layer("dw").weights,
        [Weight::new("depthwise_kernel", &[3, 3, 4, 2]), Weight::new("bias", &[8])]
    );
    assert_eq!(layer("grouped").weights[0].shape, [1, 1, 4, 6]);
    assert_eq!(layer("dense").input_shape, [[4 * 3 * 6]]);
    assert_eq!(network.consumers("act").map(|layer| layer.name.as_str()).collect::<Vec<_>>(), ["dw"]);
}

#[test]
fn changed_filters_reach_every_layer_behind() {
    let mut network = small();

    network.layer_mut("conv").expect("the layer is there").filters = Some(6);
    network.layer_mut("grouped").expect("the layer is there").filters = Some(2);
    network.resize().expect("every layer can follow");

    assert_eq!(weights_of(&network, "conv")[0].shape, [3, 3, 3, 6]);
    assert_eq!(weights_of(&network, "bn")[3].shape, [6]);
    assert_eq!(weights_of(&network, "dw")[0].shape, [3, 3, 6, 2]);
    assert_eq!(weights_of(&network, "dw")[1].shape, [12]);
    assert_eq!(weights_of(&network, "grouped")[0].shape, [1, 1, 6, 2]);
    assert_eq!(network.layer("flat").expect("the layer is there").output_shape, [4 * 3 * 2]);
    assert_eq!(weights_of(&network, "dense")[0].shape, [24, 5]);
}

#[test]
fn resizing_what_did_not_change_changes_nothing() {
    let mut network = small();

    network.resize().expect("nothing changed");

    assert_eq!(network, small());
}

#[test]
fn reshape_behind_changed_filters_is_refused() {
    let mut graph = small_graph();
    graph.push("reshape".to_owned(), Op::Reshape { shape: vec![5, 1, 1] }, &["dense"]);
    let mut network = Network::of_graph(&graph).expect("the graph is right");

    network.layer_mut("dense").expect("the layer is there").units = Some(4);

    let fixed = ResizeError::Fixed { layer: "reshape".to_owned(), class: "Reshape".to_owned() };
    assert_eq!(network.resize(), Err(fixed));
}

#[test]
fn sum_of_branches_of_different_widths_is_refused() {
    let mut graph = small_graph();
    graph.push("sum".to_owned(), Op::Add, &["act", "bn"]);
    graph.push("twice".to_owned(), Op::Concat { axis: 0 }, &["act", "conv"]);
    graph.push("dense2".to_owned(), Op::Linear(Linear { out_features: 7, bias: false }), &["flat"]);
    graph.push("wrong".to_owned(), Op::Add, &["dense2", "dense2"]);
    graph.push("sums".to_owned(), Op::Concat { axis: 0 }, &["dense", "dense2"]);
    let mut network = Network::of_graph(&graph).expect("the graph is right");

    network.layer_mut("conv").expect("the layer is there").filters = Some(2);
    network.resize().expect("both branches change");
    assert_eq!(network.layer("twice").expect("the layer is there").output_shape, [10, 8, 4]);

    network.layer_mut("wrong").expect("the layer is there").inbound[0] = "dense".to_owned();
    assert!(matches!(network.resize(), Err(ResizeError::Merge { layer, .. }) if layer == "wrong"));
}

fn quantized(dictionary: Value, grammar: Grammar) -> Result<Network, QuantizeError> {
    let dictionary: QuantizerDictionary = serde_json::from_value(dictionary).expect("a dictionary");
    small().quantized(&dictionary, 4, grammar)
}

#[test]
fn dictionary_quantizes_the_layers_that_it_names() {
    let dictionary = json!({
        "conv": { "kernel_quantizer": "binary", "bias_quantizer": "quantized_bits(4)" },
        "bn": {},
        "act": "quantized_relu(4,2)",
        "dw": { "depthwise_quantizer": "ternary(alpha=1.0)", "bias_quantizer": null },
        "flat": {},
        "QDense": { "kernel_quantizer": "quantized_po2(4)", "bias_quantizer": "quantized_bits(4)" },
    });

    let network = quantized(dictionary, Grammar::Strict).expect("it fits");

    let layer = |name: &str| network.layer(name).expect("the layer is there");
    let quantizers = |name: &str| {
        let texts = layer(name).quantizers.iter().map(|text| text.as_deref().unwrap_or("-"));
        (layer(name).class.to_string(), texts.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(quantizers("conv"), ("QConv2D".to_owned(), "binary(alpha='auto_po2') -".to_owned()));
    assert_eq!(quantizers("bn"), ("QBatchNormalization".to_owned(), "- - - - -".to_owned()));
    assert_eq!(quantizers("dw"), ("QDepthwiseConv2D".to_owned(), "ternary(alpha=1.0) -".to_owned()));
    assert_eq!(
        quantizers("dense"),
        ("QDense".to_owned(), "quantized_po2(4) quantized_bits(4,0,0)".to_owned())
    );
    assert_eq!(layer("act").activation(), Some("quantized_relu(4,2)"));
    assert_eq!(layer("flat"), small().layer("flat").expect("the layer is there"));
    assert_eq!(layer("grouped"), small().layer("grouped").expect("the layer is there"));
}

#[test]
fn entries_of_a_class_are_for_layers_without_their_own_and_tell_activations_apart() {
    let dictionary = json!({
        "QActivation": { "relu": "quantized_relu(2)", "tanh": "quantized_tanh(2)" },
        "QConv2D": { "kernel_quantizer": "binary" },
        "QConv1D": { "kernel_quantizer": "binary" },
        "grouped": {},
    });

    let network = quantized(dictionary, Grammar::Strict).expect("it fits");

    assert_eq!(network.layer("act").expect("the layer is there").activation(), Some("quantized_relu(2,0)"));
    let is_quantized = |name: &str| network.layer(name).expect("the layer is there").class.quantized;
    assert_eq!(["conv", "grouped", "dw"].map(is_quantized), [true, false, false]);
}

#[test]
fn dictionaries_that_do_not_fit_name_the_layer() {
    let error =
        |dictionary: Value| quantized(dictionary, Grammar::Strict).expect_err("it does not fit").to_string();

    let unknown = error(json!({ "conv9": {} }));
    assert!(unknown.contains("`conv9`") && unknown.contains("conv, bn, act, dw"), "{unknown}");
    let flat = error(json!({ "flat": { "kernel_quantizer": "binary" } }));
    assert!(flat.contains("`flat` of class `Flatten` has no kernel_quantizer"), "{flat}");
    let field = error(json!({ "conv": { "kernel": "binary" } }));
    assert!(field.contains("has no kernel;") && field.contains("kernel_quantizer"), "{field}");
    let text = error(json!({ "dense": { "kernel_quantizer": "quantized_bit(4)" } }));
    assert!(text.contains("`dense`") && text.contains("quantized_bit"), "{text}");
    let no_kernel = json!({ "dense": { "bias_quantizer": "quantized_bits(4)" } });
    assert!(error(no_kernel.clone()).contains("kernel_quantizer"));
    let left = quantized(no_kernel, Grammar::Qkeras).expect("QKeras leaves such layers as they are");
    assert_eq!(left, small());
}
