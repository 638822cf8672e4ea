use super::*;

fn outcome(result: TrialResult) -> Outcome {
    Outcome { result, ..evaluated(0) }
}

#[test]
fn a_result_that_the_trial_cannot_give_is_refused_with_its_whole_commit() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 2);
    let worker = engine.join("w1");
    let prepared = TrialResult::Prepared { artifact: Digest::of(b"any"), steps: Vec::new() };
    let fewer = TrialResult::Evaluated(Evaluation { n: 99, correct: 90, ..Evaluation::default() });
    let none = TrialResult::Evaluated(Evaluation::default());

    for wrong in [prepared, fewer, none] {
        let reports = [(keys[0], evaluated(90)), (keys[1], outcome(wrong))];
        let reports = reports.map(|(key, outcome)| Report { key, outcome }).to_vec();

        let answer = engine.feed(Input::Commit { worker: worker.clone(), reports, trial_ms: 1.0 });

        assert_eq!(answer, Err(Rejection::WrongResult(keys[1])));
        assert_eq!(engine.state.ledger.outcome(&keys[0]), None);
    }

    let failed = outcome(TrialResult::Failed { reason: "logit 1 of image 7 is NaN".to_owned() });
    assert_eq!(engine.commit(&worker, &[(keys[0], evaluated(90)), (keys[1], failed)]), (2, 0, 0));
}

#[test]
fn what_differs_each_time_is_counted_and_not_kept_for_ever() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let key = engine.propose(&experiment, 1)[0];
    let worker = engine.join("w1");
    let reports: Vec<_> = (0..100).map(|correct| (key, evaluated(correct))).collect();
    engine.commit(&worker, &reports[..1]);

    assert_eq!(engine.commit(&worker, &reports[1..]), (0, 0, 99));
    for report in &reports[1..] {
        assert_eq!(engine.commit(&worker, std::slice::from_ref(report)), (0, 0, 1));
    }

    assert_eq!(engine.state.ledger.conflicts(), 8);
}

#[test]
fn a_worker_is_busy_only_with_what_it_holds() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 1);
    let worker = engine.join("w1");
    let shard = engine.request(&worker).unwrap();
    let own = shard.trials[0].0;

    engine.beat_while(&worker, &shard, &[TrialKey(Digest::of(b"foreign")), own]);

    let running = &engine.state.dispatch.lease(shard.lease).unwrap().running;
    assert_eq!(running.iter().collect::<Vec<_>>(), [&own]);
}

#[test]
fn what_a_trial_gives_that_was_given_up_is_no_conflict() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);
    let worker = engine.join("w1");
    let says = |reason: &str, provenance: Provenance| {
        let result = TrialResult::Failed { reason: reason.to_owned() };
        Outcome { result, provenance, work: Work::default() }
    };
    engine.commit(&worker, &[(keys[0], says("out of memory", Provenance::of_nobody("cpu".to_owned())))]);

    assert_eq!(engine.commit(&worker, &[(keys[0], says("no such layer", provenance("cpu")))]), (0, 1, 0));
    assert_eq!(engine.commit(&worker, &[(keys[0], evaluated(90)), (keys[0], evaluated(90))]), (1, 1, 0));

    assert_eq!(engine.state.ledger.conflicts(), 0);
}

#[test]
fn searchers_are_made_anew_when_a_trial_that_was_given_up_is_measured_after_all() {
    let mut engine = Engine::new();
    let (going_on, finished) = (engine.submit("a"), engine.submit("b"));
    let keys = engine.propose(&going_on, 2);
    engine.propose(&finished, 2);
    let worker = engine.join("w1");
    let result = TrialResult::Failed { reason: "out of memory".to_owned() };
    let given_up = Outcome { result, provenance: Provenance::of_nobody("cpu".to_owned()), ..evaluated(0) };
    engine.commit(&worker, &[(keys[0], given_up), (keys[1], evaluated(80))]);
    let (experiment, proposal) = (finished.clone(), Proposal::Finished);
    engine.feed(Input::Advance { experiment, stage: 0, proposal }).unwrap();

    engine.commit(&worker, &[(keys[0], evaluated(90))]);

    let of = |id| engine.state.ledger.experiment(id).unwrap();
    assert_eq!((of(&going_on).restarts, of(&finished).restarts), (1, 0));
    assert_eq!(of(&going_on).stages[0].trials, keys, "nothing is taken back");
    assert_eq!(engine.replayed().ledger, engine.state.ledger);
}

#[test]
fn a_finished_experiment_keeps_what_could_not_be_measured_also_when_another_one_has_it_measured() {
    let mut engine = Engine::new();
    let (first, second) = (engine.submit("a"), engine.submit("b"));
    let keys = engine.propose(&first, 2);
    let worker = engine.join("w1");
    let result = TrialResult::Failed { reason: "out of memory".to_owned() };
    let given_up = Outcome { result, provenance: Provenance::of_nobody("cpu".to_owned()), ..evaluated(0) };
    engine.commit(&worker, &[(keys[0], given_up)]);
    let quarantined = Fact::TrialQuarantined { key: keys[1], losses: QUARANTINE_LOSSES };
    engine.state.apply(&quarantined.clone().into());
    engine.facts.push(quarantined);
    let (experiment, proposal) = (first.clone(), Proposal::Finished);
    engine.feed(Input::Advance { experiment, stage: 0, proposal }).unwrap();
    let measured = keys.iter().map(|key| (*key, evaluated(90))).collect::<Vec<_>>();

    assert_eq!(engine.commit(&worker, &measured), (0, 2, 0));
    assert_eq!(engine.state.ledger.experiment(&first).unwrap().failed, 2);
    engine.propose(&second, 2);
    assert_eq!(engine.commit(&worker, &measured), (2, 0, 0));

    let failed = |id| engine.state.ledger.experiment(id).unwrap().failed;
    assert_eq!([failed(&first), failed(&second)], [2, 0]);
    assert_eq!(engine.replayed().ledger, engine.state.ledger);
}
