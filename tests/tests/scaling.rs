//! What KEDA's triggers in `deploy/` come to on a coordinator's metrics: each class of workers grows by the work that it can
//! do, and by no other.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bitloop_core::state::WANTED_MS_MAX;
use bitloop_tests::experiment::Experiment;
use bitloop_tests::metrics::Metrics;
use bitloop_tests::process::{await_that, say};
use bitloop_tests::root;

/// The triggers, by the workers that they scale.
fn triggers() -> BTreeMap<String, serde_yaml::Value> {
    let text = fs::read_to_string(root().join("deploy/kubernetes/autoscaling.yaml")).expect("YAML is text");
    let documents = text.split("\n---\n").map(|document| {
        let scaled: serde_yaml::Value = serde_yaml::from_str(document).expect("YAML");
        let spec = &scaled["spec"];
        (word(&spec["scaleTargetRef"]["name"]), spec["triggers"][0]["metadata"].clone())
    });
    documents.collect()
}

fn word(value: &serde_yaml::Value) -> String {
    value.as_str().expect("a word").to_owned()
}

/// Submits what asks for this of its workers, of which there are none: a trial that is nobody else's.
fn submit(metrics: &Metrics, folder: &Path, (number, requires): (u32, &str)) {
    let experiment = Experiment::new(folder, &format!("wanted{number}"), "['*.weight']", 64);
    let text = fs::read_to_string(&experiment.file).expect("the experiment file");
    let text = text.replace("calibration: 64", &format!("calibration: {}", 64 + number));
    fs::write(&experiment.file, format!("{text}requires: {requires}\n")).expect("the experiment file");
    let before = metrics.sum("sum(bitloop_backlog_trials)");
    say(folder, ["submit", &experiment.path(), "--coordinator", metrics.url()]).ok();
    await_that("what was submitted is told", || metrics.sum("sum(bitloop_backlog_trials)") > before);
}

#[test]
fn no_class_has_more_workers_than_there_are_trials() {
    for (class, trigger) in triggers() {
        let threshold: f64 = word(&trigger["threshold"]).parse().expect("a number");
        assert!(word(&trigger["query"]).starts_with("sum(bitloop_wanted_seconds{"), "{class}");
        assert!(threshold * 1e3 >= WANTED_MS_MAX, "{class}: the longest trial is worth one worker");
    }
}

#[test]
fn a_class_of_workers_grows_by_the_work_that_it_can_do() {
    let queries: BTreeMap<String, String> =
        triggers().into_iter().map(|(class, trigger)| (class, word(&trigger["query"]))).collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let metrics = Metrics::start(folder.path());
    // The names of the classes, in their order: workers on CPUs, and on GPUs of 16 GiB, neither with labels.
    assert_eq!(queries.keys().collect::<Vec<_>>(), ["bitloop-worker-cpu", "bitloop-worker-cuda"]);
    let asked = || queries.values().map(|query| metrics.sum(query) > 0.0).collect::<Vec<_>>();
    assert_eq!(asked(), [false, false]);

    for wanted in [
        (1, "{ device: cuda, gpu_memory: 40GiB }"),
        (2, "{ labels: { board: orin } }"),
        (3, "{ device: cpu, labels: { board: orin, rack: two } }"),
    ] {
        submit(&metrics, folder.path(), wanted);
        assert_eq!(asked(), [false, false], "no class can measure what requires {}", wanted.1);
    }
    submit(&metrics, folder.path(), (4, "{ device: cuda, gpu_memory: 12GiB }"));
    assert_eq!(asked(), [false, true]);
    submit(&metrics, folder.path(), (5, "{ device: cpu }"));
    assert_eq!(asked(), [true, true]);

    // As docs/autoscaling.md says of a class with a label, and with two.
    let of_labels = |labels: &str| {
        metrics.sum(&format!(r#"sum(bitloop_backlog_trials{{device=~"any|cpu",labels=~"{labels}"}})"#))
    };
    assert_eq!(of_labels("|board=orin"), of_labels("") + 1.0);
    assert_eq!(of_labels("|board=orin|rack=two|board=orin,rack=two"), of_labels("") + 2.0);
}
