//! What waits for whom, in sentences and in numbers.

use super::*;

#[test]
fn the_backlog_says_what_waits_for_which_workers() {
    let mut engine = Engine::new();
    let (any, gpus) = (engine.submit("any"), engine.submit_with("gpus", 0, on_gpu(8)));
    engine.propose_points(&any, 0..3);
    engine.propose_points(&gpus, 3..5);
    let worker = engine.join_as(cpu("w"));
    let shard = engine.request(&worker).unwrap();
    engine.commit_after(&worker, &shard, 500.0);
    engine.request(&worker).unwrap();

    let backlog = engine.state.backlog();

    let counts: Vec<_> =
        backlog.iter().map(|class| (class.queued, class.leased, class.workers, class.predicted_ms)).collect();
    assert_eq!(counts, [(1, 1, 1, 1_000.0), (2, 0, 0, 1_000.0)]);
    assert_eq!(backlog[1].requirements, on_gpu(8));
}

#[test]
fn a_trial_of_hours_is_work_for_one_worker() {
    const HOUR_MS: f64 = 3_600_000.0;
    let mut engine = Engine::new();
    let experiment = engine.submit("long");
    engine.propose_points(&experiment, 0..1);
    let worker = engine.join_as(cpu("w"));
    let shard = engine.request(&worker).unwrap();
    engine.commit_after(&worker, &shard, 4.0 * HOUR_MS);
    engine.propose_points(&experiment, 1..2);
    engine.request(&worker).unwrap();

    let leased = engine.state.backlog();
    engine.propose_points(&experiment, 2..4);
    let more = engine.state.backlog();

    let counts = |backlog: &[Backlog]| -> Vec<_> {
        let count = |class: &Backlog| (class.queued, class.leased, class.predicted_ms, class.wanted_ms);
        backlog.iter().map(count).collect()
    };
    assert_eq!(counts(&leased), [(0, 1, 4.0 * HOUR_MS, WANTED_MS_MAX)]);
    assert_eq!(counts(&more), [(2, 1, 12.0 * HOUR_MS, 3.0 * WANTED_MS_MAX)]);
}

#[test]
fn a_cancelled_experiment_says_how_it_goes_on() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let action = Action::Cancel;
    engine.feed(Input::Act { experiment: experiment.clone(), action }).unwrap();

    let said = engine.explained_experiment(&experiment);

    assert_eq!(said.standing, "cancelled");
    assert!(said.reasons[0].contains(&format!("`bitloop resume {experiment}`")), "{:?}", said.reasons);
}

#[test]
fn an_experiment_says_why_it_does_not_go_on() {
    let mut engine = Engine::new();
    let experiment = engine.submit_with("a", 0, on_gpu(8));
    let standing = |engine: &Engine| engine.explained_experiment(&experiment);
    assert_eq!(standing(&engine).standing, "thinking");
    engine.propose_points(&experiment, 0..3);

    let waiting = standing(&engine);
    assert_eq!(waiting.standing, "waiting");
    assert_eq!(
        waiting.reasons,
        [
            "3 trials of stage `sensitivity` of `".to_owned()
                + &experiment.0
                + "` wait and ask for: device cuda, 8 GiB of GPU memory",
            "no worker is connected".to_owned(),
        ]
    );

    engine.feed(Input::Act { experiment: experiment.clone(), action: Action::Pause }).unwrap();
    assert_eq!(standing(&engine).standing, "paused");
}

#[test]
fn an_experiment_whose_trials_another_one_wants_too_waits_and_does_not_think() {
    let mut engine = Engine::new();
    let (first, second) = (engine.submit("first"), engine.submit("second"));
    engine.propose_points(&first, 0..3);
    engine.propose_points(&second, 0..3);

    let waiting = engine.explained_experiment(&second);

    assert_eq!(waiting.standing, "waiting");
    let counted = format!("3 trials of stage `sensitivity` of `{first}` wait and ask for");
    assert!(waiting.reasons[0].starts_with(&counted), "{:?}", waiting.reasons);
    let queued: u64 = engine.state.backlog().iter().map(|class| class.queued).sum();
    assert_eq!(queued, 3);
}

#[test]
fn what_is_before_a_trial_is_counted_only_as_far_as_it_matters() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 10_003);
    let ahead = |place: usize| {
        let explained = engine.state.explain_trial(&keys[place], engine.now).unwrap();
        let last = explained.reasons.last().unwrap().clone();
        (explained.standing, last)
    };

    let waiting = |text: &str| ("waiting".to_owned(), text.to_owned());
    assert_eq!(ahead(1), waiting("1 trials were proposed before it"));
    assert_eq!(ahead(10_000), waiting("10000 trials were proposed before it"));
    assert_eq!(ahead(10_001), waiting("more than 10000 trials were proposed before it"));
    assert_eq!(ahead(10_002), ahead(10_001));
    assert!(!ahead(0).1.contains("before it"));
}

/// Goal: whatever keeps a busy device from a trial is said of each worker as if it were the only one.
#[test]
fn workers_of_a_busy_cluster_are_told_apart() {
    let mut engine = Engine::new();
    let (urgent, alone) =
        (engine.submit_with("urgent", 5, on_gpu(8)), engine.submit_with("alone", 0, exclusive()));
    let shared = engine.submit("shared");
    engine.propose_points(&shared, 0..40);
    let busy: Vec<WorkerId> = ["p", "q"].map(|id| engine.join_as(cpu_of(id, id))).to_vec();
    for worker in &busy {
        engine.request(worker).unwrap();
    }
    engine.join_as(WorkerInfo { float_only: false, ..gpu("g", 16) });
    engine.propose_points(&urgent, 40..42);
    let keys = engine.propose_points(&alone, 50..51);
    let more = engine.propose_points(&shared, 60..61);

    let of_alone = engine.explained(&keys[0]);
    assert!(of_alone.contains("`p`, `q`: is busy with"), "{of_alone}");
    assert!(of_alone.contains(&format!("`g`: experiment `{urgent}` has a higher priority")), "{of_alone}");
    let of_shared = engine.explained(&more[0]);
    assert!(of_shared.contains("`g`: its device is kept free for trials that need it alone"), "{of_shared}");
    assert!(of_shared.contains("`p`, `q`: is busy with"), "{of_shared}");
}

#[test]
fn a_trial_that_waits_for_several_experiments_is_one_in_the_backlog() {
    let mut engine = Engine::new();
    let (any, gpus) = (engine.submit("any"), engine.submit_with("gpus", 1, on_gpu(8)));
    engine.propose_points(&any, 0..3);
    engine.propose_points(&gpus, 1..4);
    let counts = |engine: &Engine| -> Vec<(Requirements, u64)> {
        engine.state.backlog().into_iter().map(|class| (class.requirements, class.queued)).collect()
    };

    assert_eq!(counts(&engine), [(Requirements::NONE, 1), (on_gpu(8), 3)]);
    engine.submit_with("gpus", -1, on_gpu(8));
    assert_eq!(counts(&engine), [(Requirements::NONE, 3), (on_gpu(8), 1)]);
    engine.feed(Input::Act { experiment: any, action: Action::Cancel }).unwrap();
    assert_eq!(counts(&engine), [(on_gpu(8), 3)]);
}
