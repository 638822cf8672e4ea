mod artifacts;
mod commits;
mod givebacks;
mod losses;
mod reattach;
mod scheduling;
mod sharding;
mod simulation;

use std::collections::BTreeMap;

pub(crate) use scheduling::probe;

use super::*;
use crate::bits::{BitConfig, Bits, Choice, PointIndex};
use crate::digest::Digest;
use crate::evaluation::EvaluationMode;
use crate::graph::tests::small;
use crate::plan::{DataPart, DataParts, ExperimentId, OLDEST_PLAN_FORMAT, Plan, StagePlan};
use crate::trial::{
    Candidates, EvaluateContext, Evaluation, Guard, ImageRange, Numerics, Outcome, Provenance, TrialKey,
    TrialResult, TrialSpec, Work,
};

pub(crate) fn plan(name: &str) -> Plan {
    let part = |text: &str, images| DataPart { digest: Digest::of(text.as_bytes()), images };
    let bits = |widths: &[u8]| widths.iter().map(|width| Bits::new(*width).unwrap()).collect();
    let selection = part("s", 100);
    let whole = ImageRange { start: 0, len: selection.images };
    Plan {
        format: OLDEST_PLAN_FORMAT,
        name: name.to_owned(),
        numerics: Numerics::Float,
        model: Digest::of(b"model"),
        graph: small(),
        points: small().points().unwrap(),
        data: DataParts { calibration: part("c", 10), selection, report: part("r", 50), training: None },
        transforms: Vec::new(),
        guard: Guard { data: selection.digest, images: whole, drop_max_ppm: 0 },
        candidates: Candidates::with_default_rules(bits(&[2, 4]), bits(&[4]), Bits::new(8).unwrap()),
        evaluation: EvaluationMode::default(),
        requirements: Vec::new(),
        stages: vec![StagePlan::singles((0..5).map(PointIndex).collect())],
    }
}

pub(crate) fn evaluated(correct: u64) -> Outcome {
    let sums = Evaluation { n: 100, correct, loss_sum: 10.0, ..Evaluation::default() };
    Outcome { result: TrialResult::Evaluated(sums), provenance: provenance("cpu"), work: Work::default() }
}

fn provenance(device: &str) -> Provenance {
    Provenance { engine: "bitloop".into(), device: device.into(), kernels: "f32".into() }
}

/// Drives the state as a coordinator would, and checks the invariants after every input.
pub(crate) struct Engine {
    pub(crate) state: State,
    pub(crate) facts: Vec<Fact>,
    pub(crate) now: UnixMillis,
    /// The openings when a worker was given nothing.
    refused: BTreeMap<WorkerId, u64>,
}

impl Engine {
    pub(crate) fn new() -> Self {
        let (state, facts, refused) = (State::default(), Vec::new(), BTreeMap::new());
        Self { state, facts, now: UnixMillis(1_000), refused }
    }

    pub(crate) fn feed(&mut self, input: Input) -> Result<Reply, Rejection> {
        let decision = decide(&self.state, &input, self.now)?;
        self.check_openings(&input, &decision);
        for event in &decision.events {
            self.state.apply(event);
            if let Event::Fact(fact) = event {
                self.facts.push(fact.clone());
            }
        }
        self.state.check().unwrap_or_else(|breach| panic!("{breach} after {input:?}"));
        Ok(decision.reply)
    }

    /// Whoever was given nothing is given nothing out of the queue as long as nothing opens.
    fn check_openings(&mut self, input: &Input, decision: &Decision) {
        let openings = self.state.dispatch.openings();
        match input {
            Input::Request { worker } => {
                let is_of_the_queue = decision.events.iter().any(|event| {
                    matches!(event, Event::Change(Change::LeaseGranted { terms, .. }) if !terms.second)
                });
                let refused = self.refused.insert(worker.clone(), openings);
                let is_spare = self.state.has_spare_trials(self.now);
                assert!(
                    !is_of_the_queue || refused != Some(openings) || is_spare,
                    "{worker:?} was not asked again in vain"
                );
                if decision.reply != Reply::Shard(None) {
                    self.refused.remove(worker);
                }
            }
            // After a restart it has another number.
            Input::Register { info, .. } => drop(self.refused.remove(&info.id)),
            Input::Submit { .. }
            | Input::Act { .. }
            | Input::Advance { .. }
            | Input::Leave { .. }
            | Input::Heartbeat { .. }
            | Input::Commit { .. }
            | Input::Release { .. }
            | Input::Inspect { .. }
            | Input::Missed { .. }
            | Input::Tick { .. } => {}
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now.after(millis);
        self.feed(Input::Tick { stalled_ms: 0 }).unwrap();
    }

    fn submit(&mut self, name: &str) -> ExperimentId {
        let plan = Box::new(plan(name));
        match self.feed(Input::Submit { plan, sources: BTreeMap::new(), priority: 0 }).unwrap() {
            Reply::Submitted { experiment, .. } => experiment,
            other => panic!("{other:?}"),
        }
    }

    /// Proposes `count` evaluations for the first stage.
    fn propose(&mut self, experiment: &ExperimentId, count: u32) -> Vec<TrialKey> {
        let (context, trials) = trials(count);
        self.propose_batch(experiment, 0, Batch { context: Some(context), trials, ..Batch::default() })
    }

    /// Proposes what asks for no context.
    fn propose_alone(&mut self, experiment: &ExperimentId, trials: Vec<TrialSpec>) -> Vec<TrialKey> {
        self.propose_batch(experiment, 0, Batch { trials, ..Batch::default() })
    }

    fn propose_batch(&mut self, experiment: &ExperimentId, stage: u32, batch: Batch) -> Vec<TrialKey> {
        let keys = batch.trials.iter().map(TrialSpec::key).collect();
        let (experiment, proposal) = (experiment.clone(), Proposal::Trials(batch));
        self.feed(Input::Advance { experiment, stage, proposal }).unwrap();
        keys
    }

    fn join(&mut self, worker: &str) -> WorkerId {
        self.rejoin(worker, &[]);
        WorkerId(worker.to_owned())
    }

    fn rejoin(&mut self, worker: &str, held: &[TrialKey]) -> Option<Shard> {
        let id = WorkerId(worker.to_owned());
        let info = WorkerInfo { id, host: "host".into(), threads: 1, ..WorkerInfo::default() };
        match self.feed(Input::Register { info, held: held.to_vec() }).unwrap() {
            Reply::Registered { adopted } => adopted,
            other => panic!("{other:?}"),
        }
    }

    fn request(&mut self, worker: &WorkerId) -> Option<Shard> {
        match self.feed(Input::Request { worker: worker.clone() }).unwrap() {
            Reply::Shard(shard) => shard,
            other => panic!("{other:?}"),
        }
    }

    fn beat(&mut self, worker: &WorkerId, shard: &Shard) -> bool {
        let running: Vec<TrialKey> = shard.trials.iter().take(1).map(|(key, _)| *key).collect();
        self.beat_while(worker, shard, &running)
    }

    fn beat_while(&mut self, worker: &WorkerId, shard: &Shard, running: &[TrialKey]) -> bool {
        let (worker, lease) = (worker.clone(), Some(shard.lease));
        let running = running.to_vec();
        match self.feed(Input::Heartbeat { worker, lease, running }).unwrap() {
            Reply::Heartbeat { lease_valid, .. } => lease_valid,
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, worker: &WorkerId, reports: &[(TrialKey, Outcome)]) -> (u32, u32, u32) {
        let reports =
            reports.iter().map(|(key, outcome)| Report { key: *key, outcome: outcome.clone() }).collect();
        match self.feed(Input::Commit { worker: worker.clone(), reports, trial_ms: 1.0 }).unwrap() {
            Reply::Committed { accepted, duplicates, conflicts } => (accepted, duplicates, conflicts),
            other => panic!("{other:?}"),
        }
    }

    fn explained(&self, key: &TrialKey) -> String {
        self.state.explain_trial(key, self.now).unwrap().reasons.join("\n")
    }

    /// Looks for trials that wait elsewhere one after another.
    fn explained_experiment(&self, experiment: &ExperimentId) -> Explanation {
        let mut elsewhere = Elsewhere::default();
        while !elsewhere.is_done() {
            self.state.look_elsewhere(experiment, &mut elsewhere, 1);
        }
        self.state.explain_experiment(experiment, (&elsewhere, self.now)).unwrap()
    }

    fn replayed(&self) -> State {
        State::replayed(self.facts.iter().cloned(), |_, _| {})
    }
}

pub(crate) fn trials(count: u32) -> (EvaluateContext, Vec<TrialSpec>) {
    let context = plan("any").context(Digest::of(b"prepared"));
    let digest = context.digest();
    let trial = |point| TrialSpec::Evaluate {
        context: digest,
        config: BitConfig::against(context.baseline, [(PointIndex(point), Choice::Float)]),
        part: context.whole(),
    };
    let trials = (0..count).map(trial).collect();
    (context, trials)
}

#[test]
fn a_trial_goes_from_queue_to_lease_to_ledger() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);
    let worker = engine.join("w1");

    let shard = engine.request(&worker).unwrap();
    assert_eq!(shard.trials[0].0, keys[0]);
    assert_eq!(engine.request(&worker), None);
    assert_eq!(engine.commit(&worker, &[(keys[0], evaluated(90))]), (1, 0, 0));

    assert_eq!(engine.state.ledger.outcome(&keys[0]), Some(&evaluated(90)));
    assert_eq!(engine.state.ledger.experiment(&experiment).unwrap().settled(), 1);
    assert_eq!(engine.state.dispatch.leases().len(), 0);
}

#[test]
fn a_silent_worker_loses_its_trials_to_another_within_two_lease_terms() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);
    let dead = engine.join("dead");
    engine.request(&dead).unwrap();

    engine.wait(LEASE_TERM_MS + 1);

    let alive = engine.join("alive");
    assert_eq!(engine.request(&alive).unwrap().trials[0].0, keys[0]);
}

#[test]
fn a_heartbeat_keeps_the_lease() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 1);
    let worker = engine.join("w1");
    let shard = engine.request(&worker).unwrap();

    for _ in 0..10 {
        engine.wait(LEASE_TERM_MS / 2);
        assert!(engine.beat(&worker, &shard));
    }

    assert_eq!(engine.state.dispatch.waiting(), 0);
}

#[test]
fn nobody_is_late_when_the_coordinator_itself_was_held_up() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 1);
    let worker = engine.join("w1");
    engine.request(&worker).unwrap();

    engine.now = engine.now.after(10 * LEASE_TERM_MS);
    engine.feed(Input::Tick { stalled_ms: 10 * LEASE_TERM_MS }).unwrap();
    engine.wait(LEASE_TERM_MS / 2);

    assert_eq!(engine.state.dispatch.leases().len(), 1);
}

#[test]
fn the_time_that_the_coordinator_was_held_up_makes_no_lease_late_and_none_hung() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 2);
    let (worker, idle) = (engine.join("w1"), engine.join("idle"));
    let first = engine.request(&worker).unwrap();
    // From now on it is known how long trials take.
    engine.commit(&worker, &[(first.trials[0].0, evaluated(90))]);
    let shard = engine.request(&worker).unwrap();
    assert!(engine.state.dispatch.lease(shard.lease).unwrap().predicted_ms.is_some());
    engine.beat(&worker, &shard);

    for stalled_ms in [LEASE_TERM_MS, 48 * 3_600_000] {
        engine.now = engine.now.after(stalled_ms);
        engine.feed(Input::Tick { stalled_ms }).unwrap();
        engine.wait(LEASE_TERM_MS / 20);

        assert_eq!(engine.request(&idle), None, "nobody is late");
        assert_eq!(engine.state.dispatch.losses(&keys[1]), 0);
        assert!(engine.beat(&worker, &shard));
    }
}

#[test]
fn a_late_but_correct_outcome_is_welcome_and_withdraws_the_trial_from_its_new_holder() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);
    let slow = engine.join("slow");
    engine.request(&slow).unwrap();
    engine.wait(LEASE_TERM_MS + 1);
    let other = engine.join("other");
    let shard = engine.request(&other).unwrap();

    assert_eq!(engine.commit(&slow, &[(keys[0], evaluated(90))]), (1, 0, 0));

    assert!(!engine.beat(&other, &shard));
    assert_eq!(engine.commit(&other, &[(keys[0], evaluated(90))]), (0, 1, 0));
}

#[test]
fn a_stale_lease_changes_nothing() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 1);
    let (first, second) = (engine.join("first"), engine.join("second"));
    let stale = engine.request(&first).unwrap().lease;
    engine
        .feed(Input::Release { worker: first.clone(), lease: stale, trials: None, obstacle: None })
        .unwrap();
    engine.request(&second).unwrap();
    let before = engine.state.clone();

    engine.feed(Input::Release { worker: first, lease: stale, trials: None, obstacle: None }).unwrap();

    assert_eq!(engine.state, before);
}

#[test]
fn the_first_of_two_different_outcomes_stays_and_the_other_is_a_conflict() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);
    let worker = engine.join("w1");

    assert_eq!(engine.commit(&worker, &[(keys[0], evaluated(90)), (keys[0], evaluated(90))]), (1, 1, 0));
    assert_eq!(engine.commit(&worker, &[(keys[0], evaluated(80))]), (0, 0, 1));
    assert_eq!(engine.commit(&worker, &[(keys[0], evaluated(80))]), (0, 0, 1));

    assert_eq!(engine.state.ledger.outcome(&keys[0]), Some(&evaluated(90)));
    assert_eq!(engine.state.ledger.conflicts(), 1);
}

#[test]
fn rounding_on_another_class_of_device_is_no_conflict() {
    let rounded = Evaluation { n: 100, correct: 90, loss_sum: 10.001, ..Evaluation::default() };
    let elsewhere =
        Outcome { result: TrialResult::Evaluated(rounded), provenance: provenance("gpu"), ..evaluated(90) };
    let here = Outcome { provenance: provenance("cpu"), ..elsewhere.clone() };

    let tie = Evaluation { n: 100, correct: 91, loss_sum: 10.001, ..Evaluation::default() };
    let one_image_off = Outcome { result: TrialResult::Evaluated(tie), ..elsewhere.clone() };
    let far = Evaluation { n: 100, correct: 92, loss_sum: 10.001, ..Evaluation::default() };
    let two_images_off = Outcome { result: TrialResult::Evaluated(far), ..elsewhere.clone() };

    assert!(evaluated(90).agrees_with(&elsewhere, Numerics::Float));
    assert!(evaluated(90).agrees_with(&one_image_off, Numerics::Float));
    assert!(!evaluated(90).agrees_with(&two_images_off, Numerics::Float));
    assert!(!evaluated(90).agrees_with(&here, Numerics::Float));
    assert!(
        !evaluated(90).agrees_with(&elsewhere, Numerics::Exact),
        "exact arithmetic is the same everywhere"
    );
}

#[test]
fn an_unknown_trial_is_refused_as_a_whole_commit() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);
    let worker = engine.join("w1");
    let unknown = TrialKey(Digest::of(b"unknown"));
    let reports =
        vec![Report { key: keys[0], outcome: evaluated(1) }, Report { key: unknown, outcome: evaluated(1) }];

    let answer = engine.feed(Input::Commit { worker, reports, trial_ms: 1.0 });

    assert_eq!(answer, Err(Rejection::UnknownTrial(unknown)));
    assert_eq!(engine.state.ledger.outcome(&keys[0]), None);
}

#[test]
fn pause_withdraws_leases_and_resume_queues_what_is_left() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 3);
    let worker = engine.join("w1");
    let shard = engine.request(&worker).unwrap();

    engine.feed(Input::Act { experiment: experiment.clone(), action: Action::Pause }).unwrap();
    assert!(!engine.beat(&worker, &shard));
    assert_eq!(engine.request(&worker), None);
    assert_eq!(engine.commit(&worker, &[(keys[0], evaluated(90))]), (1, 0, 0));
    engine.feed(Input::Act { experiment: experiment.clone(), action: Action::Resume }).unwrap();

    assert_eq!(engine.state.dispatch.waiting(), 2);
}

#[test]
fn what_two_experiments_want_is_measured_once_and_goes_on_while_one_is_paused() {
    let mut engine = Engine::new();
    let (a, b) = (engine.submit("a"), engine.submit("b"));
    let keys = engine.propose(&a, 2);
    engine.propose(&b, 2);
    engine.feed(Input::Act { experiment: a.clone(), action: Action::Pause }).unwrap();
    assert_eq!(engine.state.dispatch.waiting(), 2);
    let worker = engine.join("w1");
    engine.commit(&worker, &[(keys[0], evaluated(1)), (keys[1], evaluated(1))]);

    let c = engine.submit("c");
    engine.propose(&c, 2);

    let of = |id| engine.state.ledger.experiment(id).unwrap();
    assert_eq!((of(&a).settled(), of(&b).settled(), of(&c).settled()), (2, 2, 2));
    assert_eq!((of(&a).reused, of(&b).reused, of(&c).reused), (0, 0, 2));
    assert_eq!(engine.state.dispatch.waiting(), 0);
}

#[test]
fn the_same_plan_is_one_experiment_and_an_over_one_cannot_be_paused() {
    let mut engine = Engine::new();
    let id = engine.submit("a");
    assert_eq!(engine.submit("a"), id);
    engine.feed(Input::Act { experiment: id.clone(), action: Action::Cancel }).unwrap();

    let answer = engine.feed(Input::Act { experiment: id.clone(), action: Action::Pause });

    let status = "cancelled";
    assert_eq!(answer, Err(Rejection::WrongStatus { experiment: id.clone(), status, wanted: "paused" }));
    assert_eq!(engine.submit("a"), id);
    assert_eq!(engine.state.ledger.experiment(&id).unwrap().status, Status::Active);
    assert_eq!(engine.state.ledger.experiments().len(), 1);
}

#[test]
fn a_worker_re_attaches_what_it_still_holds_after_a_restart() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 2);
    engine.state = engine.replayed();

    let adopted = engine.rejoin("w1", &keys[..1]).unwrap();

    assert_eq!(adopted.trials[0].0, keys[0]);
    assert_eq!(engine.state.dispatch.queue(&engine.state.ledger).collect::<Vec<_>>(), [&keys[1]]);
    let other = engine.join("w2");
    engine.request(&other).unwrap();
    assert_eq!(engine.rejoin("w3", &keys).unwrap().trials.len(), 2, "beside one other");
    assert_eq!(engine.rejoin("w4", &keys), None);
}

#[test]
fn shards_grow_with_speed_and_shrink_at_the_tail() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 100);
    let (fast, _other) = (engine.join("fast"), engine.join("other"));

    let first = engine.request(&fast).unwrap();
    assert_eq!(first.trials.len(), 1);
    engine.commit(&fast, &[(first.trials[0].0, evaluated(1))]);

    assert_eq!(engine.request(&fast).unwrap().trials.len(), 25);
}

#[test]
fn leaving_in_good_order_frees_trials_at_once_and_holds_nothing_against_them() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);
    let worker = engine.join("w1");
    let shard = engine.request(&worker).unwrap();
    engine.beat(&worker, &shard);

    engine.feed(Input::Leave { worker }).unwrap();

    assert_eq!(engine.state.dispatch.waiting(), 1);
    assert_eq!(engine.state.dispatch.losses(&keys[0]), 0);
}
