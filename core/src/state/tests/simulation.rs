//! Any order of events.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Join(u8, bool),
    Request(u8),
    Beat(u8),
    Commit(u8, bool),
    Release(u8, Option<ObstacleKind>),
    Leave(u8),
    Act(u8, Action),
    Propose(u8, u32),
    Wait(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let action = prop_oneof![Just(Action::Pause), Just(Action::Resume), Just(Action::Cancel)];
    let obstacle = prop_oneof![
        Just(None),
        Just(Some(ObstacleKind::Supply)),
        Just(Some(ObstacleKind::Device)),
        Just(Some(ObstacleKind::Panic)),
    ];
    prop_oneof![
        (0..3_u8, any::<bool>()).prop_map(|(worker, holds)| Step::Join(worker, holds)),
        (0..3_u8).prop_map(Step::Request),
        (0..3_u8).prop_map(Step::Request),
        (0..3_u8).prop_map(Step::Beat),
        (0..3_u8, any::<bool>()).prop_map(|(worker, all)| Step::Commit(worker, all)),
        (0..3_u8, obstacle).prop_map(|(worker, kind)| Step::Release(worker, kind)),
        (0..3_u8).prop_map(Step::Leave),
        (0..2_u8, action).prop_map(|(experiment, action)| Step::Act(experiment, action)),
        (0..2_u8, 1..40_u32).prop_map(|(experiment, count)| Step::Propose(experiment, count)),
        (0..8_000_u64).prop_map(Step::Wait),
        Just(Step::Wait(LOSS_DOUBT_MS)),
        Just(Step::Restart),
    ]
}

proptest! {
    /// Goal: no order of joins, losses, commits, pauses and restarts breaks an invariant, loses an acknowledged
    /// outcome, or makes live state and replay differ. `Engine::feed` checks the invariants after every input.
    #[test]
    fn no_order_of_events_breaks_an_invariant(steps in proptest::collection::vec(step(), 1..80)) {
        let mut engine = Engine::new();
        let experiments = [engine.submit("a"), engine.submit("b")];
        let mut held: BTreeMap<u8, Shard> = BTreeMap::new();
        let mut acknowledged: Vec<(TrialKey, Outcome)> = Vec::new();
        for step in steps {
            match step {
                Step::Join(w, holds) => {
                    let shard = held.remove(&w).filter(|_| holds);
                    let keys: Vec<_> = shard.iter().flat_map(|shard| &shard.trials).map(|(key, _)| *key).collect();
                    held.extend(engine.rejoin(&w.to_string(), &keys).map(|shard| (w, shard)));
                }
                Step::Request(w) => {
                    let worker = WorkerId(w.to_string());
                    if engine.state.dispatch.worker(&worker).is_some()
                        && let Some(shard) = engine.request(&worker) {
                        held.insert(w, shard);
                    }
                }
                Step::Beat(w) => {
                    let worker = WorkerId(w.to_string());
                    if engine.state.dispatch.worker(&worker).is_some()
                        && let Some(shard) = held.get(&w) {
                        engine.beat(&worker, shard);
                    }
                }
                Step::Commit(w, all) => if let Some(shard) = held.get(&w) {
                    let count = if all { shard.trials.len() } else { 1 };
                    let reports: Vec<_> =
                        shard.trials.iter().take(count).map(|(key, _)| (*key, evaluated(1))).collect();
                    engine.commit(&WorkerId(w.to_string()), &reports);
                    let known = |key: &TrialKey| engine.state.ledger.outcome(key).cloned().map(|known| (*key, known));
                    acknowledged.extend(reports.iter().filter_map(|(key, _)| known(key)));
                },
                Step::Release(w, kind) => if let Some(shard) = held.remove(&w) {
                    let (worker, lease) = (WorkerId(w.to_string()), shard.lease);
                    let trials = shard.trials.iter().map(|(key, _)| *key).collect();
                    let obstacle = kind.map(|kind| Obstacle { kind, reason: "no".into(), trials });
                    engine.feed(Input::Release { worker, lease, trials: None, obstacle }).unwrap();
                },
                Step::Leave(w) => {
                    held.remove(&w);
                    engine.feed(Input::Leave { worker: WorkerId(w.to_string()) }).unwrap();
                }
                Step::Act(e, action) => {
                    let experiment = experiments[e as usize].clone();
                    let _ = engine.feed(Input::Act { experiment, action });
                }
                Step::Propose(e, count) => { engine.propose(&experiments[e as usize], count); }
                Step::Wait(millis) => engine.wait(millis),
                Step::Restart => {
                    let replayed = engine.replayed();
                    prop_assert_eq!(&replayed.ledger, &engine.state.ledger);
                    engine.state = replayed;
                    prop_assert!(engine.state.check().is_ok());
                }
            }
        }
        for (key, outcome) in acknowledged {
            prop_assert_eq!(engine.state.ledger.outcome(&key), Some(&outcome));
        }
    }
}
