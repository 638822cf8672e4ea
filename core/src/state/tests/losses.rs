use super::*;
use crate::trial::Training;

/// A worker that has measured a trial: from then on it is known how long they take, so that a shard has several.
fn join_at_pace(engine: &mut Engine, name: &str) -> WorkerId {
    let worker = engine.join(name);
    let first = engine.request(&worker).unwrap();
    engine.commit(&worker, &[(first.trials[0].0, evaluated(90))]);
    worker
}

#[test]
fn trials_that_a_worker_was_lost_with_go_alone_and_only_the_one_that_kills_is_quarantined() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 4);
    let worker = join_at_pace(&mut engine, "w0");
    let together = engine.request(&worker).unwrap();
    let running: Vec<TrialKey> = together.trials.iter().map(|(key, _)| *key).collect();
    assert!(running.len() > 1, "{running:?}");
    engine.beat_while(&worker, &together, &running);
    engine.wait(LEASE_TERM_MS + 1);

    let culprit = running[0];
    for name in ["w1", "w2"] {
        let worker = engine.join(name);
        let shard = engine.request(&worker).unwrap();
        assert_eq!(shard.trials.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [culprit]);
        engine.beat(&worker, &shard);
        engine.wait(LEASE_TERM_MS + 1);
    }
    engine.wait(LOSS_DOUBT_MS);

    let quarantined = TrialState::Quarantined { losses: QUARANTINE_LOSSES };
    assert_eq!(engine.state.ledger.trial(&culprit).unwrap().state, quarantined);
    let worker = engine.join("w3");
    for key in &running[1..] {
        let shard = engine.request(&worker).unwrap();
        assert_eq!(shard.trials.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [*key]);
        engine.commit(&worker, &[(*key, evaluated(90))]);
    }
    assert_eq!(engine.state.ledger.experiment(&experiment).unwrap().failed, 1);
    assert!(keys.contains(&culprit));
}

#[test]
fn what_ends_workers_before_they_tell_what_they_run_is_found_among_the_trials_of_its_lease() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 8);
    let worker = join_at_pace(&mut engine, "w");
    let together: Vec<TrialKey> =
        engine.request(&worker).unwrap().trials.iter().map(|(key, _)| *key).collect();
    assert!(together.len() > 1, "{together:?}");
    let culprit = together[1];
    engine.wait(LEASE_TERM_MS + 1);
    assert!(together.iter().all(|key| engine.state.dispatch.losses(key) == 0), "it may be any of them");
    assert!(engine.explained(&culprit).contains("worker `w` was lost while it held it and others"));

    let mut lost = 0;
    for number in 0.. {
        let worker = engine.join(&format!("w{number}"));
        let Some(shard) = engine.request(&worker) else { break };
        let keys: Vec<TrialKey> = shard.trials.iter().map(|(key, _)| *key).collect();
        if keys.contains(&culprit) {
            assert_eq!(keys, [culprit]);
            lost += 1;
            engine.wait(LEASE_TERM_MS + 1);
        } else {
            assert!(keys.len() == 1 || keys.iter().all(|key| !together.contains(key)), "{keys:?}");
            keys.iter().for_each(|key| _ = engine.commit(&worker, &[(*key, evaluated(90))]));
        }
    }
    engine.wait(LOSS_DOUBT_MS);

    assert_eq!(lost, QUARANTINE_LOSSES);
    let quarantined = TrialState::Quarantined { losses: QUARANTINE_LOSSES };
    assert_eq!(engine.state.ledger.trial(&culprit).unwrap().state, quarantined);
    assert_eq!(engine.state.ledger.experiment(&experiment).unwrap().settled(), 8);
}

#[test]
fn who_was_cut_off_before_its_first_heartbeat_is_held_against_no_trial_when_it_is_back() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 8);
    let worker = join_at_pace(&mut engine, "w");
    let shard = engine.request(&worker).unwrap();
    engine.wait(LEASE_TERM_MS + 1);

    engine.join("w");

    let again = engine.request(&worker).unwrap();
    assert!(again.trials.len() > 1 && again.trials == shard.trials, "they go together again");
}

#[test]
fn what_may_have_ended_a_worker_is_not_measured_by_two() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 8);
    let fast = join_at_pace(&mut engine, "fast");
    let together = engine.request(&fast).unwrap();
    let keys: Vec<TrialKey> = together.trials.iter().map(|(key, _)| *key).collect();
    engine.now = engine.now.after(LEASE_TERM_MS / 2);
    let second = engine.rejoin("second", &keys).unwrap();
    assert_eq!(second.trials.len(), keys.len());

    // The first one is lost, and the second one is late.
    engine.wait(LEASE_TERM_MS / 2 + 1);
    let idle = engine.join("idle");
    engine.propose(&experiment, 8);
    while let Some(shard) = engine.request(&idle) {
        assert!(shard.trials.iter().all(|(key, _)| !keys.contains(key)), "{shard:?}");
        shard.trials.iter().for_each(|(key, _)| _ = engine.commit(&idle, &[(*key, evaluated(90))]));
    }
}

/// Loses workers of these names with the only trial there is.
fn lose_with(engine: &mut Engine, names: &[&str]) {
    for name in names {
        let worker = engine.join(name);
        let shard = engine.request(&worker).unwrap();
        engine.beat(&worker, &shard);
        engine.wait(LEASE_TERM_MS + 1);
    }
}

#[test]
fn a_trial_whose_workers_may_only_be_cut_off_is_withheld_until_that_is_certain() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);
    lose_with(&mut engine, &["w1", "w2", "w3"]);

    let idle = engine.join("idle");
    assert_eq!(engine.request(&idle), None);
    assert_eq!(engine.state.explain_trial(&keys[0], engine.now).unwrap().standing, "withheld");
    assert!(
        engine
            .explained(&keys[0])
            .contains("worker `w3` was lost while it ran it; it may come back, for 120 s")
    );
    let of_experiment = engine.explained_experiment(&experiment);
    assert_eq!(of_experiment.standing, "waiting");
    assert!(of_experiment.reasons[0].contains("1 trials are withheld"), "{of_experiment:?}");

    // The first two are certain by then.
    engine.wait(LOSS_DOUBT_MS - 1);
    assert_eq!(engine.state.ledger.trial(&keys[0]).unwrap().state, TrialState::Open);
    engine.wait(1);

    let quarantined = TrialState::Quarantined { losses: QUARANTINE_LOSSES };
    assert_eq!(engine.state.ledger.trial(&keys[0]).unwrap().state, quarantined);
}

#[test]
fn a_withheld_trial_goes_on_when_one_of_its_workers_is_back_with_it_or_without_it() {
    for holds_it in [true, false] {
        let mut engine = Engine::new();
        let experiment = engine.submit("a");
        let keys = engine.propose(&experiment, 1);
        lose_with(&mut engine, &["w1", "w2", "w3"]);

        let adopted = engine.rejoin("w2", if holds_it { &keys } else { &[] });

        assert_eq!((adopted.is_some(), engine.state.dispatch.losses(&keys[0])), (holds_it, 2));
        let other = engine.join("w4");
        assert_eq!(engine.request(&other).is_some(), !holds_it);
        engine.wait(LEASE_TERM_MS / 2);
        assert_eq!(engine.state.ledger.trial(&keys[0]).unwrap().state, TrialState::Open);
    }
}

#[test]
fn time_in_which_nobody_could_come_back_makes_no_loss_certain() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);
    lose_with(&mut engine, &["w1", "w2", "w3"]);

    engine.now = engine.now.after(2 * LOSS_DOUBT_MS);
    engine.feed(Input::Tick { stalled_ms: 2 * LOSS_DOUBT_MS }).unwrap();
    engine.wait(LOSS_DOUBT_MS / 2);
    assert_eq!(engine.state.ledger.trial(&keys[0]).unwrap().state, TrialState::Open);
    engine.wait(LOSS_DOUBT_MS / 2);

    let quarantined = TrialState::Quarantined { losses: QUARANTINE_LOSSES };
    assert_eq!(engine.state.ledger.trial(&keys[0]).unwrap().state, quarantined);
}

#[test]
fn a_withheld_trial_that_nobody_wants_any_more_is_not_given_up_until_somebody_does() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);
    lose_with(&mut engine, &["w1", "w2", "w3"]);
    engine.feed(Input::Act { experiment: experiment.clone(), action: Action::Pause }).unwrap();

    engine.wait(2 * LOSS_DOUBT_MS);
    assert_eq!(engine.state.ledger.trial(&keys[0]).unwrap().state, TrialState::Open);
    engine.feed(Input::Act { experiment, action: Action::Resume }).unwrap();
    engine.wait(1);

    let quarantined = TrialState::Quarantined { losses: QUARANTINE_LOSSES };
    assert_eq!(engine.state.ledger.trial(&keys[0]).unwrap().state, quarantined);
}

#[test]
fn a_trial_that_kills_three_workers_is_quarantined_and_the_rest_goes_on() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 2);
    for name in ["w1", "w2", "w3"] {
        let worker = engine.join(name);
        let shard = engine.request(&worker).unwrap();
        assert_eq!(shard.trials[0].0, keys[0]);
        engine.beat(&worker, &shard);
        engine.wait(LEASE_TERM_MS + 1);
    }
    engine.wait(LOSS_DOUBT_MS);

    let quarantined = TrialState::Quarantined { losses: QUARANTINE_LOSSES };
    assert_eq!(engine.state.ledger.trial(&keys[0]).unwrap().state, quarantined);
    let worker = engine.join("w4");
    assert_eq!(engine.request(&worker).unwrap().trials[0].0, keys[1]);
    assert_eq!(engine.state.ledger.experiment(&experiment).unwrap().failed, 1);
}

/// A training of nothing in particular.
pub(super) fn training() -> TrialSpec {
    training_for(1)
}

pub(super) fn training_for(epochs: u32) -> TrialSpec {
    let document = r#"{"model":"MODEL","outputs":{},"start":"model","quantizers":{},
        "training":{"data":"MODEL","images":{"start":0,"len":8}},
        "validation":{"data":"MODEL","images":{"start":0,"len":8}},
        "recipe":{"epochs":EPOCHS,"patience":null,"batch":4,"optimizer":{"adam_w":{"learning_rate":0.1,"weight_decay":0.0}},
            "schedule":"constant","finds_rate":false,"slower":{},"clip_norm":null,"label_smoothing":0.0,
            "augmentation":{"shift":0,"flip":false},"seed":1}}"#;
    let model = serde_json::to_string(&Digest::of(b"model")).unwrap();
    let training = Training::from_document(
        &document.replace("\"MODEL\"", &model).replace("EPOCHS", &epochs.to_string()),
    );
    TrialSpec::Train(Box::new(training.expect("a training")))
}

#[test]
fn what_a_quarantined_training_came_to_after_all_changes_nothing() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let key = engine.propose_alone(&experiment, vec![training()])[0];
    let workers: Vec<WorkerId> = ["w1", "w2", "w3"]
        .map(|name| {
            let worker = engine.join(name);
            let shard = engine.request(&worker).unwrap();
            engine.beat(&worker, &shard);
            engine.wait(LEASE_TERM_MS + 1);
            worker
        })
        .into();
    engine.wait(LOSS_DOUBT_MS);

    let result = TrialResult::Failed { reason: "the loss is NaN".to_owned() };
    assert_eq!(engine.commit(&workers[0], &[(key, Outcome { result, ..evaluated(90) })]), (0, 1, 0));

    let quarantined = TrialState::Quarantined { losses: QUARANTINE_LOSSES };
    assert_eq!(engine.state.ledger.trial(&key).unwrap().state, quarantined);
}

#[test]
fn an_experiment_whose_end_a_crash_cut_off_ends_after_the_restart() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposal = Proposal::Finished;
    engine.feed(Input::Advance { experiment: experiment.clone(), stage: 0, proposal }).unwrap();
    assert_eq!(engine.facts.pop(), Some(Fact::ExperimentFinished { experiment: experiment.clone() }));
    engine.state = engine.replayed();
    assert_eq!(engine.state.ledger.experiment(&experiment).unwrap().status, Status::Active);

    engine.wait(1);
    engine.wait(1);

    assert_eq!(engine.state.ledger.experiment(&experiment).unwrap().status, Status::Finished);
    let ends = engine.facts.iter().filter(|fact| matches!(fact, Fact::ExperimentFinished { .. })).count();
    assert_eq!(ends, 1);
}

#[test]
fn a_worker_that_was_only_cut_off_is_held_against_no_trial() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);
    let worker = engine.join("w");
    let mut shard = engine.request(&worker).unwrap();

    for _ in 0..=QUARANTINE_LOSSES {
        engine.beat(&worker, &shard);
        engine.wait(LEASE_TERM_MS + 1);
        assert_eq!(engine.state.dispatch.losses(&keys[0]), 1);
        shard = engine.rejoin("w", &keys).expect("it goes on");
        assert_eq!(engine.state.dispatch.losses(&keys[0]), 0);
    }

    assert_eq!(engine.commit(&worker, &[(keys[0], evaluated(90))]), (1, 0, 0));
}

#[test]
fn one_process_is_held_against_a_trial_once() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);

    for _ in 0..=QUARANTINE_LOSSES {
        let worker = engine.join("w");
        let shard = engine.request(&worker).unwrap();
        engine.beat(&worker, &shard);
        engine.wait(LEASE_TERM_MS + 1);
    }

    assert_eq!(engine.state.dispatch.losses(&keys[0]), 1);
}

#[test]
fn two_workers_that_are_lost_at_once_both_count() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 2);
    let first = engine.join("first");
    let shard = engine.request(&first).unwrap();
    engine.beat(&first, &shard);
    engine.wait(LEASE_TERM_MS + 1);
    let both = ["one", "two"].map(|name| {
        let shard = engine.rejoin(name, &keys[..1]).unwrap();
        let worker = WorkerId(name.to_owned());
        engine.beat(&worker, &shard);
        worker
    });

    engine.wait(LEASE_TERM_MS + 1);
    engine.wait(LOSS_DOUBT_MS);

    assert!(both.iter().all(|worker| engine.state.dispatch.worker(worker).is_none()));
    let quarantined = TrialState::Quarantined { losses: QUARANTINE_LOSSES };
    assert_eq!(engine.state.ledger.trial(&keys[0]).unwrap().state, quarantined);
    let facts = engine.facts.iter().filter(|fact| matches!(fact, Fact::TrialQuarantined { .. })).count();
    assert_eq!(facts, 1);
}

#[test]
fn an_experiment_that_ends_with_open_trials_wants_them_no_more() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 2);
    let worker = engine.join("w");
    engine.request(&worker).unwrap();

    engine.feed(Input::Advance { experiment, stage: 0, proposal: Proposal::Finished }).unwrap();

    assert_eq!((engine.state.dispatch.waiting(), engine.state.dispatch.leases().len()), (0, 0));
    assert_eq!(engine.request(&worker), None);
}

#[test]
fn a_trial_of_which_nobody_knows_how_long_it_takes_is_late_in_the_end() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);
    let (hung, idle) = (engine.join("hung"), engine.join("idle"));
    engine.request(&hung).unwrap();
    engine.now = engine.now.after(60_000);
    assert_eq!(engine.request(&idle), None, "first trials may take long");

    engine.now = engine.now.after(10 * 60_000);

    assert_eq!(engine.request(&idle).unwrap().trials[0].0, keys[0]);
}

#[test]
fn a_worker_that_beats_and_gets_nowhere_is_given_up_as_if_it_were_silent() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 2);
    let worker = engine.join("w");
    let shard = engine.request(&worker).unwrap();
    engine.commit(&worker, &[(shard.trials[0].0, evaluated(90))]);
    let shard = engine.request(&worker).unwrap();
    let key = shard.trials[0].0;

    let mut beats = 0;
    while engine.beat(&worker, &shard) && beats < 10_000 {
        engine.wait(LEASE_TERM_MS / 2);
        beats += 1;
    }

    let hours = beats * LEASE_TERM_MS / 2 / 3_600_000;
    assert!((1..=2).contains(&hours), "{hours}");
    assert_eq!((engine.state.dispatch.losses(&key), engine.state.dispatch.waiting()), (1, 1));
}

#[test]
fn an_adopted_lease_is_late_as_any_other() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 2);
    let (slow, fast) = (engine.join("slow"), engine.join("fast"));
    let shard = engine.request(&fast).unwrap();
    engine.commit(&fast, &[(shard.trials[0].0, evaluated(90))]);
    let late = engine.request(&slow).unwrap().trials[0].0;
    engine.rejoin("slow", &[late]).unwrap();

    engine.now = engine.now.after(4_001);

    assert_eq!(engine.request(&fast).unwrap().trials[0].0, late);
}

#[test]
fn a_request_that_waits_keeps_nobody_alive() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let dead = engine.join("dead");
    let request = Input::Request { worker: dead.clone() };

    for _ in 0..=LEASE_TERM_MS / 500 {
        engine.request(&dead);
        engine.wait(500);
    }
    engine.propose(&experiment, 1);

    assert_eq!(engine.feed(request), Err(Rejection::UnknownWorker(dead)));
}
