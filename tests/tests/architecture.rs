//! The rules that keep the crates apart, read from `cargo metadata` and the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use bitloop_tests::{files, root};
use serde_json::Value;

/// Lines of a hand-written file.
const LINES_MAX: usize = 500;

/// Crate -> crates of this workspace that it may use.
fn allowed_edges() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("bitloop-core", &[][..]),
        ("bitloop-search", &["bitloop-core"][..]),
        ("bitloop-proto", &["bitloop-core"][..]),
        ("bitloop-quant", &["bitloop-core"][..]),
        ("bitloop-coordinator", &["bitloop-core", "bitloop-proto", "bitloop-search"][..]),
        ("bitloop-worker", &["bitloop-core", "bitloop-proto", "bitloop-quant"][..]),
        ("bitloop-autoscale", &["bitloop-core"][..]),
        // What is laid out for people is computed elsewhere; a report prices configs as searches do.
        ("bitloop-report", &["bitloop-core", "bitloop-search"][..]),
        // What is simulated is what needs no sockets, disks or tensors; so it builds in seconds, too.
        ("bitloop-simulation", &["bitloop-core", "bitloop-search"][..]),
        (
            "bitloop",
            &[
                "bitloop-core",
                "bitloop-proto",
                "bitloop-search",
                "bitloop-quant",
                "bitloop-coordinator",
                "bitloop-worker",
                "bitloop-autoscale",
                "bitloop-report",
            ][..],
        ),
    ])
}

/// External crate -> crates of this workspace that may name it in their manifests.
fn allowed_users() -> Vec<(&'static str, &'static [&'static str])> {
    vec![
        ("candle-core", &["bitloop-quant"]),
        ("candle-nn", &["bitloop-quant"]),
        ("gemm", &["bitloop-quant"]),
        ("sled", &["bitloop-coordinator"]),
        ("tokio-postgres", &["bitloop-coordinator"]),
        ("object_store", &["bitloop-coordinator"]),
        ("prost", &["bitloop-proto", "bitloop-quant"]),
        ("tonic-prost", &["bitloop-proto"]),
        ("tonic", &["bitloop-proto", "bitloop-coordinator", "bitloop-worker", "bitloop"]),
        ("tokio", &["bitloop-proto", "bitloop-coordinator", "bitloop-worker", "bitloop"]),
        ("rcgen", &["bitloop-proto", "bitloop-coordinator"]),
        ("rustls-webpki", &["bitloop-proto"]),
        ("tokio-rustls", &["bitloop-proto", "bitloop-coordinator"]),
        ("plotters", &["bitloop-report"]),
        ("ort", &["bitloop-worker"]),
        ("anyhow", &["bitloop", "bitloop-tests"]),
        ("opentelemetry", &["bitloop"]),
        ("opentelemetry-otlp", &["bitloop"]),
        ("opentelemetry_sdk", &["bitloop"]),
        ("tracing-opentelemetry", &["bitloop"]),
        // The program says where its log goes; the worker keeps what is said of each trial.
        ("tracing-subscriber", &["bitloop", "bitloop-worker"]),
    ]
}

/// Crate of this workspace -> what it depends on, tests and build scripts aside.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let done = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output();
    let done = done.expect("cargo describes its own workspace");
    let metadata: Value = serde_json::from_slice(&done.stdout).expect("`cargo metadata` prints JSON");
    let name = |value: &Value| value["name"].as_str().expect("packages have names").to_owned();
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let normal = |package: &Value| {
        let dependencies = array(&package["dependencies"]);
        // Tests' and build scripts' dependencies have a kind.
        let used = dependencies.iter().filter(|dependency| dependency["kind"].is_null()).map(name);
        (name(package), used.collect())
    };
    array(&metadata["packages"]).iter().map(normal).collect()
}

#[test]
fn crates_depend_on_each_other_only_along_the_designed_edges() {
    let dependencies = dependencies();
    for (package, allowed) in allowed_edges() {
        for used in dependencies[package].iter().filter(|name| name.starts_with("bitloop")) {
            assert!(allowed.contains(&used.as_str()), "{package} must not depend on {used}");
        }
    }
}

#[test]
fn external_crates_stay_where_they_belong() {
    for (package, used) in dependencies() {
        for (external, allowed) in allowed_users() {
            let fits = !used.contains(external) || allowed.contains(&package.as_str());
            assert!(fits, "{package} must not depend on {external}");
        }
    }
}

/// Hand-written Rust sources of the workspace, relative to the root.
fn sources() -> Vec<PathBuf> {
    let crates =
        ["proto", "core", "search", "quant", "coordinator", "worker", "autoscale", "report", "cli", "tests"];
    let all = crates.iter().flat_map(|name| files(&root().join(name), ".rs"));
    let relative = all.filter_map(|path| path.strip_prefix(root()).map(Path::to_path_buf).ok());
    let generated = ["proto/src/generated", "quant/src/onnx/generated"];
    relative.filter(|path| !generated.iter().any(|folder| path.starts_with(folder))).collect()
}

/// The code of a source: no comments, and nothing behind the first test module.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(root().join(path)).expect("sources are text");
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    path.starts_with("tests") || path.iter().any(|part| part == "tests" || part == "tests.rs")
}

fn assert_only_in(word: &str, allowed: impl Fn(&Path) -> bool) {
    for path in sources() {
        if !is_test(&path) && !allowed(&path) {
            assert!(!code(&path).contains(word), "{} must not use `{word}`", path.display());
        }
    }
}

#[test]
fn databases_are_seen_by_the_store_alone() {
    let store =
        |path: &Path| path.starts_with("coordinator/src/store") || path.ends_with("coordinator/src/store.rs");
    assert_only_in("sled::", store);
    let database = |path: &Path| {
        path.starts_with("coordinator/src/store/postgres") || path.starts_with("coordinator/src/testing")
    };
    assert_only_in("tokio_postgres::", database);
}

#[test]
fn buckets_are_seen_by_artifacts_alone() {
    assert_only_in("object_store::", |path| path.starts_with("coordinator/src/artifacts"));
}

#[test]
fn onnx_runtime_is_seen_by_its_adapter_alone() {
    // Other paths end in the same letters.
    for before in [" ", "(", "<", "&"] {
        let word = format!("{before}ort::");
        assert_only_in(&word, |path| path.starts_with("worker/src/adapter/onnxruntime"));
    }
}

/// A probe is a process of its own, whoever wrote it.
#[test]
fn workers_and_device_adapters_share_the_protocol_of_probes_alone() {
    assert_only_in("crate::adapter", |path| path.starts_with("worker/src/adapter"));
    let adapters = |path: &PathBuf| path.starts_with("worker/src/adapter") && !is_test(path);
    for path in sources().into_iter().filter(adapters) {
        let text = code(&path);
        let allowed = ["crate::probe::protocol", "crate::probe::values", "crate::clock"];
        let allowed: usize = allowed.iter().map(|module| text.matches(module).count()).sum();
        let all = text.matches("crate::").count();
        assert_eq!(all, allowed, "{} must see nothing of the worker but the protocol", path.display());
    }
}

#[test]
fn the_wire_is_seen_by_its_ends_alone() {
    let ends = |path: &Path| {
        path.starts_with("proto")
            || path.starts_with("coordinator/src/rpc")
            || path.starts_with("worker/src/client")
            || ["worker/src/client.rs", "cli/src/client.rs"].iter().any(|end| path.ends_with(end))
    };
    assert_only_in("tonic::", ends);
    // ONNX files are protobuf messages too.
    assert_only_in("prost::", |path| ends(path) || path.starts_with("quant/src/onnx"));
}

#[test]
fn keys_and_certificates_are_made_in_two_places() {
    let allowed =
        |path: &Path| path.starts_with("proto/src/identity") || path.starts_with("coordinator/src/security");
    assert_only_in("rcgen::", allowed);
}

#[test]
fn clocks_are_read_in_clock_files_alone() {
    let clocks = |path: &Path| path.file_name().is_some_and(|name| name == "clock.rs");
    assert_only_in("Instant::now", clocks);
    assert_only_in("SystemTime::now", clocks);
}

#[test]
fn unsafe_code_lives_in_kernels_alone() {
    assert_only_in("unsafe {", |path| path.starts_with("quant/src/kernels"));
    assert_only_in("unsafe fn", |path| path.starts_with("quant/src/kernels"));
}

#[test]
fn core_search_and_report_do_no_io() {
    let is_pure = |path: &PathBuf| {
        ["core/src", "search/src", "report/src"].iter().any(|folder| path.starts_with(folder))
    };
    for path in sources().into_iter().filter(|path| is_pure(path) && !is_test(path)) {
        let text = code(&path);
        for word in ["std::fs", "std::net", "std::thread", "std::env::", "async fn", "println!"] {
            assert!(!text.contains(word), "{} must not use `{word}`", path.display());
        }
    }
}

/// What is measured next follows from the history on every machine, and mathematical libraries of systems differ.
#[test]
fn core_and_search_take_no_function_of_the_systems_mathematical_library() {
    let names =
        ["exp", "exp2", "exp_m1", "ln", "ln_1p", "log", "log2", "log10", "powf", "sin", "cos", "tan", "tanh"];
    let is_pure = |path: &PathBuf| path.starts_with("core/src") || path.starts_with("search/src");
    for path in sources().into_iter().filter(|path| is_pure(path) && !is_test(path)) {
        let text = code(&path);
        for call in names
            .iter()
            .flat_map(|name| [format!(".{name}("), format!("f64::{name}"), format!("f32::{name}")])
        {
            assert!(!text.contains(&call), "{}: take `libm` for `{call}`", path.display());
        }
    }
}

#[test]
fn no_hand_written_file_is_too_long() {
    for path in sources() {
        let lines = std::fs::read_to_string(root().join(&path)).map_or(0, |text| text.lines().count());
        assert!(lines <= LINES_MAX, "{} has {lines} lines; divide it", path.display());
    }
}

#[test]
fn nothing_unfinished_is_left_in_the_sources() {
    // Spelled in two parts, so that this file passes its own rule.
    let marks = [["todo", "!("], ["unimplemented", "!("], ["FIX", "ME"], ["#[ign", "ore]"], ["dbg", "!("]];
    for path in sources() {
        let text = std::fs::read_to_string(root().join(&path)).expect("sources are text");
        for mark in marks.map(|parts| parts.concat()) {
            assert!(!text.contains(&mark), "{} holds `{mark}`", path.display());
        }
    }
}
