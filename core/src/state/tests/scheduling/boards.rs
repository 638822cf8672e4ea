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
        if is_back {
            let (info, held) = (on("a"), keys[..1].to_vec());
            let Reply::Registered { adopted } = engine.feed(Input::Register { info, held }).unwrap() else {
                panic!("it registers");
            };
            assert!(adopted.is_some(), "it goes on with what it has");
        }
        engine.wait(LEASE_TERM_MS);
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
