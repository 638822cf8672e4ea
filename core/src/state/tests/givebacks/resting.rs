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
