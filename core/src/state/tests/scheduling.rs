//! Who gets which trials: requirements, devices, priorities, fair shares, late and unbegun trials.

mod boards;
mod explaining;
mod probing;

use super::*;
use crate::device::{Device, DeviceKind, Requirements, Share};
pub(crate) use boards::probe;

const GIB: u64 = 1 << 30;

fn cpu(id: &str) -> WorkerInfo {
    cpu_of("m", id)
}

fn cpu_of(machine: &str, id: &str) -> WorkerInfo {
    let device = Device { id: "cpu".into(), class: "cpu".into(), ..Device::default() };
    let (host, machine) = (format!("host-of-{id}"), machine.into());
    WorkerInfo { id: WorkerId(id.into()), host, machine, device, threads: 1, ..WorkerInfo::default() }
}

fn gpu(id: &str, gib: u64) -> WorkerInfo {
    let (kind, memory_bytes) = (DeviceKind::Cuda, gib * GIB);
    let device = Device { kind, id: "gpu-1".into(), class: "gpu".into(), memory_bytes, ..Device::default() };
    WorkerInfo { device, float_only: true, share: Share::WHOLE, ..cpu(id) }
}

/// A GPU beside that of [`gpu`], in the same machine.
fn other_gpu(id: &str, gib: u64) -> WorkerInfo {
    let worker = gpu(id, gib);
    WorkerInfo { device: Device { id: "gpu-2".into(), ..worker.device.clone() }, ..worker }
}

fn on_gpu(gib: u64) -> Requirements {
    let device = Some(DeviceKind::Cuda);
    Requirements { device, gpu_memory_bytes: Some(gib * GIB), ..Requirements::NONE }
}

fn exclusive() -> Requirements {
    Requirements { exclusive: true, ..Requirements::NONE }
}

impl Engine {
    fn join_as(&mut self, info: WorkerInfo) -> WorkerId {
        let id = info.id.clone();
        self.feed(Input::Register { info, held: Vec::new() }).unwrap();
        id
    }

    fn submit_with(&mut self, name: &str, priority: i32, requirements: Requirements) -> ExperimentId {
        let plan = Box::new(Plan { requirements: vec![requirements], ..plan(name) });
        match self.feed(Input::Submit { plan, sources: BTreeMap::new(), priority }).unwrap() {
            Reply::Submitted { experiment, .. } => experiment,
            other => panic!("{other:?}"),
        }
    }

    /// Proposes evaluations of the points `range`; those of other ranges are other trials.
    pub(super) fn propose_points(
        &mut self,
        experiment: &ExperimentId,
        range: std::ops::Range<u32>,
    ) -> Vec<TrialKey> {
        let (context, _) = trials(0);
        let (_, all) = trials(range.end);
        let trials = all[range.start as usize..].to_vec();
        self.propose_batch(experiment, 0, Batch { context: Some(context), trials, ..Batch::default() })
    }

    fn commit_after(&mut self, worker: &WorkerId, shard: &Shard, trial_ms: f64) {
        let outcome = evaluated(90);
        let reports =
            shard.trials.iter().map(|(key, _)| Report { key: *key, outcome: outcome.clone() }).collect();
        self.feed(Input::Commit { worker: worker.clone(), reports, trial_ms }).unwrap();
    }

    fn has_spare_trials(&self) -> bool {
        self.state.has_spare_trials(self.now)
    }

    fn recalled(&mut self, worker: &WorkerId, shard: &Shard, running: &[TrialKey]) -> Vec<TrialKey> {
        let (worker, lease, running) = (worker.clone(), Some(shard.lease), running.to_vec());
        match self.feed(Input::Heartbeat { worker, lease, running }).unwrap() {
            Reply::Heartbeat { recalled, .. } => recalled,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn trials_that_require_a_gpu_wait_with_a_reason_until_a_large_enough_one_comes() {
    let mut engine = Engine::new();
    let experiment = engine.submit_with("a", 0, on_gpu(8));
    let keys = engine.propose_points(&experiment, 0..1);
    let processor = engine.join_as(cpu("p"));
    let small = engine.join_as(gpu("small", 4));
    assert_eq!(engine.request(&processor), None);
    assert_eq!(engine.request(&small), None);

    let reasons = engine.explained(&keys[0]);
    assert!(reasons.contains("`p`: requires device cuda, has cpu"), "{reasons}");
    assert!(reasons.contains("`small`: requires 8 GiB of GPU memory, has 4 GiB"), "{reasons}");

    let large = engine.join_as(other_gpu("large", 16));
    assert!(engine.explained(&keys[0]).contains("`large`: takes trials of it next"));
    assert_eq!(engine.request(&large).unwrap().trials[0].0, keys[0]);
}

#[test]
fn nothing_opens_for_who_got_nothing_by_what_others_do_with_their_own_trials() {
    let mut engine = Engine::new();
    let experiment = engine.submit_with("a", 0, on_gpu(8));
    engine.propose_points(&experiment, 0..3);
    let (processor, large) = (engine.join_as(cpu("p")), engine.join_as(gpu("g", 16)));
    let shard = engine.request(&large).unwrap();
    assert_eq!(engine.request(&processor), None);
    let before = engine.state.dispatch.openings();

    assert!(engine.beat(&large, &shard) && !engine.has_spare_trials());
    engine.wait(1_000);
    assert_eq!(engine.request(&processor), None);
    assert_eq!(engine.state.dispatch.openings(), before, "nobody need ask for the processor meanwhile");

    engine.commit_after(&large, &shard, 500.0);
    assert!(engine.state.dispatch.openings() > before, "a device is free");
    let before = engine.state.dispatch.openings();
    engine.submit_with("a", 1, on_gpu(8));
    assert!(engine.state.dispatch.openings() > before, "priorities are others");
}

#[test]
fn the_experiment_with_the_higher_priority_goes_first_and_a_new_submission_changes_it() {
    let mut engine = Engine::new();
    let low = engine.submit_with("low", 0, Requirements::NONE);
    let of_low = engine.propose_points(&low, 0..2);
    let high = engine.submit_with("high", 1, Requirements::NONE);
    let of_high = engine.propose_points(&high, 2..4);
    let worker = engine.join_as(cpu("w"));
    assert_eq!(engine.request(&worker).unwrap().trials[0].0, of_high[0]);
    assert!(engine.explained(&of_low[0]).contains("has a higher priority"));

    engine.submit_with("low", 2, Requirements::NONE);

    let other = engine.join_as(cpu("v"));
    assert_eq!(engine.request(&other).unwrap().trials[0].0, of_low[0]);
    assert_eq!(engine.replayed().ledger, engine.state.ledger);
}

#[test]
fn a_trial_of_two_experiments_is_measured_for_the_one_with_the_higher_priority() {
    let mut engine = Engine::new();
    let low = engine.submit_with("low", 0, on_gpu(8));
    let keys = engine.propose_points(&low, 0..1);
    let worker = engine.join_as(cpu("w"));
    assert_eq!(engine.request(&worker), None);

    let high = engine.submit_with("high", 1, Requirements::NONE);
    engine.propose_points(&high, 0..1);

    assert_eq!(engine.request(&worker).unwrap().trials[0].0, keys[0]);
}

#[test]
fn experiments_of_equal_priority_get_equal_parts_of_a_workers_time() {
    let mut engine = Engine::new();
    let (a, b) = (engine.submit("a"), engine.submit("b"));
    let of_a = engine.propose_points(&a, 0..60);
    engine.propose_points(&b, 60..120);
    let worker = engine.join_as(cpu("w"));

    let mut for_a = 0_u32;
    for _ in 0..60 {
        let shard = engine.request(&worker).unwrap();
        for_a += u32::from(of_a.contains(&shard.trials[0].0));
        engine.commit_after(&worker, &shard, 2_000.0);
    }

    assert!((24..=36).contains(&for_a), "{for_a} of 60 shards");
}

#[test]
fn an_experiment_is_charged_once_for_trials_that_come_back_or_are_gone_on_with() {
    for disturb in [reconnected, given_back] {
        let mut engine = Engine::new();
        let (a, b) = (engine.submit("a"), engine.submit("b"));
        let of_a = engine.propose_points(&a, 0..60);
        engine.propose_points(&b, 60..120);
        let worker = engine.join_as(cpu("w"));

        let mut for_a = 0_u32;
        for _ in 0..60 {
            let mut shard = engine.request(&worker).unwrap();
            if of_a.contains(&shard.trials[0].0) {
                for_a += 1;
                shard = (0..5).fold(shard, |shard, _| disturb(&mut engine, &worker, &shard));
            }
            engine.commit_after(&worker, &shard, 2_000.0);
        }

        assert!((24..=36).contains(&for_a), "{for_a} of 60 shards");
    }
}

fn reconnected(engine: &mut Engine, worker: &WorkerId, shard: &Shard) -> Shard {
    let held = shard.trials.iter().map(|(key, _)| *key).collect();
    match engine.feed(Input::Register { info: cpu(&worker.0), held }).unwrap() {
        Reply::Registered { adopted } => adopted.expect("it goes on"),
        other => panic!("{other:?}"),
    }
}

fn given_back(engine: &mut Engine, worker: &WorkerId, shard: &Shard) -> Shard {
    let (worker, lease) = (worker.clone(), shard.lease);
    let trials = Some(shard.trials.iter().map(|(key, _)| *key).collect());
    engine.feed(Input::Release { worker: worker.clone(), lease, trials, obstacle: None }).unwrap();
    engine.request(&worker).unwrap()
}

#[test]
fn an_exclusive_trial_waits_for_its_device_and_then_has_it_alone() {
    let mut engine = Engine::new();
    let shared = engine.submit("shared");
    engine.propose_points(&shared, 0..8);
    let (a, b) = (engine.join_as(cpu("a")), engine.join_as(cpu("b")));
    let first = engine.request(&a).unwrap();
    let probe = engine.submit_with("probe", 0, exclusive());
    let keys = engine.propose_points(&probe, 8..9);

    // `a` still measures: the device takes nothing new until the exclusive trial has had it.
    assert_eq!(engine.request(&b), None);
    assert!(engine.explained(&keys[0]).contains("one worker still measures on it"));
    engine.commit_after(&a, &first, 2_000.0);
    let alone = engine.request(&b).unwrap();
    assert_eq!(alone.trials[0].0, keys[0]);
    assert_eq!(engine.request(&a), None);
    engine.commit_after(&b, &alone, 2_000.0);

    assert!(engine.request(&a).is_some());
    assert!(engine.request(&b).is_some());
}

/// What `second` gets while `first` holds an exclusive trial.
fn beside_an_exclusive_one(first: WorkerInfo, second: WorkerInfo) -> Option<Shard> {
    let mut engine = Engine::new();
    let (probe, shared) = (engine.submit_with("probe", 1, exclusive()), engine.submit("shared"));
    let keys = engine.propose_points(&probe, 0..1);
    engine.propose_points(&shared, 1..3);
    let (first, second) = (engine.join_as(first), engine.join_as(second));
    assert_eq!(engine.request(&first).unwrap().trials[0].0, keys[0]);
    engine.request(&second)
}

#[test]
fn a_processor_is_known_by_its_machine_and_a_gpu_by_its_own_name_whatever_the_host_is_called() {
    let called = |host: &str, worker: WorkerInfo| WorkerInfo { host: host.into(), ..worker };
    let board = |machine: &str| called("board", cpu_of(machine, machine));
    let pod = |host: &str| called(host, cpu(host));

    assert_eq!(beside_an_exclusive_one(pod("a"), pod("b")), None);
    assert!(beside_an_exclusive_one(board("one"), board("two")).is_some());
    let elsewhere = |worker: WorkerInfo| WorkerInfo { machine: "another".into(), ..worker };
    assert_eq!(beside_an_exclusive_one(gpu("a", 8), elsewhere(gpu("b", 8))), None);
    assert!(beside_an_exclusive_one(gpu("a", 8), other_gpu("b", 8)).is_some());
    assert!(beside_an_exclusive_one(gpu("a", 8), cpu("b")).is_some());
}

#[test]
fn workers_share_a_gpu_as_far_as_their_parts_add_up_to_one() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose_points(&experiment, 0..9);
    let half = |id: &str| WorkerInfo { share: Share::new(5_000).unwrap(), ..gpu(id, 8) };
    let workers = ["a", "b", "c"].map(|id| engine.join_as(half(id)));

    assert!(engine.request(&workers[0]).is_some());
    assert!(engine.request(&workers[1]).is_some());
    assert_eq!(engine.request(&workers[2]), None);
    assert!(
        engine.explained(&keys[8]).contains("`c`: it needs 5000 of its device's 10000 parts, 0 are left")
    );

    engine.feed(Input::Leave { worker: workers[0].clone() }).unwrap();
    assert!(engine.request(&workers[2]).is_some());
}

#[test]
fn a_worker_whose_request_arrives_twice_takes_its_part_of_a_device_once() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose_points(&experiment, 0..9);
    let half = |id: &str| WorkerInfo { share: Share::new(5_000).unwrap(), ..gpu(id, 8) };
    let workers = ["a", "b"].map(|id| engine.join_as(half(id)));
    assert!(engine.request(&workers[0]).is_some());
    assert!(engine.request(&workers[0]).is_some());

    assert!(engine.request(&workers[1]).is_some());
}

#[test]
fn a_worker_of_a_known_class_begins_with_whole_shards() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose_points(&experiment, 0..100);
    let first = engine.join_as(cpu("a"));
    let shard = engine.request(&first).unwrap();
    assert_eq!(shard.trials.len(), 1);
    engine.commit_after(&first, &shard, 500.0);

    let second = engine.join_as(cpu("b"));
    assert_eq!(engine.request(&second).unwrap().trials.len(), 4);
    let slower = engine.join_as(WorkerInfo { threads: 9, ..cpu("c") });
    assert_eq!(engine.request(&slower).unwrap().trials.len(), 4, "nothing better is known of its class");
}

#[test]
fn at_the_tail_a_late_trial_is_measured_by_a_second_worker_and_the_first_result_wins() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose_points(&experiment, 0..2);
    let (slow, fast) = (engine.join_as(cpu("slow")), engine.join_as(cpu("fast")));
    let shard = engine.request(&fast).unwrap();
    engine.commit_after(&fast, &shard, 100.0);
    let late = engine.request(&slow).unwrap();
    assert_eq!(engine.request(&fast), None, "it is not late yet");
    assert!(!engine.has_spare_trials());

    engine.now = engine.now.after(4_001);
    assert!(engine.has_spare_trials());
    let second = engine.request(&fast).unwrap();
    assert_eq!(second.trials, late.trials);
    assert_eq!(engine.request(&fast), None, "nothing is measured by three");
    assert!(!engine.has_spare_trials());
    engine.commit_after(&fast, &second, 100.0);

    assert_eq!(engine.state.dispatch.leases().len(), 0);
    assert_eq!(engine.state.ledger.experiment(&experiment).unwrap().settled(), 2);
    let (key, _) = late.trials[0];
    assert_eq!(engine.commit(&slow, &[(key, evaluated(90))]), (0, 1, 0));
}

#[test]
fn a_late_worker_that_is_lost_leaves_its_trials_to_the_second() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose_points(&experiment, 0..2);
    let (slow, fast) = (engine.join_as(cpu("slow")), engine.join_as(cpu("fast")));
    let shard = engine.request(&fast).unwrap();
    engine.commit_after(&fast, &shard, 100.0);
    engine.request(&slow).unwrap();
    engine.now = engine.now.after(4_001);
    let second = engine.request(&fast).unwrap();

    engine.feed(Input::Leave { worker: slow }).unwrap();

    assert_eq!(engine.state.dispatch.waiting(), 0);
    assert_eq!(engine.state.dispatch.lease_of(&second.trials[0].0), Some(second.lease));
    engine.feed(Input::Leave { worker: fast }).unwrap();
    assert_eq!(engine.state.dispatch.waiting(), 1);
}

#[test]
fn an_idle_worker_gets_trials_that_another_gives_back_unbegun() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose_points(&experiment, 0..40);
    let (busy, idle) = (engine.join_as(cpu("busy")), engine.join_as(cpu("idle")));
    let shard = engine.request(&idle).unwrap();
    engine.commit_after(&idle, &shard, 100.0);
    engine.feed(Input::Leave { worker: idle.clone() }).unwrap();
    let mut shards = vec![engine.request(&busy).unwrap()];
    let shard = shards.remove(0);
    assert!(shard.trials.len() > 4);
    let running = [shard.trials[0].0];
    assert_eq!(engine.recalled(&busy, &shard, &running), []);

    // The queue is empty for a worker that takes everything that is left.
    let other = engine.join_as(cpu("other"));
    assert!(!engine.has_spare_trials(), "as far as anyone knows the shard takes no longer than it should");
    while let Some(rest) = engine.request(&other) {
        engine.commit_after(&other, &rest, 10_000.0);
    }
    assert!(!engine.has_spare_trials(), "a lease is asked once at a time");
    let recalled = engine.recalled(&busy, &shard, &running);
    assert_eq!(recalled.len(), (shard.trials.len() - 1).div_ceil(2));
    assert!(!recalled.contains(&running[0]));

    let (worker, lease) = (busy.clone(), shard.lease);
    engine.feed(Input::Release { worker, lease, trials: Some(recalled.clone()), obstacle: None }).unwrap();
    let stolen = engine.request(&other).unwrap();
    assert!(recalled.contains(&stolen.trials[0].0));
    assert!(engine.state.dispatch.lease(shard.lease).is_some(), "the rest is still the first worker's");
}

#[test]
fn a_trial_that_one_experiment_wants_on_a_gpu_is_measured_for_another_that_takes_any_worker() {
    let mut engine = Engine::new();
    let (picky, any) = (engine.submit_with("picky", 0, on_gpu(8)), engine.submit("any"));
    let keys = engine.propose_points(&picky, 0..2);
    engine.propose_points(&any, 0..2);
    let processor = engine.join_as(cpu("p"));
    assert_eq!(engine.state.dispatch.waiting(), 2, "a trial waits once, for whomever it is measured");
    assert_eq!(engine.explained_experiment(&any).standing, "waiting");
    let reasons = engine.explained(&keys[0]);
    assert!(
        reasons.contains("requires device cuda") && reasons.contains("takes trials of it next"),
        "{reasons}"
    );

    assert_eq!(engine.request(&processor).unwrap().trials[0].0, keys[0]);

    assert_eq!(engine.state.dispatch.waiting(), 1);
    let large = engine.join_as(other_gpu("large", 16));
    assert_eq!(engine.request(&large).unwrap().trials[0].0, keys[1]);
    assert_eq!(engine.state.dispatch.waiting(), 0);
}

#[test]
fn an_exclusive_experiment_takes_turns_with_its_equals() {
    let mut engine = Engine::new();
    let (probe, shared) = (engine.submit_with("probe", 0, exclusive()), engine.submit("shared"));
    let alone = engine.propose_points(&probe, 0..30);
    engine.propose_points(&shared, 30..60);
    let worker = engine.join_as(cpu("w"));

    let mut of_probe = 0_u32;
    for _ in 0..30 {
        let shard = engine.request(&worker).unwrap();
        of_probe += u32::from(alone.contains(&shard.trials[0].0));
        engine.commit_after(&worker, &shard, 2_000.0);
    }

    assert!((9..=21).contains(&of_probe), "{of_probe} of 30 shards");
}

#[test]
fn an_exclusive_trial_waits_for_the_device_that_is_free_soonest() {
    let mut engine = Engine::new();
    let shared = engine.submit("shared");
    engine.propose_points(&shared, 0..40);
    let long = engine.join_as(WorkerInfo { threads: 9, ..cpu_of("one", "long") });
    let (p, q) = (engine.join_as(cpu_of("two", "p")), engine.join_as(cpu_of("two", "q")));
    // Both classes are known: one takes an hour for what the other does in two seconds.
    for (worker, trial_ms) in [(&long, 3_600_000.0), (&p, 2_000.0)] {
        let shard = engine.request(worker).unwrap();
        engine.commit_after(worker, &shard, trial_ms);
    }
    let _busy = [&long, &q].map(|worker| engine.request(worker).unwrap());
    let of_p = engine.request(&p).unwrap();
    let probe = engine.submit_with("probe", 0, exclusive());
    let keys = engine.propose_points(&probe, 40..41);

    engine.commit_after(&p, &of_p, 2_000.0);
    assert_eq!(engine.request(&p), None, "its device is to be free soon");
    engine.commit_after(&q, &_busy[1], 2_000.0);

    assert_eq!(engine.request(&q).unwrap().trials[0].0, keys[0]);
}

#[test]
fn what_has_come_to_need_a_device_alone_is_not_measured_twice() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose_points(&experiment, 0..2);
    let (slow, fast) = (engine.join_as(cpu("slow")), engine.join_as(cpu_of("away", "fast")));
    let shard = engine.request(&fast).unwrap();
    engine.commit_after(&fast, &shard, 100.0);
    engine.request(&slow).unwrap();
    engine.feed(Input::Act { experiment: experiment.clone(), action: Action::Pause }).ok();
    engine.feed(Input::Act { experiment: experiment.clone(), action: Action::Resume }).ok();
    let slow_shard = engine.request(&slow).unwrap();
    let probe = engine.submit_with("probe", 5, exclusive());
    engine.propose_points(&probe, 0..2);
    engine.feed(Input::Act { experiment, action: Action::Pause }).unwrap();
    engine.now = engine.now.after(4_001);

    assert_eq!(engine.request(&fast), None);
    assert_eq!(engine.state.dispatch.lease_of(&slow_shard.trials[0].0), Some(slow_shard.lease));
}
