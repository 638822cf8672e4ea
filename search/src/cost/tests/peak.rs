use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn peak(graph: &Graph, points: &[Point], space: &Space) -> Cost {
    let subject = Subject::of_graph(graph, points, bits(8), space).unwrap();
    cost("peak_activation_bits", &subject).unwrap()
}

#[test]
fn peak_memory_of_a_chain_by_hand() {
    // input 3x8x8 -> conv 4x8x8 (applied with its ReLU) -> pooled 4x4x4 -> flat view -> 5 classes
    let mut graph = Graph::new("chain", image(3, 8));
    graph.push("conv", conv(4), &[INPUT]);
    graph.push("act", Op::Relu, &["conv"]);
    let pool = Pool { kernel: [2, 2], stride: [2, 2], padding: Padding::default(), count_padding: false };
    graph.push("pool", Op::MaxPool(pool), &["act"]);
    graph.push("flat", Op::Flatten, &["pool"]);
    graph.push("classes", Op::Linear(Linear { out_features: 5, bias: true }), &["flat"]);
    let points = graph.points().unwrap();
    let space = space(&points, &[2, 4, 8], &[]);
    let peak = peak(&graph, &points, &space);
    let at = |changes: &[(&str, u8)]| {
        let mut levels = space.reference();
        for (point, level) in changes {
            levels[space.find(point).unwrap()] = *level;
        }
        peak.value(&space, &levels)
    };

    // The convolution: 192 values in, 256 out.
    assert_eq!(at(&[]), f64::from((192 + 256) * 8));
    assert_eq!(at(&[("act.output", 0)]), f64::from(192 * 8 + 256 * 2));
    // The input at 2 bits: now the pooling, 256 in and 64 out on the same grid, is as large as 256 + 48.
    assert_eq!(at(&[("input.output", 0)]), f64::from((256 + 64) * 8));
    // Weights take no activation memory.
    assert_eq!(at(&[("conv.weight", 0)]), at(&[]));
    // The classifier never decides, nor does a moment at which nothing new is made.
    assert_eq!(peak.rows.len(), 2);
}

#[test]
fn a_residual_branch_keeps_its_input_alive() {
    let mut graph = branched();
    graph.nodes.truncate(5);
    let points = graph.points().unwrap();
    let space = space(&points, &[2, 8], &[]);
    let peak = peak(&graph, &points, &space);

    // While the sum is made: both operands and the sum (its ReLU is applied to it at once), 256 values each.
    assert_eq!(peak.value(&space, &space.reference()), f64::from(3 * 256 * 8));
}

#[test]
fn a_join_needs_its_operands_and_as_much_again() {
    let graph = branched();
    let points = graph.points().unwrap();
    let space = space(&points, &[2, 8], &[]);
    let peak = peak(&graph, &points, &space);
    let mut levels = space.reference();

    // 2 and 6 channels of 64 positions, and the 8 of the join.
    assert_eq!(peak.value(&space, &levels), f64::from(1024 * 8));
    // All three are on one grid, so that one width narrows them together, and the sum is what is left.
    levels[space.find("join.output").unwrap()] = 0;
    assert_eq!(peak.value(&space, &levels), f64::from(3 * 256 * 8));
}

#[test]
fn tensors_without_a_point_are_32_bits_wide_and_points_that_are_not_searched_have_the_baselines() {
    let mut graph = branched();
    graph.nodes.truncate(5);
    let mut points = graph.points().unwrap();
    points.retain(|point| point.name != "a.output");
    let space = space(&points, &[2, 8], &["stem_act.output"]);
    let peak = peak(&graph, &points, &space);
    let mut levels = space.reference();

    assert_eq!(peak.value(&space, &levels), f64::from(256 * (32 + 8 + 8)));
    levels[space.find("sum_act.output").unwrap()] = 0;
    assert_eq!(peak.value(&space, &levels), f64::from(256 * (32 + 8 + 2)));
}

#[test]
fn an_elementwise_operator_is_applied_at_once_only_as_the_one_reader_of_a_tensor_without_a_point() {
    let mut graph = Graph::new("two readers", image(4, 8));
    graph.push("conv", conv(4), &[INPUT]);
    graph.push("act", Op::Relu, &["conv"]);
    graph.push("sum", Op::Add, &["act", "conv"]);
    let float: Vec<Point> = Vec::new();
    let none = Space::default();

    // All three of 256 floats while the sum is made.
    assert_eq!(peak(&graph, &float, &none).value(&none, &[]), f64::from(3 * 256 * 32));

    let mut one = Graph::new("one reader", image(4, 8));
    one.push("conv", conv(4), &[INPUT]);
    one.push("act", Op::Relu, &["conv"]);
    assert_eq!(peak(&one, &float, &none).value(&none, &[]), f64::from(2 * 256 * 32));
    // With a point of its own, the convolution's output is a tensor.
    let point = |name: &str| Point {
        name: format!("{name}.output"),
        kind: PointKind::Activation,
        node: name.to_owned(),
        elements: 256,
        tensors: vec![name.to_owned()],
        passed_on: Vec::new(),
        fixed: false,
    };
    let points = [point(INPUT), point("conv"), point("act")];
    let space = space(&points, &[2, 8], &[]);
    let peak_of = |levels: &[u8]| peak(&one, &points, &space).value(&space, levels);
    // Input and convolution, or convolution and activation.
    assert_eq!(peak(&one, &points, &space).rows.len(), 2);
    assert_eq!((peak_of(&[1, 0, 0]), peak_of(&[0, 0, 1])), (2560.0, 2560.0));
    assert_eq!(peak_of(&[0, 1, 0]), 2560.0);

    // An image is there before the network starts.
    let mut first = Graph::new("first", image(4, 8));
    first.push("act", Op::Relu, &[INPUT]);
    assert_eq!(peak(&first, &float, &none).value(&none, &[]), f64::from(2 * 256 * 32));
}

#[test]
fn peak_memory_needs_the_network() {
    let (graph, space) = (branched(), Space::default());
    let subject = Subject { network: None, ..Subject::of_graph(&graph, &[], bits(8), &space).unwrap() };
    assert_eq!(cost("peak_activation_kib", &subject), Err(CostError::NeedsGraph("peak_activation")));
}

/// A network of convolutions, sums and joins of random earlier tensors, all of 4 channels or joined to more.
fn random(seed: u64, nodes: usize) -> Graph {
    let mut rng = rng(seed, 1);
    let mut graph = Graph::new("random", image(4, 4));
    let mut tensors = vec![(INPUT.to_owned(), 4)];
    for index in 0..nodes {
        let (first, channels) = tensors[rng.below(tensors.len())].clone();
        let same: Vec<String> = tensors.iter().filter(|t| t.1 == channels).map(|t| t.0.clone()).collect();
        let second = same[rng.below(same.len())].clone();
        let name = format!("n{index}");
        let out = match rng.below(5) {
            0 => {
                graph.push(&name, conv(4), &[&first]);
                4
            }
            1 => {
                graph.push(&name, Op::Relu, &[&first]);
                channels
            }
            2 => {
                graph.push(&name, Op::Identity, &[&first]);
                channels
            }
            3 if channels <= 16 => {
                graph.push(&name, Op::Concat { axis: 0 }, &[&first, &second]);
                2 * channels
            }
            _ => {
                graph.push(&name, Op::Add, &[&first, &second]);
                channels
            }
        };
        tensors.push((name, out));
    }
    graph
}

/// The peak by walking through the graph with a set of what is alive, buffer by buffer.
fn walked(graph: &Graph, points: &[Point], width_of: impl Fn(&str) -> u32) -> u64 {
    let covers =
        |tensor: &str| points.iter().find(|point| point.covers(tensor)).map(|point| point.name.clone());
    let count = |tensor: &str| graph.nodes.iter().flat_map(|n| &n.inputs).filter(|i| *i == tensor).count();
    let elements: BTreeMap<String, usize> = std::iter::once((INPUT.to_owned(), graph.input.shape.elements()))
        .chain(graph.nodes.iter().zip(graph.shapes().unwrap()).map(|(n, s)| (n.name.clone(), s.elements())))
        .collect();
    // Each tensor's buffer is named by the tensor that it was made for.
    let mut buffer: BTreeMap<String, String> = BTreeMap::from([(INPUT.to_owned(), INPUT.to_owned())]);
    let mut width = BTreeMap::from([(INPUT.to_owned(), covers(INPUT))]);
    let mut open: BTreeSet<String> = BTreeSet::new();
    for node in &graph.nodes {
        let input = &node.inputs[0];
        let fused = open.contains(input)
            && matches!(node.op, Op::Relu)
            && covers(input).is_none()
            && count(input) == 1;
        let view = matches!(node.op, Op::Identity) && width[&buffer[input]] == covers(&node.name);
        let home = if fused || view { buffer[input].clone() } else { node.name.clone() };
        if !view {
            open.insert(node.name.clone());
        }
        width.insert(home.clone(), covers(&node.name));
        buffer.insert(node.name.clone(), home);
    }
    let mut largest = 0;
    for turn in 0..graph.nodes.len() {
        let made: BTreeSet<&String> = std::iter::once(INPUT.to_owned())
            .chain(graph.nodes[..=turn].iter().map(|n| n.name.clone()))
            .map(|t| buffer.get_key_value(&t).unwrap().0)
            .collect();
        let needed = graph.nodes[turn..].iter().flat_map(|n| &n.inputs).collect::<BTreeSet<_>>();
        // What a later node is applied to at once is needed for as long as that node's output is.
        let now = &graph.nodes[turn].name;
        let last = &graph.nodes[graph.nodes.len() - 1].name;
        let alive = made.into_iter().filter(|t| needed.contains(*t) || *t == now || *t == last);
        let alive: BTreeSet<&String> = alive.map(|tensor| &buffer[tensor]).collect();
        let bits = alive
            .into_iter()
            .map(|home| elements[home] as u64 * u64::from(width[home].as_deref().map_or(32, &width_of)));
        largest = largest.max(bits.sum());
    }
    largest
}

proptest! {
    #[test]
    fn the_rows_that_are_left_have_the_largest_sum_over_all_moments(seed in any::<u64>(), nodes in 1_usize..14) {
        let graph = random(seed, nodes);
        let all = graph.points().unwrap();
        let mut rng = rng(seed, 2);
        let points: Vec<Point> = all.into_iter().filter(|_| rng.below(4) > 0).collect();
        let left_out: Vec<&str> = points.iter().map(|p| p.name.as_str()).filter(|_| rng.below(5) == 0).collect();
        let space = space(&points, &[2, 4, 8], &left_out);
        let peak = peak(&graph, &points, &space);

        for step in 0..20 {
            let levels = draw(&space, seed ^ step);
            let width_of = |p: &str| space.find(p).map_or(8, |variable| space.width(variable, &levels).get());
            prop_assert_eq!(peak.value(&space, &levels), walked(&graph, &points, width_of) as f64);
        }
        prop_assert!(peak.rows.len() <= nodes);
    }
}
