mod golden;

use bitloop_core::graph::{Conv2d, Input, Linear, Padding, Pool};
use candle_core::Device;

use super::*;
use crate::archive::{self, Entry};
use crate::quantizer::Grid;
use crate::rng::rng;

/// Two convolutions (one depthwise with a sum around it), batch norm, pooling and a linear layer on 1x8x8 images.
pub(crate) fn graph() -> Graph {
    let input = Input { shape: Shape::image(1, 8, 8), mean: vec![0.5], std: vec![0.25] };
    let conv = |out_channels, groups, bias| {
        Op::Conv2d(Conv2d {
            out_channels,
            kernel: [3, 3],
            stride: [1, 1],
            padding: Padding::all(1),
            dilation: [1, 1],
            groups,
            bias,
        })
    };
    let pool = Pool { kernel: [2, 2], stride: [2, 2], padding: Padding::default(), count_padding: false };
    let linear = Linear { out_features: 6, bias: true };
    let mut graph = Graph::new("fixture", input);
    graph.push("conv", conv(4, 1, false), &[INPUT]);
    graph.push("bn", Op::BatchNorm { eps: 1e-3 }, &["conv"]);
    graph.push("relu", Op::Relu, &["bn"]);
    graph.push("depthwise", conv(4, 4, true), &["relu"]);
    graph.push("add", Op::Add, &["depthwise", "relu"]);
    graph.push("pool", Op::MaxPool(pool), &["add"]);
    graph.push("flatten", Op::Flatten, &["pool"]);
    graph.push("dense", Op::Linear(linear), &["flatten"]);
    graph.push("softmax", Op::Softmax { axis: 0 }, &["dense"]);
    graph
}

/// The graph above with normally distributed weights.
pub(crate) fn model(seed: u64) -> Model {
    let mut rng = rng(seed, 0);
    let mut weights = BTreeMap::new();
    for (name, shape) in expected_tensors(&graph()).unwrap() {
        let positive = name.ends_with("running_var");
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| rng.normal() as f32)
            .map(|value| if positive { value.abs() + 0.5 } else { value * 0.5 })
            .collect();
        weights.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    }
    Model::new(graph(), weights).unwrap()
}

fn replaced(name: &str, tensor: Tensor) -> Result<Model, ModelError> {
    let mut model = model(1);
    model.weights.insert(name.to_owned(), tensor);
    Model::new(model.graph, model.weights)
}

fn metadata(pairs: &[(&'static str, String)]) -> Vec<u8> {
    archive::to_bytes(pairs.iter().cloned().collect(), &BTreeMap::new())
}

#[test]
fn a_model_survives_its_file() {
    let model = model(1);
    let bytes = model.to_bytes().unwrap();

    let read = Model::from_bytes(&bytes).unwrap();

    assert_eq!(read.graph, model.graph);
    assert_eq!(read.to_bytes().unwrap(), bytes);
    for (name, tensor) in &model.weights {
        assert_eq!(values_of(name, tensor).unwrap(), values_of(name, &read.weights[name]).unwrap());
    }
}

#[test]
fn a_saved_model_replaces_the_old_file_and_leaves_nothing_else() {
    let folder = std::env::temp_dir().join(format!("bitloop-model-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.safetensors");
    std::fs::write(&path, b"old").unwrap();

    model(2).save(&path).unwrap();

    assert_eq!(Model::load(&path).unwrap().to_bytes().unwrap(), model(2).to_bytes().unwrap());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    std::fs::remove_dir_all(&folder).unwrap();
    let error = Model::load(&path).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("model.safetensors"), "{error}");
    assert!(matches!(model(2).save(&path), Err(ModelError::Io { action: "write", .. })));
}

#[test]
fn no_truncation_or_flipped_byte_makes_reading_panic() {
    let bytes = model_with_encodings().to_bytes().unwrap();
    for len in 0..bytes.len() {
        assert!(Model::from_bytes(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
    }
    let mut rng = rng(4, 0);
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        for _ in 0..=rng.below(2) {
            let at = rng.below(damaged.len());
            damaged[at] ^= 1 << rng.below(8);
        }
        // A flipped bit in a weight gives another valid model; whatever was read can be written again.
        if let Ok(model) = Model::from_bytes(&damaged) {
            model.to_bytes().unwrap();
        }
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    assert!(matches!(Model::from_bytes(&longer), Err(ModelError::NotSafetensors { .. })));
}

#[test]
fn foreign_and_newer_files_are_told_apart() {
    let graph_text = serde_json::to_string(&graph()).unwrap();

    assert!(matches!(Model::from_bytes(b"PK\x03\x04 a zip file"), Err(ModelError::NotSafetensors { .. })));
    assert!(matches!(Model::from_bytes(&metadata(&[])), Err(ModelError::NoGraph)));
    let newer = metadata(&[("bitloop.format", "2".into()), ("bitloop.graph", graph_text.clone())]);
    assert!(matches!(Model::from_bytes(&newer), Err(ModelError::Version { .. })));
    let garbled = metadata(&[("bitloop.format", "1".into()), ("bitloop.graph", "{".into())]);
    assert!(matches!(Model::from_bytes(&garbled), Err(ModelError::GraphText { .. })));
    let empty = metadata(&[("bitloop.format", "1".into()), ("bitloop.graph", graph_text)]);
    assert!(matches!(Model::from_bytes(&empty), Err(ModelError::MissingTensor { .. })));
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();

    let error = replaced("dense.bias", zeros(&[5], DType::F32)).unwrap_err();
    assert_eq!(error.to_string(), "tensor `dense.bias` has shape 5, its node needs 6");
    let error = replaced("dense.bias", zeros(&[6], DType::F64)).unwrap_err();
    assert!(matches!(error, ModelError::Type { name, .. } if name == "dense.bias"));
    let error = replaced("relu.weight", zeros(&[6], DType::F32)).unwrap_err();
    assert!(matches!(error, ModelError::UnexpectedTensor { name } if name == "relu.weight"));
    let nan = Tensor::new(&[0.0_f32, 0.0, f32::NAN, 0.0], &Device::Cpu).unwrap();
    let error = replaced("depthwise.bias", nan).unwrap_err();
    assert!(matches!(error, ModelError::NotFinite { name, index: 2, .. } if name == "depthwise.bias"));
    let negative = Tensor::new(&[1.0_f32, -1.0, 1.0, 1.0], &Device::Cpu).unwrap();
    let error = replaced("bn.running_var", negative).unwrap_err();
    assert!(matches!(error, ModelError::Variance { index: 1, .. }));

    let mut incomplete = model(1);
    incomplete.weights.remove("bn.gamma");
    let error = Model::new(incomplete.graph, incomplete.weights).unwrap_err();
    assert_eq!(error.to_string(), "tensor `bn.gamma` of shape 4 is missing; the graph's nodes need it");
}

#[test]
fn foreign_types_and_shapes_in_a_file_are_named() {
    let graph_text = serde_json::to_string(&graph()).unwrap();
    let file = |dtype, shape: &[usize], len| {
        let entry = Entry { dtype, shape, bytes: vec![0; len] };
        let pairs = [("bitloop.format", "1".to_owned()), ("bitloop.graph", graph_text.clone())];
        archive::to_bytes(pairs.into(), &BTreeMap::from([("dense.bias", entry)]))
    };

    let half = Model::from_bytes(&file("F16", &[6], 12)).unwrap_err().to_string();
    assert!(half.contains("`dense.bias` has type f16"), "{half}");
    let short = Model::from_bytes(&file("F32", &[5], 20)).unwrap_err().to_string();
    assert!(short.contains("has shape 5, its node needs 6"), "{short}");
}

#[test]
fn an_input_that_cannot_be_normalized_is_refused() {
    for std in [0.0, f32::NAN, -1.0] {
        let mut model = model(1);
        model.graph.input.std = vec![std];
        let refused = Model::new(model.graph, model.weights);
        assert!(matches!(refused, Err(ModelError::Normalization { channel: 0, .. })), "{std}");
    }
}

fn encoding(scale: Vec<f32>) -> Encoding {
    let offset = vec![0; scale.len()];
    Encoding::given(Grid::new(-128, 127, true).unwrap(), scale, offset).unwrap()
}

/// The model above with encodings of every kind that a network can come with.
fn model_with_encodings() -> Model {
    let unsigned = Encoding::given(Grid::new(0, 65_535, false).unwrap(), vec![0.1], vec![-32_767]).unwrap();
    let encodings = [
        ("conv.weight", encoding(vec![0.1, 1.0 / 3.0, f32::MIN_POSITIVE, 16_777_217.0])),
        ("dense.weight", encoding(vec![0.3])),
        ("input.output", encoding(vec![0.7])),
        ("relu.output", unsigned),
    ];
    let encodings = encodings.map(|(point, encoding)| (point.to_owned(), encoding));
    model(1).with_encodings(encodings.into()).unwrap()
}

#[test]
fn encodings_survive_the_file_and_leave_no_trace_where_there_are_none() {
    let model = model_with_encodings();
    let bytes = model.to_bytes().unwrap();

    let read = Model::from_bytes(&bytes).unwrap();

    assert_eq!(read.encodings, model.encodings);
    assert_eq!(read.to_bytes().unwrap(), bytes);
    let bare = read.with_encodings(BTreeMap::new()).unwrap().to_bytes().unwrap();
    assert_eq!(bare, self::model(1).to_bytes().unwrap());
    // What a file consists of since the first release: files without encodings keep their digest.
    let graph_text = serde_json::to_string(&graph()).unwrap();
    let pairs = [("bitloop.format", "1".to_owned()), ("bitloop.graph", graph_text)];
    let entries = model.weights.iter().map(|(name, tensor)| {
        let bytes = archive::f32_bytes(&values_of(name, tensor).unwrap());
        (name.as_str(), Entry { dtype: "F32", shape: tensor.dims(), bytes })
    });
    assert_eq!(bare, archive::to_bytes(pairs.into(), &entries.collect()));
    assert!(!String::from_utf8_lossy(&bare).contains("bitloop.encodings"));
}

#[test]
fn encodings_that_fit_no_tensor_are_named() {
    for point in ["relu.weight", "nowhere.output", "conv.bias", "conv", "bn.gamma"] {
        let refused = model(1).with_encodings([(point.to_owned(), encoding(vec![1.0]))].into());
        assert!(matches!(refused, Err(ModelError::UnknownEncoding { point: named }) if named == point));
    }
    for point in ["conv.weight", "relu.output"] {
        let refused = model(1).with_encodings([(point.to_owned(), encoding(vec![1.0; 3]))].into());
        assert!(matches!(refused, Err(ModelError::EncodingChannels { scales: 3, .. })), "{point}");
    }
}

#[test]
fn encodings_in_a_file_are_checked() {
    let graph_text = serde_json::to_string(&graph()).unwrap();
    let file = |encodings: &str| {
        let pairs = [
            ("bitloop.format", "1".to_owned()),
            ("bitloop.graph", graph_text.clone()),
            ("bitloop.encodings", encodings.to_owned()),
        ];
        Model::from_bytes(&metadata(&pairs)).unwrap_err()
    };

    assert!(matches!(file("{"), ModelError::EncodingText { .. }));
    let entry = |scale: &str, qmax: i64| {
        format!(
            r#"{{"relu.output":{{"qmin":0,"qmax":{qmax},"symmetric":false,"scale":[{scale}],"offset":[0]}}}}"#
        )
    };
    for wrong in [entry("0.0", 255), entry("-1.0", 255), entry("1.0", 0), entry("1.0", 70_000)] {
        let error = file(&wrong);
        assert!(matches!(&error, ModelError::Encoding { point, .. } if point == "relu.output"), "{error}");
    }
    assert!(matches!(
        file(&entry("1e99", 255)),
        ModelError::EncodingText { .. } | ModelError::Encoding { .. }
    ));
    assert!(matches!(file(&entry("1.0", 255)), ModelError::MissingTensor { .. }));
}
