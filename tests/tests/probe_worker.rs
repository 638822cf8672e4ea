//! `--probe` of the real program: what it refuses, that no probe outlives its worker, and what probes that misbehave cost an experiment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use bitloop_tests::cluster::Cluster;
use bitloop_tests::experiment::Experiment;
use bitloop_tests::process::{Process, Said, await_that, bitloop, is_running, numbers, say};
use serde_json::Value;

/// The probe that behaves as it is told.
const DOUBLE: &str = env!("CARGO_BIN_EXE_misbehaving_probe");

/// Nobody listens there; the worker waits.
const NOBODY: &str = "http://127.0.0.1:1";

fn write_probes(folder: &Path, probes: &[(&str, &str)]) {
    let entries = probes.iter().map(|(name, mode)| {
        format!("  {name}:\n    command: [{DOUBLE}, {mode}, --tell, started]\n    start_limit: 3m\n")
    });
    let text = format!("version: 1\nprobes:\n{}", entries.collect::<String>());
    fs::write(folder.join("probes.yaml"), text).expect("a file");
}

fn worker(folder: &Path, probe: &str) -> Process {
    Process::start(bitloop(folder, ["worker", "--coordinator", NOBODY, "--threads", "1", "--probe", probe]))
}

/// A worker that has started a probe, and the probe's number.
fn with_probe(folder: &Path, mode: &str) -> (Process, u32) {
    write_probes(folder, &[("board", mode)]);
    let worker = worker(folder, "external=probes.yaml");
    await_that("the probe is ready", || worker.err().contains("probe board: made-up board, double 1.0"));
    let started = numbers(&folder.join("started"));
    assert!(started.len() == 1 && is_running(started[0]), "{started:?}");
    (worker, started[0])
}

#[test]
fn a_probe_does_not_outlive_a_worker_that_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut worker, probe) = with_probe(folder.path(), "good");

    worker.kill();

    await_that("the probe notices that its input has ended", || !is_running(probe));
}

#[test]
fn a_worker_that_is_told_to_stop_ends_its_probes_also_those_that_do_not_listen() {
    for mode in ["good", "ignores-end"] {
        let folder = tempfile::tempdir().expect("a folder");
        let (worker, probe) = with_probe(folder.path(), mode);

        worker.signal("INT");
        worker.end().ok();

        assert!(!is_running(probe), "{mode}");
    }
}

#[test]
fn a_worker_that_is_told_to_stop_does_not_wait_for_a_probe_to_start() {
    let folder = tempfile::tempdir().expect("a folder");
    write_probes(folder.path(), &[("board", "hangs-at-start")]);
    let worker = worker(folder.path(), "external=probes.yaml");
    await_that("the probe is started", || !numbers(&folder.path().join("started")).is_empty());

    worker.signal("INT");
    worker.end().ok();

    assert!(!is_running(numbers(&folder.path().join("started"))[0]));
}

fn refused(said: &Said, expected: &str) {
    assert_eq!(said.status.code(), Some(2), "{}{}", said.out, said.err);
    assert!(said.err.contains(expected), "{}\ndoes not say\n{expected}", said.err);
}

#[test]
fn a_probe_that_cannot_be_used_is_refused_at_the_start_with_its_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = |probe: &str| worker(folder.path(), probe).end();

    refused(&start("pi5"), "there is no probe `pi5`; there are integer, onnxruntime, external");
    refused(&start("external"), "write `external=FILE`");
    refused(&start("external=absent.yaml"), "absent.yaml: No such file");
    fs::write(folder.path().join("wrong.yaml"), "version: 1\nprobes: { integer: { command: ls } }\n")
        .expect("a file");
    refused(&start("external=wrong.yaml"), "wrong.yaml: 2 mistakes\n  probes.integer: `integer` is a probe");
    write_probes(folder.path(), &[("fine", "good"), ("board", "dies-at-start")]);
    let died =
        "probe `board` cannot be used: it ended with exit status: 3; its last words: no board is connected";
    refused(&start("external=probes.yaml"), died);
    for number in numbers(&folder.path().join("started")) {
        assert!(!is_running(number), "the one that works is ended, too");
    }
}

#[test]
fn a_probe_of_a_gpu_is_started_with_that_one_alone_in_sight() {
    let folder = tempfile::tempdir().expect("a folder");
    let gpu = "device=GPU-01234567-89ab-cdef-0123-456789abcdef";
    let probe = format!("onnxruntime=provider=cuda,class=made-up,{gpu},lib=missing");

    let said = say(folder.path(), ["probe", &probe]);

    // While CUDA could see another one, nothing is loaded.
    assert!(said.err.contains("there is no library of onnxruntime at missing"), "{}", said.err);
}

#[test]
fn an_experiment_here_refuses_such_a_probe_before_it_makes_anything() {
    let folder = tempfile::tempdir().expect("a folder");
    write_probes(folder.path(), &[("board", "other-protocol")]);

    let said = say(folder.path(), ["run", "x.yaml", "--probe", "external=probes.yaml", "--data-dir", "data"]);

    refused(&said, "it speaks protocol 2, this bitloop speaks protocol 1");
    assert!(!folder.path().join("data").exists());
}

/// How a probe misbehaves, for which kind of request, and what is then said of it. All do so for one of the networks alone: the one with
/// all points at 2 bits.
const MISBEHAVIOURS: [(&str, &str, &str); 16] = [
    ("hangs", "time", "hung: it did not answer within 5.2s"),
    ("garbage", "time", "lied: it says `Segmentation fault (core dumped)`, which is no answer"),
    ("endless-line", "time", "lied: it says a line of more than 8388608 bytes"),
    ("dies", "time", "died: it ended with exit status: 4; its last words: segmentation violation"),
    ("dies", "layers", "died: it ended with exit status: 4; its last words: segmentation violation"),
    ("half-a-line", "time", "died: it ended with exit status: 0 in the middle of a line"),
    ("no-unit", "time", "lied: it says that an inference takes 5 ns: is it nanoseconds?"),
    ("milliseconds", "time", "multiply-adds takes 30 ns, which no device can: is it nanoseconds?"),
    ("microseconds", "time", "multiply-adds takes 100 ns, which no device can: is it nanoseconds?"),
    ("large-unit", "time", "s of inferences within"),
    ("negative", "time", "lied: it says that an inference takes -1000 ns"),
    ("zero", "time", "lied: it says that an inference takes 0 ns"),
    ("not-a-number", "time", "which is no answer"),
    ("energy", "time", "is it joules?"),
    ("unknown-layer", "layers", "lied: it says how long `attention` takes, which the network does not have"),
    ("layers-unit", "layers", "of the whole: are both nanoseconds?"),
];

/// Networks of a stage: of floats, and of 2 or 8 bits for weights and for activations.
const NETWORKS: usize = 5;

/// What experiments call such a probe.
fn named((mode, kind, _): (&str, &str, &str)) -> String {
    format!("{mode}-{kind}")
}

/// Writes an experiment with a stage for each of these probes, and a sweep behind them.
fn with_misbehaving_probes(folder: &Path) -> Experiment {
    // An inference of so many images is of 2.6 thousand million multiply-adds, for which units can be told apart.
    const HOW: &str = "configs: 0, repetitions: 1, batch: 1024, at_most: 100ms, fidelity: 0";
    let stage = |misbehaviour| format!("probe: {{ probe: {}, {HOW} }}", named(misbehaviour));
    let mut stages = MISBEHAVIOURS.map(stage).to_vec();
    stages.push("sensitivity: { single: all }".to_owned());
    let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
    let experiment = Experiment::with_stages(folder, "misbehaving", &stages, 64);
    experiment.replace("bits: [2, 3, 4]", "bits: [2]");
    experiment.replace("bits: [2, 4]", "bits: [2]");
    experiment
}

/// Registers them; each writes down in a file of its own what it is asked.
fn register_misbehaving_probes(folder: &Path) {
    let entries = MISBEHAVIOURS.map(|misbehaviour| {
        let ((mode, kind, _), name) = (misbehaviour, named(misbehaviour));
        // Only the one that hangs is waited for; on a busy machine the others have all the time they need.
        let time_limit = if mode == "hangs" { "5s" } else { "3m" };
        format!(
            "  {name}:\n    command: [{DOUBLE}, {mode}, --if, \"{kind}:2\", --tell, {name}.asked]\n    \
             start_limit: 3m\n    time_limit: {time_limit}\n"
        )
    });
    let text = format!("version: 1\nprobes:\n{}", entries.concat());
    fs::write(folder.join("probes.yaml"), text).expect("a file");
}

/// How often a probe was asked for what, by kind and the widths of all points.
fn asked(file: &Path) -> BTreeMap<(String, String), u32> {
    let mut counts = BTreeMap::new();
    let text = fs::read_to_string(file).expect("what it was asked");
    for request in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let Some(ask) = request["ask"].as_object() else { continue };
        for (kind, ask) in ask {
            *counts.entry((kind.clone(), ask["config"]["bits"].to_string())).or_default() += 1;
        }
    }
    counts
}

/// Checks that every network was asked for once, but for two: the baseline, which is surveyed besides, and the one for which the probe
/// misbehaves, which is tried once more.
fn assert_asked(misbehaviour: (&str, &str, &str), file: &Path) {
    let asked = asked(file);
    assert_eq!(asked.len(), 2 * NETWORKS, "layers and whole networks: {asked:?}");
    for ((kind, bits), count) in asked {
        let of_points: BTreeMap<String, Option<u32>> = serde_json::from_str(&bits).expect("widths");
        let widths: BTreeSet<Option<u32>> = of_points.into_values().collect();
        let is_bad = kind == misbehaviour.1 && widths == BTreeSet::from([Some(2)]);
        let is_surveyed = kind == "time" && widths == BTreeSet::from([Some(8)]);
        let expected = 1 + u32::from(is_bad) + u32::from(is_surveyed);
        assert_eq!(count, expected, "{}: {kind} of {bits}", misbehaviour.0);
    }
}

/// Checks that the stage is over, that one trial failed with its reason, and that everything else was measured, once.
fn assert_measured(misbehaviour: (&str, &str, &str), device: &Value) {
    let ((mode, kind, said), name) = (misbehaviour, named(misbehaviour));
    assert!(device["target"]["probe"] == name.as_str() && device["is_over"] == true, "{device}");
    let [failure] = device["failures"].as_array().expect("failures").as_slice() else {
        panic!("{mode}: {}", device["failures"])
    };
    let subject = if kind == "time" { "whole" } else { "layers" };
    assert!(failure["subject"] == subject && failure["trials"] == 1, "{mode}: {failure}");
    let reason = failure["reason"].as_str().expect("a reason");
    assert!(reason.starts_with(&format!("probe `{name}` ")) && reason.contains(said), "{mode}: {reason}");

    let networks = device["networks"].as_array().expect("networks");
    assert_eq!(networks.len(), NETWORKS, "{mode}");
    let mut unmeasured = Vec::new();
    for network in networks {
        let changes = network["changes"].as_object().expect("widths");
        match network["sessions"].as_u64().expect("a number") {
            0 => unmeasured.push((network["latency_ns"].is_null(), changes)),
            sessions => {
                let surveyed = u64::from(network["kind"] == "baseline");
                assert_eq!(
                    (sessions, &network["latency_ns"]["median"]),
                    (1 + surveyed, &Value::from(1000.0))
                );
            }
        }
    }
    let points = networks
        .iter()
        .filter_map(|network| network["changes"].as_object())
        .map(|changes| changes.len())
        .max();
    match (kind, unmeasured.as_slice()) {
        ("time", [(is_unknown, changes)]) => {
            assert!(*is_unknown && Some(changes.len()) == points, "{mode}: {changes:?}");
            assert!(changes.values().all(|width| *width == 2), "{mode}: {changes:?}");
        }
        ("layers", []) => {}
        _ => panic!("{mode}: {unmeasured:?}"),
    }
}

/// One worker has all of them, so that each comes after what the one before it did.
#[test]
fn a_probe_that_hangs_lies_or_dies_costs_one_trial_and_neither_the_worker_nor_the_sweep() {
    let inputs = tempfile::tempdir().expect("a folder");
    let experiment = with_misbehaving_probes(inputs.path());
    let cluster = Cluster::new(None);
    let host = cluster.folder_of(1);
    register_misbehaving_probes(&host);
    let mut worker = cluster.worker_with(1, &["--probe", "external=probes.yaml"]);
    await_that("the worker is there", || cluster.workers().len() == 1);
    let before = cluster.workers();

    let id = cluster.submit(&experiment);
    let ended = cluster.ask(&["watch", &id]);

    assert_eq!(ended.status.code(), Some(1), "a measurement that failed is missing: {}", ended.err);
    let summary = cluster.summary(&id);
    assert_eq!((&summary["status"], &summary["failed"]), (&"finished".into(), &MISBEHAVIOURS.len().into()));
    let said = cluster.ask(&["results", &id, "--format", "json"]).ok();
    let report: Value = serde_json::from_str(&said.out).expect("a report is JSON");
    let devices = report["devices"].as_array().expect("devices");
    assert_eq!(devices.len(), MISBEHAVIOURS.len());
    for (misbehaviour, device) in MISBEHAVIOURS.into_iter().zip(devices) {
        assert_measured(misbehaviour, device);
        assert_asked(misbehaviour, &host.join(format!("{}.asked", named(misbehaviour))));
    }
    let rows = report["rows"].as_array().expect("rows");
    assert!(!rows.is_empty() && rows.iter().all(|row| row["result"]["state"] == "done"), "{rows:?}");
    let after = cluster.workers();
    assert!(worker.is_running() && after.len() == 1 && after[0]["id"] == before[0]["id"], "{after:?}");
    assert_eq!(after[0]["committed"], summary["total"], "nothing came from anywhere else");
}
