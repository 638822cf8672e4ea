use candle_core::Device;

use super::*;
use crate::zoo::architecture;

fn zoo() -> Zoo {
    let mobilenet = architecture("mobilenet_v2").unwrap();
    Zoo { input: Some(mobilenet.input(Shape::image(3, 32, 32))), ..Zoo::published(mobilenet) }
}

/// The tensors of a state dict of `zoo`; every value is 0.5.
fn state_dict(zoo: &Zoo) -> BTreeMap<String, Tensor> {
    let keys = keys(&zoo.graph().unwrap()).unwrap().into_iter();
    keys.map(|Key { key, shape, .. }| (key, Tensor::full(0.5_f32, shape, &Device::Cpu).unwrap())).collect()
}

fn renamed(tensors: BTreeMap<String, Tensor>, name: impl Fn(&str) -> String) -> BTreeMap<String, Tensor> {
    tensors.into_iter().map(|(key, tensor)| (name(&key), tensor)).collect()
}

fn tensor(shape: &[usize]) -> Tensor {
    Tensor::full(0.25_f32, shape, &Device::Cpu).unwrap()
}

fn mismatch(zoo: &Zoo, tensors: BTreeMap<String, Tensor>) -> Mismatch {
    match load(zoo, tensors) {
        Err(KeyError::Mismatch { mismatch, .. }) => mismatch,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the tensors fit"),
    }
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn batch_norms_get_gamma_and_beta_and_counters_are_ignored() {
    let mut tensors = state_dict(&zoo());
    tensors.insert("features.0.1.weight".into(), tensor(&[32]));
    tensors.insert("features.0.1.num_batches_tracked".into(), Tensor::new(7_i64, &Device::Cpu).unwrap());

    let model = load(&zoo(), tensors).unwrap();

    assert_eq!(model.weights["features.0.1.gamma"].to_vec1::<f32>().unwrap(), [0.25; 32]);
    assert_eq!(model.weights["features.0.1.beta"].to_vec1::<f32>().unwrap(), [0.5; 32]);
    assert!(!model.weights.contains_key("features.0.1.weight"));
}

#[test]
fn classes_are_those_of_the_classifier_unless_given() {
    let ten = Zoo { classes: Some(10), ..zoo() };

    let inferred = load(&zoo(), state_dict(&ten)).unwrap();
    assert_eq!(inferred.graph, ten.graph().unwrap());

    let found = mismatch(&Zoo { classes: Some(9), ..zoo() }, state_dict(&ten));
    let misshapen = |key: &str, expected: &[usize], found: &[usize]| Misshapen {
        key: key.into(),
        expected: Shape(expected.to_vec()),
        found: Shape(found.to_vec()),
    };
    let expected = [
        misshapen("classifier.1.weight", &[9, 1280], &[10, 1280]),
        misshapen("classifier.1.bias", &[9], &[10]),
    ];
    assert_eq!(found, Mismatch { misshapen: expected.to_vec(), ..Mismatch::default() });
}

#[test]
fn prefixes_of_wrappers_are_taken_off() {
    let plain = load(&zoo(), state_dict(&zoo())).unwrap();
    for prefix in ["module.", "model.", "module._orig_mod.", "1."] {
        let tensors = renamed(state_dict(&zoo()), |key| format!("{prefix}{key}"));

        let model = load(&zoo(), tensors).unwrap();

        assert_eq!(model.graph, plain.graph);
        assert!(model.weights.keys().eq(plain.weights.keys()), "{prefix}");
    }
}

#[test]
fn every_misfit_is_named_at_once_as_in_the_file() {
    let mut tensors = renamed(state_dict(&zoo()), |key| format!("module.{key}"));
    tensors.remove("module.features.0.0.weight");
    tensors.remove("module.features.5.conv.3.running_var");
    tensors.insert("module.classifier.1.bias".into(), tensor(&[999]));
    tensors.insert("module.features.1.conv.1.weight".into(), tensor(&[16, 32]));
    tensors.insert("module.features.99.weight".into(), tensor(&[1]));
    tensors.insert("epoch".into(), tensor(&[1]));

    let found = mismatch(&zoo(), tensors);

    let missing = ["module.features.0.0.weight", "module.features.5.conv.3.running_var"];
    assert_eq!(found.missing, strings(&missing));
    assert_eq!(found.unexpected, strings(&["epoch", "module.features.99.weight"]));
    let misshapen: Vec<&str> = found.misshapen.iter().map(|tensor| tensor.key.as_str()).collect();
    assert_eq!(misshapen, ["module.features.1.conv.1.weight", "module.classifier.1.bias"]);
    let message = found.to_string();
    for part in ["2 missing: module.features.0.0.weight", "2 unexpected: epoch", "(16x32, not 16x32x1x1)"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_file_of_another_network_gives_a_message_of_bounded_length() {
    let other = state_dict(&Zoo::published(architecture("resnet18").unwrap()));

    let found = mismatch(&zoo(), other);

    assert_eq!((found.missing.len(), found.unexpected.len()), (262, 102));
    assert!(found.to_string().contains("and 242 more"));
    assert!(found.to_string().len() < 2000);
}

#[test]
fn a_shim_in_the_file_says_that_images_are_grey() {
    let grey = Zoo { input: Some(zoo().architecture.input(Shape::image(1, 28, 28))), ..zoo() };
    let expected = grey.graph().unwrap();
    let unspecified = Zoo { input: None, ..zoo() };
    let wrapped = |key: &str| match key.strip_prefix("shim.") {
        Some(part) => format!("module.shim.{part}"),
        None => format!("module.net.{key}"),
    };
    let in_sequence = |key: &str| match key.strip_prefix("shim.") {
        Some(part) => format!("0.{part}"),
        None => format!("1.{key}"),
    };
    for tensors in
        [state_dict(&grey), renamed(state_dict(&grey), wrapped), renamed(state_dict(&grey), in_sequence)]
    {
        assert_eq!(load(&grey, tensors.clone()).unwrap().graph, expected);
        let model = load(&unspecified, tensors).unwrap();
        assert_eq!(model.graph.input.shape, Shape::image(1, 224, 224));
        assert_eq!(model.graph.nodes, expected.nodes);
    }
}

#[test]
fn a_shim_that_does_not_fit_the_images_is_a_misfit() {
    let grey = Zoo { input: Some(zoo().architecture.input(Shape::image(1, 28, 28))), ..zoo() };

    let missing = mismatch(&grey, state_dict(&zoo()));
    assert_eq!(missing.missing, strings(&["shim.weight", "shim.bias"]));
    let unexpected = mismatch(&zoo(), state_dict(&grey));
    assert_eq!(unexpected.unexpected, strings(&["shim.bias", "shim.weight"]));
}

#[test]
fn a_first_layer_of_one_channel_needs_no_shim() {
    let mut tensors = state_dict(&zoo());
    tensors.insert("features.0.0.weight".into(), tensor(&[32, 1, 3, 3]));
    let grey = Zoo { input: Some(zoo().architecture.input(Shape::image(1, 28, 28))), ..zoo() };

    for zoo in [Zoo { input: None, ..zoo() }, grey] {
        let model = load(&zoo, tensors.clone()).unwrap();

        assert_eq!(model.graph.input.shape.channels(), 1);
        assert!(model.graph.node("shim").is_none());
    }
}

#[test]
fn other_float_types_become_single_precision_and_integers_are_refused() {
    for dtype in [DType::F16, DType::BF16, DType::F64] {
        let tensors = state_dict(&zoo()).into_iter();
        let tensors = tensors.map(|(key, tensor)| (key, tensor.to_dtype(dtype).unwrap())).collect();

        let model = load(&zoo(), tensors).unwrap();

        assert!(model.weights.values().all(|tensor| tensor.dtype() == DType::F32));
    }
    let mut tensors = state_dict(&zoo());
    let integers = tensors["classifier.1.bias"].to_dtype(DType::I64).unwrap();
    tensors.insert("classifier.1.bias".into(), integers);
    assert!(matches!(load(&zoo(), tensors), Err(KeyError::Model(ModelError::Type { .. }))));
}
