//! What devices do not get after trials came back from them, and for how long.

use super::*;

#[test]
fn what_did_not_come_to_a_device_once_keeps_no_trial_from_it_later() {
    for has_measured_since in [false, true] {
        let mut engine = Engine::new();
        let experiment = engine.submit("a");
        let proposed = engine.propose(&experiment, 2);
        let (small, large) = (engine.join_on("small", "a"), engine.join_on("large", "b"));
        let shard = engine.request(&large).unwrap();
        engine.give_back(&large, &shard, ObstacleKind::Supply);
        let by = match has_measured_since {
            true => &large,
            false => &small,
        };
        engine.commit(by, &[(proposed[0], evaluated(90))]);
        engine.pass(if has_measured_since { 0 } else { 121_000 }, by);

        let shard = engine.request(&small).unwrap();
        engine.give_back(&small, &shard, ObstacleKind::Device);

        for _ in 0..5 {
            engine.pass(600_000, &small);
            assert_eq!(engine.request(&small), None, "the other device is to try it first");
        }
        assert_eq!(engine.failed(&proposed[1]), None);
        let explained = engine.explained(&proposed[1]);
        assert!(!explained.contains("gave it back"), "{explained}");
        assert_eq!(keys(&engine.request(&large).unwrap()), proposed[1..]);
    }
}

/// A worker that holds most of the trials, which take `trial_ms` each, and one that has just come to nothing for the third time, for
/// something that came while the first one measured for `since_ms`.
fn beside_one_that_rests(trial_ms: f64, since_ms: u64) -> (Engine, [WorkerId; 2], LeaseId) {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose_points(&experiment, 0..1);
    let (good, broken) = (engine.join_on("good", "a"), engine.join_on("broken", "b"));
    engine.request(&good).unwrap();
    let reports = vec![Report { key: proposed[0], outcome: evaluated(90) }];
    engine.feed(Input::Commit { worker: good.clone(), reports, trial_ms }).unwrap();
    for point in 1..3 {
        engine.propose_points(&experiment, point..point + 1);
        let shard = engine.request(&broken).unwrap();
        engine.give_back(&broken, &shard, ObstacleKind::Device);
    }
    let most = engine.propose_points(&experiment, 3..12);
    let held = engine.rejoin_on(&good, &most);
    engine.beat(&good, &held);
    engine.pass(since_ms, &good);
    engine.propose_points(&experiment, 12..13);
    let shard = engine.request(&broken).unwrap();
    engine.give_back(&broken, &shard, ObstacleKind::Device);
    (engine, [good, broken], held.lease)
}

#[test]
fn a_device_that_rests_does_not_get_what_others_are_late_with_and_then_one_trial() {
    let (mut engine, [_, broken], _) = beside_one_that_rests(1.0, 4_001);

    assert_eq!(engine.request(&broken), None, "it rests");
    engine.pass(2_000, &broken);
    let late = engine.request(&broken).unwrap();

    assert_eq!(late.trials.len(), 1, "to see whether it can do anything");
}

#[test]
fn for_a_device_that_rests_nothing_is_asked_back_and_then_one_trial() {
    let (mut engine, [_, broken], lease) = beside_one_that_rests(1_000.0, 1_001);
    let recalled = |engine: &Engine| engine.state.dispatch.lease(lease).unwrap().recalled.len();

    assert_eq!(engine.request(&broken), None);
    assert_eq!(recalled(&engine), 0);
    engine.pass(2_000, &broken);
    assert_eq!(engine.request(&broken), None);

    assert_eq!(recalled(&engine), 1);
}

#[test]
fn a_device_that_could_not_measure_a_shard_may_measure_each_of_its_trials() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose(&experiment, 3);
    let (large, small) = (engine.join_on("large", "a"), engine.join_on("small", "b"));
    let shard = engine.rejoin_on(&large, &proposed);
    engine.give_back(&large, &shard, ObstacleKind::Device);
    let alone = engine.request(&small).unwrap();
    engine.give_back(&small, &alone, ObstacleKind::Device);
    let refused = keys(&alone);

    for key in proposed.iter().filter(|key| !refused.contains(key)) {
        engine.commit(&small, &[(*key, evaluated(90))]);
    }
    engine.pass(20_000, &small);

    assert_eq!(engine.request(&small), None, "the other one has not tried it alone");
    assert_eq!(keys(&engine.request(&large).unwrap()), refused);
}

#[test]
fn a_device_rests_after_the_last_attempt_at_a_trial_as_after_every_other() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose(&experiment, 2);
    let worker = engine.join_on("w", "a");
    let is_first = |shard: &Shard| keys(shard) == proposed[..1];
    let first = engine.request(&worker).unwrap();
    engine.give_back(&worker, &first, ObstacleKind::Panic);

    let again = engine.request(&worker).filter(is_first).expect("a panic is tried again at once");
    engine.give_back(&worker, &again, ObstacleKind::Panic);

    assert!(engine.failed(&proposed[0]).is_some());
    assert_eq!(engine.request(&worker), None, "it came to nothing twice in a row");
    engine.pass(1_000, &worker);
    assert_eq!(keys(&engine.request(&worker).unwrap()), proposed[1..]);
}

#[test]
fn who_waits_is_not_asked_again_and_again_for_a_trial_that_was_refused_long_ago() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 1);
    let (worker, _other) = (engine.join_on("w", "a"), engine.join_on("other", "b"));
    let shard = engine.request(&worker).unwrap();
    engine.give_back(&worker, &shard, ObstacleKind::Device);
    let spare_after = |engine: &mut Engine, millis| {
        engine.pass(millis, &worker);
        engine.state.has_spare_trials(engine.now)
    };

    assert!(!spare_after(&mut engine, 14_999));
    assert!(spare_after(&mut engine, 1), "it may be asked again");
    assert!(!spare_after(&mut engine, 3_001));
}
