//! A coordinator and workers as they run on a cluster: each in its own folder, with a cleared environment, without the
//! model or data files; in network namespaces where the system permits them.

use bitloop_tests::cluster::{Cluster, in_network, reference};
use bitloop_tests::experiment::{Experiment, results_file};
use bitloop_tests::process::await_that;

/// Goal: on machines that have nothing but the URL, with workers that come early, late, leave and die, and a coordinator
/// that dies, the results are those of one process, byte for byte.
#[test]
fn a_cluster_that_is_hurt_gives_the_bytes_of_one_process() {
    let inputs = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(inputs.path(), "cluster", "all", 3000);
    let expected = reference(inputs.path(), &experiment);
    let network = in_network(5, "a_cluster_that_is_hurt_gives_the_bytes_of_one_process");
    let mut cluster = Cluster::new(network);

    let mut early = cluster.worker(1);
    let id = cluster.submit(&experiment);
    experiment.remove_inputs();
    let second = cluster.worker(2);
    cluster.await_settled(&id, 6);
    early.kill();
    let late = cluster.worker(3);
    cluster.await_settled(&id, 10);
    cluster.restart_coordinator();
    second.signal("TERM");
    let left = second.end().ok();
    assert!(left.err.contains("worker stopped"), "{}", left.err);
    cluster.ask(&["watch", &id]).ok();

    let csv = cluster.ask(&["results", &id, "--format", "csv"]).ok().out;
    assert_eq!(csv.as_bytes(), expected);
    assert_eq!(results_file(&cluster.data_dir()), Some(expected));
    assert_eq!(cluster.summary(&id)["conflicts"], 0);
    drop(late);
}

#[test]
fn the_same_experiment_twice_is_one_and_its_work_is_done_once() {
    let inputs = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(inputs.path(), "twice", "['*.weight']", 50);
    let cluster = Cluster::new(None);
    let _worker = cluster.worker(1);

    let id = cluster.submit(&experiment);
    cluster.ask(&["watch", &id]).ok();
    let again = cluster.ask(&["submit", &experiment.path()]).ok();

    assert_eq!(again.out.trim(), id);
    let total = cluster.summary(&id)["total"].as_u64().unwrap();
    assert!(
        again.err.contains(&format!("resumed: {total} of {total} trials already measured")),
        "{}",
        again.err
    );
    let list = cluster.ask(&["list", "--output", "json"]).ok();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&list.out).unwrap().as_array().unwrap().len(), 1);
    let workers = cluster.ask(&["workers", "--output", "json"]).ok();
    let workers: serde_json::Value = serde_json::from_str(&workers.out).unwrap();
    assert_eq!(workers[0]["committed"].as_u64(), Some(total));
}

#[test]
fn pause_survives_a_restart_and_resume_finishes() {
    let inputs = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(inputs.path(), "paused", "all", 3000);
    let mut cluster = Cluster::new(None);
    let _worker = cluster.worker(1);
    let id = cluster.submit(&experiment);
    cluster.await_settled(&id, 3);

    // A start of the id that fits no other is enough.
    cluster.ask(&["pause", "paused"]).ok();
    cluster.restart_coordinator();
    let paused = cluster.summary(&id);
    let watched = cluster.ask(&["watch", &id]);
    let later = cluster.summary(&id);
    assert_eq!((&paused["status"], &later["status"]), (&"paused".into(), &"paused".into()));
    assert!(watched.err.contains("is paused"), "{}", watched.err);
    assert!(later["settled"].as_u64() < later["total"].as_u64());

    cluster.ask(&["resume", &id]).ok();
    cluster.ask(&["watch", &id]).ok();
    assert!(results_file(&cluster.data_dir()).is_some());
    let refused = cluster.ask(&["pause", &id]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.err.contains("is finished; it cannot be paused"), "{}", refused.err);
}

#[test]
fn a_cancelled_experiment_is_over_and_can_be_revived() {
    let inputs = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(inputs.path(), "cancelled", "all", 500);
    let cluster = Cluster::new(None);
    let id = cluster.submit(&experiment);

    cluster.ask(&["cancel", &id]).ok();
    let watched = cluster.ask(&["watch", &id]);
    assert_eq!(watched.status.code(), Some(1));
    assert!(watched.err.contains("was cancelled"), "{}", watched.err);

    let _worker = cluster.worker(1);
    assert_eq!(cluster.submit(&experiment), id);
    cluster.ask(&["watch", &id]).ok();
    assert_eq!(cluster.summary(&id)["status"], "finished");
}

/// Goal: a worker that is told to go while it measures gives the rest back at once, so that nobody waits for its lease.
#[test]
fn a_worker_that_is_told_to_go_gives_back_what_it_holds_and_exits_0() {
    let inputs = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(inputs.path(), "drained", "all", 3000);
    let cluster = Cluster::new(None);
    let drained = cluster.worker(1);
    let id = cluster.submit(&experiment);
    await_that("the worker holds trials", || cluster.summary(&id)["leased"].as_u64().unwrap_or(0) > 0);

    drained.signal("TERM");
    let left = drained.end().ok();

    assert!(left.err.contains("worker stopped"), "{}", left.err);
    assert_eq!(cluster.summary(&id)["leased"], 0, "its lease has ended with it");
    let workers = cluster.ask(&["workers", "--output", "json"]).ok();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&workers.out).unwrap(), serde_json::json!([]));
    let _other = cluster.worker(2);
    cluster.ask(&["watch", &id]).ok();
    assert_eq!((&cluster.summary(&id)["failed"], &cluster.summary(&id)["conflicts"]), (&0.into(), &0.into()));
}

#[test]
fn a_worker_without_work_exits_0_after_a_while() {
    let cluster = Cluster::new(None);

    let left = cluster.worker_with(1, &["--idle-exit", "500ms"]).end().ok();

    assert!(left.err.contains("worker stopped: 0 trials measured"), "{}", left.err);
    let workers = cluster.ask(&["workers", "--output", "json"]).ok();
    assert_eq!(workers.out.trim(), "[]", "it has taken its leave");
}

/// Goal: what `top` shows on a terminal is text for whoever has none, and the same in JSON.
#[test]
fn top_prints_everything_once_where_nobody_can_look() {
    let inputs = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(inputs.path(), "watched", "['*.weight']", 50);
    let cluster = Cluster::new(None);
    let empty = cluster.ask(&["top"]).ok();
    assert!(
        empty.out.contains("no experiments; `bitloop submit") && empty.out.contains("no workers"),
        "{}",
        empty.out
    );
    let _worker = cluster.worker(1);
    let id = cluster.submit(&experiment);
    cluster.ask(&["watch", &id]).ok();

    let text = cluster.ask(&["top", "--once"]).ok();
    let json = cluster.ask(&["top", "--output", "json"]).ok();

    for part in [
        "Coordinator (bitloop ",
        "epoch 1, up ",
        "Experiments (1)",
        &id,
        "finished",
        "Workers (1)",
        "Failures (0)",
    ] {
        assert!(text.out.contains(part), "{part} is missing in {}", text.out);
    }
    assert!(!text.out.contains('\u{1b}'), "no terminal, no escape sequences");
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let total = cluster.summary(&id)["total"].as_u64();
    assert_eq!(
        (json["experiments"][0]["id"].as_str(), json["experiments"][0]["settled"].as_u64()),
        (Some(id.as_str()), total)
    );
    assert_eq!(
        (json["workers"][0]["committed"].as_u64(), json["coordinator"]["succeeded"].as_u64()),
        (total, total)
    );
    assert_eq!(
        (&json["coordinator"]["store_error"], &json["failures"]),
        (&serde_json::Value::Null, &serde_json::json!([]))
    );
    assert!(json["coordinator"]["commit_ms"].as_f64() > Some(0.0), "{json}");
    let often = cluster.ask(&["top", "--every", "1ms"]);
    assert_eq!(often.status.code(), Some(2));
    assert!(often.err.contains("write 100ms to 1h"), "{}", often.err);
}
