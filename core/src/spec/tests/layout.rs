use super::{EXPERIMENT, experiment_mistakes, with};
use crate::spec::node::TEXT_BYTES_MAX;
use crate::spec::{ExperimentSpec, Mistake, SpecError};

#[test]
fn every_mistake_is_reported_at_once_in_the_order_of_the_file() {
    let text = "\
version: 1
name: my experiment
numerics: exact
model: { checkpoint: convblock.safetensors }
data: { dataset: fashion_mnist, calibration: -1, selection: 2000 }
quantization:
  wieghts: { bits: [2, 4] }
  activations: { bits: [4, 9, 8] }
stages:
  - sensitivity: { single: '*.weight' }
";

    assert_eq!(
        experiment_mistakes(text),
        [
            "name: a name cannot contain ` `; use 1 to 64 letters, digits, `-`, `_` and `.`, beginning with a letter, digit or `_`",
            "data.calibration: -1 is out of range; write a whole number from 1 to 1000000000",
            "quantization.baseline: is missing; add `baseline: 8`",
            "quantization.wieghts: unknown key; did you mean `weights`?",
            "quantization.activations.bits[1]: 9 bits are not supported; choose 2 to 8 or 16",
            "stages[0].sensitivity.single: expected `all` or a list of patterns, found text `*.weight`; write `all` or a list such as `[\"*.weight\"]`",
        ]
    );
}

#[test]
fn text_that_cannot_be_read_at_all_is_one_mistake() {
    let bomb = format!("a: &a [{}]\nb: [{}]\n", "1,".repeat(900), "*a,".repeat(900));
    let long = "#".repeat(TEXT_BYTES_MAX + 1);
    let deep = "[".repeat(500);
    for (text, line) in [
        ("", "file: is empty; configs/quickstart.yaml is an example to start from"),
        ("# only a comment\n---\n", "file: is empty; configs/quickstart.yaml is an example to start from"),
        (
            "- version: 1\n",
            "file: expected keys such as `version: 1` at the top level, found a list; configs/quickstart.yaml is an example to start from",
        ),
        (
            "version",
            "file: expected keys such as `version: 1` at the top level, found text `version`; configs/quickstart.yaml is an example to start from",
        ),
        (
            "version: 1\nname: [\n",
            "line 3, column 1: this is not YAML: did not find expected node content, while parsing a flow node; check indentation, colons, brackets and quotation marks",
        ),
        (
            "version: 1\n\tname: x\n",
            "line 2, column 1: this is not YAML: found a tab character that violates indentation, while scanning a plain scalar at line 1 column 10; indent with spaces",
        ),
        (
            "version: 1\nname: @x\n",
            "line 2, column 7: this is not YAML: found character that cannot start any token, while scanning for the next token; put text with special characters in quotation marks",
        ),
        (
            "version: 1\nsingle: [*.weight]\n",
            "line 2, column 11: this is not YAML: did not find expected alphabetic or numeric character, while scanning an alias at line 2 column 10; put text that starts with `*` or `&` in quotation marks",
        ),
        (
            "version: 1\n---\nversion: 1\n",
            "file: this is not YAML: deserializing from YAML containing more than one document is not supported; write one document, without lines `---` in between",
        ),
        (&bomb, "file: has more than 10000 values; is this the right file?"),
        (&long, "file: is 65537 bytes long; at most 65536 are read; is this the right file?"),
        (
            &deep,
            "line 1, column 129: this is not YAML: recursion limit exceeded; lists and mappings are nested too deeply",
        ),
    ] {
        assert_eq!(experiment_mistakes(text), [line], "{:?}", text.chars().take(60).collect::<String>());
    }
}

#[test]
fn the_longest_text_is_read() {
    let comment = "#".repeat(TEXT_BYTES_MAX - EXPERIMENT.len());

    assert!(ExperimentSpec::parse(&format!("{EXPERIMENT}{comment}")).is_ok());
}

#[test]
fn a_mistake_stays_on_one_line_whatever_the_file_says() {
    let text = with(EXPERIMENT, "numerics: float", &format!("numerics: \"{}\"", "a\\nb\\u2028".repeat(100)));
    let text = with(&text, "baseline: 8", "baseline: 8\n  \"x\\ny\": 1");

    let lines = experiment_mistakes(&text);

    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.len() < 250 && !line.contains('\u{2028}')), "{lines:?}");
}

#[test]
fn a_mistake_without_a_hint_ends_with_its_problem() {
    let mistake = Mistake { path: "a.b".into(), problem: "is wrong".into(), hint: String::new() };
    let error = SpecError { mistakes: vec![mistake.clone(), Mistake { hint: "mend it".into(), ..mistake }] };

    assert_eq!(error.to_string(), "a.b: is wrong\na.b: is wrong; mend it");
}
