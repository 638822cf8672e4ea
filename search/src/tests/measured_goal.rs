//! The search that trains where a device says sizes, against devices whose times are known.

use bitloop_core::autoqkeras::{Goal, MeasuredCost, MeasuredGoal, Purpose};
use bitloop_core::bits::BitConfig;
use bitloop_core::plan::{AutoQKerasPlan, device_points};
use bitloop_core::probe::{Environment, Estimate, Session, Unsteady};
use bitloop_core::report::TrainedSearch;
use bitloop_core::trial::{
    Energy, Measured, ProbeSetting, ProbeSpec, ProbeTarget, Reading, Trained, Training, Transform,
};

use super::autoqkeras::settings;
use super::*;

const REPETITIONS: u32 = 2;

fn goal(cost: MeasuredCost) -> MeasuredGoal {
    let on = BTreeMap::from([("board".to_owned(), "pi5".to_owned())]);
    MeasuredGoal {
        factor: Default::default(),
        cost,
        target: ProbeTarget { probe: "integer".to_owned(), on, class: None },
        setting: ProbeSetting::default(),
        repetitions: REPETITIONS,
    }
}

/// Two blocks of two kernels each with 1, 2, 4 or 8 bits, all of which are tried.
fn stage(goal: Goal) -> AutoQKerasPlan {
    let tuner = bitloop_core::autoqkeras::TunerSettings::Random { max_trials: 32 };
    AutoQKerasPlan { goal, tuner, drop_max_ppm: None, fine_tuning: None, ..settings() }
}

fn plan_of(stage: AutoQKerasPlan) -> Plan {
    let plan = plan(4);
    let data = DataParts { training: Some(plan.data.selection), ..plan.data };
    Plan {
        points: device_points(&plan.graph).unwrap(),
        candidates: stage.settings.device_candidates(),
        transforms: vec![Transform::FoldBatchNorm],
        stages: vec![StagePlan::Prepare, StagePlan::AutoQKeras(Box::new(stage))],
        data,
        ..plan
    }
}

/// What no quantizer changes.
fn trained(training: &Training) -> TrialResult {
    let key = TrialSpec::Train(Box::new(training.clone())).key();
    let epochs = training.recipe.epochs;
    TrialResult::Trained(Trained {
        artifact: (epochs > 0).then_some(key.0),
        epochs,
        best_epoch: epochs,
        n: 1000,
        correct: 900,
        loss_sum: 1.0,
        learning_rate: 0.001,
    })
}

fn reading(time: f64, float: f64) -> Measured {
    let session = Session {
        disturbed: 0,
        config: Estimate::exactly(time),
        baseline: Estimate::exactly(float),
        ratio: Estimate::exactly(time / float),
        rounds: 60,
        outliers: 0,
        unsteady: None,
    };
    let reading = Reading::Whole { session, peak_memory_bytes: None, energy: None };
    Measured { reading, environment: Environment::default() }
}

/// Nanoseconds on a device whose multiplications have 8 bits, and which unpacks narrower codes first.
fn unpacking(config: &BitConfig) -> f64 {
    let weights = (0..9).map(PointIndex).filter(|point| is_weight(*point));
    let layer = |point: PointIndex| match config.choice(point, Choice::Float) {
        Choice::Float => 4e6,
        Choice::Bits(bits) => 1e6 + f64::from(8 - bits.get()) * 0.3e6,
    };
    weights.map(layer).sum()
}

fn is_weight(point: PointIndex) -> bool {
    let points = device_points(&plan(4).graph).unwrap();
    points.get(point.0 as usize).is_some_and(|point| point.name.ends_with(".weight"))
}

fn unpacked(spec: &ProbeSpec) -> TrialResult {
    let measured = reading(unpacking(&spec.config), unpacking(&BitConfig::baseline()));
    TrialResult::Measured(Box::new(measured))
}

/// Settles everything that is asked for until nothing more is.
fn run(plan: Plan, device: impl Fn(&ProbeSpec) -> TrialResult) -> Driver {
    let mut driver = Driver::new(plan);
    driver.prepare();
    for _ in 0..100 {
        if driver.ask().is_none() {
            return driver;
        }
        let open = driver.proposed.iter().filter(|trial| driver.state.ledger.outcome(&trial.key()).is_none());
        let open: Vec<TrialSpec> = open.cloned().collect();
        for trial in open {
            let result = match &trial {
                TrialSpec::Train(training) => trained(training),
                TrialSpec::Probe(spec) => device(spec),
                TrialSpec::Prepare(_) | TrialSpec::Evaluate { .. } => panic!("nobody asks for it"),
            };
            driver.commit(trial.key(), result);
        }
    }
    panic!("it does not come to an end");
}

fn found(driver: &Driver) -> TrainedSearch {
    driver.results().trained.remove(0)
}

fn kernels(search: &TrainedSearch) -> Vec<String> {
    let quantizers = &search.found.as_ref().unwrap().quantizers;
    quantizers.values().map(|node| node.kernel.as_ref().unwrap().spelling()).collect()
}

fn probes(driver: &Driver) -> Vec<&ProbeSpec> {
    let probes = driver.proposed.iter().filter_map(|trial| match trial {
        TrialSpec::Probe(spec) => Some(spec.as_ref()),
        TrialSpec::Prepare(_) | TrialSpec::Evaluate { .. } | TrialSpec::Train(_) => None,
    });
    probes.collect()
}

#[test]
fn what_a_device_takes_is_forgiven_and_not_what_bits_say() {
    let bits = run(plan_of(stage(Goal::default())), unpacked);
    let measured = run(plan_of(stage(Goal::Measured(goal(MeasuredCost::LatencyMs)))), unpacked);

    assert!(kernels(&found(&bits)).iter().all(|kernel| kernel.starts_with("binary")));
    let search = found(&measured);
    assert_eq!(measured.status(), "finished");
    assert!(kernels(&search).iter().all(|kernel| kernel.starts_with("quantized_bits(8,")), "{search:?}");
    assert_eq!(search.unit, "ms");
    let size = search.found.as_ref().unwrap().size;
    assert!((size.reference - 16.0).abs() < 1e-9 && (size.trial - 4.0).abs() < 1e-9, "{size:?}");
    // Two halvings at 8 % each.
    assert!((size.delta - 0.16).abs() < 1e-6, "{size:?}");
    assert!(bits.proposed.iter().all(|trial| !matches!(trial, TrialSpec::Probe(_))));
}

#[test]
fn each_network_is_measured_on_the_surveyed_class_before_it_is_trained_and_what_was_found_once_more() {
    let driver = run(plan_of(stage(Goal::Measured(goal(MeasuredCost::LatencyUs)))), unpacked);

    let probes = probes(&driver);
    let (survey, others) = probes.split_first().unwrap();
    assert_eq!((&survey.target.class, &survey.config), (&None, &BitConfig::baseline()));
    assert_eq!(survey.asked_by, Some(driver.plan.id()));
    assert!(others.iter().all(|spec| spec.target.class.is_some() && spec.asked_by.is_none()));
    assert!(others.iter().all(|spec| spec.baseline == Choice::Float && spec.config.changes().len() > 0));
    // Signs and 2 bits are the same codes, so that each block has 9 networks to measure; and the one found, whatever it was
    // known to take.
    assert_eq!(others.len() as u32, 19 * REPETITIONS);
    let keys: BTreeSet<TrialKey> =
        probes.iter().map(|spec| TrialSpec::Probe(Box::new((*spec).clone())).key()).collect();
    assert_eq!(keys.len(), probes.len(), "nothing is measured twice under one key");
    let experiment = driver.state.ledger.experiment(&driver.plan.id()).unwrap();
    let asked = &experiment.stages[1].asked;
    assert_eq!(asked.len(), experiment.stages[1].trials.len());
    let first = |wanted: fn(&Purpose) -> bool| asked.iter().position(|asked| wanted(&asked.purpose)).unwrap();
    let (measured, trained) = (
        first(|purpose| *purpose == Purpose::Measured),
        first(|purpose| matches!(purpose, Purpose::Search { .. })),
    );
    assert!(first(|purpose| *purpose == Purpose::Survey) == 0 && measured < trained);
    assert_eq!(asked.iter().filter(|asked| asked.purpose == Purpose::FoundOnDevice).count(), 2);

    let device = found(&driver).device.unwrap();
    assert_eq!((device.networks, device.unsteady, device.failed), (19, 0, 0));
    assert_eq!(device.found.unwrap().median, 0.25);
    let csv = driver.results().to_csv();
    // The header, both looks at the float network, the trials, and what was found.
    assert_eq!(csv.lines().count(), 1 + 2 + 32 + 1);
    assert!(driver.proposed.len() as u64 <= plan_size(&driver.plan), "the forecast is an upper bound");
}

#[test]
fn unsteady_measurements_are_repeated_up_to_twice_as_often() {
    let driver = run(plan_of(stage(Goal::Measured(goal(MeasuredCost::LatencyMs)))), |spec| {
        let mut measured = reading(unpacking(&spec.config), unpacking(&BitConfig::baseline()));
        let Reading::Whole { session, .. } = &mut measured.reading else { panic!("it is whole") };
        session.unsteady = Some(Unsteady::Busy(0.5));
        TrialResult::Measured(Box::new(measured))
    });

    assert_eq!(driver.status(), "finished");
    // The survey, and the last look, which nothing rests on, are not.
    assert_eq!(probes(&driver).len() as u32, 1 + 18 * 2 * REPETITIONS + REPETITIONS);
    assert_eq!(found(&driver).device.unwrap().unsteady, 19);
}

#[test]
fn a_network_that_a_device_does_not_execute_is_a_trial_that_failed() {
    let driver = run(plan_of(stage(Goal::Measured(goal(MeasuredCost::LatencyMs)))), |spec| {
        let has_eight = spec
            .config
            .changes()
            .any(|(point, choice)| is_weight(point) && choice == Choice::Bits(Bits::new(8).unwrap()));
        match has_eight {
            true => TrialResult::Failed { reason: "the probe died".to_owned() },
            false => unpacked(spec),
        }
    });

    assert_eq!(driver.status(), "finished");
    let search = found(&driver);
    let rows: Vec<_> = search.blocks.iter().flat_map(|block| &block.trials).collect();
    let failed: Vec<_> = rows.iter().filter(|row| row.failed.is_some()).collect();
    // Of each block's 16 networks those 7 that have 8 bits somewhere.
    assert_eq!((rows.len(), failed.len()), (32, 14));
    assert!(
        failed.iter().all(|row| row.failed.as_deref() == Some("the probe died") && row.trained.is_none())
    );
    assert!(kernels(&search).iter().all(|kernel| kernel.starts_with("quantized_bits(4,")));
}

#[test]
fn energy_is_what_the_counter_says_and_without_one_the_search_ends_with_advice() {
    let stage = || stage(Goal::Measured(goal(MeasuredCost::EnergyMj)));
    // Narrow codes are slow, and take little.
    let with_counter = run(plan_of(stage()), |spec| {
        let TrialResult::Measured(mut measured) = unpacked(spec) else { panic!("it is measured") };
        let Reading::Whole { energy, .. } = &mut measured.reading else { panic!("it is whole") };
        let weights = spec.config.changes().filter(|(point, _)| is_weight(*point));
        let joules = weights.fold(0.032, |joules, (_, choice)| match choice {
            Choice::Float => joules,
            Choice::Bits(bits) => joules - 0.001 * f64::from(8 - bits.get().min(8)),
        });
        *energy = Some(Energy {
            source: "made up".to_owned(),
            config: Estimate::exactly(joules),
            baseline: Estimate::exactly(0.032),
        });
        TrialResult::Measured(measured)
    });
    let without = run(plan_of(stage()), unpacked);

    let search = found(&with_counter);
    assert_eq!(search.unit, "mJ");
    assert!(kernels(&search).iter().all(|kernel| kernel.contains("(2,") || kernel.starts_with("binary")));
    assert!((search.found.unwrap().size.reference - 32.0).abs() < 1e-9);
    assert_eq!(without.status(), "failed");
    let experiment = without.state.ledger.experiment(&without.plan.id()).unwrap();
    let reason = format!("{:?}", experiment.status);
    let advice = "does not measure `energy_mj`; write `cost: latency_us`, or choose the goal `type: energy`, which is a model";
    assert!(reason.contains(advice), "{reason}");
    let is_trained =
        |trial: &TrialSpec| matches!(trial, TrialSpec::Train(training) if training.recipe.epochs > 0);
    assert!(!without.proposed.iter().any(is_trained));
}

#[test]
fn what_a_device_was_like_is_told_of_the_search_and_of_the_last_look() {
    let goal = goal(MeasuredCost::LatencyMs);
    let driver = run(plan_of(stage(Goal::Measured(goal.clone()))), |spec| {
        let TrialResult::Measured(mut measured) = unpacked(spec) else { panic!("it is measured") };
        let (governor, mhz) = match spec.repetition < goal.repetitions_max() {
            true => ("powersave", 800.0),
            false => ("performance", 2_400.0),
        };
        measured.environment = Environment {
            governor: Some(governor.to_owned()),
            mhz: Some([mhz, mhz + 100.0]),
            affinity: vec![0, 2],
            ..Environment::default()
        };
        TrialResult::Measured(measured)
    });

    let environment = found(&driver).device.unwrap().environment;

    assert_eq!(environment.measurements, probes(&driver).len() as u64);
    let governors: Vec<&str> = environment.governors.iter().map(String::as_str).collect();
    assert_eq!(governors, ["performance", "powersave"]);
    let mhz = environment.mhz.unwrap();
    assert_eq!((mhz.least, mhz.most), (800.0, 2_500.0));
    assert_eq!(environment.affinities, BTreeSet::from([vec![0, 2]]));
}

#[test]
fn a_search_that_cannot_be_measured_is_a_mistake_before_it_begins() {
    let mut stage = stage(Goal::Measured(goal(MeasuredCost::LatencyMs)));
    stage.settings.quantization_config =
        serde_json::from_str(r#"{"kernel": {"quantized_po2(4)": 4}}"#).unwrap();

    let mistakes = crate::check(&plan_of(stage));

    assert_eq!(mistakes.len(), 1);
    assert_eq!(mistakes[0].path, "stages[0].autoqkeras");
    let problem = &mistakes[0].problem;
    assert!(problem.contains("`quantized_po2(4)` cannot be measured: no device executes"), "{problem}");
}
