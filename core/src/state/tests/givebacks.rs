//! Trials that workers give back, as they cannot measure them.

mod again;
mod resting;

use super::*;
use crate::device::Device;
use crate::trial::PrepareSpec;

fn on(name: &str, host: &str) -> WorkerInfo {
    let device = Device { id: "cuda:0".into(), class: "gpu".into(), ..Device::default() };
    let (host, machine) = (host.into(), host.into());
    WorkerInfo { id: WorkerId(name.into()), host, machine, device, threads: 1, ..WorkerInfo::default() }
}

impl Engine {
    fn join_on(&mut self, name: &str, host: &str) -> WorkerId {
        let info = on(name, host);
        let id = info.id.clone();
        self.feed(Input::Register { info, held: Vec::new() }).unwrap();
        id
    }

    /// Gives a whole shard back, all of which was measured together.
    fn give_back(&mut self, worker: &WorkerId, shard: &Shard, kind: ObstacleKind) {
        let trials: Vec<TrialKey> = shard.trials.iter().map(|(key, _)| *key).collect();
        self.give_back_for(worker, shard.lease, Obstacle { kind, reason: "out of memory".into(), trials });
    }

    fn give_back_for(&mut self, worker: &WorkerId, lease: LeaseId, obstacle: Obstacle) {
        let (worker, obstacle) = (worker.clone(), Some(obstacle));
        self.feed(Input::Release { worker, lease, trials: None, obstacle }).unwrap();
    }

    /// Time passes, and a worker is heard.
    fn pass(&mut self, millis: u64, worker: &WorkerId) {
        self.now = self.now.after(millis);
        let (worker, lease, running) = (worker.clone(), None, Vec::new());
        self.feed(Input::Heartbeat { worker, lease, running }).unwrap();
    }

    fn submit_first(&mut self, name: &str) -> ExperimentId {
        let plan = Box::new(plan(name));
        let id = plan.id();
        self.feed(Input::Submit { plan, sources: BTreeMap::new(), priority: 1 }).unwrap();
        id
    }

    /// A worker comes back with trials that it holds.
    fn rejoin_on(&mut self, worker: &WorkerId, held: &[TrialKey]) -> Shard {
        let info = self.state.dispatch.worker(worker).unwrap().info.clone();
        match self.feed(Input::Register { info, held: held.to_vec() }).unwrap() {
            Reply::Registered { adopted } => adopted.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn failed(&self, key: &TrialKey) -> Option<String> {
        match &self.state.ledger.outcome(key)?.result {
            TrialResult::Failed { reason } => Some(reason.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// How often a worker gives its only trial back until it is settled; time passes when it gets nothing.
    fn give_back_until_settled(
        &mut self,
        worker: &WorkerId,
        (key, kind): (&TrialKey, ObstacleKind),
    ) -> (u32, u64) {
        let (mut attempts, since) = (0, self.now);
        while self.state.ledger.outcome(key).is_none() && attempts < 100 {
            match self.request(worker) {
                Some(shard) => {
                    attempts += 1;
                    self.give_back(worker, &shard, kind);
                }
                None => self.pass(1_000, worker),
            }
        }
        (attempts, self.now.0 - since.0)
    }
}

fn keys(shard: &Shard) -> Vec<TrialKey> {
    shard.trials.iter().map(|(key, _)| *key).collect()
}

#[test]
fn a_trial_that_three_devices_cannot_measure_has_failed_with_what_they_say() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose(&experiment, 2);
    let workers = [("w1", "a"), ("w2", "b"), ("w3", "c")].map(|(name, host)| engine.join_on(name, host));

    for worker in &workers {
        let shard = engine.request(worker).unwrap();
        assert_eq!(keys(&shard), proposed[..1], "no device has it again while another one may");
        assert_eq!(engine.failed(&proposed[0]), None);
        engine.give_back(worker, &shard, ObstacleKind::Device);
    }

    assert_eq!(engine.failed(&proposed[0]).as_deref(), Some("out of memory"));
    let known = engine.state.ledger.experiment(&experiment).unwrap();
    assert_eq!((known.failed, &known.status), (1, &Status::Active));
    assert_eq!(keys(&engine.request(&workers[0]).unwrap()), proposed[1..], "the sweep goes on");
    assert_eq!(engine.replayed().ledger, engine.state.ledger);
}

#[test]
fn a_device_that_could_not_measure_a_trial_takes_others_while_another_device_is_there() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose(&experiment, 2);
    let (small, large) = (engine.join_on("small", "a"), engine.join_on("large", "b"));
    let shard = engine.request(&small).unwrap();
    assert_eq!(keys(&shard), proposed[..1]);

    engine.give_back(&small, &shard, ObstacleKind::Device);

    let explained = engine.explained(&proposed[0]);
    let said = "worker `small` on `cuda:0` could not measure it: out of memory";
    assert!(explained.contains(said), "{explained}");
    assert!(
        explained.contains("`small`: its device could not measure it, and is not asked again now"),
        "{explained}"
    );
    assert!(explained.contains("`large`: takes trials of it next"), "{explained}");
    let of_experiment = engine.explained_experiment(&experiment).reasons.join("\n");
    assert!(
        of_experiment.contains(&format!("1 of its open trials were given back; {said}")),
        "{of_experiment}"
    );
    assert_eq!(keys(&engine.request(&small).unwrap()), proposed[1..]);
    assert_eq!(keys(&engine.request(&large).unwrap()), proposed[..1]);
}

#[test]
fn trials_that_come_back_together_go_alone_and_only_the_one_that_cannot_be_measured_fails() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 8);
    let workers = [("w1", "a"), ("w2", "b"), ("w3", "c")].map(|(name, host)| engine.join_on(name, host));
    let first = engine.request(&workers[0]).unwrap();
    engine.commit(&workers[0], &[(first.trials[0].0, evaluated(90))]);
    // Two of three workers do nothing for now, so that there is a shard of several.
    let together = engine.request(&workers[0]).unwrap();
    assert!(together.trials.len() > 1, "{together:?}");
    let culprit = together.trials[1].0;
    engine.give_back(&workers[0], &together, ObstacleKind::Device);

    let mut attempts = 0;
    'all: loop {
        let mut is_idle = true;
        for worker in &workers {
            let Some(shard) = engine.request(worker) else { continue };
            is_idle = false;
            if keys(&shard).contains(&culprit) {
                assert_eq!(keys(&shard), [culprit]);
                attempts += 1;
                engine.give_back(worker, &shard, ObstacleKind::Device);
            } else {
                keys(&shard).iter().for_each(|key| _ = engine.commit(worker, &[(*key, evaluated(90))]));
            }
        }
        if is_idle {
            break 'all;
        }
    }

    assert_eq!(attempts, 3);
    let known = engine.state.ledger.experiment(&experiment).unwrap();
    assert_eq!((known.settled(), known.failed), (8, 1));
    assert_eq!(engine.failed(&culprit).as_deref(), Some("out of memory"));
}

#[test]
fn the_only_device_is_asked_again_after_a_while_and_not_for_ever() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose(&experiment, 1);
    // Two workers on one device are one device.
    let (worker, _) = (engine.join_on("w1", "a"), engine.join_on("w2", "a"));

    let (attempts, millis) = engine.give_back_until_settled(&worker, (&proposed[0], ObstacleKind::Device));

    assert_eq!(attempts, 5);
    assert!((600_000..=604_000).contains(&millis), "{millis}");
    assert_eq!(engine.failed(&proposed[0]).as_deref(), Some("out of memory"));
}

#[test]
fn a_panic_is_final_when_another_device_has_had_it_too_or_the_only_one_twice() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose(&experiment, 2);
    let (bad, good) = (engine.join_on("bad", "a"), engine.join_on("good", "b"));
    let shard = engine.request(&bad).unwrap();
    engine.give_back(&bad, &shard, ObstacleKind::Panic);
    let other = engine.request(&bad).unwrap();
    assert_eq!(keys(&other), proposed[1..], "another one tries it first");
    let shard = engine.request(&good).unwrap();
    engine.commit(&good, &[(shard.trials[0].0, evaluated(90))]);
    engine.feed(Input::Leave { worker: good }).unwrap();
    engine.give_back(&bad, &other, ObstacleKind::Panic);
    assert_eq!(engine.failed(&proposed[1]), None);

    assert_eq!(engine.give_back_until_settled(&bad, (&proposed[1], ObstacleKind::Panic)), (1, 1_000));

    assert_eq!(engine.state.ledger.outcome(&proposed[0]), Some(&evaluated(90)));
    assert!(engine.failed(&proposed[1]).is_some());
}

#[test]
fn what_could_not_be_fetched_is_held_against_no_trial_however_often() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose(&experiment, 1);
    let worker = engine.join_on("w", "a");

    let (attempts, _) = engine.give_back_until_settled(&worker, (&proposed[0], ObstacleKind::Supply));

    assert_eq!(attempts, 100);
    let explained = engine.explained(&proposed[0]);
    assert!(explained.contains("worker `w` on `cuda:0` gave it back: out of memory"), "{explained}");
    assert!(explained.contains("`w`: what it needs did not come to it"), "{explained}");
    let of_experiment = engine.explained_experiment(&experiment).reasons.join("\n");
    assert!(of_experiment.contains("what its trials need does not come; worker `w`"), "{of_experiment}");
    assert!(of_experiment.contains("`w`: what it needs did not come to it"), "{of_experiment}");
    assert_eq!(engine.request(&worker), None, "the device rests from it");
    engine.pass(60_000, &worker);
    assert!(engine.request(&worker).is_some());
}

#[test]
fn what_does_not_come_to_an_experiment_keeps_nobody_from_those_behind_it() {
    let mut engine = Engine::new();
    let first = engine.submit_first("without its model");
    let keys_of_first = engine.propose_points(&first, 0..200);
    let second = engine.submit("second");
    let context = plan("any").context(Digest::of(b"another"));
    let lowered = |point| TrialSpec::Evaluate {
        context: context.digest(),
        config: BitConfig::against(context.baseline, [(PointIndex(point), Choice::Float)]),
        part: context.whole(),
    };
    let trials = (0..100).map(lowered).collect();
    let batch = Batch { trials, context: Some(context.clone()), ..Batch::default() };
    let (experiment, proposal) = (second.clone(), Proposal::Trials(batch));
    engine.feed(Input::Advance { experiment, stage: 0, proposal }).unwrap();
    let worker = engine.join_on("w", "a");

    let mut given_back = 0;
    while engine.state.ledger.experiment(&second).unwrap().settled() < 100 {
        match engine.request(&worker) {
            Some(shard) if keys_of_first.contains(&shard.trials[0].0) => {
                given_back += 1;
                engine.give_back(&worker, &shard, ObstacleKind::Supply);
            }
            Some(shard) => {
                keys(&shard).iter().for_each(|key| _ = engine.commit(&worker, &[(*key, evaluated(90))]));
            }
            None => engine.pass(500, &worker),
        }
        assert!(given_back < 100, "nothing else is measured");
    }

    assert_eq!(engine.state.ledger.experiment(&first).unwrap().settled(), 0);
}

#[test]
fn trials_that_go_alone_and_lack_something_take_no_turns_in_keeping_a_worker() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let prepare = |number: u8| {
        let model = Digest::of(&[number]);
        TrialSpec::Prepare(Box::new(PrepareSpec { model, ..plan("any").prepare() }))
    };
    let batch = Batch { trials: (0..20).map(prepare).collect(), ..Batch::default() };
    let (stage, proposal) = (0, Proposal::Trials(batch));
    engine.feed(Input::Advance { experiment, stage, proposal }).unwrap();
    let worker = engine.join_on("w", "a");

    let shard = engine.request(&worker).unwrap();
    engine.give_back(&worker, &shard, ObstacleKind::Supply);
    assert_eq!(engine.request(&worker), None);
    engine.pass(1_000, &worker);

    let again = engine.request(&worker).expect("a moment later it tries");
    assert_eq!(keys(&again), keys(&shard));
    engine.give_back(&worker, &again, ObstacleKind::Supply);
    engine.pass(1_000, &worker);
    let other = engine.request(&worker).expect("it rests from one for longer than from all");
    assert_ne!(keys(&other), keys(&shard));
}

#[test]
fn what_is_remembered_of_what_did_not_come_does_not_grow_with_the_trials() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose_points(&experiment, 0..500);
    let mut workers = Vec::new();
    for number in 0..20 {
        let worker = engine.join_on(&format!("w{number}"), &format!("host{number}"));
        let shard = engine.rejoin_on(&worker, &proposed);
        engine.give_back(&worker, &shard, ObstacleKind::Supply);
        workers.push(worker);
    }

    assert_eq!(engine.state.dispatch.troubles().all().count(), 0);
    assert_eq!(engine.state.dispatch.rests().all(engine.now).count(), 20);
    for worker in workers {
        engine.feed(Input::Leave { worker }).unwrap();
    }
    assert_eq!(engine.state.dispatch.rests().all(engine.now).count(), 0);
}

#[test]
fn what_did_not_come_hides_nothing_that_the_device_could_not_do() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose_points(&experiment, 0..1);
    let worker = engine.join_on("w", "a");
    let shard = engine.request(&worker).unwrap();
    engine.give_back(&worker, &shard, ObstacleKind::Device);
    engine.propose_points(&experiment, 1..400);
    engine.pass(15_000, &worker);
    let again = engine.rejoin_on(&worker, &proposed);

    let supply =
        Obstacle { kind: ObstacleKind::Supply, reason: "no images".into(), trials: proposed.clone() };
    engine.give_back_for(&worker, again.lease, supply);

    let explained = engine.explained(&proposed[0]);
    for said in ["could not measure it: out of memory", "gave it back: no images", "without others"] {
        assert!(explained.contains(said), "{explained}");
    }
}

#[test]
fn a_device_that_can_do_nothing_takes_one_trial_at_a_time_and_others_keep_their_shards() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose_points(&experiment, 0..1_000);
    let (broken, good) = (engine.join_on("broken", "a"), engine.join_on("good", "b"));
    let first = engine.request(&good).unwrap();
    engine.commit(&good, &[(first.trials[0].0, evaluated(90))]);
    let mut shards = 0;

    while engine.state.ledger.experiment(&experiment).unwrap().settled() < proposed.len() as u64 {
        if let Some(shard) = engine.request(&broken) {
            engine.give_back(&broken, &shard, ObstacleKind::Device);
        }
        if let Some(shard) = engine.request(&good) {
            shards += 1;
            keys(&shard).iter().for_each(|key| _ = engine.commit(&good, &[(*key, evaluated(90))]));
        }
        assert!(shards < 600, "the sweep went alone");
        engine.pass(500, &broken);
        engine.pass(0, &good);
    }

    assert_eq!(engine.state.ledger.experiment(&experiment).unwrap().failed, 0);
}

#[test]
fn broken_devices_of_one_machine_fail_no_trial_that_another_one_can_measure() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose(&experiment, 1);
    let broken = ["cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:4", "cuda:5"].map(|device| {
        let mut info = on(device, "a");
        info.device.id = device.into();
        engine.feed(Input::Register { info: info.clone(), held: Vec::new() }).unwrap();
        info.id
    });
    let good = engine.join_on("good", "b");

    for worker in &broken {
        let shard = engine.request(worker).unwrap();
        engine.give_back(worker, &shard, ObstacleKind::Device);
        assert_eq!(engine.request(worker), None);
    }

    assert_eq!(keys(&engine.request(&good).unwrap()), proposed);
}

#[test]
fn a_result_is_welcome_for_a_trial_that_was_given_up() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose(&experiment, 1);
    let worker = engine.join_on("w", "a");
    engine.give_back_until_settled(&worker, (&proposed[0], ObstacleKind::Panic));
    assert_eq!(engine.state.ledger.experiment(&experiment).unwrap().failed, 1);

    assert_eq!(engine.commit(&worker, &[(proposed[0], evaluated(90))]), (1, 0, 0));

    assert_eq!(engine.state.ledger.outcome(&proposed[0]), Some(&evaluated(90)));
    assert_eq!(engine.state.ledger.experiment(&experiment).unwrap().failed, 0);
    assert_eq!(engine.commit(&worker, &[(proposed[0], evaluated(80))]), (0, 0, 1), "it counts now");
    assert_eq!(engine.replayed().ledger, engine.state.ledger);
}

#[test]
fn who_leaves_gives_back_without_a_reason_and_a_stale_lease_tells_nothing() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose(&experiment, 1);
    let (one, two) = (engine.join_on("one", "a"), engine.join_on("two", "b"));
    let stale = engine.request(&one).unwrap();
    let (worker, lease) = (one.clone(), stale.lease);
    engine.feed(Input::Release { worker, lease, trials: None, obstacle: None }).unwrap();
    assert_eq!(engine.explained(&proposed[0]).matches("gave it back").count(), 0);
    let shard = engine.request(&two).unwrap();
    let before = engine.state.clone();

    engine.give_back(&one, &stale, ObstacleKind::Device);
    engine.give_back(&one, &shard, ObstacleKind::Device);

    assert_eq!(engine.state, before);
}

#[test]
fn only_trials_of_the_lease_are_taken_for_impossible() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose(&experiment, 2);
    let worker = engine.join_on("w", "a");
    let shard = engine.request(&worker).unwrap();
    assert_eq!(keys(&shard), proposed[..1]);

    let (kind, trials) = (ObstacleKind::Panic, vec![proposed[1], proposed[1], TrialKey(Digest::of(b"?"))]);
    engine.give_back_for(&worker, shard.lease, Obstacle { kind, reason: "no".into(), trials });

    assert_eq!(engine.explained(&proposed[1]).matches("could not measure").count(), 0);
    assert_eq!(keys(&engine.request(&worker).unwrap()), proposed[..1]);
}

#[test]
fn a_trial_that_another_worker_still_measures_has_not_failed() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let proposed = engine.propose(&experiment, 1);
    let hosts = ["a", "b", "c"];
    for (number, host) in hosts.iter().enumerate() {
        let worker = engine.join_on(&format!("w{number}"), host);
        let shard = engine.request(&worker).unwrap();
        if number == 2 {
            let second = engine.rejoin("elsewhere", &proposed).unwrap();
            assert_eq!(second.trials[0].0, proposed[0]);
        }
        engine.give_back(&worker, &shard, ObstacleKind::Device);
    }

    assert_eq!(engine.failed(&proposed[0]), None);
    assert_eq!(engine.commit(&WorkerId("elsewhere".into()), &[(proposed[0], evaluated(90))]), (1, 0, 0));
}
