//! Which trials a worker gets: cut along the trie of configs, of the part that it knows.

use super::*;

/// Evaluations of configs, each given as its lowered points, on the parts of 50 of 100 images.
fn proposed(engine: &mut Engine, configs: &[&[u32]], parts: &[u64]) -> EvaluateContext {
    proposed_with(engine, configs, parts, Numerics::Float)
}

fn proposed_with(
    engine: &mut Engine,
    configs: &[&[u32]],
    parts: &[u64],
    numerics: Numerics,
) -> EvaluateContext {
    let experiment = engine.submit(numerics.as_str());
    let context = EvaluateContext { numerics, ..plan("any").context(Digest::of(b"prepared")) };
    let trial = |start: &u64, points: &[u32]| TrialSpec::Evaluate {
        context: context.digest(),
        config: config(points),
        part: ImageRange { start: *start, len: 50 },
    };
    let trials = parts.iter().flat_map(|part| configs.iter().map(move |points| trial(part, points)));
    let batch = Batch { context: Some(context.clone()), trials: trials.collect(), ..Batch::default() };
    engine.feed(Input::Advance { experiment, stage: 0, proposal: Proposal::Trials(batch) }).unwrap();
    context
}

fn config(points: &[u32]) -> BitConfig {
    let four = Choice::Bits(Bits::new(4).unwrap());
    let eight = Choice::Bits(Bits::new(8).unwrap());
    BitConfig::against(eight, points.iter().map(|point| (PointIndex(*point), four)))
}

fn configs(shard: &Shard) -> Vec<BitConfig> {
    let configs = shard.trials.iter().map(|(_, spec)| match spec {
        TrialSpec::Evaluate { config, .. } => config.clone(),
        TrialSpec::Prepare(_) | TrialSpec::Train(_) | TrialSpec::Probe(_) => {
            panic!("only evaluations were proposed")
        }
    });
    configs.collect()
}

fn part_of(shard: &Shard) -> u64 {
    let parts = shard.trials.iter().map(|(_, spec)| spec.company().unwrap().part.start);
    let parts: std::collections::BTreeSet<u64> = parts.collect();
    assert_eq!(parts.len(), 1, "a shard is of one part");
    parts.into_iter().next().unwrap()
}

/// Takes a shard and reports it, each trial in as many milliseconds.
fn finish(engine: &mut Engine, worker: &WorkerId, trial_ms: f64) -> Shard {
    let shard = engine.request(worker).expect("there is work");
    let report = |(key, spec): &(TrialKey, TrialSpec)| {
        let TrialSpec::Evaluate { part, .. } = spec else { panic!("only evaluations were proposed") };
        let result = TrialResult::Evaluated(Evaluation { n: part.len, ..Evaluation::default() });
        Report { key: *key, outcome: Outcome { result, ..evaluated(0) } }
    };
    let reports = shard.trials.iter().map(report).collect();
    engine.feed(Input::Commit { worker: worker.clone(), reports, trial_ms }).unwrap();
    shard
}

#[test]
fn a_shard_follows_the_trie_whatever_the_order_of_proposal() {
    let mut engine = Engine::new();
    proposed(&mut engine, &[&[1, 3], &[0, 2], &[1], &[0, 1], &[0], &[1, 2], &[]], &[0]);
    let worker = engine.join("w");
    assert_eq!(configs(&finish(&mut engine, &worker, 1.0)), [config(&[])]);

    let mut seen = Vec::new();
    while engine.state.dispatch.waiting() > 0 {
        seen.extend(configs(&finish(&mut engine, &worker, 1.0)));
    }

    let expected: [&[u32]; 6] = [&[0], &[0, 1], &[0, 2], &[1], &[1, 2], &[1, 3]];
    assert_eq!(seen, expected.map(config));
}

#[test]
fn a_cut_parts_configs_that_have_little_in_common() {
    let mut engine = Engine::new();
    // Behind the first trial 12 are left, of which one worker of two takes a quarter: but three would part {0, 1}.
    let pairs: &[&[u32]] = &[
        &[],
        &[0, 1],
        &[0, 2],
        &[1, 2],
        &[1, 3],
        &[1, 4],
        &[2, 3],
        &[2, 4],
        &[3, 4],
        &[3, 5],
        &[4, 5],
        &[4, 6],
        &[5, 6],
    ];
    proposed(&mut engine, pairs, &[0]);
    let worker = engine.join("w");
    engine.join("other");
    finish(&mut engine, &worker, 1.0);

    let shard = engine.request(&worker).unwrap();

    assert_eq!(configs(&shard), [config(&[0, 1]), config(&[0, 2])]);
}

#[test]
fn a_worker_stays_with_the_part_whose_references_it_has_and_others_take_others() {
    let mut engine = Engine::new();
    proposed(&mut engine, &[&[], &[0], &[1], &[2], &[3]], &[0, 50]);
    let (a, b) = (engine.join("a"), engine.join("b"));

    // A trial takes as long as a shard should, so that every shard is of one.
    let of_a: Vec<u64> = (0..3).map(|_| part_of(&finish(&mut engine, &a, 2_000.0))).collect();
    let of_b: Vec<u64> = (0..5).map(|_| part_of(&finish(&mut engine, &b, 2_000.0))).collect();
    let rest: Vec<u64> = (0..2).map(|_| part_of(&finish(&mut engine, &b, 2_000.0))).collect();

    assert_eq!(of_a, [0; 3]);
    assert_eq!(of_b, [50; 5]);
    assert_eq!(rest, [0; 2], "nobody waits while there is work");
}

#[test]
fn a_worker_without_exact_arithmetic_gets_what_it_can_measure() {
    let mut engine = Engine::new();
    proposed_with(&mut engine, &[&[], &[0]], &[0], Numerics::Exact);
    let id = WorkerId("gpu".to_owned());
    let info = WorkerInfo { id: id.clone(), host: "h".into(), float_only: true, ..WorkerInfo::default() };
    engine.feed(Input::Register { info, held: Vec::new() }).unwrap();
    assert_eq!(engine.request(&id), None);

    let float = proposed(&mut engine, &[&[1]], &[0]);

    assert_eq!(engine.request(&id).unwrap().context, Some(float.digest()));
    assert_eq!(engine.request(&id), None);
    let cpu = engine.join("cpu");
    assert!(engine.request(&cpu).is_some());
}

#[test]
fn of_trials_that_go_alone_the_longest_is_taken_first_whatever_the_order_of_proposal() {
    let mut engine = Engine::new();
    let experiment = engine.submit("a");
    let keys = engine.propose_alone(&experiment, [3, 9, 1, 5].map(losses::training_for).to_vec());

    let taken = [1, 2, 3, 4].map(|number| {
        let worker = engine.join(&format!("w{number}"));
        engine.request(&worker).unwrap().trials[0].0
    });

    assert_eq!(taken, [keys[1], keys[3], keys[0], keys[2]]);
}
