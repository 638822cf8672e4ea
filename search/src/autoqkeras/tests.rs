use serde_json::{Value as Json, json};

use super::*;
use crate::network::Network;

/// A layer behind the one before it; what is given takes the place of what is made up.
fn layer(name: &str, class: &str, inbound: &str, more: Json) -> Json {
    let mut layer = json!({
        "name": name, "class": class, "inbound": [inbound],
        "input_shape": [[8, 8, 4]], "output_shape": [8, 8, 4],
    });
    for (key, value) in more.as_object().unwrap() {
        layer[key] = value.clone();
    }
    layer
}

fn convolution(name: &str, inbound: &str, more: Json) -> Json {
    let mut convolution = layer(
        name,
        "Conv2D",
        inbound,
        json!({
            "filters": 4, "kernel_size": [3, 3], "padding": "same", "use_bias": false, "activation": "linear",
            "weights": [{"name": "kernel", "shape": [3, 3, 4, 4]}],
        }),
    );
    for (key, value) in more.as_object().unwrap() {
        convolution[key] = value.clone();
    }
    convolution
}

fn network(layers: Vec<Json>) -> Network {
    let input = layer("input", "InputLayer", "", json!({"inbound": []}));
    serde_json::from_value(Json::Array([vec![input], layers].concat())).unwrap()
}

/// Names that begin alike, one that is a class's, an inline activation and a linear one.
pub(super) fn chain() -> Network {
    let dense = json!({
        "input_shape": [[256]], "output_shape": [10], "units": 10, "use_bias": true, "activation": "softmax",
        "weights": [{"name": "kernel", "shape": [256, 10]}, {"name": "bias", "shape": [10]}],
    });
    network(vec![
        convolution("conv2d_1", "input", json!({"activation": "relu"})),
        convolution("conv2d_10", "conv2d_1", json!({})),
        layer("linear_10", "Activation", "conv2d_10", json!({"activation": "linear"})),
        layer("relu_10", "Activation", "linear_10", json!({"activation": "relu"})),
        layer("flat", "Flatten", "relu_10", json!({"output_shape": [256]})),
        layer("Dense_1", "Dense", "flat", dense),
    ])
}

pub(super) fn settings(limit: Json) -> Settings {
    let mut settings = json!({
        "quantization_config": {
            "kernel": {"binary": 1, "ternary": 2, "quantized_bits(4,0,1)": 4},
            "bias": {"quantized_bits(4,0,1)": 4, "quantized_bits(8,3,1)": 8},
            "activation": {"quantized_relu(3,1)": 3, "quantized_relu(4,2)": 4},
            "linear": {"quantized_bits(4,1)": 4, "quantized_bits(8,2)": 8},
        },
    });
    settings["limit"] = limit;
    serde_json::from_value(settings).unwrap()
}

fn as_qkeras(settings: &Settings) -> Settings {
    Settings { compat: Compat::Qkeras, ..settings.clone() }
}

pub(super) fn names(space: &SearchSpace) -> Vec<&str> {
    space.hyperparameters.iter().map(|hyperparameter| hyperparameter.name.as_str()).collect()
}

fn refused(network: &Network, settings: &Settings) -> String {
    SearchSpace::of(network, settings).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn the_name_of_a_class_is_no_pattern() {
    let settings = settings(json!({"Dense": [4, 8, 4]}));

    let ours = SearchSpace::of(&chain(), &settings).unwrap();
    let theirs = SearchSpace::of(&chain(), &as_qkeras(&settings)).unwrap();

    assert_eq!(names(&ours), ["Dense_1_kernel_quantizer", "Dense_1_bias_quantizer"]);
    assert_eq!(names(&theirs), ["Dense_kernel_quantizer", "Dense_bias_quantizer"]);
}

#[test]
fn nothing_is_chosen_for_layers_that_are_left_out() {
    let settings =
        Settings { layer_indexes: Some(vec![2, 4]), ..settings(json!({"Conv2D": [4], "Activation": [4]})) };

    let ours = SearchSpace::of(&chain(), &settings).unwrap();
    let theirs = SearchSpace::of(&chain(), &as_qkeras(&settings)).unwrap();

    assert_eq!(names(&ours), ["conv2d_10_kernel_quantizer", "relu_10_activation_quantizer"]);
    assert!(names(&theirs).contains(&"conv2d_1_kernel_quantizer"));
    let left_out = SpaceWarning::LeftOut("conv2d_1_kernel_quantizer".into());
    assert!(theirs.warnings.contains(&left_out) && !ours.warnings.contains(&left_out));
    let network = theirs.network(&theirs.defaults()).unwrap();
    assert_eq!(network.layers[1], chain().layers[1], "the choice has no effect");
}

#[test]
fn a_group_chooses_kernels_together_and_linear_activations_by_themselves() {
    let settings = settings(json!({"10$": [2, 8, 4], "^(.*_10|conv2d_1)$": [4, 8, 8]}));
    // The first pattern holds for no beginning of a name.
    assert_eq!(
        refused(&chain(), &settings),
        "the limit's pattern `10$` matches no layer of the network; correct it or leave it out"
    );
    let settings = Settings { limit: limit(json!({"^(.*_10|conv2d_1)$": [4, 8, 8]})), ..settings };

    let ours = SearchSpace::of(&chain(), &settings).unwrap();
    let theirs = SearchSpace::of(&chain(), &as_qkeras(&settings)).unwrap();

    let group = |ending: &str| format!("^(.*_10|conv2d_1)$_{ending}");
    let (kernel, activation) = (group("kernel_quantizer"), group("activation_quantizer"));
    assert_eq!(names(&ours), [&kernel, &activation, &format!("{activation}_linear")]);
    assert_eq!(names(&theirs), [&kernel, &activation], "a linear activation takes the kernel's choice");
    // Candidates stand in the order of their names here, as JSON maps of tests do.
    let network = ours.network(&[2, 0, 1]).unwrap();
    let kernels: Vec<_> = [1, 2].iter().map(|at| network.layers[*at].quantizer(0)).collect();
    assert_eq!(kernels, [Some("ternary(alpha='auto_po2')"); 2]);
    let activation = |name: &str| network.layer(name).and_then(|layer| layer.activation().map(str::to_owned));
    assert_eq!(activation("linear_10").as_deref(), Some("quantized_bits(8,2)"));
    assert_eq!(activation("relu_10").as_deref(), Some("quantized_relu(3,1)"));
    assert_eq!(activation("conv2d_1").as_deref(), Some("quantized_relu(3,1)"), "inline, of the same choice");
}

fn limit(limit: Json) -> Limit {
    serde_json::from_value(limit).unwrap()
}

#[test]
fn inline_activations_take_what_is_chosen_for_them() {
    let settings = Settings { activation_bits: 6, ..settings(json!({"Conv2D": [4, 8, 4]})) };
    let activation = |settings: &Settings| {
        let space = SearchSpace::of(&chain(), settings).unwrap();
        let at = names(&space).iter().position(|name| *name == "conv2d_1_activation_quantizer").unwrap();
        let mut levels = space.defaults();
        levels[at] = 1;
        let network = space.network(&levels).unwrap();
        network.layer("conv2d_1").and_then(|layer| layer.activation().map(str::to_owned))
    };

    assert_eq!(activation(&settings).as_deref(), Some("quantized_relu(4,2)"));
    assert_eq!(activation(&as_qkeras(&settings)).as_deref(), Some("quantized_relu(6,0)"));
}

#[test]
fn short_entries_of_patterns_take_the_default() {
    let settings = settings(json!({"^Dense_1": [4], "default": 4}));

    let ours = SearchSpace::of(&chain(), &settings).unwrap();
    let theirs = refused(&chain(), &as_qkeras(&settings));

    assert_eq!(ours.hyperparameters[1].values, [Value::Text("quantized_bits(4,0,1)".into())]);
    let short =
        "limit `^Dense_1` says nothing of the bias of layer `Dense_1`; give it kernel, bias and activation";
    assert_eq!(theirs, short);
}

#[test]
fn qkeras_takes_layers_with_kernel_in_their_names_for_kernels() {
    let network = network(vec![
        convolution("c", "input", json!({})),
        layer("kernel_act", "Activation", "c", json!({"activation": "relu"})),
    ]);
    let settings = settings(json!({"Activation": [8]}));
    let values =
        |settings: &Settings| SearchSpace::of(&network, settings).unwrap().hyperparameters[0].values.len();

    assert_eq!((values(&settings), values(&as_qkeras(&settings))), (2, 3));
}

#[test]
fn mistakes_name_the_layer_or_the_pattern() {
    let with = |limit: Json| refused(&chain(), &settings(limit));

    assert_eq!(
        with(json!({"Conv2D": [0, 8, 4]})),
        "limit `Conv2D` leaves no candidate for the kernel of layer `conv2d_1`; raise it"
    );
    assert_eq!(
        with(json!({"^conv2d_1$": [["binary", "quantized_bits(9)"], 8, 4]})),
        "limit `^conv2d_1$` names `quantized_bits(9)`, which is not in quantization_config.kernel; add it there"
    );
    assert!(with(json!({"^conv[": [4]})).starts_with("the pattern `^conv[` is no regular expression"));
    assert_eq!(
        with(json!({"LSTM": [4]})),
        "no layer has anything to choose; is the limit that of another network?"
    );
    let mut wrong = settings(json!({"Conv2D": [4]}));
    wrong.quantization_config = serde_json::from_value(json!({"kernel": {"quantized_bit(4)": 4}})).unwrap();
    assert!(refused(&chain(), &wrong).starts_with("quantization_config.kernel: `quantized_bit(4)`"));
    wrong.quantization_config = serde_json::from_value(json!({"bias": {"binary": 1}})).unwrap();
    assert_eq!(
        refused(&chain(), &wrong),
        "quantization_config has no section `kernel`, which the layer `conv2d_1` chooses from"
    );
    let beyond = Settings { layer_indexes: Some(vec![1, 7]), ..settings(json!({"Conv2D": [4]})) };
    assert_eq!(refused(&chain(), &beyond), "layer_indexes names 7, but the network has 7 layers");
}

#[test]
fn what_is_odd_is_told() {
    let settings = settings(json!({"Conv2D": [], "^conv2d_9": [4, 4, 4]}));

    let space = SearchSpace::of(&chain(), &as_qkeras(&settings)).unwrap();

    assert_eq!(
        space.warnings,
        [
            SpaceWarning::EmptyEntry("Conv2D".into()),
            SpaceWarning::MatchesNothing("^conv2d_9".into()),
            SpaceWarning::Ignored("conv2d_1_activation_quantizer".into()),
            SpaceWarning::UnusedSection("bias".into()),
            SpaceWarning::UnusedSection("linear".into()),
        ]
    );
}

#[test]
fn filters_are_rounded_down_and_carried_on() {
    let settings = Settings {
        tune_filters: TuneFilters::Block,
        tune_filters_exceptions: Some("^Dense".into()),
        ..settings(json!({"Conv2D": [4], "Dense": [4]}))
    };
    let space = SearchSpace::of(&chain(), &settings).unwrap();
    let at = names(&space).iter().position(|name| *name == "network_filters").unwrap();
    let mut levels = space.defaults();
    assert_eq!(space.network(&levels).unwrap().layers[2].filters, Some(4));

    levels[at] = 3;
    let network = space.network(&levels).unwrap();

    let filters: Vec<_> = network.layers[1..3].iter().map(|layer| layer.filters).collect();
    assert_eq!(filters, [Some(6), Some(6)]);
    assert_eq!(network.layers[2].weights[0].shape, [3, 3, 6, 6]);
    assert_eq!(network.layer("Dense_1").and_then(|layer| layer.kernel()).unwrap().shape, [384, 10]);
}

#[test]
fn filters_that_do_not_fit_together_are_refused_before_the_search() {
    let branches = network(vec![
        convolution("a", "input", json!({})),
        convolution("b", "a", json!({})),
        layer("sum", "Add", "b", json!({"inbound": ["a", "b"], "input_shape": [[8, 8, 4], [8, 8, 4]]})),
        convolution("end", "sum", json!({})),
    ]);
    let with = |exceptions: Option<&str>| Settings {
        tune_filters: TuneFilters::Layer,
        tune_filters_exceptions: exceptions.map(str::to_owned),
        ..settings(json!({"Conv2D": [4]}))
    };

    let merged = refused(&branches, &with(Some("^end$")));
    assert!(merged.starts_with("`network_filters_a` cannot be tuned: the layer `sum` merges"), "{merged}");
    let end = refused(&branches, &with(Some("^[ab]$")));
    assert!(end.starts_with("`network_filters_end` would change the size of the network's output"), "{end}");
    let none = SearchSpace::of(&branches, &with(Some("."))).unwrap();
    assert!(names(&none).iter().all(|name| !name.starts_with("network_filters")));
    assert!(SearchSpace::of(&branches, &as_qkeras(&with(Some("^end$")))).is_ok(), "its trials fail instead");
    assert!(refused(&branches, &as_qkeras(&with(None))).starts_with("tune_filters needs"));
}

#[test]
fn every_trial_has_rates_of_its_own_size_from_the_same_rate() {
    let settings = settings(json!({"Conv2D": [4]}));
    let space =
        |settings: &Settings| SearchSpace::of(&chain(), settings).unwrap().with_learning_rate(0.1, -0.5);
    let (ours, theirs) = (space(&settings), space(&as_qkeras(&settings)));
    let rate = |space: &SearchSpace, level: u8, change: f64| {
        let mut levels = space.defaults();
        *levels.last_mut().unwrap() = level;
        (space.learning_rate(&levels, 0.1, change) * 1e9).round() / 1e9
    };

    assert_eq!((rate(&ours, 0, -0.5), rate(&ours, 0, -0.9), rate(&ours, 4, -0.9)), (0.05, 0.01, 0.11));
    assert_eq!(
        (rate(&theirs, 0, -0.5), rate(&theirs, 0, -0.9)),
        (0.05, 0.05),
        "QKeras keeps the first trial's"
    );
}

#[test]
fn settings_are_read_as_the_tutorial_writes_them() {
    let text = "
limit:
  Dense: [8, 8, 4]
  Conv2D: [4, 8, 4]
  ^conv2d_0$: [[binary, ternary, 'quantized_bits(2,1,1,alpha=1.0)'], 8, 4]
  default: 8
quantization_config:
  kernel: {binary: 1, stochastic_ternary: 2, 'quantized_bits(2,1,1,alpha=1.0)': 2}
tune_filters: layer
tune_filters_exceptions: ^dense
layer_indexes: [1, 2]
compat: qkeras
";
    let settings: Settings = serde_yaml::from_str(text).unwrap();

    let keys: Vec<&str> = settings.limit.entries.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["Dense", "Conv2D", "^conv2d_0$", "default"]);
    let among = ["binary", "ternary", "quantized_bits(2,1,1,alpha=1.0)"].map(str::to_owned).to_vec();
    assert_eq!(settings.limit.get("^conv2d_0$").unwrap().bounds()[0], Bound::Among(among));
    assert_eq!((settings.tune_filters, settings.compat), (TuneFilters::Layer, Compat::Qkeras));
    assert_eq!(settings.activation_bits, 4);
    let back: Settings = serde_yaml::from_str(&serde_yaml::to_string(&settings).unwrap()).unwrap();
    assert_eq!(back, settings);
}
