//! Shutdown, and what ends a worker by itself.

use super::*;

fn over(bench: &mut Bench, finish: Finish) {
    assert_eq!(bench.next(), Effect::Finish(finish));
    bench.assert_idle();
    bench.feed(Input::Time);
    bench.assert_idle();
}

#[test]
fn shutdown_commits_what_is_finished_and_releases_the_rest() {
    let (mut bench, keys) = Bench::measuring(3);
    bench.measure(keys[0]);

    bench.feed(Input::Shutdown);
    assert_eq!(bench.next(), Effect::Stop);
    bench.assert_idle();
    bench.measure(keys[1]);
    bench.feed(Input::Ended(End::Stopped));

    assert_eq!(bench.committed(), keys[..2]);
    bench.answer(Answer::Committed { next: None });
    assert_eq!(bench.call(), Call::Release { epoch: Epoch(1), lease: LeaseId(7), obstacle: None });
    bench.answer(Answer::Released);
    assert_eq!(bench.call(), Call::Leave);
    bench.answer(Answer::Left);
    over(&mut bench, Finish::Shutdown);
}

#[test]
fn an_idle_worker_leaves_at_once() {
    let mut bench = Bench::new();
    bench.register(1, None);
    assert!(matches!(bench.call(), Call::RequestShard { .. }));

    bench.feed(Input::Shutdown);

    assert_eq!(bench.next(), Effect::Abandon);
    assert_eq!(bench.call(), Call::Leave);
    bench.feed(failure(FailureKind::Away));
    over(&mut bench, Finish::Shutdown);
}

#[test]
fn a_trial_that_does_not_stop_and_a_coordinator_that_is_silent_hold_nobody_up() {
    let (mut bench, keys) = Bench::measuring(2);
    bench.measure(keys[0]);
    bench.feed(Input::Shutdown);
    assert_eq!(bench.next(), Effect::Stop);

    bench.wait(2_000);
    assert_eq!(bench.committed(), keys[..1]);
    bench.wait(2_000);

    assert_eq!(bench.next(), Effect::Abandon);
    let Effect::Spool(kept) = bench.next() else { panic!("the outcome is written down") };
    assert_eq!(kept[0].report.key, keys[0]);
    over(&mut bench, Finish::Shutdown);
    assert_eq!(bench.protocol.unacknowledged(), (1, 0));
}

#[test]
fn a_worker_that_never_registered_ends_at_once() {
    let mut bench = Bench::new();
    assert!(matches!(bench.call(), Call::Register { .. }));

    bench.feed(Input::Shutdown);

    assert_eq!(bench.next(), Effect::Abandon);
    over(&mut bench, Finish::Shutdown);
}

#[test]
fn a_refused_worker_ends() {
    let mut bench = Bench::new();
    assert!(matches!(bench.call(), Call::Register { .. }));

    bench.feed(failure(FailureKind::Invalid));

    over(&mut bench, Finish::Refused);
}

#[test]
fn a_worker_that_may_give_back_only_so_often_ends_with_the_reason() {
    let mut bench =
        Bench::with(Settings { info: info(), max_give_backs: Some(1), idle_exit_ms: None, spool: None });
    bench.take_shard(shard(7, 1));
    let obstacle = obstacle(ObstacleKind::Supply);
    bench.feed(Input::Ended(End::GaveUp(obstacle.clone())));
    let obstacle = Some(obstacle);
    assert_eq!(bench.call(), Call::Release { epoch: Epoch(1), lease: LeaseId(7), obstacle });

    bench.answer(Answer::Released);

    assert_eq!(bench.call(), Call::Leave);
    bench.answer(Answer::Left);
    over(&mut bench, Finish::GaveUp { reason: "no model".into() });
}

/// Takes a shard of one trial, and gives it back.
fn give_back(bench: &mut Bench, (lease, kind): (u64, ObstacleKind)) {
    bench.take_shard(shard(lease, 1));
    bench.feed(Input::Ended(End::GaveUp(obstacle(kind))));
    let obstacle = Some(obstacle(kind));
    assert_eq!(bench.call(), Call::Release { epoch: Epoch(1), lease: LeaseId(lease), obstacle });
    bench.answer(Answer::Released);
    bench.wait_for_effect();
}

#[test]
fn trials_that_the_coordinator_gives_up_do_not_end_their_worker() {
    let settings = Settings { info: info(), max_give_backs: Some(2), idle_exit_ms: None, spool: None };
    for kind in [ObstacleKind::Panic, ObstacleKind::Device] {
        let mut bench = Bench::with(settings.clone());
        for lease in 0..20 {
            give_back(&mut bench, (lease, kind));
        }
        assert!(!bench.protocol.is_ending(), "{kind:?}");
    }
}

#[test]
fn a_worker_that_measures_in_between_does_not_give_up() {
    let settings = Settings { info: info(), max_give_backs: Some(2), idle_exit_ms: None, spool: None };
    let mut bench = Bench::with(settings);
    for lease in 0..3 {
        give_back(&mut bench, (2 * lease, ObstacleKind::Supply));
        bench.take_shard(shard(2 * lease + 1, 1));
        bench.measure(shard(0, 1).trials[0].0);
        bench.feed(Input::Ended(End::Finished));
        bench.committed();
        bench.answer(Answer::Committed { next: None });
    }
    assert!(!bench.protocol.is_ending());
}

#[test]
fn who_is_told_to_go_gives_back_what_it_could_not_measure_without_a_reason() {
    let (mut bench, _) = Bench::measuring(1);
    bench.feed(Input::Shutdown);
    assert_eq!(bench.next(), Effect::Stop);

    bench.feed(Input::Ended(End::GaveUp(obstacle(ObstacleKind::Device))));

    assert_eq!(bench.call(), Call::Release { epoch: Epoch(1), lease: LeaseId(7), obstacle: None });
}

#[test]
fn without_a_spool_nothing_is_written_down() {
    let mut bench =
        Bench::with(Settings { info: info(), max_give_backs: None, idle_exit_ms: None, spool: None });
    bench.take_shard(shard(7, 1));
    bench.feed(Input::Silence);
    bench.measure(shard(7, 1).trials[0].0);
    bench.assert_idle();
    bench.feed(Input::Shutdown);
    assert_eq!(bench.next(), Effect::Stop);
    bench.feed(Input::Ended(End::Finished));
    bench.committed();

    bench.wait(2_000);

    assert_eq!(bench.next(), Effect::Abandon);
    over(&mut bench, Finish::Shutdown);
    assert_eq!(bench.protocol.unacknowledged(), (0, 1));
}

#[test]
fn a_worker_without_work_leaves_however_often_it_is_told_that_there_is_none() {
    let settings = Settings { info: info(), max_give_backs: None, idle_exit_ms: Some(20_000), spool: None };
    let mut bench = Bench::with(settings);
    bench.wait(60_000);
    bench.take_shard(shard(7, 1));
    bench.wait(60_000);
    bench.measure(shard(7, 1).trials[0].0);
    bench.feed(Input::Ended(End::Finished));
    bench.committed();
    bench.answer(Answer::Committed { next: None });
    assert!(matches!(bench.call(), Call::RequestShard { .. }));
    bench.wait(15_000);
    bench.answer(Answer::Shard(None));
    assert!(matches!(bench.call(), Call::RequestShard { .. }));
    bench.wait(4_999);
    bench.assert_idle();

    bench.wait(1);

    assert_eq!(bench.next(), Effect::Abandon);
    assert_eq!(bench.call(), Call::Leave);
    bench.answer(Answer::Left);
    over(&mut bench, Finish::Shutdown);
}
