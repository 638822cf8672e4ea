use std::time::Duration;

use crate::spec::ProbesSpec;

const BOARDS: &str = "\
version: 1
probes:
  pi5:
    command: [python3, pi5.py, --serial, '1234', '']
    environment: { ANDROID_SERIAL: '1234', EMPTY: '' }
    start_limit: 1m
    time_limit: 10m
  a-board_2: { command: [./measure] }
";

fn mistakes(text: &str) -> Vec<String> {
    let error = ProbesSpec::parse(text).expect_err("the text has mistakes");
    error.mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn every_key_is_read() {
    let ProbesSpec { probes } = ProbesSpec::parse(BOARDS).unwrap();

    let [pi5, other] = probes.as_slice() else { panic!("{probes:?}") };
    assert_eq!((pi5.name.as_str(), other.name.as_str()), ("pi5", "a-board_2"), "in the order of the file");
    assert_eq!(pi5.command, ["python3", "pi5.py", "--serial", "1234", ""]);
    let variables: Vec<_> = pi5.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(variables, ["ANDROID_SERIAL=1234", "EMPTY="]);
    assert_eq!((pi5.start_limit, pi5.time_limit), (Duration::from_secs(60), Duration::from_secs(600)));
    assert_eq!((other.start_limit, other.time_limit), (Duration::from_secs(30), Duration::from_secs(300)));
    assert!(other.environment.is_empty());
}

#[test]
fn every_mistake_is_said_at_once_with_its_place() {
    let text = BOARDS
        .replace("a-board_2", "integer")
        .replace("[./measure]", "./measure --fast")
        .replace("'1234', '']", "1234, '']")
        .replace("ANDROID_SERIAL:", "1ANDROID:")
        .replace("start_limit: 1m", "start_limit: 90")
        .replace("time_limit: 10m", "time_limit: 2h\n    tries: 3");

    let found = mistakes(&text);

    let expected = [
        "probes.pi5.command[3]: expected text, found number 1234; put it in quotation marks",
        "probes.pi5.environment.1ANDROID: `1ANDROID` is no name of a variable",
        "probes.pi5.start_limit: expected text, found",
        "probes.pi5.time_limit: is out of range; write a duration from 1ms to 900s",
        "probes.pi5.tries: unknown key; known keys: `command`, `environment`, `start_limit` and `time_limit`",
        "probes.integer: `integer` is a probe of bitloop's own; choose another name",
        "probes.integer.command: expected a list, found",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nis not\n{expected}");
    }
}

#[test]
fn names_are_plain_words_and_none_of_bitloops_own() {
    for wrong in ["pi.5", "-pi", "pi 5", "../pi", "external", "onnxruntime", "candle-cuda", "''"] {
        let text = format!("version: 1\nprobes: {{ {wrong}: {{ command: [true-program] }} }}\n");
        let found = mistakes(&text);
        assert_eq!(found.len(), 1, "{wrong}: {found:?}");
    }
}

#[test]
fn a_file_without_probes_or_a_probe_without_a_command_says_what_to_add() {
    assert_eq!(
        mistakes("version: 1\n"),
        ["probes: is missing; add `probes: { board: { command: [python3, board.py] } }`"]
    );
    assert_eq!(
        mistakes("version: 1\nprobes: { a: {} }\n"),
        ["probes.a.command: is missing; add `command: [python3, board.py]`"]
    );
    assert_eq!(mistakes("version: 1\nprobes: { a: { command: [] } }\n").len(), 1);
    assert_eq!(mistakes("").len(), 1);
}
