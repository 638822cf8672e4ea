use bitloop_core::graph::{Op, Shape};
use bitloop_core::spec::{ConvBlock, ResNet, Separable};

use super::*;

fn input(channels: usize, size: usize) -> Input {
    Input { shape: Shape::image(channels, size, size), mean: vec![0.0; channels], std: vec![1.0; channels] }
}

fn plain() -> ConvBlock {
    ConvBlock {
        filters: vec![vec![4]],
        kernel: 3,
        max_pooling: false,
        separable: Separable::None,
        xnornet_trick: false,
        batch_norm: true,
        all_conv: false,
        dropout: 0.0,
        initializer: Initializer::HeNormal,
    }
}

fn names(spec: &ConvBlock) -> Vec<String> {
    let graph = conv_block(spec, "n", input(1, 8), 3).unwrap();
    graph.nodes.into_iter().map(|node| node.name).collect()
}

fn strides(spec: &ConvBlock) -> Vec<[usize; 2]> {
    let graph = conv_block(spec, "n", input(1, 8), 3).unwrap();
    let stride = |op: &Op| match op {
        Op::Conv2d(conv) => Some(conv.stride),
        _ => None,
    };
    graph.nodes.iter().filter_map(|node| stride(&node.op)).collect()
}

#[test]
fn a_single_convolution_has_no_suffix() {
    assert_eq!(names(&plain()), ["conv2d", "bn", "act", "flatten", "dense", "softmax"]);
}

#[test]
fn blocks_and_convolutions_are_numbered_where_there_are_several() {
    let spec = ConvBlock { filters: vec![vec![4], vec![4, 4]], batch_norm: false, dropout: 0.5, ..plain() };
    let blocks =
        ["conv2d_0", "act_0", "drop_0", "conv2d_1_0", "act_1_0", "conv2d_1_1", "act_1_1", "drop_1_1"];

    assert_eq!(names(&spec)[..8], blocks);
    assert_eq!(strides(&spec), [[2, 2], [1, 1], [2, 2]]);
    let graph = conv_block(&spec, "n", input(1, 8), 3).unwrap();
    assert!(matches!(&graph.nodes[0].op, Op::Conv2d(conv) if conv.bias));
}

#[test]
fn dsp_blocks_convolve_along_each_axis_and_halve_the_image_once() {
    let spec = ConvBlock { separable: Separable::Dsp, ..plain() };

    assert_eq!(names(&spec)[..6], ["conv2d_13", "bn_13", "act_13", "conv2d_31", "bn_31", "act_31"]);
    assert_eq!(strides(&spec), [[1, 1], [2, 2]]);
}

#[test]
fn the_depthwise_half_of_a_mobilenet_block_takes_the_stride() {
    let spec = ConvBlock { separable: Separable::Mobilenet, ..plain() };

    assert_eq!(names(&spec)[..4], ["conv2d_dw_33", "conv2d_dw_bn_33", "conv2d_dw_act_33", "conv2d_11"]);
    assert_eq!(strides(&spec), [[2, 2], [1, 1]]);
}

#[test]
fn the_xnornet_trick_moves_batch_norm_behind_the_pooling() {
    let spec = ConvBlock { filters: vec![vec![4, 4]], max_pooling: true, xnornet_trick: true, ..plain() };

    assert_eq!(names(&spec)[..7], ["conv2d_0", "bn_0", "act_0", "conv2d_1", "mp_1", "mp_bn_1", "mp_act_1"]);
    assert_eq!(strides(&spec), [[1, 1], [1, 1]]);
}

#[test]
fn an_all_conv_classifier_needs_one_pixel() {
    let spec = ConvBlock { all_conv: true, ..plain() };
    let three = ConvBlock { filters: vec![vec![4]; 3], all_conv: true, ..plain() };

    assert_eq!(conv_block(&spec, "n", input(1, 8), 3), Err(ZooError::NotOnePixel(Shape::image(4, 4, 4))));
    assert_eq!(names(&three)[9..], ["dense", "softmax", "flatten"]);
    let graph = conv_block(&three, "n", input(1, 8), 3).unwrap();
    assert_eq!(graph.shapes().unwrap().last(), Some(&Shape(vec![3])));
}

#[test]
fn nonsense_is_refused() {
    for filters in [vec![], vec![vec![]], vec![vec![4, 0]]] {
        let spec = ConvBlock { filters, ..plain() };
        assert_eq!(conv_block(&spec, "n", input(1, 8), 3), Err(ZooError::NoFilters));
    }
    let spec = ResNet { depth: 9, width: 16, stem_stride: 1 };
    assert_eq!(resnet(&spec, "n", input(3, 32), 10), Err(ZooError::Depth(9)));
}

#[test]
fn resnet20_has_the_published_size() {
    let spec = ResNet { depth: 20, width: 16, stem_stride: 1 };

    let graph = resnet(&spec, "resnet20", input(3, 32), 10).unwrap();

    // He et al., table 6: 0.27 M; 1x1 shortcuts and their batch norms add 2,752.
    assert_eq!(graph.parameters().unwrap(), 272_474);
    assert_eq!(graph.logits().unwrap(), "dense");
    for name in ["conv1", "stage1.unit1.conv1", "stage2.unit1.shortcut.conv", "stage3.unit3.relu2", "pool"] {
        assert!(graph.node(name).is_some(), "{name}");
    }
    assert!(graph.node("stage1.unit1.shortcut.conv").is_none());
}

#[test]
fn a_stem_stride_of_two_quarters_the_work() {
    let macs = |stem_stride| {
        let spec = ResNet { depth: 8, width: 16, stem_stride };
        let graph = resnet(&spec, "n", input(1, 32), 10).unwrap();
        graph.layer_costs().unwrap().iter().map(|layer| layer.macs).sum::<u64>()
    };

    assert!((macs(1) as f64 / macs(2) as f64 - 4.0).abs() < 0.01);
}

#[test]
fn first_weights_have_the_stated_spread_and_depend_on_the_seed_alone() {
    let spec = ConvBlock { filters: vec![vec![64, 64]], ..plain() };
    let graph = conv_block(&spec, "n", input(1, 8), 3).unwrap();
    let draw = |initializer, seed| {
        let weights = initial_weights(&graph, initializer, seed).unwrap();
        let values = |name: &str| weights[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(values("bn_1.gamma").iter().chain(&values("bn_1.running_var")).all(|v| *v == 1.0));
        assert!(values("bn_1.beta").iter().chain(&values("dense.bias")).all(|v| *v == 0.0));
        values("conv2d_1.weight")
    };
    let variance = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
    let fan_in = 64.0 * 9.0;

    // 36,864 draws: five standard errors of the variance are below 4 %.
    for (initializer, expected) in [
        (Initializer::HeNormal, 2.0 / fan_in),
        (Initializer::HeUniform, 2.0 / fan_in),
        (Initializer::GlorotUniform, 1.0 / fan_in),
    ] {
        let found = variance(&draw(initializer, 1));
        assert!((found / expected - 1.0).abs() < 0.04, "{initializer:?}: {found} is not {expected}");
    }
    assert_eq!(draw(Initializer::HeNormal, 1), draw(Initializer::HeNormal, 1));
    assert_ne!(draw(Initializer::HeNormal, 1), draw(Initializer::HeNormal, 2));
}
