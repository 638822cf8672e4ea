use super::*;

fn sets(network: &Transformed) -> Vec<Vec<String>> {
    network.sets.iter().map(ScaledSet::layers).collect()
}

fn equalized(model: &Model) -> Transformed {
    equalize(&Transformed::new(model.clone())).unwrap().0
}

/// Largest absolute weight per output channel, or per input channel.
fn ranges(model: &Model, layer: &str, of_inputs: bool) -> Vec<f32> {
    let weight = &model.weights[&format!("{layer}.weight")];
    let weight = if of_inputs { weight.transpose(0, 1).unwrap() } else { weight.clone() };
    let rows = weight.contiguous().unwrap().flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
    rows.iter().map(|row| row.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()))).collect()
}

fn assert_equal_ranges(left: &[f32], right: &[f32]) {
    assert_eq!(left.len(), right.len());
    for (left, right) in left.iter().zip(right) {
        assert!((left - right).abs() <= 1e-5 * left, "{left} and {right}");
    }
}

#[test]
fn a_pair_gets_equal_ranges_and_keeps_its_function() {
    for rectifier in [Op::Relu, Op::PRelu] {
        assert_pair(model(
            chain(&[("first", dense(5, 3)), ("between", rectifier), ("second", dense(4, 3))]),
            2,
        ));
    }
}

fn assert_pair(before: Model) {
    let after = equalized(&before);

    assert_same_function("pair", &before, &after.model);
    assert_equal_ranges(&ranges(&after.model, "first", false), &ranges(&after.model, "second", true));
    assert_ne!(weight(&after.model, "first.weight"), weight(&before, "first.weight"));
    assert_eq!(weight(&after.model, "second.bias"), weight(&before, "second.bias"));
    assert!(after.sets[0].pairs[0].rectified);
    let again = equalize(&after).unwrap().0;
    assert!(again.sets[0].pairs[0].scale.iter().all(|scale| (scale - 1.0).abs() < 1e-5));
}

#[test]
fn a_triple_gets_equal_ranges_and_keeps_its_function() {
    let nodes = [("first", dense(5, 3)), ("relu", Op::Relu), ("middle", depthwise(5)), ("last", dense(4, 1))];
    let before = model(chain(&nodes), 2);

    let after = equalized(&before);

    assert_same_function("triple", &before, &after.model);
    assert_eq!(sets(&after), [["first", "middle", "last"]]);
    assert_eq!(after.sets[0].pairs.iter().map(|pair| pair.rectified).collect::<Vec<_>>(), [true, false]);
    let common = ranges(&after.model, "first", false);
    assert_equal_ranges(&common, &ranges(&after.model, "middle", false));
    assert_equal_ranges(&common, &ranges(&after.model, "last", true));
}

#[test]
fn groups_are_cut_from_left_to_right() {
    let grouped = || Conv { out: 4, kernel: 1, padding: 0, groups: 2, bias: true }.op();
    let expected: [(Vec<Op>, &[&[&str]]); 6] = [
        (vec![dense(4, 1), dense(4, 1), dense(4, 1)], &[&["0", "1"], &["1", "2"]]),
        (vec![dense(4, 1), depthwise(4), dense(4, 1), dense(4, 1)], &[&["0", "1", "2"], &["2", "3"]]),
        (vec![dense(4, 1), depthwise(4), depthwise(4), dense(4, 1)], &[&["2", "3"]]),
        (vec![dense(4, 1), depthwise(4)], &[]),
        (vec![dense(4, 1), grouped(), dense(4, 1), dense(4, 1)], &[&["2", "3"]]),
        (vec![depthwise(3), dense(4, 1), grouped()], &[&["0", "1"]]),
    ];
    for (ops, layers) in expected {
        let names: Vec<String> = (0..ops.len()).map(|index| index.to_string()).collect();
        let nodes: Vec<(&str, Op)> = names.iter().map(String::as_str).zip(ops).collect();
        let before = model(chain(&nodes), 9);

        let after = equalized(&before);

        assert_same_function(&format!("{layers:?}"), &before, &after.model);
        assert_eq!(sets(&after), layers);
    }
}

#[test]
fn other_operators_and_second_consumers_close_a_group() {
    for closing in [Op::Relu6, norm(), Op::Softmax { axis: 0 }, Op::HardSwish, Op::LeakyRelu { slope: 0.1 }] {
        let graph = chain(&[("first", dense(4, 1)), ("closing", closing), ("second", dense(4, 1))]);

        assert!(sets(&equalized(&model(graph, 1))).is_empty());
    }
    let mut branched = chain(&[("first", dense(4, 1)), ("relu", Op::Relu), ("second", dense(4, 1))]);
    branched.push("sum", Op::Add, &["second", "relu"]);
    let layers = chain(&[("flat", Op::Flatten), ("first", linear(4)), ("second", linear(4))]);
    for graph in [branched, layers] {
        assert!(sets(&equalized(&model(graph, 1))).is_empty());
    }
}

#[test]
fn an_identity_is_looked_through() {
    let nodes = [("first", dense(4, 1)), ("same", Op::Identity), ("second", dense(4, 1))];

    assert_eq!(sets(&equalized(&model(chain(&nodes), 1))), [["first", "second"]]);
}

#[test]
fn a_dead_channel_keeps_the_scale_one() {
    let mut before =
        model(chain(&[("first", dense(2, 1)), ("middle", depthwise(2)), ("last", dense(3, 1))]), 5);
    let mut first = weight(&before, "first.weight");
    first[..3].fill(0.0);
    set(&mut before, "first.weight", &first);
    let mut last = weight(&before, "last.weight");
    last.iter_mut().skip(1).step_by(2).for_each(|value| *value = 0.0);
    set(&mut before, "last.weight", &last);

    let after = equalized(&before);

    assert_same_function("dead channels", &before, &after.model);
    for pair in &after.sets[0].pairs {
        assert_eq!(pair.scale, [1.0, 1.0]);
    }
}

#[test]
fn what_is_known_of_activations_is_scaled_with_them() {
    let nodes = [
        ("first", dense(4, 1)),
        ("norm", norm()),
        ("relu", Op::Relu),
        ("before", norm()),
        ("second", dense(3, 1)),
    ];
    let (folded, _) = fold_batch_norm(&Transformed::new(model(chain(&nodes), 3))).unwrap();

    let (after, _) = equalize(&folded).unwrap();

    let scale = &after.sets[0].pairs[0].scale;
    let divided = |values: &[f32]| values.iter().zip(scale).map(|(v, s)| v / s).collect::<Vec<_>>();
    let (before, after) = (&folded.norms, &after.norms);
    assert_eq!(after.outputs["first"].beta, divided(&before.outputs["first"].beta));
    assert_eq!(after.outputs["first"].gamma, divided(&before.outputs["first"].gamma));
    assert_eq!(after.input_means["second"], divided(&before.input_means["second"]));
}
