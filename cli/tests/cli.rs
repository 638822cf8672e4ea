//! What commands print, compared with what they printed before. `UPDATE_EXPECT=1 cargo test` accepts a change.

use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::expect_file;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cli is a folder of the repository").to_path_buf()
}

/// Runs the program in the repository's root with a cleared environment; standard output, then standard error.
fn say(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitloop"));
    let done = command.env_clear().current_dir(root()).args(arguments).output().expect("the program starts");
    let text =
        [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).expect("output is text")).concat();
    format!("$ bitloop {}\n{text}exit code {}\n", arguments.join(" "), done.status.code().unwrap_or(-1))
}

#[test]
fn help() {
    expect_file!["snapshots/help.txt"].assert_eq(&say(&["--help"]));
    expect_file!["snapshots/help_run.txt"].assert_eq(&say(&["run", "--help"]));
    expect_file!["snapshots/help_worker.txt"].assert_eq(&say(&["worker", "--help"]));
    expect_file!["snapshots/help_results.txt"].assert_eq(&say(&["results", "--help"]));
}

#[test]
fn usage_errors() {
    expect_file!["snapshots/unknown_command.txt"].assert_eq(&say(&["fly"]));
    expect_file!["snapshots/missing_argument.txt"].assert_eq(&say(&["show"]));
    expect_file!["snapshots/wrong_number.txt"].assert_eq(&say(&["run", "--workers", "0"]));
}

/// With the feature, `traces.rs` says what becomes of it.
#[cfg(not(feature = "otel"))]
#[test]
fn traces_need_another_build() {
    let said = say(&["list", "--otlp-endpoint", "http://127.0.0.1:4317"]);
    assert!(said.contains("--features otel") && said.ends_with("exit code 2\n"), "{said}");
}

#[test]
fn a_log_variable_that_cannot_be_read_is_said() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitloop"));
    command.env_clear().current_dir(root()).env("BITLOOP_LOG", "nonsense=[");
    let done = command.args(["check", "configs/quickstart.yaml"]).output().expect("the program starts");

    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && said.starts_with("warning: BITLOOP_LOG is not followed: "), "{said}");
}

#[test]
fn logs_are_json_where_that_is_wanted() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitloop"));
    command.env_clear().current_dir(root()).envs([("BITLOOP_LOG_FORMAT", "json"), ("BITLOOP_LOG", "debug")]);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let arguments = ["run", "configs/sensitivity_weights.yaml", "--workers", "1", "--data-dir"];
    let done = command.args(arguments).arg(&data).output().expect("the program starts");
    let log = String::from_utf8(done.stderr).expect("text");
    assert!(done.status.success(), "{log}");

    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        assert!(["timestamp", "level", "target"].iter().all(|field| line[field].is_string()), "{line}");
        assert!(line["fields"].is_object(), "{line}");
    }
    let said = |message: &str| {
        let line = lines.iter().find(|line| line["fields"]["message"] == message);
        line.unwrap_or_else(|| panic!("nothing says `{message}`:\n{log}"))
    };
    for (message, fields) in [
        ("store loaded", &["epoch", "facts"][..]),
        ("worker joined", &["worker", "host", "device"]),
        ("lease granted", &["lease", "worker", "trials"]),
        ("outcome committed", &["trial"]),
        ("registered", &["epoch", "worker"]),
        ("the shard is over", &["trials"]),
        ("experiment finished", &["experiment"]),
    ] {
        let line = said(message);
        for field in fields {
            assert!(!line["fields"][field].is_null(), "`{message}` has no {field}: {line}");
        }
    }
    let spans = said("the shard is over")["spans"].as_array().expect("a list of spans").clone();
    assert!(spans.iter().any(|span| span["name"] == "shard" && span["worker"].is_string()), "{spans:?}");
    let failed = Command::new(env!("CARGO_BIN_EXE_bitloop"))
        .env_clear()
        .current_dir(folder.path())
        .args(["check", "nowhere.yaml", "--log-format", "json"])
        .output()
        .expect("the program starts");
    let error: serde_json::Value =
        serde_json::from_slice(&failed.stderr).expect("errors are lines of the log, too");
    assert_eq!((error["level"].as_str(), failed.status.code()), (Some("ERROR"), Some(2)));
}

#[test]
fn a_report_is_written_as_a_whole_in_the_form_that_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let bitloop = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitloop"));
        command.env_clear().current_dir(root()).args(arguments).arg("--data-dir").arg(&data);
        command.output().expect("the program starts")
    };
    let run = bitloop(&["run", "configs/sensitivity_weights.yaml", "--workers", "1"]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));

    let page = folder.path().join("report.html");
    std::fs::write(&page, "an older one").expect("a file");
    let named = page.to_str().expect("a path in UTF-8");
    let written = bitloop(&["report", "sensitivity-weights", "--out", named]);
    assert!(
        written.status.success() && written.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&written.stderr)
    );
    let page = std::fs::read_to_string(&page).expect("the page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    let files = std::fs::read_dir(folder.path()).expect("the folder").count();
    assert_eq!(files, 2, "data and the page: no temporary file is left");

    let text = bitloop(&["report", "sensitivity-weights", "--format", "md"]);
    assert!(String::from_utf8_lossy(&text.stdout).starts_with("# sensitivity-weights-"));
    let document = bitloop(&["report", "sensitivity-weights", "--output", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&document.stdout).expect("a document");
    assert_eq!((document["format"].as_u64(), document["status"].as_str()), (Some(1), Some("finished")));
    let picture = bitloop(&["report", "sensitivity-weights", "--format", "svg", "--out", "-"]);
    assert!(String::from_utf8_lossy(&picture.stdout).starts_with("<svg "));

    for (out, reason) in [("/dev/null", "is no file"), ("/nowhere/report.html", "cannot write")] {
        let refused = bitloop(&["report", "sensitivity-weights", "--out", out]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(2) && said.contains(reason), "{said}");
    }
}

#[test]
fn inspect_and_check() {
    let model = "configs/quickstart/convblock.safetensors";
    expect_file!["snapshots/inspect.txt"].assert_eq(&say(&["inspect", model]));
    expect_file!["snapshots/inspect_points.txt"].assert_eq(&say(&["inspect", model, "--points"]));
    let check = without_time(&say(&["check", "configs/quickstart.yaml"]));
    expect_file!["snapshots/check.txt"].assert_eq(&check);
    let searching = without_time(&say(&["check", "configs/search.yaml"]));
    expect_file!["snapshots/check_search.txt"].assert_eq(&searching);
}

/// The text with the line that says how long it would take here cut short: it is measured.
fn without_time(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix("time ") {
        Some(measured) => {
            assert!(measured.contains(" images/s on each, measured now"), "{line}");
            "time\n".to_owned()
        }
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[test]
fn json_holds_the_fields_that_scripts_rely_on() {
    let arguments = ["check", "configs/quickstart.yaml", "--output", "json"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitloop"));
    let done = command.env_clear().current_dir(root()).args(arguments).output().expect("the program starts");
    let value: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();

    let fields: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "baseline_bits",
            "evaluation",
            "experiment",
            "graph",
            "images",
            "images_per_s_and_thread",
            "macs_per_image",
            "points",
            "sources",
            "stages",
            "trials"
        ]
    );
    assert!(value["trials"].is_u64() && value["points"].is_array());
    assert!(value["images_per_s_and_thread"].as_f64().is_some_and(|rate| rate > 0.0));
    assert_eq!(value["stages"][1]["trials"], 47);
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = say(&["completions", shell]);
        for command in ["run", "submit", "results", "report", "cancel"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}
