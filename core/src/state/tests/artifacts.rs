//! Outcomes that lose their artifact, and what becomes of what followed from it.

use std::collections::BTreeSet;

use super::*;
use crate::trial::Trained;

/// The digests that prepare trials give here.
const FIRST: &[u8] = b"prepared";
const AGAIN: &[u8] = b"prepared on another kind of CPU";

fn prepared(artifact: &[u8]) -> Outcome {
    let result = TrialResult::Prepared { artifact: Digest::of(artifact), steps: Vec::new() };
    Outcome { result, ..evaluated(0) }
}

fn lowered(artifact: &[u8], point: u32) -> TrialSpec {
    let context = plan("any").context(Digest::of(artifact));
    let config = BitConfig::against(context.baseline, [(PointIndex(point), Choice::Float)]);
    TrialSpec::Evaluate { context: context.digest(), config, part: context.whole() }
}

/// An engine with one worker, in which experiments have a prepare stage and a sweep.
struct Site {
    engine: Engine,
    worker: WorkerId,
    prepare: TrialKey,
}

impl Site {
    fn new() -> Self {
        let mut engine = Engine::new();
        let worker = engine.join("w1");
        let prepare = TrialSpec::Prepare(Box::new(plan("any").prepare())).key();
        Self { engine, worker, prepare }
    }

    fn submit(&mut self, name: &str) -> ExperimentId {
        let mut plan = plan(name);
        plan.stages.insert(0, StagePlan::Prepare);
        let id = plan.id();
        let input = Input::Submit { plan: Box::new(plan), sources: BTreeMap::new(), priority: 0 };
        self.engine.feed(input).unwrap();
        let prepare = TrialSpec::Prepare(Box::new(super::plan("any").prepare()));
        self.advance(&id, 0, vec![prepare]);
        id
    }

    fn advance(&mut self, id: &ExperimentId, stage: u32, trials: Vec<TrialSpec>) -> Vec<TrialKey> {
        self.engine.propose_batch(id, stage, Batch { trials, ..Batch::default() })
    }

    fn finish(&mut self, id: &ExperimentId, stage: u32) {
        let proposal = Proposal::Finished;
        self.engine.feed(Input::Advance { experiment: id.clone(), stage, proposal }).unwrap();
    }

    fn commit(&mut self, key: TrialKey, outcome: Outcome) {
        assert_eq!(self.engine.commit(&self.worker, &[(key, outcome)]), (1, 0, 0));
    }

    fn inspect(&mut self, missing: &[&[u8]]) {
        let missing: BTreeSet<Digest> = missing.iter().map(|bytes| Digest::of(bytes)).collect();
        self.engine.feed(Input::Inspect { missing }).unwrap();
    }

    /// Says that somebody misses the artifact of a trial; returns how many facts follow.
    fn miss(&mut self, key: TrialKey, artifact: &[u8]) -> usize {
        let before = self.engine.facts.len();
        let outcomes = BTreeMap::from([(key, Digest::of(artifact))]);
        self.engine.feed(Input::Missed { outcomes }).unwrap();
        self.engine.facts.len() - before
    }

    /// A sweep of three trials, one of them measured, whose prepared model has then been lost.
    fn that_lost_its_model(&mut self, name: &str) -> (ExperimentId, Vec<TrialKey>) {
        let id = self.submit(name);
        self.commit(self.prepare, prepared(FIRST));
        self.finish(&id, 0);
        let keys = self.advance(&id, 1, (0..3).map(|point| lowered(FIRST, point)).collect());
        self.commit(keys[0], evaluated(90));
        self.inspect(&[FIRST]);
        (id, keys)
    }

    fn experiment(&self, id: &ExperimentId) -> &Experiment {
        self.engine.state.ledger.experiment(id).unwrap()
    }

    /// Trials and settled ones of each stage, and whether it is finished.
    fn stages(&self, id: &ExperimentId) -> Vec<(usize, u64, bool)> {
        let stages = self.experiment(id).stages.iter();
        stages.map(|stage| (stage.trials.len(), stage.settled, stage.finished)).collect()
    }

    fn assert_replays(&self) {
        assert_eq!(self.engine.replayed().ledger, self.engine.state.ledger);
    }
}

#[test]
fn an_outcome_without_its_artifact_counts_no_more() {
    let mut site = Site::new();

    let (id, _) = site.that_lost_its_model("a");

    assert_eq!(site.engine.facts.last(), Some(&Fact::OutcomeLost { key: site.prepare }));
    assert_eq!(site.engine.state.ledger.outcome(&site.prepare), None);
    assert_eq!(site.stages(&id), [(1, 0, true), (3, 1, false)]);
    assert_eq!(site.engine.request(&site.worker.clone()).unwrap().trials[0].0, site.prepare);
    let facts = site.engine.facts.len();
    site.inspect(&[FIRST]);
    assert_eq!(site.engine.facts.len(), facts, "it is said once");
    site.assert_replays();
}

#[test]
fn another_artifact_takes_back_what_followed_from_the_one_before() {
    let mut site = Site::new();
    let (id, keys) = site.that_lost_its_model("a");
    let idle = site.engine.join("w2");
    let shards = [site.worker.clone(), idle].map(|worker| site.engine.request(&worker).unwrap());
    let (leased, waiting) = (shards[1].trials.len(), site.engine.state.dispatch.waiting());
    assert_eq!((leased, waiting), (1, 1), "of the rest of the sweep one is leased and one waits");

    site.commit(site.prepare, prepared(AGAIN));

    let replaced = Fact::OutcomeReplaced { key: site.prepare, outcome: prepared(AGAIN) };
    assert_eq!(site.engine.facts.last(), Some(&replaced));
    assert_eq!(site.stages(&id), [(1, 1, false), (0, 0, false)]);
    assert_eq!((site.experiment(&id).restarts, site.experiment(&id).failed), (1, 0));
    assert_eq!((site.engine.state.dispatch.leases().len(), site.engine.state.dispatch.waiting()), (0, 0));
    let kept = site.engine.state.ledger.outcome(&keys[0]);
    assert_eq!(kept, Some(&evaluated(90)), "an outcome stays its trial's, whoever asks for it");
    let explained = site.engine.state.explain_trial(&keys[1], site.engine.now).unwrap();
    assert_eq!(explained.standing, "unwanted");
    assert!(explained.reasons[0].contains("made again"), "{explained:?}");
    // What was under way is still welcome, and counts for nobody.
    site.commit(keys[1], evaluated(80));
    assert_eq!(site.stages(&id), [(1, 1, false), (0, 0, false)]);
    site.assert_replays();

    site.finish(&id, 0);
    let keys = site.advance(&id, 1, (0..3).map(|point| lowered(AGAIN, point)).collect());
    for key in keys {
        site.commit(key, evaluated(70));
    }
    site.finish(&id, 1);
    assert_eq!(site.experiment(&id).status, Status::Finished);
    assert_eq!(site.stages(&id), [(1, 1, true), (3, 3, true)]);
    site.assert_replays();
}

#[test]
fn the_same_artifact_takes_nothing_back() {
    let mut site = Site::new();
    let (id, keys) = site.that_lost_its_model("a");

    site.commit(site.prepare, prepared(FIRST));

    assert_eq!(site.stages(&id), [(1, 1, true), (3, 1, false)]);
    assert_eq!(site.experiment(&id).stages[1].trials, keys);
    assert_eq!(site.experiment(&id).restarts, 0);
    site.assert_replays();
}

#[test]
fn an_artifact_that_comes_back_brings_its_outcome_back() {
    let mut site = Site::new();
    let (id, _) = site.that_lost_its_model("a");

    site.inspect(&[]);

    let again = Fact::OutcomeReplaced { key: site.prepare, outcome: prepared(FIRST) };
    assert_eq!(site.engine.facts.last(), Some(&again));
    assert_eq!(site.stages(&id), [(1, 1, true), (3, 1, false)]);
    let facts = site.engine.facts.len();
    site.inspect(&[]);
    assert_eq!(site.engine.facts.len(), facts);
    site.assert_replays();
}

#[test]
fn only_the_last_artifact_of_a_trial_is_asked_for() {
    let mut site = Site::new();
    site.that_lost_its_model("a");
    site.commit(site.prepare, prepared(AGAIN));

    let named: Vec<Digest> = site.engine.state.ledger.artifacts().map(|(_, artifact)| artifact).collect();

    assert_eq!(named, [Digest::of(AGAIN)]);
    let facts = site.engine.facts.len();
    site.inspect(&[FIRST]);
    assert_eq!(site.engine.facts.len(), facts, "nobody needs the first one any more");
    site.inspect(&[FIRST, AGAIN]);
    site.commit(site.prepare, prepared(FIRST));
    site.assert_replays();
}

#[test]
fn an_experiment_that_is_over_keeps_what_it_measured() {
    let mut site = Site::new();
    let (finished, keys) = site.that_lost_its_model("finished");
    site.inspect(&[]);
    for key in &keys[1..] {
        site.commit(*key, evaluated(80));
    }
    site.finish(&finished, 1);
    let before = site.stages(&finished);
    site.inspect(&[FIRST]);
    let other = site.submit("other");

    site.commit(site.prepare, prepared(AGAIN));

    assert_eq!((site.stages(&finished), site.experiment(&finished).restarts), (before, 0));
    assert_eq!(site.stages(&other)[0], (1, 1, false));
    site.assert_replays();
}

#[test]
fn what_was_proposed_before_the_trial_stays() {
    let mut site = Site::new();
    let id = site.submit("a");
    site.commit(site.prepare, prepared(FIRST));
    site.finish(&id, 0);
    // A trial whose artifact the later ones start from, in the middle of a stage.
    let mut other = plan("any").prepare();
    other.model = Digest::of(b"another model");
    let middle = TrialSpec::Prepare(Box::new(other));
    let first = [lowered(FIRST, 0), middle];
    let rest = [lowered(FIRST, 1), lowered(FIRST, 0)];
    let keys = site.advance(&id, 1, [first, rest].concat());
    site.commit(keys[0], Outcome { result: TrialResult::Failed { reason: "no".into() }, ..evaluated(0) });
    site.commit(keys[1], prepared(b"found"));
    assert_eq!(site.experiment(&id).failed, 2, "one trial stands there twice");
    site.inspect(&[b"found"]);

    site.commit(keys[1], prepared(b"found again"));

    assert_eq!(site.stages(&id), [(1, 1, true), (2, 2, false)]);
    assert_eq!(site.experiment(&id).stages[1].trials, keys[..2]);
    assert_eq!(site.experiment(&id).failed, 1);
    site.assert_replays();
}

#[test]
fn a_lost_trial_that_kills_workers_can_be_measured_after_all() {
    let mut site = Site::new();
    let (id, _) = site.that_lost_its_model("a");
    let quarantined = Fact::TrialQuarantined { key: site.prepare, losses: 3 };
    site.engine.state.apply(&quarantined.clone().into());
    site.engine.facts.push(quarantined);
    assert_eq!(site.experiment(&id).failed, 1);

    site.commit(site.prepare, prepared(AGAIN));

    assert!(matches!(site.engine.facts.last(), Some(Fact::OutcomeReplaced { .. })));
    assert_eq!((site.experiment(&id).failed, site.experiment(&id).restarts), (0, 1));
    site.assert_replays();
}

#[test]
fn a_lost_model_that_no_device_can_make_again_ends_its_experiment_live_and_replayed() {
    let mut site = Site::new();
    let (id, _) = site.that_lost_its_model("a");

    for _ in 0..2 {
        let shard = site.engine.request(&site.worker.clone()).unwrap();
        assert_eq!(shard.trials[0].0, site.prepare);
        let obstacle = Obstacle {
            kind: ObstacleKind::Panic,
            reason: "index out of bounds".into(),
            trials: vec![site.prepare],
        };
        let (worker, lease) = (site.worker.clone(), shard.lease);
        let release = Input::Release { worker, lease, trials: None, obstacle: Some(obstacle) };
        site.engine.feed(release).unwrap();
    }

    assert!(
        matches!(site.engine.facts.last(), Some(Fact::OutcomeReplaced { .. })),
        "stores drop a second first"
    );
    assert_eq!(site.stages(&id), [(1, 1, false), (0, 0, false)], "its searcher is asked what follows");
    site.assert_replays();
}

#[test]
fn a_finished_experiment_keeps_what_it_trained_without_its_checkpoint() {
    let mut site = Site::new();
    let id = site.submit("a");
    site.commit(site.prepare, prepared(FIRST));
    site.finish(&id, 0);
    let keys = site.advance(&id, 1, vec![losses::training()]);
    let artifact = Digest::of(b"checkpoint");
    let trained = Trained {
        artifact: Some(artifact),
        epochs: 1,
        best_epoch: 1,
        n: 8,
        correct: 6,
        loss_sum: 4.0,
        learning_rate: 0.1,
    };
    site.commit(keys[0], Outcome { result: TrialResult::Trained(trained), ..evaluated(0) });
    site.finish(&id, 1);
    let (before, facts) = (site.stages(&id), site.engine.facts.len());

    site.engine.feed(Input::Inspect { missing: BTreeSet::from([artifact]) }).unwrap();

    assert_eq!((site.stages(&id), site.engine.facts.len()), (before, facts));
}

/// Unlike what a start finds, it says nothing of other artifacts.
#[test]
fn an_outcome_whose_artifact_is_missed_is_lost_and_no_other() {
    let mut site = Site::new();
    let (_, keys) = site.that_lost_its_model("sweep");

    // It is lost already, it names none, nobody knows it.
    for key in [site.prepare, keys[0], keys[1], TrialKey(Digest::of(b"no trial"))] {
        assert_eq!(site.miss(key, FIRST), 0);
    }
    site.commit(site.prepare, prepared(AGAIN));
    assert_eq!(site.miss(site.prepare, FIRST), 0, "it names another one by now");

    assert_eq!(site.miss(site.prepare, AGAIN), 1);

    let State { ledger, dispatch } = &site.engine.state;
    assert_eq!(ledger.outcome(&site.prepare), None);
    assert_eq!(dispatch.queue(ledger).next(), Some(&site.prepare));
}

#[test]
fn what_experiments_miss_that_are_over_is_made_again_when_another_one_needs_it() {
    let mut site = Site::new();
    let id = site.submit("over");
    site.commit(site.prepare, prepared(FIRST));
    (0..2).for_each(|stage| site.finish(&id, stage));
    assert_eq!(site.experiment(&id).status, Status::Finished);
    assert_eq!(site.miss(site.prepare, FIRST), 0);

    site.submit("other");

    assert_eq!(site.miss(site.prepare, FIRST), 1);
    assert_eq!(site.engine.state.dispatch.waiting(), 1);
}
