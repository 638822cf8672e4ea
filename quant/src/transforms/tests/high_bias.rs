use super::*;

/// Two pointwise convolutions, the first with a batch norm behind it, folded and equalized.
///
/// The variance is far above the outputs', so that these stay within a small part of `gamma` around `beta`.
fn pair(between: Op, beta: f32) -> Transformed {
    let nodes = [("first", dense(3, 1)), ("norm", norm()), ("between", between), ("second", dense(4, 1))];
    let mut before = model(chain(&nodes), 12);
    set(&mut before, "norm.running_mean", &[0.0; 3]);
    set(&mut before, "norm.running_var", &[1e4; 3]);
    set(&mut before, "norm.gamma", &[0.5, -0.5, 0.5]);
    set(&mut before, "norm.beta", &[beta, beta, -beta]);
    let (folded, _) = fold_batch_norm(&Transformed::new(before)).unwrap();
    equalize(&folded).unwrap().0
}

#[test]
fn the_part_of_a_bias_that_a_rectifier_always_passes_moves_on() {
    // So high that no output comes near zero.
    let before = pair(Op::Relu, 40.0);

    let (after, report) = high_bias_fold(&before).unwrap();

    assert_eq!(report.touched, [["first", "second"]]);
    assert_same_function("high bias", &before.model, &after.model);
    let (was, is) = (weight(&before.model, "first.bias"), weight(&after.model, "first.bias"));
    let Norm { gamma, beta } = &before.norms.outputs["first"];
    for channel in 0..2 {
        let moved = beta[channel] - 3.0 * gamma[channel].abs();
        assert!((was[channel] - is[channel] - moved).abs() <= 1e-5 * moved, "channel {channel}");
    }
    assert_eq!(was[2], is[2], "a bias below zero has nothing to give");
    let again = weight(&high_bias_fold(&after).unwrap().0.model, "first.bias");
    for (is, again) in is.iter().zip(&again) {
        assert!((is - again).abs() < 1e-4, "what could move has moved already: {is} {again}");
    }
}

#[test]
fn without_a_rectifier_the_whole_bias_moves_and_the_function_stays() {
    let before = pair(Op::Identity, 2.0);

    let (after, report) = high_bias_fold(&before).unwrap();

    assert_eq!(report.touched, [["first", "second"]]);
    assert_same_function("linear", &before.model, &after.model);
    assert_eq!(after.norms.outputs["first"].beta, [0.0; 3]);
}

#[test]
fn low_biases_stay() {
    let before = pair(Op::Relu, 1.0);

    let (after, report) = high_bias_fold(&before).unwrap();

    assert!(report.touched.is_empty());
    assert_eq!(after.model.to_bytes().unwrap(), before.model.to_bytes().unwrap());
}

#[test]
fn pairs_without_a_norm_or_without_a_bias_are_left_alone() {
    let mut unknown = pair(Op::Relu, 40.0);
    unknown.norms = Norms::default();
    let mut unscaled = pair(Op::Relu, 40.0);
    unscaled.sets.clear();
    let mut no_bias = pair(Op::Relu, 40.0);
    no_bias.model.weights.remove("second.bias");
    for node in &mut no_bias.model.graph.nodes {
        if let Op::Conv2d(conv) = &mut node.op {
            conv.bias = node.name != "second";
        }
    }

    for before in [unknown, unscaled, no_bias] {
        let (after, report) = high_bias_fold(&before).unwrap();

        assert!(report.touched.is_empty());
        assert_eq!(after.model.to_bytes().unwrap(), before.model.to_bytes().unwrap());
    }
}
