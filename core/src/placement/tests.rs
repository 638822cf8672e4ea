use super::*;
use crate::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding, Point, Pool, Shape};

fn graph() -> Graph {
    let input = Input { shape: Shape::image(4, 8, 8), mean: vec![0.5; 4], std: vec![0.25; 4] };
    Graph::new("test", input)
}

fn conv(groups: usize) -> Op {
    Op::Conv2d(Conv2d {
        out_channels: 4,
        kernel: [3, 3],
        stride: [1, 1],
        padding: Padding::all(1),
        dilation: [1, 1],
        groups,
        bias: false,
    })
}

fn norm() -> Op {
    Op::BatchNorm { eps: 1e-5 }
}

fn max_pool() -> Op {
    Op::MaxPool(Pool { kernel: [3, 3], stride: [1, 1], padding: Padding::all(1), count_padding: false })
}

fn rules(text: &str) -> Placement {
    Placement::parse(&format!("version: 1\n{text}\n")).unwrap()
}

fn points(placement: &Placement, graph: &Graph) -> Vec<Point> {
    placement.points(graph).unwrap()
}

/// Names of activation points, each with the tensors on which its quantizer acts where they are more than one.
fn activations(placement: &Placement, graph: &Graph) -> Vec<String> {
    let points = points(placement, graph).into_iter().filter(|point| !point.tensors.is_empty());
    points
        .map(|point| match point.tensors.as_slice() {
            [only] => {
                assert_eq!(*only, point.node);
                point.node
            }
            several => format!("{}: {}", point.node, several.join(" ")),
        })
        .collect()
}

/// conv - bn - relu - (conv - bn) + shortcut, relu behind the sum, classifier.
fn residual() -> Graph {
    let mut graph = graph();
    graph.push("conv1", conv(1), &[INPUT]);
    graph.push("bn1", norm(), &["conv1"]);
    graph.push("relu1", Op::Relu, &["bn1"]);
    graph.push("conv2", conv(4), &["relu1"]);
    graph.push("bn2", norm(), &["conv2"]);
    graph.push("down", conv(1), &["relu1"]);
    graph.push("down_bn", norm(), &["down"]);
    graph.push("add", Op::Add, &["bn2", "down_bn"]);
    graph.push("relu2", Op::Relu, &["add"]);
    graph.push("average", Op::GlobalAveragePool, &["relu2"]);
    graph.push("fc", Op::Linear(Linear { out_features: 3, bias: true }), &["average"]);
    graph
}

#[test]
fn a_residual_network_has_points_behind_its_chains() {
    let placement = Placement::default();
    let names: Vec<String> = points(&placement, &residual()).into_iter().map(|point| point.name).collect();
    assert_eq!(
        names,
        [
            "input.output",
            "conv1.weight",
            "relu1.output",
            "conv2.weight",
            "bn2.output",
            "down.weight",
            "down_bn.output",
            "relu2.output",
            "average.output",
            "fc.weight",
            "fc.output"
        ]
    );
    let fused = placement.fused(&residual()).unwrap();
    let fused: Vec<String> = fused.iter().map(|(from, to)| format!("{from} > {to}")).collect();
    assert_eq!(fused, ["add > relu2", "bn1 > relu1", "conv1 > relu1", "conv2 > bn2", "down > down_bn"]);
}

#[test]
fn a_tensor_that_something_else_reads_ends_its_chain() {
    let mut graph = graph();
    graph.push("conv", conv(1), &[INPUT]);
    graph.push("bn", norm(), &["conv"]);
    graph.push("relu", Op::Relu, &["bn"]);
    graph.push("add", Op::Add, &["relu", "bn"]);
    graph.push("twice", Op::Add, &["add", "add"]);
    graph.push("last", Op::Relu6, &["twice"]);

    assert_eq!(activations(&Placement::default(), &graph), [INPUT, "bn", "relu", "add", "last"]);
}

#[test]
fn concatenations_tie_what_they_join_through_operators_that_pass_on() {
    let mut graph = graph();
    graph.push("conv1", conv(1), &[INPUT]);
    graph.push("relu1", Op::Relu, &["conv1"]);
    graph.push("pool", max_pool(), &["relu1"]);
    graph.push("conv2", conv(1), &["relu1"]);
    graph.push("cat1", Op::Concat { axis: 0 }, &["pool", "conv2"]);
    graph.push("conv3", conv(1), &["relu1"]);
    graph.push("cat2", Op::Concat { axis: 0 }, &["cat1", "conv3"]);
    graph.push("conv4", conv(1), &["cat2"]);

    let points = points(&Placement::default(), &graph);
    assert_eq!(
        activations(&Placement::default(), &graph),
        [INPUT, "cat1: relu1 conv2 cat1 conv3 cat2", "conv4"]
    );
    let class = points.iter().find(|point| point.name == "cat1.output").unwrap();
    assert_eq!(class.passed_on, ["pool"]);
    assert_eq!(class.elements, 8 * 64);
    let inputs: Vec<_> = graph.layer_costs().unwrap().into_iter().map(|layer| layer.input_point).collect();
    let shared = Some("cat1.output".to_owned());
    assert_eq!(inputs, [Some("input.output".to_owned()), shared.clone(), shared.clone(), shared]);

    let loose = rules("tied: []");
    assert_eq!(activations(&loose, &graph), [INPUT, "relu1", "conv2", "cat1", "conv3", "cat2", "conv4"]);
}

#[test]
fn what_a_softmax_gives_stays_float_behind_reshapes_too() {
    let mut graph = residual();
    graph.push("softmax", Op::Softmax { axis: 0 }, &["fc"]);
    graph.push("flat", Op::Flatten, &["softmax"]);
    graph.push("more", Op::Linear(Linear { out_features: 2, bias: false }), &["flat"]);

    let points = points(&Placement::default(), &graph);
    assert!(!points.iter().any(|point| point.covers("softmax") || point.covers("flat")));
    let inputs: Vec<_> = graph.layer_costs().unwrap().into_iter().map(|layer| layer.input_point).collect();
    assert_eq!(inputs.last(), Some(&None));

    let kept = rules("exceptions: [{ node: softmax, quantizer: keep }]");
    let points = kept.points(&graph).unwrap();
    let softmax = points.iter().find(|point| point.name == "softmax.output").unwrap();
    assert_eq!(
        (softmax.tensors.as_slice(), softmax.passed_on.as_slice()),
        (&["softmax".to_owned()][..], &["flat".to_owned()][..])
    );
    let costs = graph.layer_costs_with(&points).unwrap();
    assert_eq!(costs.last().unwrap().input_point.as_deref(), Some("softmax.output"));
}

#[test]
fn depthwise_convolutions_can_be_kept_out_of_chains() {
    let mut graph = graph();
    graph.push("dense", conv(1), &[INPUT]);
    graph.push("relu1", Op::Relu, &["dense"]);
    graph.push("depthwise", conv(4), &["relu1"]);
    graph.push("relu2", Op::Relu, &["depthwise"]);
    graph.push("grouped", conv(2), &["relu2"]);
    graph.push("relu3", Op::Relu, &["grouped"]);

    let excluded = rules("supergroups: [[conv2d, relu]]");
    assert_eq!(activations(&Placement::default(), &graph), [INPUT, "relu1", "relu2", "relu3"]);
    assert_eq!(activations(&excluded, &graph), [INPUT, "relu1", "depthwise", "relu2", "relu3"]);

    let shared = rules("supergroups: [[conv2d, relu]]\nshared: [relu]");
    assert_eq!(activations(&shared, &graph), [INPUT, "relu1", "depthwise: depthwise relu2", "relu3"]);
}

/// The unit of a network that splits its channels, keeps one half and shuffles both.
#[test]
fn channels_that_are_split_and_shuffled_stay_on_one_grid() {
    let half = |start| Op::Slice { axis: 0, start, end: start + 2, step: 1 };
    let mut graph = graph();
    graph.push("conv1", conv(1), &[INPUT]);
    graph.push("left", half(0), &["conv1"]);
    graph.push("right", half(2), &["conv1"]);
    graph.push("conv2", conv(1), &["right"]);
    graph.push("act", Op::HardSwish, &["conv2"]);
    graph.push("cat", Op::Concat { axis: 0 }, &["left", "act"]);
    graph.push("apart", Op::Reshape { shape: vec![2, 3, 8, 8] }, &["cat"]);
    graph.push("shuffle", Op::Transpose { perm: vec![1, 0, 2, 3] }, &["apart"]);
    graph.push("together", Op::Reshape { shape: vec![6, 8, 8] }, &["shuffle"]);
    graph.push("conv3", conv(1), &["together"]);

    let points = points(&Placement::default(), &graph);
    assert_eq!(activations(&Placement::default(), &graph), [INPUT, "cat: conv1 act cat", "conv3"]);
    let class = points.iter().find(|point| point.name == "cat.output").unwrap();
    assert_eq!(class.passed_on, ["left", "right", "apart", "shuffle", "together"]);
    let inputs: Vec<_> = graph.layer_costs().unwrap().into_iter().map(|layer| layer.input_point).collect();
    let shared = Some("cat.output".to_owned());
    assert_eq!(inputs, [Some("input.output".to_owned()), shared.clone(), shared]);
}

#[test]
fn operators_of_imported_networks_have_rules() {
    let pad = |value| Op::Pad { before: vec![0, 1, 1], after: vec![0, 0, 0], value };
    let mut graph = graph();
    graph.push("zeros", pad(0.0), &[INPUT]);
    graph.push("ones", pad(1.0), &["zeros"]);
    graph.push("conv", conv(1), &["ones"]);
    graph.push("gate", Op::Sigmoid, &["conv"]);
    graph.push("swish", Op::Mul, &["conv", "gate"]);
    graph.push("factor", Op::Constant { shape: vec![4, 1, 1] }, &[]);
    graph.push("scaled", Op::Mul, &["swish", "factor"]);
    graph.push("slopes", Op::PRelu, &["scaled"]);
    graph.push("mean", Op::Mean { axes: vec![1, 2], keep: true }, &["slopes"]);
    graph.push("flat", Op::Reshape { shape: vec![4] }, &["mean"]);

    let own = [INPUT, "ones", "conv", "gate", "swish", "scaled", "slopes", "mean"];
    assert_eq!(activations(&Placement::default(), &graph), own);
    let kept = rules("float: []");
    let all = [INPUT, "ones", "conv", "gate", "swish", "factor", "scaled", "slopes", "mean"];
    assert_eq!(activations(&kept, &graph), all);
}

#[test]
fn rules_know_every_operator_of_a_graph() {
    // A new operator fails to compile in `Op::kind`; this sees that rules can name it.
    let source = include_str!("../graph/op.rs");
    let kinds = source.split("pub fn kind(&self)").nth(1).unwrap().split("    }\n\n").next().unwrap();
    let kinds: Vec<&str> =
        kinds.lines().filter_map(|line| line.split("=> \"").nth(1)?.split('"').next()).collect();
    assert!(kinds.contains(&"conv2d") && kinds.contains(&"dropout"));
    for kind in kinds {
        assert!(Operator::ALL.iter().any(|(name, _)| *name == kind), "{kind}");
    }
}

#[test]
fn built_in_rules_leave_no_key_of_the_default_out() {
    for key in [
        "inputs",
        "weights",
        "biases",
        "activations",
        "supergroups",
        "pass_through",
        "shared",
        "tied",
        "float",
        "exceptions",
    ] {
        assert!(DEFAULT_RULES.lines().any(|line| line.starts_with(&format!("{key}:"))), "{key}");
    }
}

#[test]
fn the_longest_chain_wins_whatever_the_order_of_the_rules() {
    for order in [
        "[[conv2d, batch_norm], [conv2d, batch_norm, relu]]",
        "[[conv2d, batch_norm, relu], [conv2d, batch_norm]]",
    ] {
        let placement = rules(&format!("supergroups: {order}"));
        assert_eq!(placement.fused(&residual()).unwrap()["conv1"], "relu1", "{order}");
    }
}

#[test]
fn inputs_and_weights_can_stay_float() {
    let placement = rules("inputs: float\nweights: { operators: [linear] }");
    let points = points(&placement, &residual());

    let weights: Vec<&str> =
        points.iter().filter(|point| point.tensors.is_empty()).map(|point| point.name.as_str()).collect();
    assert_eq!(weights, ["fc.weight"]);
    assert!(!points.iter().any(|point| point.covers(INPUT)));
    assert_eq!(residual().layer_costs_with(&points).unwrap()[0].input_point, None);
}

#[test]
fn only_what_layers_read_carries_a_point_where_rules_say_so() {
    let placement = rules("activations: layer_inputs");
    assert_eq!(activations(&placement, &residual()), [INPUT, "relu1", "average"]);
}

#[test]
fn the_last_exception_that_matches_counts() {
    let names = |text: &str| -> Vec<String> {
        let points = points(&rules(text), &residual()).into_iter();
        points.map(|point| if point.fixed { format!("{} fixed", point.name) } else { point.name }).collect()
    };
    let all = names("");

    assert_eq!(names("exceptions: [{ point: '*', quantizer: none }]"), [""; 0]);
    assert_eq!(
        names("exceptions: [{ point: '*', quantizer: none }, { point: 'conv*', quantizer: keep }]"),
        ["conv1.weight", "conv2.weight"]
    );
    // The node's output is inside a chain, so its weight alone goes.
    let without: Vec<String> = all.iter().filter(|name| *name != "conv1.weight").cloned().collect();
    assert_eq!(names("exceptions: [{ node: conv1, quantizer: none }]"), without);
    let without: Vec<String> = all.iter().filter(|name| !name.starts_with("fc")).cloned().collect();
    assert_eq!(names("exceptions: [{ node: 'f*', quantizer: none }]"), without);
    assert_eq!(names("exceptions: [{ node: 'nothing*', quantizer: none }]"), all);
    assert_eq!(names("exceptions: [{ node: input, quantizer: none }]"), all[1..]);
}

#[test]
fn fixed_layers_fix_the_inputs_that_only_they_read() {
    let fixed = |text: &str| -> Vec<String> {
        let points = points(&rules(text), &residual()).into_iter();
        points.filter(|point| point.fixed).map(|point| point.name).collect()
    };

    assert_eq!(fixed("exceptions: [{ layer: first, quantizer: fixed }]"), ["input.output", "conv1.weight"]);
    assert_eq!(fixed("exceptions: [{ layer: last, quantizer: fixed }]"), ["average.output", "fc.weight"]);
    // Both layers of this block run straight into the sum: neither is the way around the other.
    assert_eq!(fixed("exceptions: [{ layer: shortcut, quantizer: fixed }]"), [""; 0]);
    assert_eq!(fixed("exceptions: [{ node: down, quantizer: fixed }]"), ["down.weight"]);
    assert_eq!(fixed("exceptions: [{ point: relu1.output, quantizer: fixed }]"), ["relu1.output"]);
    assert_eq!(
        fixed("exceptions: [{ node: '*', quantizer: fixed }, { point: '*.weight', quantizer: keep }]"),
        ["input.output", "relu1.output", "average.output"]
    );
}

#[test]
fn a_shortcut_is_the_layer_around_a_block() {
    let mut graph = graph();
    graph.push("stem", conv(1), &[INPUT]);
    graph.push("conv1", conv(1), &["stem"]);
    graph.push("relu", Op::Relu, &["conv1"]);
    graph.push("conv2", conv(1), &["relu"]);
    graph.push("down", conv(1), &["stem"]);
    graph.push("down_bn", norm(), &["down"]);
    graph.push("add", Op::Add, &["conv2", "down_bn"]);

    let placement = rules("exceptions: [{ layer: shortcut, quantizer: fixed }]");
    let fixed: Vec<Point> = points(&placement, &graph).into_iter().filter(|point| point.fixed).collect();

    // `conv1` reads the shortcut's input too, so that one stays free.
    assert_eq!(fixed.iter().map(|point| point.name.as_str()).collect::<Vec<_>>(), ["down.weight"]);
}

#[test]
fn a_mistake_in_the_graph_is_reported() {
    let mut graph = graph();
    graph.push("add", Op::Add, &["nowhere", INPUT]);

    assert!(Placement::default().points(&graph).is_err());
    assert!(Placement::default().fused(&graph).is_err());
}
