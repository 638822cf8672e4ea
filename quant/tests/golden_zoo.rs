//! The zoo's networks against models that AutoQKeras built (`../shared/reference/qkeras/energy.json`).

#![expect(clippy::unwrap_used, reason = "a reference that cannot be read must fail the test")]

use std::io::Write as _;
use std::path::Path;

use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Node, Op, Padding, Shape};
use bitloop_core::spec::{ConvBlock, Initializer, Separable};
use bitloop_quant::model::expected_tensors;
use bitloop_quant::zoo::conv_block;
use serde_json::Value;

fn reference() -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/qkeras/energy.json");
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(error) => {
            drop(writeln!(std::io::stderr(), "skipped: {} cannot be read ({error})", path.display()));
            None
        }
    }
}

/// The settings that the reference's model was built with, or why there are none.
fn settings(model: &str) -> Result<ConvBlock, &'static str> {
    let mnist = ConvBlock {
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
    match model {
        "mnist" => Ok(mnist),
        "fashion_mnist" => Ok(ConvBlock {
            filters: vec![vec![16], vec![32; 3], vec![64; 3]],
            max_pooling: true,
            separable: Separable::Mobilenet,
            xnornet_trick: true,
            ..mnist
        }),
        _ => Err("no convolution block network"),
    }
}

#[test]
fn golden_conv_block_layer_names_and_shapes() {
    let Some(reference) = reference() else { return };
    let mut compared = Vec::new();
    for model in reference["models"].as_array().unwrap() {
        let name = model["model"].as_str().unwrap();
        let spec = match settings(name) {
            Ok(spec) => spec,
            Err(reason) => {
                drop(writeln!(std::io::stderr(), "skipped: {name}: {reason}"));
                continue;
            }
        };
        let layers = model["layers"].as_array().unwrap();
        let input = Input { shape: shape_of(&layers[0]["output_shape"]), mean: vec![0.0], std: vec![1.0] };
        compare(&conv_block(&spec, name, input, 10).unwrap(), &layers[1..]);
        compared.push(name);
    }
    assert_eq!(compared, ["mnist", "fashion_mnist"]);
}

fn compare(graph: &Graph, layers: &[Value]) {
    let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
    let expected: Vec<&str> = layers.iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    assert_eq!(names, expected);
    let tensors = expected_tensors(graph).unwrap();
    for ((node, shape), layer) in graph.nodes.iter().zip(graph.shapes().unwrap()).zip(layers) {
        let name = &node.name;
        assert_eq!(class_of(node, graph), layer["class"].as_str().unwrap(), "{name}");
        let inbound: Vec<&str> =
            layer["inbound"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        assert_eq!(node.inputs, inbound, "{name}");
        assert_eq!(shape, shape_of(&layer["output_shape"]), "{name}");
        compare_weights(node, &tensors, layer);
        compare_windows(node, graph, layer);
    }
}

/// Keras's shapes have the channels last: `(kh, kw, in, out)`, depthwise `(kh, kw, in, 1)`, dense `(in, out)`.
fn compare_weights(node: &Node, tensors: &[(String, Vec<usize>)], layer: &Value) {
    let prefix = format!("{}.", node.name);
    let found: Vec<Vec<usize>> = tensors
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix))
        .map(|(_, shape)| match *shape.as_slice() {
            [out, 1, kh, kw] if layer["class"] == "DepthwiseConv2D" => vec![kh, kw, out, 1],
            [out, per_group, kh, kw] => vec![kh, kw, per_group, out],
            [out, inputs] => vec![inputs, out],
            _ => shape.clone(),
        })
        .collect();
    let weights = layer["weights"].as_array().map(Vec::as_slice).unwrap_or_default();
    let expected: Vec<Vec<usize>> = weights.iter().map(|weight| numbers(&weight["shape"])).collect();
    assert_eq!(found, expected, "weights of {}", node.name);
}

fn compare_windows(node: &Node, graph: &Graph, layer: &Value) {
    let name = &node.name;
    match &node.op {
        Op::Conv2d(conv) => {
            assert_eq!(conv.kernel.to_vec(), numbers(&layer["kernel_size"]), "{name}");
            assert_eq!(conv.stride.to_vec(), numbers(&layer["strides"]), "{name}");
            assert_eq!(layer["padding"], "same", "{name}");
            let size = input_size(layer);
            assert_eq!(conv.padding, Padding::same(size, conv.kernel, conv.stride), "{name}");
            assert_eq!(conv.bias, layer["use_bias"].as_bool().unwrap(), "{name}");
        }
        Op::MaxPool(pool) => {
            assert_eq!(pool.kernel.to_vec(), numbers(&layer["pool_size"]), "{name}");
            assert_eq!(pool.stride.to_vec(), numbers(&layer["strides"]), "{name}");
            assert_eq!(layer["padding"], "valid", "{name}");
            assert_eq!(pool.padding, Padding::default(), "{name}");
        }
        _ => {}
    }
    assert!(graph.node(name).is_some());
}

fn class_of(node: &Node, graph: &Graph) -> &'static str {
    match &node.op {
        Op::Conv2d(conv) if is_depthwise(node, conv, graph) => "DepthwiseConv2D",
        Op::Conv2d(_) => "Conv2D",
        Op::Linear(_) => "Dense",
        Op::BatchNorm { .. } => "BatchNormalization",
        Op::Relu | Op::Softmax { .. } => "Activation",
        Op::MaxPool(_) => "MaxPooling2D",
        Op::Flatten => "Flatten",
        Op::Dropout { .. } => "Dropout",
        other => panic!("{} is no Keras layer of these networks", other.kind()),
    }
}

/// Of one channel too, which no number of groups tells from a dense convolution: there the kernel does.
fn is_depthwise(node: &Node, conv: &Conv2d, graph: &Graph) -> bool {
    let reads_grey_input = node.inputs == [INPUT] && graph.input.shape.channels() == 1;
    conv.groups > 1 || (reads_grey_input && conv.out_channels == 1)
}

fn input_size(layer: &Value) -> [usize; 2] {
    let shape = numbers(&layer["input_shape"][0]);
    [shape[0], shape[1]]
}

/// Keras's `(height, width, channels)` or `(features,)` in our order.
fn shape_of(value: &Value) -> Shape {
    match *numbers(value).as_slice() {
        [height, width, channels] => Shape::image(channels, height, width),
        ref other => Shape(other.to_vec()),
    }
}

fn numbers(value: &Value) -> Vec<usize> {
    let items = value.as_array().unwrap().iter();
    items.map(|item| item.as_u64().unwrap() as usize).collect()
}
