//! Golden files: what a version of a format wrote, for tests that read it. `UPDATE_EXPECT=1` writes them anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding, Shape};
use candle_core::{Device, Tensor};

use crate::model::Model;

/// Name, shape and values of every weight of [`model`].
pub(crate) const WEIGHTS: [(&str, &[usize], &[f32]); 4] = [
    ("conv.bias", &[2], &[0.125, -1.5]),
    ("conv.weight", &[2, 1, 2, 2], &[0.5, -0.25, 0.1, -2.0, 3.0, f32::MIN_POSITIVE, 0.7, -16_777_216.0]),
    ("dense.bias", &[3], &[0.0, 1.0, -0.375]),
    ("dense.weight", &[3, 2], &[1.25, -0.5, 0.3, 2.0, -4.0, 0.0625]),
];

/// A convolution, an activation and a linear layer on images of four pixels.
pub(crate) fn graph() -> Graph {
    let input = Input { shape: Shape::image(1, 2, 2), mean: vec![0.5], std: vec![0.25] };
    let conv = Conv2d {
        out_channels: 2,
        kernel: [2, 2],
        stride: [1, 1],
        padding: Padding::default(),
        dilation: [1, 1],
        groups: 1,
        bias: true,
    };
    let mut graph = Graph::new("golden", input);
    graph.push("conv", Op::Conv2d(conv), &[INPUT]);
    graph.push("relu", Op::Relu, &["conv"]);
    graph.push("flatten", Op::Flatten, &["relu"]);
    graph.push("dense", Op::Linear(Linear { out_features: 3, bias: true }), &["flatten"]);
    graph
}

/// The graph with its weights.
pub(crate) fn model() -> Model {
    let tensor = |shape: &[usize], values: &[f32]| Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
    let weights = WEIGHTS.map(|(name, shape, values)| (name.to_owned(), tensor(shape, values)));
    Model::new(graph(), weights.into()).unwrap()
}

/// Asserts that a model that was read is the one above.
pub(crate) fn assert_is_the_model(read: &Model) {
    assert_eq!(read.graph, graph());
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let weights = read.weights.iter().map(|(name, tensor)| (name.as_str(), (tensor.dims(), values(tensor))));
    let expected = WEIGHTS.map(|(name, shape, values)| (name, (shape, values.to_vec())));
    assert_eq!(weights.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));
}

/// Returns the bytes of a golden file, after asserting that these are what is written today.
pub(crate) fn asserted(name: &str, written: &[u8]) -> Vec<u8> {
    let path = path(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, written).unwrap();
    }
    let golden = fs::read(&path).unwrap();
    assert!(golden == written, "{name} is written otherwise: a change of its bytes needs a new format");
    golden
}

/// Returns the file as one of format 2 would begin; `key` is that of its metadata that holds the format.
pub(crate) fn newer(golden: &[u8], key: &str) -> Vec<u8> {
    let (own, next) = (format!("\"{key}\":\"1\""), format!("\"{key}\":\"2\""));
    let at = golden.windows(own.len()).position(|window| window == own.as_bytes()).unwrap();
    let mut newer = golden.to_vec();
    newer[at..at + own.len()].copy_from_slice(next.as_bytes());
    newer
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name)
}
