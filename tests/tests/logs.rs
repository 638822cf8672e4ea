//! `bitloop logs` and `bitloop events`, as somebody asks who wonders what happened.

use bitloop_tests::cluster::Cluster;
use bitloop_tests::experiment::Experiment;
use bitloop_tests::process::{Process, await_that};
use serde_json::Value;

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn events(cluster: &Cluster, more: &[&str]) -> Vec<Value> {
    json_lines(&cluster.ask(&[&["events", "--output", "json"], more].concat()).ok().out)
}

/// The first event of a kind, once it is there.
fn await_event(cluster: &Cluster, kind: &str) -> Value {
    let mut found = None;
    await_that(kind, || {
        found = events(cluster, &[]).into_iter().find(|event| event["kind"] == kind);
        found.is_some()
    });
    found.expect("it is there")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// A search whose every trial fails: one bit has no automatic scale, which only training finds out.
const FAILING: &str = r#"goal: { type: bits, params: { delta_p: 2, delta_n: 2, rate: 2 } }
constraints: { accuracy_drop: 10 }
quantization_config:
  kernel: { "quantized_bits(1,0,1)": 1 }
  bias: { "quantized_bits(6,2,1)": 6 }
  activation: { "quantized_relu(3,2)": 3, "quantized_relu(4,2)": 4 }
limit: { Dense: [4, 8, 4], Conv2D: [4, 8, 4], Activation: [4] }
mode: random
max_trials: 2
training: { epochs: 1, batch: 64, optimizer: { adam: { learning_rate: 0.001 } } }"#;

/// Goal: of a trial that failed, one command says where, when and why, with what its worker wrote; also after a restart.
#[test]
fn a_failed_trial_is_told_with_its_attempt_its_reason_and_its_workers_lines() {
    let inputs = tempfile::tempdir().unwrap();
    let experiment = Experiment::that_trains(inputs.path(), "failing", FAILING);
    let mut cluster = Cluster::new(None);
    let _worker = cluster.worker(1);
    let id = cluster.submit(&experiment);
    let failed = await_event(&cluster, "trial_failed");
    assert_eq!((&failed["experiments"][0], text(&failed["worker"]).is_empty()), (&Value::from(id), false));
    let (trial, reason) = (text(&failed["trial"]), text(&failed["text"]));

    let mut lines = Vec::new();
    await_that("the worker's lines are there", || {
        lines = json_lines(&cluster.ask(&["logs", trial, "--output", "json"]).ok().out);
        lines.iter().any(|line| line["what"] == "line" && text(&line["text"]).starts_with("done"))
    });

    assert!(text(&lines[0]["trial"]).starts_with(trial) && lines[0]["standing"] == "failed", "{}", lines[0]);
    let of = |what: &str| lines.iter().find(|line| line["what"] == what).expect(what);
    assert_eq!((&of("leased")["attempt"], &of("leased")["worker"]), (&Value::from(1), &failed["worker"]));
    assert_eq!(text(&of("failed")["text"]), reason);
    let written: Vec<&str> =
        lines.iter().filter(|line| line["what"] == "line").map(|line| text(&line["text"])).collect();
    assert!(written.iter().any(|line| line.starts_with("measuring kind=train")), "{written:?}");
    assert!(written.iter().any(|line| line.contains(reason)), "{written:?}");
    let people = cluster.ask(&["logs", &trial[..8]]).ok().out;
    assert!(people.contains("attempt 1") && people.contains(reason), "{people}");

    cluster.restart_coordinator();
    assert_eq!(json_lines(&cluster.ask(&["logs", trial, "--output", "json"]).ok().out), lines);
}

/// Goal: who watches the events sees a worker die and its work go to others, and misses nothing when the coordinator is
/// away for a while.
#[test]
fn a_killed_worker_and_a_restarted_coordinator_are_seen_in_the_events() {
    let inputs = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(inputs.path(), "watched", "all", 6_000);
    let mut cluster = Cluster::new(None);
    let watching = cluster.start(&["events", "--follow", "--output", "json"]);
    let mut worker = cluster.worker(1);
    let id = cluster.submit(&experiment);
    let is_leased = || cluster.summary(&id)["leased"].as_u64() > Some(0);
    await_that("a shard is under way when the worker is killed", || {
        await_that("a shard is under way", is_leased);
        worker.kill();
        // Between two shards there is nothing to be taken back; then the next worker is killed.
        let is_caught = is_leased();
        if !is_caught {
            worker = cluster.worker(1);
        }
        is_caught
    });

    let taken = await_event(&cluster, "lease_taken_back");
    let is_its_worker = |event: &Value| event["kind"] == "worker_lost" && event["worker"] == taken["worker"];
    assert!(events(&cluster, &[]).iter().any(is_its_worker), "{taken}");
    assert!(text(&taken["text"]).contains("its worker was lost"), "{taken}");
    let seen = text(&taken["cursor"]).to_owned();
    cluster.restart_coordinator();
    let _second = cluster.worker(2);
    cluster.ask(&["watch", &id]).ok();

    let all = events(&cluster, &[]);
    assert_follows_to_the_end(&watching, &all);
    let later = events(&cluster, &["--since", &seen]);
    let place = all.iter().position(|event| event["cursor"] == *seen).expect("it is kept");
    assert_eq!(later, all[place + 1..], "a cursor is good after a restart");
    let starts = all.iter().filter(|event| event["kind"] == "coordinator_started").count();
    assert_eq!(starts, 2);
    let own = events(&cluster, &["watched"]);
    let mut kinds: Vec<&str> = own.iter().map(|event| text(&event["kind"])).collect();
    assert!(kinds.contains(&"lease_taken_back"), "{kinds:?}");
    // Those that were killed, and what came of it, as often as it happened.
    kinds.retain(|kind| !["worker_lost", "lease_taken_back", "duplicates"].contains(kind));
    assert_eq!(
        kinds,
        ["experiment_submitted", "stage_finished", "stage_finished", "experiment_finished"],
        "one experiment's events are its own"
    );
}

/// The one who watched from the beginning has seen every event, once.
fn assert_follows_to_the_end(watching: &Process, all: &[Value]) {
    await_that("the last event is seen", || watching.out().matches('\n').count() >= all.len());
    assert_eq!(json_lines(&watching.out()), all);
}

#[test]
fn what_is_no_trial_is_one_clear_error() {
    let cluster = Cluster::new(None);

    for (trial, words) in [("abcdef0123", "no trial's key begins so"), ("sweep", "names no trial")] {
        let said = cluster.ask(&["logs", trial]);
        assert_eq!((said.status.code(), said.out.as_str()), (Some(1), ""), "{}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
        assert!(said.err.contains(words), "{}", said.err);
    }
    let said = cluster.ask(&["events", "nothing"]);
    assert_eq!(said.status.code(), Some(1), "{}", said.err);
    assert!(said.err.contains("bitloop list"), "{}", said.err);
    let said = cluster.ask(&["events", "--since", "yesterday"]);
    assert_eq!(said.status.code(), Some(2), "{}", said.err);
}
