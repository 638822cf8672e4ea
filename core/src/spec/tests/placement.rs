use crate::placement::{Activations, Exception, LayerPlace, Placement, Selector, Treatment};
use crate::trial::Biases;
use crate::trial::Granularity;

fn mistakes(text: &str) -> Vec<String> {
    match Placement::parse(text) {
        Ok(_) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn every_key_that_is_left_out_has_the_default_s_value() {
    assert_eq!(Placement::parse("version: 1\n"), Ok(Placement::default()));
}

#[test]
fn every_preset_is_there_and_differs() {
    let presets = Placement::PRESETS.map(|name| Placement::preset(name).unwrap());
    assert_eq!(presets[0], Placement::default());
    assert_eq!(presets[0].weights.granularity, Granularity::PerChannel);
    assert_eq!(presets[1].weights.granularity, Granularity::PerTensor);
    assert_eq!(presets[2].activations, Activations::LayerInputs);
    assert_eq!(Placement::preset("fast"), None);
}

#[test]
fn every_key_is_read() {
    let rules = Placement::parse(
        "\
version: 1
inputs: float
weights: { operators: [linear], granularity: per_tensor }
biases: int32
activations: layer_inputs
supergroups: [[add, [relu, relu6]]]
pass_through: []
shared: [relu]
tied: [add]
float: [concat]
exceptions:
  - { point: '*.weight', quantizer: none }
  - { node: conv1, quantizer: keep }
  - { layer: last, quantizer: fixed }
",
    )
    .unwrap();

    let names = |operators: &[crate::placement::Operator]| -> Vec<&str> {
        operators.iter().map(|operator| operator.as_str()).collect()
    };
    assert!(!rules.inputs);
    assert_eq!(names(&rules.weights.operators), ["linear"]);
    assert_eq!(rules.weights.granularity, Granularity::PerTensor);
    assert_eq!((rules.biases, rules.activations), (Biases::Int32, Activations::LayerInputs));
    assert_eq!(rules.supergroups.len(), 1);
    assert_eq!(
        rules.supergroups[0].0.iter().map(|step| names(step)).collect::<Vec<_>>(),
        [vec!["add"], vec!["relu", "relu6"]]
    );
    assert_eq!(names(&rules.pass_through), [""; 0]);
    assert_eq!(
        (names(&rules.shared), names(&rules.tied), names(&rules.float)),
        (vec!["relu"], vec!["add"], vec!["concat"])
    );
    let exception = |selector, treatment| Exception { selector, treatment };
    assert_eq!(
        rules.exceptions,
        [
            exception(Selector::Point("*.weight".into()), Treatment::None),
            exception(Selector::Node("conv1".into()), Treatment::Keep),
            exception(Selector::Layer(LayerPlace::Last), Treatment::Fixed),
        ]
    );
}

#[test]
fn every_mistake_in_rules_is_reported_at_once_in_the_order_of_the_file() {
    let text = "\
version: 1
inputs: quantised
weights: { operators: [conv2d, relu], granularity: per_channel }
biases: int8
supergroups:
  - [conv2d]
  - [conv2d, []]
  - [convd2d, relu]
pass_through: [max_pool, sigmoid, max_pool]
tied: concat
exceptions:
  - { point: a, node: b, quantizer: none }
  - { quantizer: none }
  - { node: a, quantizer: nothing }
  - { point: a }
fuse: []
";

    assert_eq!(
        mistakes(text),
        [
            "inputs: expected `quantized` or `float`, found text `quantised`; did you mean `quantized`?",
            "weights.operators[1]: expected one of `conv2d`, `depthwise_conv2d` or `linear`, found text `relu`",
            "biases: expected `float` or `int32`, found text `int8`",
            "supergroups[0]: a chain has at least two operators; write a list such as `[conv2d, batch_norm, [relu, relu6]]`",
            "supergroups[1][1]: the list is empty; write a list such as `[relu, relu6]`",
            &format!(
                "supergroups[2][0]: expected one of {}, found text `convd2d`; did you mean `conv2d`?",
                all_operators()
            ),
            "pass_through[1]: expected one of `max_pool`, `flatten`, `reshape`, `transpose`, `slice`, `pad`, `identity`, `dropout` or `relu`, found text `sigmoid`",
            "pass_through[2]: `max_pool` is already in the list; remove it",
            "tied: expected a list, found text `concat`; write a list such as `[conv2d, relu]`",
            "exceptions[0]: expected one of `point`, `node` and `layer`, found 2 of them; write an exception such as `{ point: fc.weight, quantizer: none }`",
            "exceptions[1]: expected one of `point`, `node` and `layer`, found 0 of them; write an exception such as `{ point: fc.weight, quantizer: none }`",
            "exceptions[2].quantizer: expected one of `none`, `keep` or `fixed`, found text `nothing`",
            "exceptions[3].quantizer: is missing; add `quantizer: none`",
            "fuse: unknown key; known keys: `version`, `inputs`, `weights`, `biases`, `activations`, `supergroups`, `pass_through`, `shared`, `tied`, `float` and `exceptions`",
        ]
    );
}

fn all_operators() -> String {
    let names: Vec<String> =
        crate::placement::Operator::ALL.iter().map(|(name, _)| format!("`{name}`")).collect();
    let (last, others) = names.split_last().unwrap();
    format!("{} or {last}", others.join(", "))
}

#[test]
fn an_operator_has_one_rule_for_its_output() {
    assert_eq!(
        mistakes("version: 1\nshared: [relu]\npass_through: [relu]\ntied: [concat]\nfloat: [concat]\n"),
        [
            "shared: `relu` is in `pass_through` too; keep it in one of them; a list that is left out is the default's",
            "float: `concat` is in `tied` too; keep it in one of them; a list that is left out is the default's",
        ]
    );
    // The default ties concatenations; the list that is written down is the one to mend.
    assert_eq!(
        mistakes("version: 1\nfloat: [concat]\n"),
        [
            "float: `concat` is in `tied` too; keep it in one of them; a list that is left out is the default's"
        ]
    );
    assert_eq!(
        mistakes("version: 1\ntied: [concat, add]\nfloat: [add]\n"),
        ["float: `add` is in `tied` too; keep it in one of them; a list that is left out is the default's"]
    );
}

#[test]
fn rules_that_cannot_be_read_at_all_are_one_mistake() {
    assert_eq!(mistakes(""), ["file: is empty; docs/placement.md describes rules files"]);
    assert_eq!(
        mistakes("version: 2\ninputs: 3\n"),
        ["version: this file is version 2; this bitloop reads version 1"]
    );
    assert_eq!(mistakes("inputs: float\n"), ["version: is missing; add `version: 1`"]);
}
