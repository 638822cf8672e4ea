//! Probes: what they take beside their worker's own device.

use super::*;
use crate::device::ProbeOffer;
use crate::trial::{Measured, ProbeSetting, ProbeSpec, ProbeSubject, ProbeTarget};

/// A worker with a probe, on its machine's processor unless the probe names a device.
fn offering(info: WorkerInfo, probe: &str, device: Option<&str>) -> WorkerInfo {
    let (name, class, runtime) = (probe.to_owned(), "a class".to_owned(), "a runtime".to_owned());
    WorkerInfo {
        probes: vec![ProbeOffer { name, class, device: device.map(str::to_owned), runtime }],
        ..info
    }
}

/// A device that any worker may have which offers the probe.
fn anywhere(probe: &str) -> ProbeTarget {
    ProbeTarget { probe: probe.to_owned(), on: BTreeMap::new(), class: None }
}

pub(crate) fn probe(name: &str, repetition: u32) -> TrialSpec {
    probe_on(anywhere(name), repetition)
}

fn probe_on(target: ProbeTarget, repetition: u32) -> TrialSpec {
    TrialSpec::Probe(Box::new(ProbeSpec {
        target,
        prepared: Digest::of(b"prepared"),
        baseline: Choice::Float,
        config: BitConfig::baseline(),
        setting: ProbeSetting::default(),
        subject: ProbeSubject::Whole,
        repetition,
        asked_by: None,
    }))
}

impl Engine {
    /// Proposes repeated measurements of one network on a device.
    pub(super) fn propose_probes(
        &mut self,
        experiment: &ExperimentId,
        target: &ProbeTarget,
        count: u32,
    ) -> Vec<TrialKey> {
        let trials = (0..count).map(|repetition| probe_on(target.clone(), repetition)).collect();
        self.propose_alone(experiment, trials)
    }

    fn commit_measured(&mut self, worker: &WorkerId, shard: &Shard) {
        let measured = Measured::made_up(&ProbeSubject::Whole, 1e6);
        let outcome = Outcome { result: TrialResult::Measured(Box::new(measured)), ..evaluated(0) };
        let reports: Vec<_> = shard.trials.iter().map(|(key, _)| (*key, outcome.clone())).collect();
        self.commit(worker, &reports);
    }

    /// The one trial that a worker gets.
    fn only(&mut self, worker: &WorkerId) -> (TrialKey, Shard) {
        let shard = self.request(worker).unwrap();
        assert_eq!(shard.trials.len(), 1);
        (shard.trials[0].0, shard)
    }
}

#[test]
fn a_processor_that_a_gpus_worker_probes_is_nobody_elses() {
    let mut engine = Engine::new();
    let (probes, shared) = (engine.submit_with("probes", 1, Requirements::NONE), engine.submit("shared"));
    let keys = engine.propose_probes(&probes, &anywhere("integer"), 2);
    engine.propose_points(&shared, 0..8);
    let first = engine.join_as(offering(gpu("g1", 16), "integer", None));
    let second = engine.join_as(offering(other_gpu("g2", 16), "integer", None));
    let processor = engine.join_as(cpu("p"));

    let (probed, shard) = engine.only(&first);
    assert_eq!(probed, keys[0]);
    assert!(!keys.contains(&engine.only(&second).0), "it evaluates on its own device");
    assert_eq!(engine.request(&processor), None);
    let explained = engine.explained(&keys[1]);
    assert!(explained.contains("`g2`: `g1` measures on its probe's device"), "{explained}");
    let elsewhere = engine.join_as(offering(cpu_of("another machine", "e"), "integer", None));
    assert_eq!(engine.only(&elsewhere).0, keys[1], "that is another processor");

    engine.commit_measured(&first, &shard);
    assert!(engine.request(&processor).is_some());
}

#[test]
fn a_gpu_that_a_processors_worker_probes_is_nobody_elses() {
    let mut engine = Engine::new();
    let (probes, shared) = (engine.submit_with("probes", 1, Requirements::NONE), engine.submit("shared"));
    engine.propose_points(&shared, 0..8);
    let prober = engine.join_as(offering(cpu("p"), "candle-cuda", Some("gpu-1")));
    let evaluator = engine.join_as(gpu("g", 16));
    let (_, busy) = engine.only(&evaluator);
    let keys = engine.propose_probes(&probes, &anywhere("candle-cuda"), 1);

    assert_eq!(engine.request(&prober), None, "the GPU is busy, and its own device rests for the probe");
    let explained = engine.explained(&keys[0]);
    assert!(
        explained.contains("`p`: its device is needed alone, one worker still measures on it"),
        "{explained}"
    );
    engine.commit_after(&evaluator, &busy, 1.0);
    assert_eq!(engine.request(&evaluator), None, "the GPU rests, too");

    let (probed, shard) = engine.only(&prober);
    assert_eq!(probed, keys[0]);
    assert_eq!(engine.request(&evaluator), None);
    engine.commit_measured(&prober, &shard);
    assert!(engine.request(&evaluator).is_some());
}

#[test]
fn a_board_that_two_hosts_reach_is_one_device() {
    let mut engine = Engine::new();
    let probes = engine.submit("probes");
    let keys = engine.propose_probes(&probes, &anywhere("external"), 2);
    let hosts = ["a", "b"]
        .map(|host| engine.join_as(offering(cpu_of(host, &format!("on-{host}")), "external", Some("pi5"))));

    let (_, shard) = engine.only(&hosts[0]);
    assert_eq!(engine.request(&hosts[1]), None);
    engine.commit_measured(&hosts[0], &shard);
    assert_eq!(engine.only(&hosts[1]).0, keys[1]);
}

#[test]
fn no_processor_is_kept_free_for_what_it_rests_from() {
    let mut engine = Engine::new();
    let (probes, shared) = (engine.submit_with("probes", 1, Requirements::NONE), engine.submit("shared"));
    let keys = engine.propose_probes(&probes, &anywhere("integer"), 1);
    engine.propose_points(&shared, 0..8);
    let worker = engine.join_as(offering(cpu("p"), "integer", None));
    let (_, shard) = engine.only(&worker);
    let obstacle = Obstacle { kind: ObstacleKind::Supply, reason: "gone".to_owned(), trials: keys.clone() };
    let (lease, obstacle) = (shard.lease, Some(obstacle));
    engine.feed(Input::Release { worker: worker.clone(), lease, trials: None, obstacle }).unwrap();

    let meanwhile = engine.request(&worker).unwrap();

    assert!(!keys.contains(&meanwhile.trials[0].0), "it evaluates");
    engine.commit_after(&worker, &meanwhile, 1.0);
    engine.wait(1_000);
    assert_eq!(engine.only(&worker).0, keys[0], "it has rested");
}

#[test]
fn behind_a_start_no_probe_begins_until_whoever_used_the_device_has_broken_off() {
    let mut engine = Engine::new();
    let probes = engine.submit("probes");
    let on = |host: &str| offering(cpu_of(host, &format!("on-{host}")), "external", Some("pi5"));
    let first = engine.join_as(on("a"));
    let keys = engine.propose_probes(&probes, &anywhere("external"), 2);
    engine.only(&first);

    for is_back in [true, false] {
        engine.state = engine.replayed();
        engine.state.apply(&Change::Started { now: engine.now }.into());
        let other = engine.join_as(on("b"));
        assert_eq!(engine.request(&other), None);
        let explained = engine.explained(&keys[0]);
        assert!(explained.contains("`on-b`: its probe waits for a moment"), "{explained}");
        let mut adopted = None;
        if is_back {
            let (info, held) = (on("a"), keys[..1].to_vec());
            let Reply::Registered { adopted: shard } = engine.feed(Input::Register { info, held }).unwrap()
            else {
                panic!("it registers");
            };
            adopted = Some(shard.expect("it goes on with what it has"));
        }
        for wait_ms in [LEASE_TERM_MS / 2, LEASE_TERM_MS - LEASE_TERM_MS / 2] {
            engine.wait(wait_ms);
            let (worker, lease, running) = (other.clone(), None, Vec::new());
            engine.feed(Input::Heartbeat { worker, lease, running }).unwrap();
            assert!(adopted.as_ref().is_none_or(|shard| engine.beat(&first, shard)));
        }
        assert_eq!(engine.request(&other).is_some(), !is_back, "the first one has it still, or no more");
    }
}

#[test]
fn a_start_without_probes_under_way_makes_none_wait() {
    let mut engine = Engine::new();
    engine.state.apply(&Change::Started { now: engine.now }.into());
    let probes = engine.submit("probes");
    let keys = engine.propose_probes(&probes, &anywhere("external"), 1);
    let worker = engine.join_as(offering(cpu("w"), "external", Some("pi5")));

    assert_eq!(engine.only(&worker).0, keys[0]);
}

/// Two hosts that reach one board, the first of which measures on it; the trials are two.
struct Shared {
    engine: Engine,
    probes: ExperimentId,
    keys: Vec<TrialKey>,
    first: WorkerId,
    other: WorkerId,
    shard: Shard,
}

impl Shared {
    fn new() -> Self {
        let mut engine = Engine::new();
        let probes = engine.submit("probes");
        let keys = engine.propose_probes(&probes, &anywhere("external"), 2);
        let [first, other] = ["a", "b"].map(|host| engine.join_as(Self::host(host)));
        let (_, shard) = engine.only(&first);
        assert_eq!(engine.request(&other), None);
        Self { engine, probes, keys, first, other, shard }
    }

    fn host(name: &str) -> WorkerInfo {
        offering(cpu_of(name, &format!("on-{name}")), "external", Some("pi5"))
    }

    /// Pauses the experiment and goes on with it, so that its trials wait again.
    fn take_away(&mut self) {
        for action in [Action::Pause, Action::Resume] {
            self.engine.feed(Input::Act { experiment: self.probes.clone(), action }).unwrap();
        }
        assert!(!self.engine.beat(&self.first, &self.shard), "the worker is told");
    }

    /// The first worker says that it has stopped.
    fn stop(&mut self) {
        let (worker, lease) = (self.first.clone(), self.shard.lease);
        self.engine.feed(Input::Release { worker, lease, trials: None, obstacle: None }).unwrap();
    }

    fn is_free(&mut self) -> bool {
        self.engine.request(&self.other).is_some()
    }
}

#[test]
fn a_board_is_not_free_before_whoever_lost_its_trial_has_stopped() {
    let mut shared = Shared::new();
    shared.take_away();

    assert!(!shared.is_free());
    let explained = shared.engine.explained(&shared.keys[0]);
    assert!(explained.contains("`on-b`: `on-a` measures on its probe's device"), "{explained}");
    let before = shared.engine.state.dispatch.openings();
    shared.stop();
    assert!(shared.engine.state.dispatch.openings() > before, "who waits is asked again");
    assert!(shared.is_free());
    shared.stop();
    assert!(shared.engine.request(&shared.first).is_none(), "the board is the other's, whatever is repeated");
}

#[test]
fn a_board_is_free_when_a_worker_that_says_nothing_has_stopped_by_itself() {
    let mut shared = Shared::new();
    shared.take_away();

    for wait_ms in [LEASE_TERM_MS / 2, LEASE_TERM_MS - LEASE_TERM_MS / 2] {
        shared.engine.wait(wait_ms);
        shared.engine.beat(&shared.other, &shared.shard);
        assert!(!shared.is_free());
    }
    shared.engine.wait(1);
    assert!(shared.is_free());
}

#[test]
fn a_board_is_free_when_the_trial_that_was_taken_away_comes_all_the_same() {
    let mut shared = Shared::new();
    shared.take_away();
    let shard = shared.shard.clone();

    shared.engine.commit_measured(&shared.first.clone(), &shard);

    assert!(shared.is_free());
}

#[test]
fn a_board_is_free_when_whoever_lost_its_trial_is_gone() {
    let mut shared = Shared::new();
    shared.take_away();

    shared.engine.feed(Input::Leave { worker: shared.first.clone() }).unwrap();

    assert!(shared.is_free());
}

#[test]
fn a_worker_that_registers_again_keeps_its_board_until_it_has_stopped() {
    for still_has_it in [true, false] {
        let mut shared = Shared::new();
        shared.take_away();
        let held = if still_has_it { shared.keys[..1].to_vec() } else { Vec::new() };

        let adopted = match shared.engine.feed(Input::Register { info: Shared::host("a"), held }).unwrap() {
            Reply::Registered { adopted } => adopted,
            other => panic!("{other:?}"),
        };

        // A registration may be one of before, so that the board is free at once in neither case.
        assert_eq!((adopted.is_some(), shared.is_free()), (still_has_it, false));
        match adopted {
            Some(shard) => shared.engine.commit_measured(&shared.first.clone(), &shard),
            None => shared.stop(),
        }
        assert!(shared.is_free(), "nothing of the lease before is left");
    }
}

#[test]
fn what_is_cancelled_keeps_a_processor_from_probes_until_it_has_stopped() {
    let mut engine = Engine::new();
    let (shared, probes) = (engine.submit("shared"), engine.submit("probes"));
    engine.propose_points(&shared, 0..8);
    let evaluator = engine.join_as(cpu("e"));
    let (_, shard) = engine.only(&evaluator);
    engine.feed(Input::Act { experiment: shared, action: Action::Cancel }).unwrap();
    engine.propose_probes(&probes, &anywhere("integer"), 1);
    let prober = engine.join_as(offering(cpu("p"), "integer", None));

    assert_eq!(engine.request(&prober), None);
    engine
        .feed(Input::Release { worker: evaluator, lease: shard.lease, trials: None, obstacle: None })
        .unwrap();
    assert!(engine.request(&prober).is_some());
}

#[test]
fn what_was_given_back_unbegun_keeps_no_board_however_late_that_is_heard() {
    for is_taken_away in [false, true] {
        let mut shared = Shared::new();
        if is_taken_away {
            shared.take_away();
        }
        let (worker, lease, trials) =
            (shared.first.clone(), shared.shard.lease, Some(shared.keys[..1].to_vec()));

        shared.engine.feed(Input::Release { worker, lease, trials, obstacle: None }).unwrap();

        assert!(shared.is_free());
    }
}

#[test]
fn behind_a_start_no_probe_begins_though_all_were_paused() {
    let mut shared = Shared::new();
    shared.engine.feed(Input::Act { experiment: shared.probes.clone(), action: Action::Pause }).unwrap();
    shared.engine.state = shared.engine.replayed();
    shared.engine.state.apply(&Change::Started { now: shared.engine.now }.into());
    shared.engine.feed(Input::Act { experiment: shared.probes.clone(), action: Action::Resume }).unwrap();
    shared.other = shared.engine.join_as(Shared::host("b"));

    assert!(!shared.is_free(), "whoever measures may not have heard of the pause");
    shared.engine.wait(LEASE_TERM_MS);
    assert!(shared.is_free());
}
