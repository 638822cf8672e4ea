//! Workers that come back with trials they still hold.

use super::*;

#[test]
fn work_under_way_goes_on_beside_whoever_got_it_while_nobody_knew() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 1);
    let busy = engine.join("busy");
    engine.request(&busy).unwrap();
    engine.state = engine.replayed();
    let idle = engine.join("idle");
    let again = engine.request(&idle).unwrap();

    let adopted = engine.rejoin("busy", &keys).expect("it goes on");

    assert_eq!(adopted.trials, again.trials);
    assert_eq!(engine.rejoin("third", &keys), None, "nothing is measured by three");
    assert_eq!(engine.commit(&busy, &[(keys[0], evaluated(90))]), (1, 0, 0));
    assert_eq!(engine.state.dispatch.leases().len(), 0);
}

#[test]
fn who_comes_back_with_some_trials_that_others_have_and_some_that_are_free_gets_both() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 2);
    let other = engine.join("other");
    assert_eq!(engine.request(&other).unwrap().trials[0].0, keys[0]);

    let adopted = engine.rejoin("busy", &keys).unwrap();

    assert_eq!(adopted.trials.len(), 2);
    assert_eq!(engine.state.dispatch.waiting(), 0);
    engine.feed(Input::Leave { worker: other }).unwrap();
    assert_eq!(engine.state.dispatch.waiting(), 0);
    engine.feed(Input::Leave { worker: WorkerId("busy".into()) }).unwrap();
    assert_eq!(engine.state.dispatch.waiting(), 2);
}

#[test]
fn a_late_worker_that_registers_again_holds_its_trial_once_beside_the_second() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    engine.propose(&experiment, 2);
    let (slow, fast) = (engine.join("slow"), engine.join("fast"));
    let shard = engine.request(&fast).unwrap();
    engine.commit(&fast, &[(shard.trials[0].0, evaluated(90))]);
    let late = engine.request(&slow).unwrap().trials[0].0;
    engine.now = engine.now.after(4_001);
    engine.request(&fast).expect("the late one");

    let adopted = engine.rejoin("slow", &[late]).unwrap();

    assert_eq!(adopted.trials[0].0, late);
    assert_eq!(engine.rejoin("third", &[late]), None);
    engine.feed(Input::Leave { worker: fast }).unwrap();
    assert_eq!(engine.state.dispatch.lease_of(&late), Some(adopted.lease));
    assert_eq!(engine.state.dispatch.waiting(), 0);
}

#[test]
fn who_holds_trials_of_two_contexts_goes_on_with_those_of_the_last() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let mut keys = engine.propose(&experiment, 1);
    let context = plan("any").context(Digest::of(b"another"));
    let config = BitConfig::against(context.baseline, [(PointIndex(0), Choice::Float)]);
    let other = TrialSpec::Evaluate { context: context.digest(), config, part: context.whole() };
    keys.push(other.key());
    let batch = Batch { trials: vec![other], context: Some(context.clone()), ..Batch::default() };
    let proposal = Proposal::Trials(batch);
    engine.feed(Input::Advance { experiment, stage: 0, proposal }).unwrap();

    let adopted = engine.rejoin("w", &keys).unwrap();

    assert_eq!(adopted.context, Some(context.digest()));
    assert_eq!(adopted.trials.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [keys[1]]);
    assert_eq!(engine.state.dispatch.waiting(), 1);
}

#[test]
fn who_comes_back_with_very_much_goes_on_with_the_last_shard_of_it() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose(&experiment, 600);

    let adopted = engine.rejoin("w1", &keys).unwrap();

    let adopted: Vec<TrialKey> = adopted.trials.iter().map(|(key, _)| *key).collect();
    assert_eq!(adopted, keys[600 - 512..]);
}
