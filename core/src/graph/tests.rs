use super::*;

pub(crate) fn input(channels: usize, size: usize) -> Input {
    Input { shape: Shape::image(channels, size, size), mean: vec![0.5; channels], std: vec![0.25; channels] }
}

fn conv(out_channels: usize, stride: usize, groups: usize) -> Op {
    let kernel = [3, 3];
    Op::Conv2d(Conv2d {
        out_channels,
        kernel,
        stride: [stride; 2],
        padding: Padding::all(1),
        dilation: [1, 1],
        groups,
        bias: false,
    })
}

/// conv - bn - relu - max pool - flatten - linear - softmax on a 2x8x8 image.
pub(crate) fn small() -> Graph {
    let mut graph = Graph::new("small", input(2, 8));
    graph.push("conv", conv(4, 1, 1), &[INPUT]);
    graph.push("bn", Op::BatchNorm { eps: 1e-3 }, &["conv"]);
    graph.push("relu", Op::Relu, &["bn"]);
    let pool = Pool { kernel: [2, 2], stride: [2, 2], padding: Padding::default(), count_padding: false };
    graph.push("pool", Op::MaxPool(pool), &["relu"]);
    graph.push("flatten", Op::Flatten, &["pool"]);
    graph.push("dense", Op::Linear(Linear { out_features: 3, bias: true }), &["flatten"]);
    graph.push("softmax", Op::Softmax { axis: 0 }, &["dense"]);
    graph
}

fn names(graph: &Graph) -> Vec<String> {
    graph.points().unwrap().into_iter().map(|point| point.name).collect()
}

#[test]
fn points_stand_behind_fused_chains_and_skip_grid_preserving_operators() {
    assert_eq!(
        names(&small()),
        ["input.output", "conv.weight", "relu.output", "dense.weight", "dense.output"]
    );
}

#[test]
fn a_tensor_with_two_consumers_keeps_its_own_point() {
    let mut graph = Graph::new("residual", input(4, 8));
    graph.push("conv", conv(4, 1, 4), &[INPUT]);
    graph.push("relu", Op::Relu, &["conv"]);
    graph.push("add", Op::Add, &["relu", "conv"]);

    assert_eq!(names(&graph), ["input.output", "conv.weight", "conv.output", "relu.output", "add.output"]);
}

#[test]
fn costs_follow_the_geometry() {
    let costs = small().layer_costs().unwrap();

    assert_eq!(costs[0].macs, 4 * 2 * 9 * 64);
    assert_eq!((costs[0].weights, costs[0].biases), (72, 0));
    assert_eq!(costs[0].input_point.as_deref(), Some("input.output"));
    assert_eq!(costs[1].macs, 4 * 16 * 3);
    assert_eq!(costs[1].input_point.as_deref(), Some("relu.output"));
    assert_eq!(costs[0].bops(4, 8), costs[0].macs * 32);
    assert_eq!(small().parameters().unwrap(), 72 + 8 + 192 + 3);
}

#[test]
fn every_layer_input_point_is_a_point() {
    let graph = small();
    for layer in graph.layer_costs().unwrap() {
        let input_point = layer.input_point.expect("every tensor that a layer reads here has a point");
        assert!(names(&graph).contains(&input_point), "{input_point}");
    }
}

#[test]
fn same_padding_puts_the_odd_zero_below_and_right() {
    let padding = Padding::same([28, 28], [3, 3], [2, 2]);
    assert_eq!(padding, Padding { top: 0, left: 0, bottom: 1, right: 1 });
    assert_eq!(Padding::same([7, 7], [3, 3], [2, 2]), Padding::all(1));
    assert_eq!(Padding::same([1, 1], [3, 3], [2, 2]), Padding::all(1));
    assert_eq!(Padding::same([4, 4], [1, 1], [2, 2]), Padding::default());
}

#[test]
fn mistakes_name_the_node() {
    let mut twice = small();
    twice.push("relu", Op::Relu, &["dense"]);
    assert_eq!(twice.shapes(), Err(GraphError::DuplicateName("relu".into())));

    let mut dangling = small();
    dangling.push("last", Op::Relu, &["nowhere"]);
    let error = GraphError::UnknownInput { node: "last".into(), input: "nowhere".into() };
    assert_eq!(dangling.shapes(), Err(error));

    let mut flat = Graph::new("flat", input(1, 4));
    flat.push("dense", Op::Linear(Linear { out_features: 2, bias: false }), &[INPUT]);
    assert!(flat.shapes().unwrap_err().to_string().contains("`dense`"));

    let mut grouped = Graph::new("grouped", input(3, 4));
    grouped.push("conv", conv(4, 1, 2), &[INPUT]);
    assert!(grouped.shapes().unwrap_err().to_string().contains("2 groups"));

    let mut unequal = small();
    unequal.push("add", Op::Add, &["conv", "pool"]);
    assert!(unequal.shapes().unwrap_err().to_string().contains("`add`"));
}

#[test]
fn logits_feed_the_final_softmax() {
    let graph = small();
    assert_eq!(graph.logits().unwrap(), "dense");

    let mut ends_flat = Graph::new("all_conv", input(2, 8));
    ends_flat.push("conv", conv(3, 1, 1), &[INPUT]);
    ends_flat.push("softmax", Op::Softmax { axis: 0 }, &["conv"]);
    ends_flat.push("flatten", Op::Flatten, &["softmax"]);
    assert_eq!(ends_flat.logits().unwrap(), "conv");
}

#[test]
fn a_graph_survives_its_json_form() {
    let graph = small();
    let text = serde_json::to_string(&graph).unwrap();
    assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), graph);
}

#[test]
fn fields_of_later_versions_leave_the_bytes_of_earlier_graphs_alone() {
    let text = serde_json::to_string(&small()).unwrap();

    for field in ["dilation", "count_padding", "axis"] {
        assert!(!text.contains(field), "{text}");
    }
    assert_eq!(serde_json::from_str::<Graph>(&text).unwrap(), small());
}

#[test]
fn dilation_widens_the_window() {
    let mut graph = Graph::new("dilated", input(2, 8));
    let Op::Conv2d(conv) = conv(4, 1, 1) else { unreachable!() };
    graph.push("conv", Op::Conv2d(Conv2d { dilation: [2, 3], ..conv }), &[INPUT]);

    assert_eq!(graph.shapes().unwrap(), [Shape::image(4, 6, 4)]);
}

#[test]
fn operators_that_do_not_fit_their_input_are_refused() {
    let refused = [
        Op::Slice { axis: 3, start: 0, end: 1, step: 1 },
        Op::Slice { axis: 1, start: 2, end: 2, step: 1 },
        Op::Slice { axis: 1, start: 0, end: 9, step: 1 },
        Op::Slice { axis: 1, start: 0, end: 8, step: 0 },
        Op::Transpose { perm: vec![0, 1] },
        Op::Transpose { perm: vec![0, 1, 1] },
        Op::Reshape { shape: vec![127] },
        Op::Reshape { shape: vec![] },
        Op::Reshape { shape: vec![usize::MAX, 2] },
        Op::Mean { axes: vec![], keep: true },
        Op::Mean { axes: vec![2, 1], keep: true },
        Op::Mean { axes: vec![3], keep: true },
        Op::Mean { axes: vec![0, 1, 2], keep: false },
        Op::Pad { before: vec![1, 1], after: vec![0, 0, 0], value: 0.0 },
        Op::Pad { before: vec![0, 0, usize::MAX], after: vec![0, 0, 1], value: 0.0 },
        Op::Softmax { axis: 3 },
        Op::Lrn { size: 0, alpha: 1.0, beta: 1.0, bias: 1.0 },
        Op::Clip { min: 1.0, max: 0.0 },
        Op::LeakyRelu { slope: f32::NAN },
    ];
    for op in refused {
        let mut graph = Graph::new("refused", input(2, 8));
        graph.push("node", op.clone(), &[INPUT]);

        assert!(graph.shapes().is_err(), "{op:?}");
    }
}

#[test]
fn tensors_without_axes_are_constants_alone() {
    let mut graph = Graph::new("scalars", input(2, 8));
    graph.push("scalar", Op::Constant { shape: vec![] }, &[]);
    graph.push("scaled", Op::Mul, &[INPUT, "scalar"]);
    assert_eq!(graph.shapes().unwrap()[1], Shape::image(2, 8, 8));

    graph.push("square", Op::Mul, &["scalar", "scalar"]);
    let error = graph.shapes().unwrap_err();
    assert!(error.to_string().contains("`square`"), "{error}");

    let empty = Input { shape: Shape(vec![]), mean: vec![], std: vec![] };
    let mut graph = Graph::new("nothing", empty);
    graph.push("same", Op::Identity, &[INPUT]);
    assert!(graph.shapes().is_err());
}

#[test]
fn shapes_of_two_inputs_are_aligned_at_their_last_axes() {
    let sum_with = |shape: &[usize]| {
        let mut graph = Graph::new("broadcast", input(2, 8));
        graph.push("constant", Op::Constant { shape: shape.to_vec() }, &[]);
        graph.push("sum", Op::Add, &[INPUT, "constant"]);
        graph.shapes().map(|shapes| shapes[1].clone())
    };

    assert_eq!(sum_with(&[2, 1, 1]), Ok(Shape::image(2, 8, 8)));
    assert_eq!(sum_with(&[8]), Ok(Shape::image(2, 8, 8)));
    assert!(sum_with(&[2]).is_err());
    assert!(sum_with(&[0]).is_err());
    assert!(sum_with(&[1 << 40, 1 << 40]).is_err());
}
