//! While the coordinator is away, and when it is back.

use std::collections::BTreeMap;

use super::*;
use crate::state::tests::probe;

#[test]
fn what_is_measured_while_the_coordinator_is_away_is_written_down_once_and_committed_later() {
    let (mut bench, keys) = Bench::measuring(3);
    bench.measure(keys[0]);
    bench.wait(500);
    bench.committed();
    bench.feed(failure(FailureKind::Away));

    let Effect::Spool(first) = bench.next() else { panic!("the outcome is written down") };
    assert_eq!(first[0].report.key, keys[0]);
    bench.measure(keys[1]);
    let Effect::Spool(second) = bench.next() else { panic!("the outcome is written down") };
    assert_eq!((second.len(), second[0].report.key), (1, keys[1]));

    bench.wait(500);
    assert_eq!(bench.committed(), keys[..2]);
    bench.answer(Answer::Committed { next: None });
    assert_eq!(bench.next(), Effect::ClearSpool);
    bench.measure(keys[2]);
    bench.assert_idle();
}

#[test]
fn a_heartbeat_without_an_answer_has_outcomes_written_down() {
    let (mut bench, keys) = Bench::measuring(2);
    bench.feed(Input::Silence);
    bench.assert_idle();

    bench.measure(keys[0]);

    assert!(matches!(bench.next(), Effect::Spool(_)));
}

#[test]
fn a_full_disk_stops_nothing_and_is_tried_again_with_the_next_outcome() {
    let (mut bench, keys) = Bench::measuring(2);
    bench.feed(Input::Silence);
    bench.measure(keys[0]);
    assert!(matches!(bench.next(), Effect::Spool(_)));
    bench.feed(Input::SpoolFailed);
    assert_eq!(bench.protocol.unacknowledged(), (0, 1));

    bench.measure(keys[1]);

    let Effect::Spool(both) = bench.next() else { panic!("both are written down") };
    assert_eq!(both.len(), 2);
    bench.wait(500);
    assert_eq!(bench.committed(), keys);
}

#[test]
fn what_an_earlier_process_left_is_committed_before_new_work_is_taken() {
    let left = vec![measured(1), measured(2)];
    let keys: Vec<TrialKey> = left.iter().map(|measured| measured.report.key).collect();
    let mut bench =
        Bench::with(Settings { info: info(), max_give_backs: None, idle_exit_ms: None, spool: Some(left) });

    assert_eq!(bench.call(), Call::Register { info: Box::new(info()), held: keys.clone() });
    bench.answer(Answer::Registered { epoch: Epoch(3), adopted: None });

    assert_eq!(bench.committed(), keys);
    bench.answer(Answer::Committed { next: None });
    assert_eq!(bench.next(), Effect::ClearSpool);
    assert!(matches!(bench.call(), Call::RequestShard { .. }));
}

#[test]
fn however_much_earlier_processes_left_a_registration_is_a_small_message() {
    let left: Vec<Measured> = (0..5_000).map(measured).collect();
    let settings = Settings { info: info(), max_give_backs: None, idle_exit_ms: None, spool: Some(left) };
    let mut bench = Bench::with(settings);

    let Call::Register { held, .. } = bench.call() else { panic!("it registers") };

    assert_eq!(held.len(), 4_096);
}

#[test]
fn a_new_epoch_makes_the_worker_register_with_what_it_holds_and_go_on() {
    let (mut bench, keys) = Bench::measuring(3);
    bench.measure(keys[1]);

    bench.feed(Input::Displaced(Epoch(1)));

    let Call::Register { held, .. } = bench.call() else { panic!("it registers") };
    assert_eq!(held[0], keys[1]);
    assert_eq!(held.len(), 3);
    bench.answer(Answer::Registered { epoch: Epoch(2), adopted: Some(shard(0, 3)) });
    assert_eq!(bench.protocol.beat(), Some(Beat { epoch: Epoch(2), lease: Some(LeaseId(0)) }));
    bench.wait(500);
    assert_eq!(bench.committed(), keys[1..2]);
}

#[test]
fn trials_given_back_are_neither_held_nor_released() {
    let (mut bench, keys) = Bench::measuring(3);
    let beat = bench.protocol.beat().unwrap();
    let of_before = Beat { lease: Some(LeaseId(6)), ..beat };
    bench.feed(Input::GivenBack { beat: of_before, trials: keys.clone() });
    bench.feed(Input::GivenBack { beat, trials: keys[1..2].to_vec() });
    bench.feed(Input::Displaced(Epoch(1)));

    let Call::Register { held, .. } = bench.call() else { panic!("it registers") };
    assert_eq!(held.len(), 2);
    assert!(!held.contains(&keys[1]));
    bench.answer(Answer::Registered { epoch: Epoch(2), adopted: Some(shard(0, 3)) });

    bench.measure(keys[0]);
    bench.measure(keys[2]);
    bench.feed(Input::Ended(End::Finished));
    assert_eq!(bench.committed(), [keys[0], keys[2]]);
    bench.answer(Answer::Committed { next: None });
    assert!(matches!(bench.call(), Call::RequestShard { .. }));
}

#[test]
fn trials_that_could_not_be_given_back_are_released_with_their_lease() {
    let (mut bench, keys) = Bench::measuring(2);
    bench.measure(keys[0]);
    bench.feed(Input::Ended(End::Finished));
    assert_eq!(bench.committed(), keys[..1]);
    bench.answer(Answer::Committed { next: None });

    assert_eq!(bench.call(), Call::Release { epoch: Epoch(1), lease: LeaseId(7), obstacle: None });
}

#[test]
fn a_new_epoch_without_anything_owed_stops_the_work() {
    let (mut bench, _) = Bench::measuring(3);
    bench.feed(Input::Displaced(Epoch(1)));

    bench.register(2, None);

    assert_eq!(bench.next(), Effect::Stop);
}

#[test]
fn a_long_poll_is_abandoned_when_a_heartbeat_meets_a_new_epoch() {
    let mut bench = Bench::new();
    bench.register(1, None);
    assert!(matches!(bench.call(), Call::RequestShard { .. }));

    bench.feed(Input::Displaced(Epoch(1)));

    assert_eq!(bench.next(), Effect::Abandon);
    assert!(matches!(bench.call(), Call::Register { .. }));
}

#[test]
fn an_epoch_that_was_left_before_displaces_nobody() {
    let (mut bench, _) = Bench::measuring(3);

    bench.feed(Input::Displaced(Epoch(0)));

    bench.assert_idle();
}

/// When a worker calls whose coordinator went away at the start, with every connection at once, and answers again, anew,
/// after so long; up to its registration.
fn calls_of(worker: usize, away_ms: u64) -> Vec<Millis> {
    let info = WorkerInfo { id: WorkerId(format!("host-{worker}-4711-0")), ..info() };
    let mut bench = Bench::with(Settings { info, max_give_backs: None, idle_exit_ms: None, spool: None });
    bench.register(1, None);
    let mut calls = Vec::new();
    loop {
        let is_registration = matches!(bench.call(), Call::Register { .. });
        let is_back = bench.now >= Millis(away_ms);
        if is_back {
            calls.push(bench.now);
        }
        if is_back && is_registration {
            return calls;
        }
        bench.feed(failure(if is_back { FailureKind::NotRegistered } else { FailureKind::Away }));
        bench.wait_for_effect();
    }
}

#[test]
fn a_thousand_workers_do_not_fall_upon_a_coordinator_that_is_back() {
    for away_ms in [500, 2_000, 10_000, 60_000] {
        let mut in_window: BTreeMap<u64, usize> = BTreeMap::new();
        for call in (0..1_000).flat_map(|worker| calls_of(worker, away_ms)) {
            *in_window.entry((call.0 - away_ms) / 100).or_default() += 1;
        }

        let most = in_window.values().max().copied().unwrap_or_default();
        eprintln!("away for {away_ms} ms: at most {most} calls within 100 ms");
        // Each of them asks for work in vain and then registers.
        assert!(most <= 300, "{most} calls within 100 ms, away for {away_ms} ms");
        let last = in_window.keys().max().copied().unwrap_or_default();
        assert!(last < 80, "the last one is back {last} tenths of a second after the coordinator");
    }
}

/// How long a worker takes to be registered again, counted from the moment at which the coordinator answers again. An
/// attempt before that moment fails after `attempt_ms`.
fn back_after(away_ms: u64, attempt_ms: u64) -> u64 {
    let (mut bench, _) = Bench::measuring(3);
    bench.feed(Input::Displaced(Epoch(1)));
    let returns = Millis(away_ms);
    loop {
        bench.wait_for_effect();
        assert!(matches!(bench.call(), Call::Register { .. }));
        if bench.now >= returns {
            return bench.now.0 - returns.0;
        }
        bench.wait(attempt_ms);
        bench.feed(failure(FailureKind::Away));
    }
}

#[test]
fn a_worker_is_back_within_ten_seconds_of_its_coordinator_however_long_that_was_away() {
    // A refused connection, one that times out, and a registration that is never answered.
    for attempt_ms in [1, 3_000, QUICK_MS] {
        let latest = (0..600).map(|step| back_after(step * 250, attempt_ms)).max().unwrap();

        assert!(latest < 10_000 - 1_000, "{latest} ms with attempts of {attempt_ms} ms");
    }
}

/// A worker that measures a device under lease 7 of epoch 1.
fn probing() -> Bench {
    let mut bench = Bench::new();
    let spec = probe("external", 0);
    bench.take_shard(Shard { lease: LeaseId(7), context: None, trials: vec![(spec.key(), spec)] });
    bench
}

#[test]
fn a_probe_breaks_off_before_another_worker_can_have_its_device() {
    let mut bench = probing();
    let beat = bench.protocol.beat().unwrap();
    for _ in 0..10 {
        bench.wait(LEASE_TERM_MS / 5);
        bench.feed(Input::Heard { beat, ago_ms: 100 });
        bench.assert_idle();
    }
    bench.feed(Input::Silence);
    bench.feed(Input::Heard { beat: Beat { lease: None, ..beat }, ago_ms: 0 });

    bench.wait(LEASE_TERM_MS - 2_000 - 100 - 1);
    bench.assert_idle();
    bench.wait(1);

    assert_eq!(bench.next(), Effect::Stop);
    assert_eq!(bench.protocol.beat().unwrap().lease, None, "it is not prolonged any more");
    bench.feed(Input::Heard { beat, ago_ms: 0 });
    bench.feed(Input::Ended(End::Stopped));
    assert!(matches!(bench.call(), Call::RequestShard { .. }));
    bench.assert_idle();
}

#[test]
fn a_probe_begins_at_once_under_a_new_lease_and_under_one_that_may_be_old_when_that_is_prolonged() {
    for (waited_ms, begins) in [(2_000, true), (2_001, false), (15_000, false)] {
        let mut bench = Bench::new();
        bench.register(1, None);
        assert!(matches!(bench.call(), Call::RequestShard { .. }));
        bench.wait(waited_ms);
        let spec = probe("external", 0);
        let shard = Shard { lease: LeaseId(7), context: None, trials: vec![(spec.key(), spec)] };
        bench.answer(Answer::Shard(Some(shard)));

        assert_eq!(!bench.effects.is_empty(), begins, "after {waited_ms} ms");
        if !begins {
            let beat = bench.protocol.beat().unwrap();
            bench.feed(Input::Heard { beat, ago_ms: 100 });
        }
        assert!(matches!(bench.next(), Effect::Measure(_)));
    }
}

#[test]
fn a_probe_goes_on_under_a_new_coordinator_that_knows_of_it() {
    let mut bench = probing();
    bench.wait(5_000);
    bench.feed(Input::Displaced(Epoch(1)));
    let spec = probe("external", 0);
    let adopted = Shard { lease: LeaseId(0), context: None, trials: vec![(spec.key(), spec)] };
    bench.register(2, Some(adopted));

    bench.wait(7_999);
    bench.assert_idle();
    bench.wait(1);
    assert_eq!(bench.next(), Effect::Stop);
}

#[test]
fn an_evaluation_goes_on_however_long_the_coordinator_is_away() {
    let (mut bench, _) = Bench::measuring(2);

    bench.wait(100 * LEASE_TERM_MS);

    bench.assert_idle();
}
