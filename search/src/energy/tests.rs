use bitloop_core::graph::{Conv2d, Graph, Input, Linear, Op, Padding, Pool, Shape};

use super::constants::Prices;
use super::{
    EnergyError, EnergyOptions, LayerTypes, Memory, NumberType, Operator, Placement, Process, Profile, Role,
    TypedNetwork, ValueCounts, View, types,
};
use crate::network::{Class, Kind, Layer, Network, Weight};

const SRAM: Memory = Memory {
    parameters: Placement::Sram,
    activations: Placement::Sram,
    min_sram_bits: 0,
    read_write_on_io: false,
};

fn small() -> Network {
    let shape = Shape::image(3, 8, 8);
    let mut graph = Graph::new("small", Input { shape, mean: vec![0.0; 3], std: vec![1.0; 3] });
    let conv = Conv2d {
        out_channels: 4,
        kernel: [3, 3],
        stride: [1, 1],
        padding: Padding::all(1),
        dilation: [1, 1],
        groups: 1,
        bias: true,
    };
    let pool = Pool { kernel: [2, 2], stride: [2, 2], padding: Padding::default(), count_padding: false };
    graph.push("conv".to_owned(), Op::Conv2d(conv), &["input"]);
    graph.push("act".to_owned(), Op::Relu, &["conv"]);
    graph.push("mean".to_owned(), Op::AveragePool(pool), &["act"]);
    graph.push("drop".to_owned(), Op::Dropout { rate: 0.5 }, &["mean"]);
    graph.push("flat".to_owned(), Op::Flatten, &["drop"]);
    graph.push("dense".to_owned(), Op::Linear(Linear { out_features: 5, bias: false }), &["flat"]);
    graph.push("end".to_owned(), Op::Dropout { rate: 0.5 }, &["dense"]);
    Network::of_graph(&graph).expect("the graph is right")
}

/// The small network with quantizers: the activation's and the two kernels'.
fn quantized(activation: &str, kernel: &str) -> Network {
    let mut network = small();
    for name in ["conv", "dense"] {
        let layer = network.layer_mut(name).expect("the layer is there");
        layer.class.quantized = true;
        layer.quantizers = vec![Some(kernel.to_owned()), None];
    }
    let layer = network.layer_mut("act").expect("the layer is there");
    layer.class.quantized = true;
    layer.activation_text = Some(activation.to_owned());
    network
}

fn without_pool(mut network: Network) -> Network {
    let layer = network.layer_mut("mean").expect("the layer is there");
    layer.class = Class::plain(Kind::MaxPooling2D);
    network
}

fn qkeras() -> EnergyOptions {
    EnergyOptions { qkeras: true, ..EnergyOptions::default() }
}

fn layer<'t>(typed: &'t TypedNetwork, name: &str) -> &'t LayerTypes {
    typed.layers.iter().find(|layer| layer.name == name).expect("the layer is there")
}

fn profile(network: &Network, options: &EnergyOptions) -> Profile {
    let typed = types(network, options).expect("the network has types");
    typed.profile(Process::Horowitz, &SRAM).expect("everything has a price")
}

fn merge_layer(kind: Kind) -> Network {
    let layer = |name: &str, class: Class, inbound: &[&str]| Layer {
        name: name.to_owned(),
        class,
        inbound: inbound.iter().map(|name| (*name).to_owned()).collect(),
        input_shape: vec![vec![4]; inbound.len().max(1)],
        output_shape: vec![4],
        ..Layer::default()
    };
    let input = |name: &str| layer(name, Class::plain(Kind::InputLayer), &[]);
    Network {
        layers: vec![
            input("a"),
            input("b"),
            input("c"),
            layer("merge", Class::plain(kind), &["a", "b", "c"]),
        ],
    }
}

#[test]
fn average_pooling_is_refused_as_qtools_fails_and_priced_otherwise() {
    let network = quantized("quantized_relu(4,2)", "quantized_bits(4,0,1)");
    let fails = EnergyError::QtoolsFails { layer: "mean".to_owned(), class: "AveragePooling2D".to_owned() };

    assert_eq!(types(&network, &qkeras()), Err(fails));

    let typed = types(&network, &EnergyOptions::default()).expect("the network has types");
    let mean = layer(&typed, "mean");
    assert_eq!(mean.output, NumberType::fixed(6, 4, false));
    assert_eq!(mean.operation_count, 8 * 8 * 4);
    assert!(profile(&network, &EnergyOptions::default()).layer("mean").expect("a layer").op_cost > 0.0);
}

#[test]
fn unknown_quantizers_are_assumed_fixed_point_and_marked() {
    let network = without_pool(quantized("quantized_sigmoid(6)", "quantized_linear(5,1)"));

    let typed = types(&network, &EnergyOptions::default()).expect("the network has types");

    assert!(layer(&typed, "conv").is_assumed());
    assert_eq!(layer(&typed, "conv").parameter("kernel").expect("a kernel").number.bits, 5);
    let expected = NumberType { name: "quantized_sigmoid", assumed: true, ..NumberType::fixed(6, 0, false) };
    assert_eq!(layer(&typed, "flat").output, expected);

    let unknown = |layer: &str, quantizer: &str| {
        let (layer, quantizer) = (layer.to_owned(), quantizer.to_owned());
        Err(EnergyError::UnknownQuantizer { layer, quantizer })
    };
    assert_eq!(types(&network, &qkeras()), unknown("conv", "quantized_linear(5,1)"));
    let network = without_pool(quantized("quantized_sigmoid(6)", "quantized_bits(5,1)"));
    assert_eq!(types(&network, &qkeras()), unknown("act", "quantized_sigmoid(6)"));
}

#[test]
fn inline_activation_that_qtools_does_not_know_leaves_the_accumulators_type() {
    let mut network = without_pool(quantized("quantized_relu(4,2)", "quantized_bits(4,0,1)"));
    network.layer_mut("conv").expect("the layer is there").activation_text =
        Some("quantized_sigmoid(6)".to_owned());

    let typed = types(&network, &qkeras()).expect("the network has types");

    let conv = layer(&typed, "conv");
    assert_eq!(conv.output, conv.operator(Role::Accumulator).expect("it adds").output);
}

#[test]
fn types_pass_unchanged_through_layers_that_move_values_unless_qtools_is_followed() {
    let network = without_pool(quantized("quantized_tanh(4)", "quantized_bits(4,0,1)"));

    let ours = types(&network, &EnergyOptions::default()).expect("the network has types");
    let theirs = types(&network, &qkeras()).expect("the network has types");

    assert_eq!(layer(&ours, "flat").output.bits, 4);
    assert_eq!(
        (layer(&theirs, "flat").output.name, layer(&theirs, "flat").output.bits),
        ("stochastic_ternary", 2)
    );
}

#[test]
fn what_layers_lack_costs_nothing_rather_than_less() {
    let profile = profile(&without_pool(small()), &EnergyOptions::default());

    let parameters = profile.layer("act").expect("a layer").parameters;
    assert_eq!(parameters.to_bits(), 0.0_f64.to_bits());
}

#[test]
fn dropout_is_no_consumer_and_no_layer() {
    let network = without_pool(quantized("quantized_relu(4,2)", "binary"));

    let typed = types(&network, &EnergyOptions::default()).expect("the network has types");

    let names: Vec<&str> = typed.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["conv", "act", "mean", "flat", "dense"]);
    let ends = |which: fn(&LayerTypes) -> bool| -> Vec<&str> {
        typed.layers.iter().filter(|layer| which(layer)).map(|layer| layer.name.as_str()).collect()
    };
    assert_eq!(ends(|layer| layer.is_input), ["conv"]);
    assert_eq!(ends(|layer| layer.is_output), ["dense"]);
}

#[test]
fn counted_values_make_shifts_cheaper() {
    let network = without_pool(quantized("quantized_relu(8,0)", "quantized_po2(6,1)"));
    let counts = ValueCounts::from([("dense".to_owned(), vec![2])]);
    let counted = EnergyOptions { values: counts, ..EnergyOptions::default() };

    let cost = |options: &EnergyOptions| profile(&network, options).layer("dense").expect("a layer").op_cost;

    assert!(cost(&counted) < cost(&EnergyOptions::default()));
}

#[test]
fn references_do_not_see_quantizers() {
    let network = without_pool(quantized("quantized_relu(4,2)", "binary"));
    let reference = EnergyOptions { view: View::Reference, ..EnergyOptions::default() };

    let plain = profile(&without_pool(small()), &reference);

    let quantized = profile(&network, &reference);
    assert_eq!((quantized.energy_sum, quantized.total_cost), (plain.energy_sum, plain.total_cost));
    assert!(profile(&network, &EnergyOptions::default()).energy_sum < plain.energy_sum);
}

#[test]
fn sums_are_charged_for_all_inputs_but_one() {
    let sources = vec![NumberType::INT8, NumberType::INT16, NumberType::INT8];
    let options = EnergyOptions { sources, ..EnergyOptions::default() };

    let typed = types(&merge_layer(Kind::Add), &options).expect("the network has types");

    let merge = layer(&typed, "merge");
    assert_eq!(merge.output, NumberType::fixed(17, 8, true));
    assert_eq!((merge.operation_count, merge.operators[0].times), (4, 2));
    let energy = typed.profile(Process::Horowitz, &SRAM).expect("everything has a price");
    assert_eq!(energy.layers[0].total, 0.43);
}

#[test]
fn differences_are_refused_as_qtools_fails_and_cost_what_sums_cost_otherwise() {
    let network = merge_layer(Kind::Subtract);

    assert!(
        matches!(types(&network, &qkeras()), Err(EnergyError::QtoolsFails { layer, .. }) if layer == "merge")
    );

    let cost = |network: &Network| profile(network, &EnergyOptions::default()).layers[0].op_cost;
    assert_eq!(cost(&network), cost(&merge_layer(Kind::Add)));
}

#[test]
fn sources_are_one_for_all_or_one_each() {
    let with = |count: usize| {
        let sources = vec![NumberType::FP16; count];
        types(&merge_layer(Kind::Concatenate), &EnergyOptions { sources, ..EnergyOptions::default() })
    };

    assert_eq!(with(2), Err(EnergyError::Sources { given: 2, inputs: 3 }));
    assert_eq!(with(1), with(3));
    assert_eq!(with(1).expect("one is enough").layers[0].output, NumberType::FP16);
}

#[test]
fn convolutions_over_one_axis_have_a_price_that_qtools_lacks() {
    let mut network = merge_layer(Kind::Add);
    let conv = &mut network.layers[3];
    conv.class = Class::plain(Kind::Conv1D);
    conv.inbound.truncate(1);
    (conv.input_shape, conv.output_shape) = (vec![vec![10, 4]], vec![8, 6]);
    conv.weights = vec![Weight::new("kernel", &[3, 4, 6])];

    assert!(matches!(types(&network, &qkeras()), Err(EnergyError::QtoolsFails { .. })));

    let typed = types(&network, &EnergyOptions::default()).expect("the network has types");
    assert_eq!(typed.layers[0].operation_count, 8 * 6 * 3 * 4);
}

#[test]
fn floats_from_circuits_of_bits_have_a_price_that_qtools_lacks() {
    let network = without_pool(quantized("binary", "binary"));
    let mut network = network;
    let dense = network.layer_mut("dense").expect("the layer is there");
    dense.class.quantized = false;
    let accumulator = NumberType::FP32;
    let options = EnergyOptions { plain_accumulator: accumulator, ..EnergyOptions::default() };

    assert!(profile(&network, &options).layer("dense").expect("a layer").op_cost > 0.0);

    let typed = types(&network, &EnergyOptions { qkeras: true, ..options }).expect("the network has types");
    assert!(matches!(typed.profile(Process::Horowitz, &SRAM), Err(EnergyError::NoPrice(_))));
}

#[test]
fn layers_that_cannot_be_priced_are_named() {
    for kind in [Kind::Lstm, Kind::SeparableConv2D] {
        let found = types(&merge_layer(kind), &EnergyOptions::default());

        assert!(matches!(found, Err(EnergyError::NoPriceOfLayer { layer, .. }) if layer == "merge"));
    }
    let mut network = merge_layer(Kind::Other("Odd".to_owned()));
    assert!(types(&network, &EnergyOptions::default()).is_ok());
    network.layers[3].weights = vec![Weight::new("kernel", &[4])];
    assert!(types(&network, &EnergyOptions::default()).is_err());
    network.layers[3].inbound[0] = "nobody".to_owned();
    let unknown = EnergyError::UnknownInbound { layer: "merge".to_owned(), inbound: "nobody".to_owned() };
    assert_eq!(types(&network, &EnergyOptions::default()), Err(unknown));
}

#[test]
fn larger_memories_can_cost_less() {
    let word = |size: u64| Process::Horowitz.sram_pj(64, size);

    assert!(word(1 << 15) < word(1 << 10));
    assert!(word(1 << 20) > word(1 << 15));
    assert_eq!(word(0), 0.0);
}

#[test]
fn division_by_signs_is_done_in_floats_unless_qtools_is_followed() {
    let divide = |qkeras: bool| Operator::quotient(&NumberType::INT8, &NumberType::binary(), qkeras);

    assert_eq!(divide(true), None);
    assert_eq!(divide(false).expect("a quotient").output, NumberType::FP32);
}
