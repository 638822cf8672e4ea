//! `bitloop bench submit` and `bench dispatch` at sizes that a test can afford. What must hold is asserted, times are not.

use bitloop_tests::process::say;
use serde_json::Value;

const TRIALS: f64 = 20_000.0;

/// Runs a benchmark in a folder, which is empty again afterwards, and returns its figures.
fn figures(bench: &[&str]) -> impl Fn(&str) -> f64 + use<> {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().to_str().expect("its name is text");
    let arguments =
        [&["bench"], bench, &["--trials", "20000", "--folder", here, "--output", "json"]].concat();
    let said = say(folder.path(), arguments).ok();
    let figures: Value = serde_json::from_str(&said.out).expect("figures");
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0, "nothing is left");
    move |name| figures[name].as_f64().unwrap_or_else(|| panic!("{name} in {figures}"))
}

/// Goal: a trial that waits takes less than 500 bytes of memory; at this size, what a process takes anyway counts too.
#[test]
fn a_sweep_is_queued_and_stored_in_little_room() {
    let figure = figures(&["submit"]);

    assert!(figure("trials") >= TRIALS);
    let (memory, stored) = (figure("coordinator_memory_bytes_per_trial"), figure("stored_bytes_per_trial"));
    assert!(memory < 1_000.0 && stored > 0.0 && stored < 100.0, "{memory} and {stored} bytes");
    assert!(figure("submit_seconds") <= figure("queued_seconds"));
}

#[test]
fn trials_are_dispatched_and_each_outcome_is_stored() {
    let figure = figures(&["dispatch", "--workers", "2"]);

    assert!(figure("trials") >= TRIALS);
    let (commits, appends) = (figure("commits"), figure("appends"));
    assert!(commits > 0.0 && commits < TRIALS, "outcomes are committed by shards: {commits}");
    assert!(appends > 0.0 && appends < TRIALS, "and stored together: {appends}");
    // An outcome with its sums takes some hundred bytes, in the journal and in the store.
    let stored = figure("stored_bytes_per_trial");
    assert!((200.0..4_000.0).contains(&stored), "{stored} bytes");
    for positive in ["coordinator_cpu_us_per_trial", "workers_cpu_us_per_trial", "wall_seconds"] {
        assert!(figure(positive) > 0.0, "{positive}");
    }
}
