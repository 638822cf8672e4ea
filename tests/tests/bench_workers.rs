//! `bitloop bench workers` at sizes that a test can afford. What must hold is asserted, times are not.

use std::process::Command;

use bitloop_tests::process::{bitloop, say};

#[test]
fn sleeping_workers_measure_everything_and_lose_no_lease() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "workers", "--workers", "20", "--trials", "200", "--trial-time", "5ms"];
    let here = folder.path().to_str().unwrap();

    let said = say(folder.path(), [&arguments[..], &["--folder", here, "--output", "json"]].concat()).ok();

    let figures: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let count = |name: &str| figures[name].as_u64().unwrap_or_else(|| panic!("{name} in {figures}"));
    assert!(count("trials") >= 200, "{figures}");
    assert_eq!(
        count("acknowledged"),
        count("trials"),
        "every outcome was acknowledged to the one who measured it"
    );
    for nothing in ["duplicates", "conflicts", "leases_expired", "workers_lost"] {
        assert_eq!(count(nothing), 0, "{nothing} in {figures}");
    }
    let efficiency = figures["efficiency"].as_f64().unwrap();
    assert!(efficiency > 0.0 && efficiency <= 1.0, "nobody measures more than all the time: {figures}");
    for positive in ["wall_seconds", "trials_per_second", "coordinator_cpu_us_per_trial", "coordinator_bytes"]
    {
        assert!(figures[positive].as_f64().is_some_and(|value| value > 0.0), "{positive} in {figures}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn trials_may_take_no_time() {
    let folder = tempfile::tempdir().unwrap();

    let said =
        say(folder.path(), ["bench", "workers", "--workers", "2", "--trials", "50", "--trial-time", "0ms"])
            .ok();

    assert!(said.out.contains("efficiency    - with ramp and tail, - between"), "{}", said.out);
    assert!(said.out.contains("leases        0 expired, 0 workers lost"), "{}", said.out);
}

/// Goal: with too few open files nothing is begun, and one line says what to do.
#[test]
fn too_few_open_files_are_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bitloop(folder.path(), ["bench", "workers", "--workers", "100"]);
    let mut limited = Command::new("sh");
    limited.env_clear().args(["-c", "ulimit -n 256; exec \"$@\"", "sh"]);
    limited.arg(bench.get_program()).args(bench.get_args()).current_dir(folder.path());

    let said = limited.output().unwrap();

    let message = String::from_utf8(said.stderr).unwrap();
    assert_eq!((said.status.code(), message.trim().lines().count()), (Some(1), 1), "{message}");
    assert!(message.contains("100 workers need 928 open files, and this system allows 256"), "{message}");
}
