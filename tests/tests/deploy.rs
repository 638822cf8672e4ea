//! The files in `deploy/` are well formed, and the program knows the options that they give it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use bitloop_tests::process::say;
use bitloop_tests::{files, root};

/// Files of `deploy/` whose names end so; there must be some.
fn deployed(ending: &str) -> Vec<PathBuf> {
    let found = files(&root().join("deploy"), ending);
    assert!(!found.is_empty(), "deploy/ holds files that end in `{ending}`");
    found
}

#[test]
fn yaml_parses() {
    for path in deployed(".yaml") {
        let text = fs::read_to_string(&path).expect("YAML is text");
        if let Err(error) = serde_yaml::from_str::<serde_yaml::Value>(&text) {
            panic!("{}: {error}", path.display());
        }
    }
}

#[test]
fn shell_scripts_parse() {
    for path in deployed(".sh") {
        let status = Command::new("bash").arg("-n").arg(&path).status().expect("bash is there");
        assert!(status.success(), "{} is no shell script", path.display());
    }
}

/// A command of bitloop and the options that one line gives it, if the line names one.
fn command_line(line: &str) -> Option<(&str, Vec<&str>)> {
    if line.trim_start().starts_with('#') {
        return None;
    }
    // The same for shells, lists of JSON and lists of YAML.
    let mut words = line.split(|at: char| at.is_whitespace() || "[]\",".contains(at));
    let command = words.find(|word| ["coordinator", "worker"].contains(word))?;
    let options = words.filter(|word| word.starts_with("--")).collect();
    Some((command, options))
}

#[test]
fn every_option_given_to_bitloop_exists() {
    let mut seen = 0;
    for path in [".yaml", ".service", "Containerfile"].into_iter().flat_map(deployed) {
        let text = fs::read_to_string(&path).expect("files in deploy/ are text");
        for (command, options) in text.lines().filter_map(command_line) {
            let help = say(&root(), [command, "--help"]).ok().out;
            for option in options {
                let known = help.split_whitespace().any(|word| word == option);
                assert!(known, "{}: `bitloop {command}` has no {option}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 10, "only {seen} options were found");
}
