//! Trials that nobody could measure for one experiment, and that another one wants.

use super::*;

/// What an experiment has of its trials: what came of them, and its counts of settled, failed and reused ones.
fn had(engine: &Engine, id: &ExperimentId) -> (Vec<TrialState>, [u64; 3]) {
    let ledger = &engine.state.ledger;
    let experiment = ledger.experiment(id).unwrap();
    let trials = experiment.stages[0].trials.iter().map(|key| ledger.trial(key).unwrap());
    let came = trials.map(|trial| experiment.came_of(trial).clone()).collect();
    (came, [experiment.settled(), experiment.failed, experiment.reused])
}

/// An engine with a worker, and an experiment for which nobody could measure either of two trials: one was given back until it failed,
/// the other one was quarantined.
fn in_vain() -> (Engine, WorkerId, ExperimentId, Vec<TrialKey>) {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose(&experiment, 2);
    let worker = engine.join_on("w", "a");
    let quarantined = Fact::TrialQuarantined { key: proposed[1], losses: QUARANTINE_LOSSES };
    engine.state.apply(&quarantined.clone().into());
    engine.facts.push(quarantined);
    engine.give_back_until_settled(&worker, (&proposed[0], ObstacleKind::Panic));
    assert_eq!(had(&engine, &experiment).1, [2, 2, 0]);
    (engine, worker, experiment, proposed)
}

#[test]
fn another_experiment_has_tried_again_what_nobody_could_measure() {
    let (mut engine, worker, first, proposed) = in_vain();
    let before = had(&engine, &first);

    let second = engine.submit("b");
    engine.propose(&second, 2);

    assert_eq!(had(&engine, &second), (vec![TrialState::Open; 2], [0, 0, 0]));
    assert_eq!(engine.state.dispatch.waiting(), 2);
    let measured: Vec<_> = proposed.iter().map(|key| (*key, evaluated(90))).collect();
    assert_eq!(engine.commit(&worker, &measured), (2, 0, 0));
    let third = engine.submit("c");
    engine.propose(&third, 2);
    let done = vec![TrialState::Done(evaluated(90).into()); 2];
    assert_eq!(had(&engine, &second), (done.clone(), [2, 0, 0]));
    assert_eq!(had(&engine, &third), (done, [2, 0, 2]), "what was measured is measured once");
    assert_eq!(had(&engine, &first), before);
    let of = |id| engine.state.ledger.experiment(id).unwrap().restarts;
    assert_eq!([of(&first), of(&second)], [0, 0]);
    assert_eq!(engine.replayed().ledger, engine.state.ledger);
}

#[test]
fn who_has_tried_in_vain_goes_on_without_it_also_behind_a_restart() {
    let (mut engine, worker, first, proposed) = in_vain();
    let before = had(&engine, &first);
    engine.propose(&first, 2);
    assert_eq!(engine.state.dispatch.waiting(), 0);
    let second = engine.submit("b");
    engine.propose(&second, 2);

    engine.state = engine.replayed();
    engine.join_on("w", "a");
    engine.propose(&first, 2);
    engine.feed(Input::Act { experiment: second.clone(), action: Action::Cancel }).unwrap();

    assert_eq!(engine.state.dispatch.waiting(), 0, "only the second one wants it");
    let (came, counts) = had(&engine, &first);
    assert_eq!((came, counts), ([before.0.clone(), before.0.clone(), before.0].concat(), [6, 6, 4]));
    let experiment = engine.state.ledger.experiment(&first).unwrap();
    let history = engine.state.history(experiment).unwrap();
    assert!(proposed.iter().all(|key| history.is_settled(key)));
    assert!(history.outcome(&proposed[0]).is_some_and(Outcome::is_given_up));
    let of_both = proposed.iter().map(|key| (*key, evaluated(90))).collect::<Vec<_>>();
    engine.commit(&worker, &of_both);
    let experiment = engine.state.ledger.experiment(&first).unwrap();
    let history = engine.state.history(experiment).unwrap();
    assert!(history.outcome(&proposed[0]).is_some_and(Outcome::is_given_up));
    assert_eq!(history.outcome(&proposed[1]), None);
    assert_eq!(engine.replayed().ledger, engine.state.ledger);
}

#[test]
fn each_experiment_tries_once_what_nobody_can_measure() {
    let (mut engine, worker, first, proposed) = in_vain();
    let mut all = vec![first];
    for name in ["b", "c"] {
        let experiment = engine.submit(name);
        assert_eq!(engine.propose(&experiment, 1), proposed[..1]);
        let (attempts, _) = engine.give_back_until_settled(&worker, (&proposed[0], ObstacleKind::Panic));
        assert_eq!(attempts, 2, "with nothing held against it");
        all.push(experiment);
    }

    for experiment in &all {
        assert!(matches!(&had(&engine, experiment).0[0], TrialState::Done(outcome) if outcome.is_given_up()));
    }
    let said = engine.explained(&proposed[0]);
    assert!(said.contains("nobody could measure it for experiment `a-"), "{said}");
    assert!(!said.contains("for experiment `c-"), "{said}");
    assert_eq!(engine.replayed().ledger, engine.state.ledger);
}

#[test]
fn an_experiment_that_an_older_program_had_take_a_failure_over_keeps_it() {
    let (mut engine, _, _, _) = in_vain();
    let second = engine.submit("b");
    let (context, trials) = trials(2);
    let batch = Batch { context: Some(context), trials, ..Batch::default() };
    engine.facts.push(Fact::StepProposed { experiment: second.clone(), stage: 0, batch });

    engine.state = engine.replayed();

    assert_eq!(had(&engine, &second).1, [2, 2, 2]);
    assert_eq!(engine.state.dispatch.waiting(), 0);
}

#[test]
fn nothing_is_taken_back_when_a_model_can_be_prepared_that_could_not_be_for_others() {
    let mut engine = Engine::new();
    let worker = engine.join_on("w", "a");
    let prepare = TrialSpec::Prepare(Box::new(plan("any").prepare()));
    let propose = |engine: &mut Engine, name: &str| {
        let experiment = engine.submit(name);
        let proposal = Proposal::Trials(Batch { trials: vec![prepare.clone()], ..Batch::default() });
        engine.feed(Input::Advance { experiment: experiment.clone(), stage: 0, proposal }).unwrap();
        experiment
    };
    propose(&mut engine, "a");
    engine.give_back_until_settled(&worker, (&prepare.key(), ObstacleKind::Panic));
    let second = propose(&mut engine, "b");
    engine.propose(&second, 2);

    let result = TrialResult::Prepared { artifact: Digest::of(b"prepared"), steps: Vec::new() };
    engine.commit(&worker, &[(prepare.key(), Outcome { result, ..evaluated(0) })]);

    let second = engine.state.ledger.experiment(&second).unwrap();
    assert_eq!((second.stages[0].trials.len(), second.restarts), (3, 0));
    assert_eq!(engine.replayed().ledger, engine.state.ledger);
}
