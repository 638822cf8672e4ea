use super::*;

#[test]
fn transforms_have_distinct_names_and_leave_a_plain_network_alone() {
    let before = Transformed::new(model(chain(&[("flat", Op::Flatten), ("dense", linear(4))]), 1));

    for transform in REWRITES {
        let (after, report) = apply(transform, &before).unwrap();

        assert_eq!(report, Report { transform, touched: Vec::new() });
        assert_eq!(after.model.to_bytes().unwrap(), before.model.to_bytes().unwrap());
        let name = serde_json::to_string(&transform).unwrap();
        assert_eq!(name, format!("\"{}\"", transform.as_str()));
    }
}

#[test]
fn relu6_becomes_relu_and_nothing_else_changes() {
    let graph =
        chain(&[("conv", dense(4, 3)), ("clip", Op::Relu6), ("next", dense(2, 1)), ("relu", Op::Relu)]);
    let before = Transformed::new(model(graph, 3));

    let (after, report) = replace_relu6(&before).unwrap();

    assert_eq!(report.touched, [["clip"]]);
    assert_eq!(after.model.graph.node("clip").unwrap().op, Op::Relu);
    assert_eq!(before.model.graph.node("clip").unwrap().op, Op::Relu6);
    let images = images(&before.model.graph, 2, &mut rng(5, 0));
    let (clipped, free) = (output(&before.model, &images), output(&after.model, &images));
    assert_ne!(clipped, free, "no activation exceeded 6, so that the test shows nothing");
    assert!(replace_relu6(&after).unwrap().1.touched.is_empty());
}

#[test]
fn the_chain_keeps_the_function_of_a_network_without_relu6_until_biases_move() {
    let graph = chain(&[
        ("conv", Conv { out: 6, kernel: 3, padding: 1, groups: 1, bias: false }.op()),
        ("norm", norm()),
        ("relu", Op::Relu),
        ("depthwise", depthwise(6)),
        ("norm_2", norm()),
        ("relu_2", Op::Relu),
        ("point", dense(5, 1)),
        ("pool", Op::GlobalAveragePool),
        ("dense", linear(4)),
        ("norm_3", norm()),
    ]);
    let before = model(graph, 8);

    let mut network = Transformed::new(before.clone());
    for transform in [Transform::FoldBatchNorm, Transform::ReplaceRelu6, Transform::Equalize] {
        network = apply(transform, &network).unwrap().0;
    }

    assert_same_function("chain", &before, &network.model);
    assert_eq!(
        network.sets.iter().map(ScaledSet::layers).collect::<Vec<_>>(),
        [["conv", "depthwise", "point"]]
    );
    assert_eq!(network.norms.outputs.keys().collect::<Vec<_>>(), ["conv", "dense", "depthwise"]);
}
