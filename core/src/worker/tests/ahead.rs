//! The next shard, which comes with the answer to the last commit of the one before.

use super::*;

/// A worker that has measured all of a shard under lease 7, and waits for the answer to its last commit.
fn at_the_end(count: u32) -> (Bench, Vec<TrialKey>) {
    let (mut bench, keys) = Bench::measuring(count);
    keys.iter().for_each(|key| bench.measure(*key));
    bench.feed(Input::Ended(End::Finished));
    (bench, keys)
}

#[test]
fn the_answer_to_the_last_commit_brings_the_next_shard_and_no_call_is_between() {
    let (mut bench, keys) = at_the_end(2);
    assert_eq!(bench.committed_and_wants(), (keys, true));

    bench.answer(Answer::Committed { next: Some(shard(8, 1)) });

    assert!(matches!(bench.next(), Effect::Measure(order) if order.trials == shard(8, 1).trials));
    bench.assert_idle();
    assert_eq!(bench.protocol.beat(), Some(Beat { epoch: Epoch(1), lease: Some(LeaseId(8)) }));
    assert_eq!(bench.protocol.summary(), Summary { shards: 2, committed: 2, dropped: 0 });
}

#[test]
fn a_shard_of_another_context_is_measured_when_that_is_known() {
    let (mut bench, _) = at_the_end(1);
    bench.committed();
    let other = Digest::of(b"another context");

    bench.answer(Answer::Committed { next: Some(Shard { context: Some(other), ..shard(8, 1) }) });

    assert_eq!(bench.call(), Call::FetchContext { digest: other });
    bench.answer(Answer::Context(Arc::new(trials(0).0)));
    assert!(matches!(bench.next(), Effect::Measure(_)));
}

#[test]
fn without_work_at_the_coordinator_the_worker_asks_and_waits_as_ever() {
    let (mut bench, _) = at_the_end(1);
    bench.committed();

    bench.answer(Answer::Committed { next: None });

    assert!(matches!(bench.call(), Call::RequestShard { .. }));
}

#[test]
fn commits_of_a_shard_that_goes_on_want_no_other() {
    let (mut bench, keys) = Bench::measuring(2);
    bench.measure(keys[0]);
    bench.wait(500);
    assert_eq!(bench.committed_and_wants(), (keys[..1].to_vec(), false));

    // It is over before that is answered.
    bench.measure(keys[1]);
    bench.feed(Input::Ended(End::Finished));
    bench.answer(Answer::Committed { next: None });

    assert_eq!(bench.committed_and_wants(), (keys[1..].to_vec(), true));
}

#[test]
fn only_the_last_of_several_commits_wants_a_shard() {
    let (mut bench, keys) = Bench::measuring(BATCH as u32 + 1);
    keys.iter().for_each(|key| bench.measure(*key));
    bench.feed(Input::Ended(End::Finished));

    assert_eq!(bench.committed_and_wants(), (keys[..BATCH].to_vec(), false));
    bench.answer(Answer::Committed { next: None });
    assert_eq!(bench.committed_and_wants(), (keys[BATCH..].to_vec(), true));
}

#[test]
fn who_gives_up_or_has_something_to_release_wants_no_other_shard_yet() {
    let obstacle = obstacle(ObstacleKind::Device);
    for (end, obstacle) in [(End::GaveUp(obstacle.clone()), Some(obstacle)), (End::Finished, None)] {
        let (mut bench, keys) = Bench::measuring(2);
        bench.measure(keys[0]);
        bench.feed(Input::Ended(end));

        assert_eq!(bench.committed_and_wants(), (keys[..1].to_vec(), false));
        bench.answer(Answer::Committed { next: None });
        assert_eq!(bench.call(), Call::Release { epoch: Epoch(1), lease: LeaseId(7), obstacle });
    }
}

#[test]
fn a_worker_whose_lease_was_taken_away_takes_no_shard_before_it_has_said_that_it_stopped() {
    let (mut bench, keys) = Bench::measuring(2);
    let beat = bench.protocol.beat().unwrap();
    bench.measure(keys[0]);
    bench.feed(Input::LeaseVoid(beat));
    assert_eq!(bench.next(), Effect::Stop);
    bench.feed(Input::Ended(End::Stopped));
    assert_eq!(bench.committed_and_wants(), (keys[..1].to_vec(), false));

    bench.answer(Answer::Committed { next: None });
    assert!(matches!(bench.call(), Call::Release { .. }));
    bench.answer(Answer::Released);
    bench.take_shard(shard(8, 1));

    // What a heartbeat from before is told does not end it.
    bench.feed(Input::LeaseVoid(beat));
    bench.assert_idle();
}

#[test]
fn a_shard_that_came_with_a_commit_is_taken_though_a_heartbeat_found_the_lease_before_ended() {
    let (mut bench, keys) = at_the_end(1);
    let beat = bench.protocol.beat().unwrap();
    assert_eq!(bench.committed_and_wants(), (keys, true));

    bench.feed(Input::LeaseVoid(beat));
    bench.answer(Answer::Committed { next: Some(shard(9, 1)) });

    assert!(matches!(bench.next(), Effect::Measure(_)));
    assert_eq!(bench.protocol.beat(), Some(Beat { epoch: Epoch(1), lease: Some(LeaseId(9)) }));
}

#[test]
fn a_commit_whose_answer_was_lost_wants_a_shard_again() {
    let (mut bench, keys) = at_the_end(1);
    assert_eq!(bench.committed_and_wants(), (keys.clone(), true));
    bench.feed(failure(FailureKind::Away));
    assert!(matches!(bench.next(), Effect::Spool(_)));
    bench.wait(200);

    assert_eq!(bench.committed_and_wants(), (keys, true));
    bench.answer(Answer::Committed { next: Some(shard(9, 1)) });

    assert_eq!(bench.next(), Effect::ClearSpool);
    assert!(matches!(bench.next(), Effect::Measure(_)));
    assert_eq!(bench.protocol.beat(), Some(Beat { epoch: Epoch(1), lease: Some(LeaseId(9)) }));
}

#[test]
fn a_worker_that_is_to_end_takes_no_shard() {
    let (mut bench, keys) = at_the_end(1);
    assert_eq!(bench.committed_and_wants(), (keys.clone(), true));

    bench.feed(Input::Shutdown);

    assert_eq!(bench.next(), Effect::Abandon);
    assert_eq!(bench.committed_and_wants(), (keys, false));
    bench.answer(Answer::Committed { next: None });
    assert_eq!(bench.call(), Call::Leave);
}

#[test]
fn a_new_epoch_while_the_answer_is_under_way_asks_the_new_coordinator() {
    let (mut bench, keys) = at_the_end(1);
    assert_eq!(bench.committed_and_wants(), (keys.clone(), true));

    bench.feed(Input::Displaced(Epoch(1)));

    assert_eq!(bench.next(), Effect::Abandon);
    assert_eq!(bench.call(), Call::Register { info: Box::new(info()), held: keys.clone() });
    bench.answer(Answer::Registered { epoch: Epoch(2), adopted: Some(shard(0, 1)) });
    assert_eq!(bench.committed_and_wants(), (keys, true));
}

#[test]
fn a_shard_that_came_with_a_commit_ends_the_wait_for_work() {
    let settings = Settings { info: info(), max_give_backs: None, idle_exit_ms: Some(20_000), spool: None };
    let mut bench = Bench::with(settings);
    bench.take_shard(shard(7, 1));
    bench.measure(shard(7, 1).trials[0].0);
    bench.feed(Input::Ended(End::Finished));
    bench.committed();
    bench.answer(Answer::Committed { next: Some(shard(8, 1)) });
    assert!(matches!(bench.next(), Effect::Measure(_)));

    bench.wait(60_000);

    bench.assert_idle();
}
