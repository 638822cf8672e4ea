//! Batch-norm folding, ReLU6 replacement, cross-layer scaling and high-bias fold against aimet-torch 2.42.0, stage by stage.
//!
//! The data lies outside the repository (`../shared/reference/aimet/net_*`); without it the tests say so and pass.

mod common;

use bitloop_core::graph::{Graph, Op};
use bitloop_core::trial::Transform;
use bitloop_quant::model::Model;
use bitloop_quant::transforms::{self, Norm, REWRITES, Report, Transformed};
use candle_core::Tensor;
use serde_json::Value;

use common::{FOLDED, Net, RAW, assert_close, list, nets, string, values};

/// Weights are a few f32 operations from the raw ones; the reference's README states this.
const WEIGHTS: f64 = 1e-6;
/// Outputs are sums of hundreds of products, in another order than the reference's.
const OUTPUTS: f64 = 1e-4;

const RELU6_REPLACED: &str = "20_relu6_replaced";
const RELU6_KEPT: &str = "25_cle_without_relu6_replacement";
const EQUALIZED: &str = "30_cle";
const HIGH_BIAS: &str = "40_hbf";

fn apply(transforms: &[Transform], net: &Net) -> (Transformed, Report) {
    let mut network = Transformed::new(net.model(RAW));
    let mut last = None;
    for transform in transforms {
        let (next, report) = transforms::apply(*transform, &network).expect("the transform applies");
        assert_eq!(report.transform, *transform);
        (network, last) = (next, Some(report));
    }
    (network, last.expect("at least one transform"))
}

fn assert_stage(net: &Net, ours: &Model, stage: &str) {
    let theirs = net.model(stage);
    assert_eq!(ours.graph, theirs.graph, "{} {stage}", net.name);
    let mut largest = 0.0_f64;
    for (name, expected) in &theirs.weights {
        let what = format!("{} {stage}/{name}", net.name);
        largest = largest.max(assert_close(&what, &ours.weights[name], expected, WEIGHTS));
    }
    let what = format!("{} {stage}/output", net.name);
    let expected = net.tensor(&format!("{stage}/output"));
    let outputs = assert_close(&what, &net.output(ours), expected, OUTPUTS);
    eprintln!("{} {stage}: weights within {largest:.1e}, outputs within {outputs:.1e}", net.name);
}

#[test]
fn golden_raw_activations_equal_the_reference() {
    for net in nets() {
        let raw = net.model(RAW);
        assert_stage(&net, &raw, RAW);
    }
}

#[test]
fn golden_folded_networks_equal_the_reference() {
    for net in nets() {
        let (folded, report) = apply(&[Transform::FoldBatchNorm], &net);

        assert_stage(&net, &folded.model, FOLDED);
        let graph = net.graph(RAW);
        let mut expected: Vec<Vec<String>> =
            net.folded().into_iter().map(|(layer, norm)| in_order(&graph, layer, norm)).collect();
        let stage = net.stage(FOLDED).expect("every network has a folded stage");
        expected.extend(list(&stage["standalone_bn"]).iter().map(|norm| vec![string(norm)]));
        assert_eq!(report.touched, expected, "{}", net.name);
    }
}

#[test]
fn golden_parameters_of_folded_batch_norms_are_kept() {
    for net in nets() {
        let (folded, _) = apply(&[Transform::FoldBatchNorm], &net);

        let mut compared = 0;
        for (name, gamma) in &net.tensors {
            let Some(layer) = name.strip_prefix("40_hbf/bn_gamma/") else { continue };
            let beta = net.tensor(&format!("{HIGH_BIAS}/bn_beta/{layer}"));
            match folded.norms.outputs.get(layer) {
                Some(norm) => {
                    assert_eq!(norm, &Norm { gamma: values(gamma), beta: values(beta) }, "{}", net.name);
                }
                // Of a batch norm before the layer only the mean of what it read has a use.
                None => assert_eq!(folded.norms.input_means[layer].len(), gamma.elem_count()),
            }
            compared += 1;
        }
        assert!(compared > 0, "{} has no parameters to compare", net.name);
        let stage = net.stage(FOLDED).expect("every network has a folded stage");
        for norm in list(&stage["standalone_bn"]).iter().map(string) {
            let original = |part: &str| values(net.tensor(&format!("{RAW}/{norm}.{part}")));
            let expected = Norm { gamma: original("weight"), beta: original("bias") };
            assert_eq!(folded.norms.outputs[&norm], expected, "{}", net.name);
        }
    }
}

#[test]
fn golden_networks_without_relu6_equal_the_reference() {
    for net in nets() {
        let (replaced, report) = apply(&REWRITES[..2], &net);

        assert_stage(&net, &replaced.model, RELU6_REPLACED);
        let stage = net.stage(RELU6_REPLACED).expect("every network has this stage");
        assert_eq!(report.touched.len() as u64, stage["replaced"].as_u64().expect("a count"));
    }
}

#[test]
fn golden_a_kept_relu6_leaves_fewer_pairs_to_equalize() {
    for net in nets() {
        let (equalized, _) = apply(&[Transform::FoldBatchNorm, Transform::Equalize], &net);

        let stage = net.stage(RELU6_KEPT).expect("every network has this stage");
        let expected: Vec<_> = list(&stage["pairs"]).iter().map(layers_of).collect();
        let pairs = equalized.sets.iter().flat_map(|set| &set.pairs);
        let ours: Vec<_> = pairs.map(|pair| (pair.first.clone(), pair.second.clone())).collect();
        assert_eq!(ours, expected, "{}", net.name);
        assert_eq!(equalized.model.graph, net.graph(RELU6_KEPT), "{}", net.name);
    }
}

#[test]
fn golden_equalized_networks_and_scales_equal_the_reference() {
    for net in nets() {
        let (equalized, report) = apply(&REWRITES[..3], &net);

        assert_stage(&net, &equalized.model, EQUALIZED);
        let stage = net.stage(EQUALIZED).expect("every network has this stage");
        let sets = list(&stage["cls_sets"]);
        assert_eq!((equalized.sets.len(), report.touched.len()), (sets.len(), sets.len()), "{}", net.name);
        for (ours, theirs) in equalized.sets.iter().zip(sets) {
            assert_eq!(ours.pairs.len(), list(theirs).len(), "{} {theirs}", net.name);
            for (ours, theirs) in ours.pairs.iter().zip(list(theirs)) {
                assert_eq!((ours.first.clone(), ours.second.clone()), layers_of(theirs), "{}", net.name);
                assert_eq!(Some(ours.rectified), theirs["relu_between"].as_bool(), "{} {theirs}", net.name);
                let expected = net.tensor(theirs["scale"].as_str().expect("a scale names its tensor"));
                let scale = Tensor::new(ours.scale.as_slice(), expected.device()).expect("a vector");
                assert_relative(&format!("{} {theirs}", net.name), &scale, expected);
            }
        }
    }
}

#[test]
fn golden_high_bias_folded_networks_equal_the_reference() {
    for net in nets() {
        let (folded, report) = apply(&REWRITES, &net);

        assert_stage(&net, &folded.model, HIGH_BIAS);
        let stage = net.stage(HIGH_BIAS).expect("every network has this stage");
        let mut expected: Vec<String> = list(&stage["biases_changed"]).iter().map(string).collect();
        let mut changed: Vec<String> = report.touched.into_iter().flatten().collect();
        for names in [&mut expected, &mut changed] {
            names.sort();
            names.dedup();
        }
        assert_eq!(changed, expected, "{}", net.name);
    }
}

fn layers_of(pair: &Value) -> (String, String) {
    (string(&pair["layer1"]), string(&pair["layer2"]))
}

/// A report names the earlier node first.
fn in_order(graph: &Graph, layer: String, norm: String) -> Vec<String> {
    let first = graph.nodes.iter().find(|node| node.name == layer || node.name == norm);
    match first.expect("folds name nodes").op {
        Op::BatchNorm { .. } => vec![norm, layer],
        _ => vec![layer, norm],
    }
}

fn assert_relative(what: &str, ours: &Tensor, theirs: &Tensor) {
    for (ours, theirs) in values(ours).iter().zip(values(theirs)) {
        let difference = f64::from((ours - theirs).abs());
        assert!(difference <= WEIGHTS * f64::from(theirs.abs()), "{what}: scale {ours}, expected {theirs}");
    }
}
