//! `--probe` of the real program: what it refuses, and that no probe outlives its worker.

use std::fs;
use std::path::Path;

use bitloop_tests::process::{Process, Said, await_that, bitloop, is_running, numbers, say};

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
