//! Searches as a user runs them: from a sweep to a verified bit config, interrupted, repeated, exported.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use bitloop_tests::experiment::{Experiment, results_file};
use bitloop_tests::process::{Process, Said, bitloop, now, say};
use serde_json::Value;

const STAGES: [&str; 4] = [
    "sensitivity: { single: all, pairwise: { most_promising: 100 }, multi: { configs: 60, points: [3, 9] } }",
    "search: { constraints: { size_kib: 40% }, trials: 12, round: 4 }",
    "search: { method: greedy, constraints: { bops_m: 30% }, trials: 8, round: 4 }",
    "verify: { top: 2 }",
];

/// When an experiment is killed for the first time: well before it can be over, and later each time, so that it will be.
const FIRST_KILL_MS: u64 = 150;

fn run(folder: &Path, experiment: &Experiment, data_dir: &str, workers: &str) -> Said {
    let path = experiment.path();
    say(folder, ["run", &path, "--data-dir", data_dir, "--workers", workers])
}

fn results(folder: &Path, name: &str, data_dir: &str) -> Value {
    let said = say(folder, ["results", name, "--data-dir", data_dir, "--format", "json"]).ok();
    serde_json::from_str(&said.out).expect("a report is JSON")
}

#[test]
fn a_search_that_is_killed_again_and_again_gives_the_bytes_of_an_undisturbed_one() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::with_stages(folder.path(), "searched", &STAGES, 320);
    run(folder.path(), &experiment, "undisturbed", "2").ok();

    let mut kills = 0;
    loop {
        let arguments = ["run", &experiment.path(), "--data-dir", "killed", "--workers", "1"];
        let mut process = Process::start(bitloop(folder.path(), arguments));
        let started = now();
        while process.is_running() && started.elapsed() < Duration::from_millis(FIRST_KILL_MS + 300 * kills) {
            thread::sleep(Duration::from_millis(5));
        }
        if !process.is_running() {
            process.end().ok();
            break;
        }
        process.kill();
        kills += 1;
    }

    assert!(kills > 0, "the experiment was over before it could be killed");
    let undisturbed = results_file(&folder.path().join("undisturbed"));
    assert!(undisturbed.is_some());
    assert_eq!(results_file(&folder.path().join("killed")), undisturbed);
    let report = |data_dir| results(folder.path(), "searched", data_dir);
    assert_eq!(report("killed"), report("undisturbed"));
}

#[test]
fn what_a_search_found_keeps_its_limits_is_verified_and_can_be_exported() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::with_stages(folder.path(), "found", &STAGES, 320);
    let said = run(folder.path(), &experiment, "data", "2").ok();
    assert!(
        said.out.contains("(proved optimal)") && said.out.contains("256 images that nothing was chosen by")
    );

    let report = results(folder.path(), "found", "data");

    let baseline = report["baseline_size_bits"].as_u64().unwrap();
    let searches = report["searches"].as_array().unwrap();
    assert_eq!(searches.len(), 2);
    for search in searches {
        let top = search["top"].as_array().unwrap();
        assert!(!top.is_empty() && search["is_over"] == Value::Bool(true), "{search}");
        assert_eq!(top[0]["verified"]["state"], "done");
        assert_eq!(top[0]["verified"]["n"], 256);
    }
    let sizes = searches[0]["top"].as_array().unwrap().iter().map(|top| top["size_bits"].as_u64().unwrap());
    assert!(sizes.max().unwrap() * 10 <= baseline * 4);
    let best = &searches[0]["top"][0]["changes"];
    let arguments =
        ["export", "found", "--data-dir", "data", "--format", "bitconfig", "--search", "1", "--rank", "1"];
    let exported: BTreeMap<String, u64> =
        serde_json::from_str(&say(folder.path(), arguments).ok().out).unwrap();
    assert_eq!(
        exported.len(),
        report["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["point"].as_str())
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    );
    for (point, bits) in &exported {
        assert_eq!(*bits, best[point].as_u64().unwrap_or(8), "{point}");
    }
    let none = say(
        folder.path(),
        ["export", "found", "--data-dir", "data", "--format", "bitconfig", "--rank", "999"],
    );
    assert_eq!(none.status.code(), Some(2));
    assert!(none.err.contains("search 2 has found"), "{}", none.err);
}

#[test]
fn the_pareto_front_is_of_everything_measured() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::with_stages(folder.path(), "front", &STAGES[..1], 96);
    run(folder.path(), &experiment, "data", "2").ok();

    let pareto = |format: &str| {
        say(
            folder.path(),
            ["results", "front", "--data-dir", "data", "--pareto", "size_kib", "--format", format],
        )
        .ok()
        .out
    };

    let rows: Vec<Value> = serde_json::from_str(&pareto("json")).unwrap();
    let front: Vec<(f64, f64)> = rows
        .iter()
        .filter(|row| row["standing"] == "front")
        .map(|row| (row["cost"].as_f64().unwrap(), row["loss"]["value"].as_f64().unwrap()))
        .collect();
    assert!(!front.is_empty());
    for row in &rows {
        let (cost, loss) = (row["cost"].as_f64().unwrap(), row["loss"]["value"].as_f64().unwrap());
        let beaten = front.iter().any(|(c, l)| *c <= cost && *l <= loss && (*c < cost || *l < loss));
        assert_eq!(beaten, row["standing"] != "front", "{row}");
    }
    assert_eq!(pareto("csv").lines().count(), rows.len() + 1);
    // The baseline, 15 points at two or three widths, 100 pairs, 60 subsets.
    assert_eq!(rows.len(), 1 + 7 * 3 + 8 * 2 + 100 + 60);
}

#[test]
fn a_demotion_and_a_curve_end_with_a_config_within_the_drop() {
    let folder = tempfile::tempdir().unwrap();
    let stages = ["search: { method: demotion, max_drop: 3 }", "search: { method: amp, max_drop: 5 }"];
    let experiment = Experiment::with_stages(folder.path(), "sets", &stages, 96);
    let text = std::fs::read_to_string(&experiment.file).unwrap();
    std::fs::write(
        &experiment.file,
        text.replace("bits: [2, 3, 4]", "bits: [2]").replace("bits: [2, 4]", "bits: [4]"),
    )
    .unwrap();

    run(folder.path(), &experiment, "data", "2").ok();

    let report = results(folder.path(), "sets", "data");
    for reference in ["float", "baseline"] {
        assert_eq!((&report[reference]["state"], &report[reference]["n"]), (&"done".into(), &96.into()));
    }
    let csv = results_file(&folder.path().join("data")).expect("the experiment is over");
    let csv = String::from_utf8(csv).expect("a results file is text");
    let open = csv.lines().filter(|line| line.split(',').any(|cell| cell == "open"));
    assert_eq!(open.count(), 0, "{csv}");
    // With all weights at 2 bits the drop is too large, so the demotion measures every point alone: 7 weights and 8
    // activations.
    let configs = report["configs"].as_array().unwrap();
    let alone = configs.iter().filter(|row| row["changes"].as_object().unwrap().len() == 1);
    assert_eq!(alone.count(), 15);
    let searches = report["searches"].as_array().unwrap();
    assert_eq!(searches.len(), 2);
    for (search, drop) in searches.iter().zip([0.03, 0.06]) {
        let best = &search["top"][0];
        assert!(!best["changes"].as_object().unwrap().is_empty(), "{search}");
        assert!(best["result"]["top1_drop"]["value"].as_f64().unwrap() <= drop, "{best}");
    }
}

#[test]
fn what_cannot_be_found_is_said_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    for (search, message) in [
        (
            "search: { constraints: { size_kib: 10% } }",
            "no bit config keeps the limits: size_kib is at least",
        ),
        ("search: { constraints: { sise_kib: 10% } }", "there is no cost `sise_kib`; there are size_kib,"),
        ("search: { constraints: { size_kib: 50% }, predictor: magic }", "`magic`"),
    ] {
        let experiment = Experiment::with_stages(folder.path(), "wrong", &[STAGES[0], search], 96);

        let said = run(folder.path(), &experiment, "data", "1");

        assert_eq!(said.status.code(), Some(2), "{}", said.err);
        assert!(said.err.contains(message), "{}", said.err);
        assert!(said.err.contains("stages[1].search."), "{}", said.err);
        assert!(!folder.path().join("data").exists());
    }
}
