use super::*;

/// A random row of layers, batch norms and rectifiers that ends in a linear layer; every kind of fold occurs.
fn random_chain(seed: u64) -> Graph {
    let mut rng = rng(seed, 1);
    let mut nodes: Vec<(String, Op)> = Vec::new();
    let mut channels = 3;
    for block in 0..3 {
        if rng.below(3) == 0 {
            nodes.push((format!("before_{block}"), norm()));
        }
        let kind = rng.below(3);
        let groups = if kind == 0 { 1 } else { channels };
        let out = match kind {
            0 => 2 * (1 + rng.below(3)),
            1 => channels,
            _ => 2 * channels,
        };
        let (kernel, padding, bias) = (1 + rng.below(2), rng.below(2), rng.below(2) == 0);
        nodes.push((format!("conv_{block}"), Conv { out, kernel, padding, groups, bias }.op()));
        channels = out;
        if rng.below(2) == 0 {
            nodes.push((format!("behind_{block}"), norm()));
        }
        if rng.below(2) == 0 {
            nodes.push((format!("relu_{block}"), Op::Relu));
        }
    }
    nodes.push(("pool".into(), Op::GlobalAveragePool));
    nodes.extend((rng.below(2) == 0).then(|| ("before".into(), norm())));
    nodes.push(("dense".into(), linear(4)));
    nodes.extend((rng.below(2) == 0).then(|| ("behind".into(), norm())));
    let nodes: Vec<(&str, Op)> = nodes.iter().map(|(name, op)| (name.as_str(), op.clone())).collect();
    chain(&nodes)
}

#[test]
fn folding_keeps_the_function_of_random_networks() {
    let (mut backward, mut forward, mut standalone) = (0, 0, 0);
    for seed in 0..40 {
        let before = model(random_chain(seed), seed);
        let folds = before.graph.batch_norm_folds();

        let (after, report) = fold_batch_norm(&Transformed::new(before.clone())).unwrap();

        assert_same_function(&format!("seed {seed}"), &before, &after.model);
        let norms = after.model.graph.nodes.iter().filter(|node| matches!(node.op, Op::BatchNorm { .. }));
        assert_eq!(norms.count(), folds.standalone.len(), "seed {seed}");
        assert_eq!(after.norms.input_means.len(), folds.forward.len(), "seed {seed}");
        let all = folds.backward.len() + folds.forward.len() + folds.standalone.len();
        assert_eq!(report.touched.len(), all, "seed {seed}");
        backward += folds.backward.len();
        forward += folds.forward.len();
        standalone += folds.standalone.len();
    }
    assert!(backward > 10 && forward > 10 && standalone > 5, "{backward} {forward} {standalone}");
}

#[test]
fn folding_twice_is_folding_once() {
    for seed in 0..10 {
        let (once, _) = fold_batch_norm(&Transformed::new(model(random_chain(seed), seed))).unwrap();

        let (twice, report) = fold_batch_norm(&once).unwrap();

        assert_eq!(twice.model.to_bytes().unwrap(), once.model.to_bytes().unwrap(), "seed {seed}");
        assert_eq!(twice.norms, once.norms);
        assert!(report.touched.is_empty());
    }
}

#[test]
fn a_batch_norm_before_a_padded_layer_stays_as_an_affine_map() {
    let graph = |padding| {
        let conv = Conv { out: 4, kernel: 3, padding, groups: 1, bias: false };
        chain(&[("relu", Op::Relu), ("norm", norm()), ("conv", conv.op())])
    };
    for (padding, stays) in [(0, false), (1, true)] {
        let before = model(graph(padding), 4);

        let (after, _) = fold_batch_norm(&Transformed::new(before.clone())).unwrap();

        assert_same_function(&format!("padding {padding}"), &before, &after.model);
        assert_eq!(after.model.graph.node("norm").is_some(), stays);
        if stays {
            assert_eq!(weight(&after.model, "norm.running_mean"), [0.0; 3]);
            assert_eq!(weight(&after.model, "norm.running_var"), [1.0; 3]);
            let original = Norm { gamma: weight(&before, "norm.gamma"), beta: weight(&before, "norm.beta") };
            assert_eq!(after.norms.outputs["norm"], original);
        } else {
            assert_eq!(after.norms.input_means["conv"], weight(&before, "norm.running_mean"));
        }
    }
}

#[test]
fn a_layer_may_take_over_a_batch_norm_on_either_side() {
    let before = model(chain(&[("in", norm()), ("conv", dense(4, 3)), ("out", norm())]), 6);

    let (after, report) = fold_batch_norm(&Transformed::new(before.clone())).unwrap();

    assert_same_function("both sides", &before, &after.model);
    assert_eq!(report.touched, [["conv", "out"], ["in", "conv"]]);
    assert_eq!(after.model.graph.nodes.len(), 1);
}

#[test]
fn batch_norms_in_a_row_all_fold() {
    let rows = [
        [("conv", dense(4, 3)), ("one", norm()), ("two", norm()), ("relu", Op::Relu)],
        [("relu", Op::Relu), ("one", norm()), ("two", norm()), ("conv", dense(4, 3))],
    ];
    for nodes in rows {
        let before = model(chain(&nodes), 6);

        let (after, _) = fold_batch_norm(&Transformed::new(before.clone())).unwrap();

        assert_same_function("row", &before, &after.model);
        assert_eq!(after.model.graph.nodes.len(), 2);
        match after.norms.input_means.get("conv") {
            // What the layer now reads is what the first of the two read.
            Some(mean) => assert_eq!(*mean, weight(&before, "one.running_mean")),
            None => assert_eq!(after.norms.outputs["conv"].beta, weight(&before, "two.beta")),
        }
    }
}

#[test]
fn weights_that_overflow_are_refused_by_name() {
    let mut before = model(chain(&[("conv", dense(2, 1)), ("norm", norm())]), 6);
    set(&mut before, "norm.gamma", &[1.0, 3e38]);
    set(&mut before, "norm.running_var", &[1.0, 0.0]);

    let error = fold_batch_norm(&Transformed::new(before)).unwrap_err().to_string();

    assert!(error.contains("`fold_batch_norm`") && error.contains("`conv."), "{error}");
}

#[test]
fn a_model_without_its_weights_is_refused_by_name() {
    let mut before = model(chain(&[("conv", dense(2, 1)), ("norm", norm())]), 6);
    before.weights.remove("norm.beta");

    let error = fold_batch_norm(&Transformed::new(before)).unwrap_err();

    assert!(matches!(&error, TransformError::Weight { name } if name == "norm.beta"), "{error}");
}
