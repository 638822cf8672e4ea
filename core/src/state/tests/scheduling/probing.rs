//! Why trials that are measured on a device wait, and that they are counted apart.

use super::*;
use crate::device::{ProbeNeed, ProbeOffer};
use crate::trial::ProbeTarget;

/// A worker on a board with a probe.
fn with_probe(info: WorkerInfo, board: Option<&str>, (class, device): (&str, Option<&str>)) -> WorkerInfo {
    let offer = ProbeOffer {
        name: "snpe".into(),
        class: class.into(),
        device: device.map(str::to_owned),
        runtime: "1".into(),
    };
    let labels = board.map(|board| ("board".to_owned(), board.to_owned()));
    WorkerInfo { probes: vec![offer], labels: labels.into_iter().collect(), ..info }
}

fn board(class: Option<&str>) -> ProbeTarget {
    ProbeTarget {
        probe: "snpe".into(),
        on: BTreeMap::from([("board".to_owned(), "pi5".to_owned())]),
        class: class.map(str::to_owned),
    }
}

impl Engine {
    /// A worker takes the only trial that it may have, and cannot measure it.
    fn give_back_one(&mut self, worker: &WorkerId, key: &TrialKey) {
        let shard = self.request(worker).unwrap();
        assert_eq!(shard.trials[0].0, *key);
        let obstacle =
            Obstacle { kind: ObstacleKind::Device, reason: "cannot".to_owned(), trials: vec![*key] };
        let (worker, lease) = (worker.clone(), shard.lease);
        self.feed(Input::Release { worker, lease, trials: None, obstacle: Some(obstacle) }).unwrap();
    }

    /// Time passes, and workers are heard.
    fn rest(&mut self, workers: &[&WorkerId], millis: u64) {
        for _ in 0..millis / 5_000 {
            self.now = self.now.after(5_000);
            for worker in workers.iter().copied().cloned() {
                self.feed(Input::Heartbeat { worker, lease: None, running: Vec::new() }).unwrap();
            }
        }
    }
}

const NOBODY: &str = "no connected worker with board=pi5 offers the probe `snpe`; one that is started there with `--probe snpe \
                      --label board=pi5` does";

#[test]
fn that_nobody_offers_a_probe_is_said_with_what_would() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose_probes(&experiment, &board(None), 1);
    assert!(engine.explained(&keys[0]).contains(NOBODY), "{}", engine.explained(&keys[0]));

    engine.join_as(cpu("plain"));
    engine.join_as(with_probe(cpu_of("n", "elsewhere"), Some("orin"), ("Orin", None)));

    let said = engine.explained(&keys[0]);
    assert!(said.contains(NOBODY), "{said}");
    assert!(said.contains("`plain`: requires probe snpe, has none of that name"), "{said}");
    assert!(said.contains("`elsewhere`: requires label board=pi5, has board=orin"), "{said}");
    let of_experiment = engine.explained_experiment(&experiment).reasons.join("\n");
    assert!(of_experiment.contains(NOBODY), "{of_experiment}");

    engine.join_as(with_probe(cpu_of("o", "there"), Some("pi5"), ("Cortex-A76", None)));

    let said = engine.explained(&keys[0]);
    assert!(!said.contains("no connected worker"), "{said}");
    assert!(said.contains("`there`: takes trials of it next"), "{said}");
}

#[test]
fn that_a_device_is_of_another_class_than_its_stage_began_on_is_said() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose_probes(&experiment, &board(Some("Cortex-A76")), 1);
    engine.join_as(with_probe(cpu("w"), Some("pi5"), ("Cortex-A72", None)));

    let said = engine.explained(&keys[0]);

    let mixed = "its stage measures on `Cortex-A76`, and mixes it with no other class of device; workers with board=pi5 offer the \
                 probe `snpe` on `Cortex-A72`";
    assert!(said.contains(mixed), "{said}");
    assert!(said.contains("`w`: requires probe snpe on `Cortex-A76`, has it on `Cortex-A72`"), "{said}");
    assert!(!said.contains("no connected worker"), "{said}");
}

#[test]
fn that_a_device_is_held_by_another_trial_is_said_with_who_holds_it() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose_probes(&experiment, &board(None), 2);
    let of = |machine: &str, id: &str| {
        with_probe(cpu_of(machine, id), Some("pi5"), ("Cortex-A76", Some("serial-1")))
    };
    let (first, second) = (engine.join_as(of("m", "first")), engine.join_as(of("n", "second")));
    assert_eq!(engine.request(&first).unwrap().trials[0].0, keys[0]);
    assert_eq!(engine.request(&second), None);
    engine.join_as(with_probe(cpu("beside"), Some("pi5"), ("Cortex-A76", None)));

    let said = engine.explained(&keys[1]);

    assert!(
        said.contains("`second`: `first` measures on its probe's device `serial-1` at the moment"),
        "{said}"
    );
    assert!(said.contains("`beside`: its device is `first`'s alone for a while"), "{said}");
    assert!(said.contains("`first`: is busy with 1 other trials"), "{said}");
}

/// A search that is limited on devices evaluates and measures in one stage.
#[test]
fn evaluations_and_measurements_of_one_stage_are_told_apart() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose_points(&experiment, 0..3);
    engine.propose_probes(&experiment, &board(None), 2);
    engine.join_as(cpu("w"));

    let said = engine.explained_experiment(&experiment).reasons;
    let backlog = engine.state.backlog();

    let is_said = |start: &str, asked: &str| {
        said.iter().any(|reason| reason.starts_with(start) && reason.ends_with(asked))
    };
    assert!(is_said("3 trials of stage `sensitivity` of ", "wait and ask for: any worker"), "{said:?}");
    let asked = "wait and ask for: probe snpe, label board=pi5, the device to itself";
    assert!(is_said("2 trials of stage `sensitivity` of ", asked), "{said:?}");
    let counted: Vec<_> =
        backlog.iter().map(|class| (class.requirements.probe.clone(), class.queued, class.workers)).collect();
    let need = ProbeNeed { name: "snpe".to_owned(), class: None };
    assert_eq!(counted, [(None, 3, 1), (Some(need), 2, 0)]);
}

/// Who can measure a stage's evaluations says nothing of its measurements of a device.
#[test]
fn a_device_has_its_probe_trial_again_as_no_other_worker_has_the_probe() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let evaluations = engine.propose_points(&experiment, 0..1);
    let probing = engine.join_as(with_probe(cpu_of("n", "probing"), Some("pi5"), ("Cortex-A76", None)));
    let plain = engine.join_as(cpu_of("o", "plain"));
    engine.give_back_one(&probing, &evaluations[0]);
    engine.rest(&[&probing, &plain], 5_000);
    let probes = engine.propose_probes(&experiment, &board(None), 1);
    engine.give_back_one(&probing, &probes[0]);

    engine.rest(&[&probing, &plain], 300_000);

    let of_evaluation = engine.explained(&evaluations[0]);
    let barred = "`probing`: its device could not measure it, and is not asked again now";
    assert!(of_evaluation.contains(barred), "{of_evaluation}");
    assert_eq!(engine.request(&probing).unwrap().trials[0].0, probes[0]);
}
