use std::collections::VecDeque;

use super::*;
use crate::state::tests::{evaluated, trials};
use crate::state::{LEASE_TERM_MS, ObstacleKind, WorkerId};
use crate::trial::{Outcome, Provenance, TrialResult, Work};

mod ahead;
mod away;
mod ending;

pub(super) fn measured(index: usize) -> Measured {
    let provenance = Provenance { engine: String::new(), device: String::new(), kernels: String::new() };
    let result = TrialResult::Failed { reason: String::new() };
    let key = TrialKey(Digest::of(&index.to_le_bytes()));
    let report = Report { key, outcome: Outcome { result, provenance, work: Work::default() } };
    Measured { report, compute_ms: index as f64 }
}

fn info() -> WorkerInfo {
    WorkerInfo { id: WorkerId("w1".into()), host: "here".into(), threads: 1, ..WorkerInfo::default() }
}

fn obstacle(kind: ObstacleKind) -> Obstacle {
    let trials = shard(0, 1).trials.iter().map(|(key, _)| *key).collect();
    Obstacle { kind, reason: "no model".into(), trials }
}

fn failure(kind: FailureKind) -> Input {
    Input::Failed(Failure { kind, reason: "by the script".into() })
}

/// A worker in virtual time, whose effects are looked at one by one.
struct Bench {
    protocol: Protocol,
    now: Millis,
    effects: VecDeque<Effect>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings {
            info: info(),
            max_give_backs: None,
            idle_exit_ms: None,
            spool: Some(Vec::new()),
        })
    }

    fn with(settings: Settings) -> Self {
        let mut bench =
            Self { protocol: Protocol::new(settings), now: Millis(0), effects: VecDeque::default() };
        bench.feed(Input::Time);
        bench
    }

    /// A worker that measures a shard of `count` trials under lease 7 of epoch 1.
    fn measuring(count: u32) -> (Self, Vec<TrialKey>) {
        let mut bench = Self::new();
        bench.take_shard(shard(7, count));
        (bench, shard(7, count).trials.iter().map(|(key, _)| *key).collect())
    }

    fn take_shard(&mut self, shard: Shard) {
        if self.protocol.beat().is_none() {
            self.register(1, None);
        }
        assert!(matches!(self.call(), Call::RequestShard { .. }));
        self.answer(Answer::Shard(Some(shard)));
        if let Some(Effect::Call(Call::FetchContext { .. })) = self.effects.front() {
            self.effects.clear();
            self.answer(Answer::Context(Arc::new(trials(0).0)));
        }
        assert!(matches!(self.effects.pop_front(), Some(Effect::Measure(_))));
    }

    fn register(&mut self, epoch: u64, adopted: Option<Shard>) {
        assert!(matches!(self.call(), Call::Register { .. }));
        self.answer(Answer::Registered { epoch: Epoch(epoch), adopted });
    }

    fn feed(&mut self, input: Input) {
        let effects = self.protocol.step(input, self.now);
        let told = |effect: &Effect| matches!(effect, Effect::Tell(_));
        self.effects.extend(effects.into_iter().filter(|effect| !told(effect)));
    }

    fn answer(&mut self, answer: Answer) {
        self.feed(Input::Answered(answer));
    }

    fn wait(&mut self, millis: u64) {
        let end = self.now.after(millis);
        while let Some(due) = self.protocol.due().filter(|due| *due <= end) {
            self.now = due;
            self.feed(Input::Time);
        }
        self.now = end;
    }

    /// Lets time pass until there is something to do.
    fn wait_for_effect(&mut self) {
        while self.effects.is_empty() {
            self.now = self.protocol.due().expect("something is to come");
            self.feed(Input::Time);
        }
    }

    fn measure(&mut self, key: TrialKey) {
        let report = Report { key, outcome: evaluated(1) };
        self.feed(Input::Measured(Measured { report, compute_ms: 1.0 }));
    }

    fn next(&mut self) -> Effect {
        self.effects.pop_front().expect("something is to be done")
    }

    fn call(&mut self) -> Call {
        match self.next() {
            Effect::Call(call) => call,
            other => panic!("{other:?} instead of a call"),
        }
    }

    fn committed(&mut self) -> Vec<TrialKey> {
        self.committed_and_wants().0
    }

    /// What is committed, and whether a shard is wanted with the answer.
    fn committed_and_wants(&mut self) -> (Vec<TrialKey>, bool) {
        match self.call() {
            Call::Commit { reports, wants_shard, .. } => {
                (reports.iter().map(|report| report.key).collect(), wants_shard)
            }
            other => panic!("{other:?} instead of a commit"),
        }
    }

    fn assert_idle(&self) {
        assert_eq!(self.effects, []);
    }
}

fn shard(lease: u64, count: u32) -> Shard {
    let (context, specs) = trials(count);
    let trials = specs.into_iter().map(|spec| (spec.key(), spec)).collect();
    Shard { lease: LeaseId(lease), context: Some(context.digest()), trials }
}

#[test]
fn a_shard_goes_from_request_to_commit() {
    let (mut bench, keys) = Bench::measuring(2);
    bench.measure(keys[0]);
    bench.measure(keys[1]);
    bench.assert_idle();
    bench.feed(Input::Ended(End::Finished));

    assert_eq!(bench.committed(), keys);
    bench.answer(Answer::Committed { next: None });

    assert!(matches!(bench.call(), Call::RequestShard { .. }));
    bench.assert_idle();
    let summary = Summary { shards: 1, committed: 2, dropped: 0 };
    assert_eq!(bench.protocol.summary(), summary);
}

#[test]
fn outcomes_of_a_long_shard_do_not_wait_for_its_end() {
    let (mut bench, keys) = Bench::measuring(3);
    bench.measure(keys[0]);
    bench.wait(400);
    bench.measure(keys[1]);
    bench.assert_idle();

    bench.wait(100);

    assert_eq!(bench.committed(), keys[..2]);
    bench.measure(keys[2]);
    bench.answer(Answer::Committed { next: None });
    bench.assert_idle();
    bench.wait(500);
    assert_eq!(bench.committed(), keys[2..]);
}

#[test]
fn an_outcome_that_is_refused_takes_no_other_with_it() {
    let (mut bench, keys) = Bench::measuring(3);
    keys.iter().for_each(|key| bench.measure(*key));
    bench.wait(500);
    assert_eq!(bench.committed(), keys);
    bench.feed(failure(FailureKind::Invalid));

    assert_eq!(bench.committed(), keys[..1]);
    bench.feed(failure(FailureKind::Invalid));
    assert_eq!(bench.committed(), keys[1..2]);
    bench.answer(Answer::Committed { next: None });
    assert_eq!(bench.committed(), keys[2..]);
    bench.answer(Answer::Committed { next: None });

    assert_eq!(bench.protocol.summary(), Summary { shards: 1, committed: 2, dropped: 1 });
}

#[test]
fn a_void_lease_stops_the_work_and_is_released_when_that_has_stopped() {
    let (mut bench, keys) = Bench::measuring(2);
    let beat = bench.protocol.beat().unwrap();
    bench.measure(keys[0]);

    bench.feed(Input::LeaseVoid(beat));

    assert_eq!(bench.next(), Effect::Stop);
    assert_eq!(bench.protocol.beat().unwrap().lease, None, "it is not prolonged");
    bench.assert_idle();
    bench.feed(Input::Ended(End::Stopped));
    assert_eq!(bench.committed(), keys[..1]);
    bench.answer(Answer::Committed { next: None });
    assert_eq!(bench.call(), Call::Release { epoch: Epoch(1), lease: LeaseId(7), obstacle: None });
    bench.answer(Answer::Released);
    assert!(matches!(bench.call(), Call::RequestShard { .. }));
}

#[test]
fn a_void_lease_is_released_once_whether_or_not_that_is_heard() {
    let (mut bench, _) = Bench::measuring(1);
    let beat = bench.protocol.beat().unwrap();
    bench.feed(Input::LeaseVoid(beat));
    assert_eq!(bench.next(), Effect::Stop);
    bench.feed(Input::Ended(End::Stopped));
    assert!(matches!(bench.call(), Call::Release { .. }));

    bench.feed(failure(FailureKind::Away));

    assert!(matches!(bench.call(), Call::RequestShard { .. }));
}

#[test]
fn a_beat_from_before_does_not_end_the_lease_of_now() {
    let (mut bench, keys) = Bench::measuring(1);
    let beat = bench.protocol.beat().unwrap();
    bench.measure(keys[0]);
    bench.feed(Input::Ended(End::Finished));
    bench.committed();
    bench.answer(Answer::Committed { next: None });
    bench.take_shard(shard(8, 2));

    bench.feed(Input::LeaseVoid(beat));

    bench.assert_idle();
    assert_eq!(bench.protocol.beat(), Some(Beat { epoch: Epoch(1), lease: Some(LeaseId(8)) }));
}

#[test]
fn trials_that_cannot_be_measured_are_given_back_and_waited_for_ever_longer() {
    let mut bench = Bench::new();
    let mut waits = Vec::new();
    for lease in 0..6 {
        bench.take_shard(shard(lease, 1));
        bench.feed(Input::Ended(End::GaveUp(obstacle(ObstacleKind::Device))));
        let obstacle = Some(obstacle(ObstacleKind::Device));
        assert_eq!(bench.call(), Call::Release { epoch: Epoch(1), lease: LeaseId(lease), obstacle });
        bench.answer(Answer::Released);
        bench.assert_idle();
        let released = bench.now;
        bench.wait_for_effect();
        waits.push(bench.now.0 - released.0);
    }

    assert!(waits[0] >= 90 && waits[5] >= 1_500 && waits[..4].is_sorted(), "{waits:?}");
}

#[test]
fn a_request_answered_at_once_with_nothing_is_no_storm() {
    let mut bench = Bench::new();
    bench.register(1, None);
    let mut requests = 0;
    while bench.now < Millis(10_000) {
        assert!(matches!(bench.call(), Call::RequestShard { .. }));
        requests += 1;
        bench.answer(Answer::Shard(None));
        bench.wait_for_effect();
    }

    assert!((5..20).contains(&requests), "{requests}");
}
