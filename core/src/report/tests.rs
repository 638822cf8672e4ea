mod devices;
mod golden_trained;

use std::collections::BTreeMap;

use super::*;
use crate::bits::{BitConfig, Choice, PointIndex};
use crate::evaluation::Adaptive;
use crate::state::tests::{Engine, plan};
use crate::state::{Batch, Input, Proposal, Report as TrialReport, WorkerId};
use crate::trial::{Evaluation, ImageRange, Outcome, Provenance, TrialKey, TrialSpec, Work};

/// The results of a small experiment with every state a row can have.
fn engine() -> Engine {
    let mut engine = Engine::new();
    let plan = plan("golden");
    let id = plan.id();
    let context = plan.context(Digest::of(b"prepared"));
    let digest = context.digest();
    let baseline = context.baseline;
    let mut configs = vec![
        BitConfig::against(baseline, (0..5).map(|point| (PointIndex(point), Choice::Float))),
        BitConfig::baseline(),
    ];
    let points = &plan.points;
    for (index, point) in points.iter().enumerate() {
        let change = |bits: &Bits| (PointIndex(index as u32), Choice::Bits(*bits));
        configs.extend(
            plan.candidates.bits(point.kind).iter().map(|bits| BitConfig::against(baseline, [change(bits)])),
        );
    }
    let part = context.whole();
    let trials: Vec<TrialSpec> =
        configs.into_iter().map(|config| TrialSpec::Evaluate { context: digest, config, part }).collect();
    let keys: Vec<_> = trials.iter().map(TrialSpec::key).collect();
    engine.feed(Input::Submit { plan: Box::new(plan), sources: BTreeMap::new(), priority: 0 }).unwrap();
    let proposal = Proposal::Trials(Batch { context: Some(context), trials, ..Batch::default() });
    engine.feed(Input::Advance { experiment: id, stage: 0, proposal }).unwrap();
    let reports = vec![
        report(keys[0], sums(92, 0, 1, 20.0, 0.0)),
        report(keys[1], sums(91, 0, 0, 21.5, 0.25)),
        report(keys[2], sums(61, 32, 2, 90.125, 40.5)),
        report(keys[3], sums(91, 0, 0, 21.0, 0.5)),
        report(keys[4], TrialResult::Failed { reason: "logit 1 of image 7 is NaN, as \"seen\"".to_owned() }),
    ];
    engine.feed(Input::Commit { worker: WorkerId("w".into()), reports, trial_ms: 1.0 }).unwrap();
    engine
}

fn sums(correct: u64, lost: u64, gained: u64, loss_sum: f64, noise_sum: f64) -> TrialResult {
    let difference = loss_sum - 21.5;
    TrialResult::Evaluated(Evaluation {
        n: 100,
        correct,
        correct_top5: 99,
        lost,
        gained,
        loss_sum,
        loss_difference_sum: difference,
        loss_difference_squares: difference * difference / 50.0,
        kl_sum: noise_sum / 10.0,
        signal_sum: 1000.0,
        noise_sum,
    })
}

fn report(key: TrialKey, result: TrialResult) -> TrialReport {
    let provenance = Provenance { engine: "bitloop".into(), device: "cpu".into(), kernels: "f32".into() };
    TrialReport { key, outcome: Outcome { result, provenance, work: Work { macs: 10, macs_alone: 25 } } }
}

/// A small experiment in parts of 64 of 2000 images, with every state that a row can have.
fn adaptive_report() -> Report {
    let mut engine = Engine::new();
    let mut plan = plan("adaptive");
    plan.data.selection.images = 2_000;
    let mode = Adaptive { tolerance_ppm: 2_500, confidence_ppm: 950_000, part_images: 64 };
    plan.evaluation = EvaluationMode::Adaptive(mode);
    let (id, context) = (plan.id(), plan.context(Digest::of(b"prepared")));
    let StagePlan::Sensitivity { single, .. } = &plan.stages[0] else { panic!("a sweep") };
    let sweep = Sweep::new(&plan, single);
    let part = |config: u64, start: u64, len: u64, sums: Option<[u64; 2]>| {
        let part = ImageRange { start, len };
        let spec = TrialSpec::Evaluate { context: context.digest(), config: sweep.config(config), part };
        (spec, sums.map(|[lost, gained]| part_sums(len, lost, gained)))
    };
    let mut trials = vec![part(0, 0, 2_000, Some([3, 5])), part(1, 0, 2_000, Some([0, 0]))];
    trials.push(part(2, 0, 64, Some([30, 1])));
    // Proposed in another order than measured, as by workers that are not equally fast.
    trials.extend((0..28).rev().map(|index| part(3, index * 64, 64, Some([0, 0]))));
    trials.extend((0..32).map(|index| part(4, index * 64, 64.min(2_000 - index * 64), Some([6, 6]))));
    trials.extend([part(5, 0, 64, Some([1, 0])), part(5, 64, 64, None)]);
    let failed = TrialResult::Failed { reason: "logit 1 of image 7 is NaN".to_owned() };
    trials.push((part(6, 0, 64, None).0, Some(failed)));
    trials.push(part(7, 0, 64, None));
    engine
        .feed(Input::Submit { plan: Box::new(plan.clone()), sources: BTreeMap::new(), priority: 0 })
        .unwrap();
    let batch = trials.iter().map(|(spec, _)| spec.clone()).collect();
    let proposal =
        Proposal::Trials(Batch { context: Some(context.clone()), trials: batch, ..Batch::default() });
    engine.feed(Input::Advance { experiment: id, stage: 0, proposal }).unwrap();
    let measured = trials.into_iter().filter_map(|(spec, result)| Some(report(spec.key(), result?)));
    let reports = measured.collect();
    engine.feed(Input::Commit { worker: WorkerId("w".into()), reports, trial_ms: 1.0 }).unwrap();
    Report::new(&engine.state.ledger, &engine.state.ledger.experiments()[0]).unwrap()
}

fn part_sums(n: u64, lost: u64, gained: u64) -> TrialResult {
    let loss = n as f64 / 4.0;
    TrialResult::Evaluated(Evaluation {
        n,
        correct: n - n / 8 - lost + gained,
        correct_top5: n,
        lost,
        gained,
        loss_sum: loss + lost as f64,
        loss_difference_sum: lost as f64,
        loss_difference_squares: 2.0 * lost as f64,
        kl_sum: lost as f64 / 2.0,
        signal_sum: 1_000.0,
        noise_sum: 10.0,
    })
}

fn golden_report() -> Report {
    let state = engine().state;
    Report::new(&state.ledger, &state.ledger.experiments()[0]).unwrap()
}

#[test]
fn golden_csv_of_format_5() {
    let expected = include_str!("golden_v5.csv");
    assert_eq!(golden_report().to_csv(), expected, "a changed results file needs a new CSV_FORMAT");
}

#[test]
fn golden_csv_of_format_5_with_adaptive_evaluation() {
    let report = adaptive_report();
    assert_eq!(report.to_csv(), include_str!("golden_v5_adaptive.csv"));

    let states: Vec<&str> = report.rows.iter().map(|row| row.result.as_str()).collect();
    assert_eq!(states, ["harmful", "decided", "done", "partial", "failed", "open", "open"]);
    // 64, 21 parts of 64 of 28 that were measured, all, and 64 images.
    assert_eq!((report.images, report.images_evaluated), (2_000, 64 + 21 * 64 + 2_000 + 64));
}

#[test]
fn a_measurement_of_all_images_goes_before_one_of_some() {
    let mut engine = Engine::new();
    let mut plan = plan("completed");
    plan.data.selection.images = 2_000;
    let mode = Adaptive { tolerance_ppm: 2_500, confidence_ppm: 950_000, part_images: 64 };
    plan.evaluation = EvaluationMode::Adaptive(mode);
    let context = plan.context(Digest::of(b"prepared"));
    let change = (PointIndex(0), Choice::Bits(Bits::new(4).unwrap()));
    let config = BitConfig::against(context.baseline, [change]);
    let of = |len| {
        let part = ImageRange { start: 0, len };
        TrialSpec::Evaluate { context: context.digest(), config: config.clone(), part }
    };
    let trials = vec![of(64), of(2_000)];
    let keys: Vec<TrialKey> = trials.iter().map(TrialSpec::key).collect();
    let experiment = plan.id();
    engine
        .feed(Input::Submit { plan: Box::new(plan.clone()), sources: BTreeMap::new(), priority: 0 })
        .unwrap();
    let proposal = Proposal::Trials(Batch { context: Some(context.clone()), trials, ..Batch::default() });
    engine.feed(Input::Advance { experiment, stage: 0, proposal }).unwrap();
    let mut result = |key: usize, sums: TrialResult| {
        let reports = vec![report(keys[key], sums)];
        engine.feed(Input::Commit { worker: WorkerId("w".into()), reports, trial_ms: 1.0 }).unwrap();
        let ledger = &engine.state.ledger;
        let of = (ledger, &ledger.experiments()[0]);
        let all = Evaluations::new(of, &keys, plan.evaluation, 2_000);
        all.result(&config)
    };

    assert_eq!(result(0, part_sums(64, 30, 1)).as_str(), "harmful");
    let complete = result(1, part_sums(2_000, 200, 10));

    assert_eq!((complete.as_str(), complete.measured().unwrap().n), ("done", 2_000));
}

#[test]
fn damage_sorts_by_drop_then_loss_and_leaves_the_unmeasured_to_the_end() {
    let report = golden_report();
    let order: Vec<(&str, &str)> =
        report.by_damage().iter().map(|row| (row.point.as_str(), row.result.as_str())).collect();

    assert_eq!(order[0], ("input.output", "done"));
    assert_eq!(order[1], ("conv.weight", "done"));
    assert!(order[2..].iter().all(|(_, state)| *state != "done"));
}

#[test]
fn savings_follow_from_geometry() {
    let report = golden_report();
    let row = |point: &str, bits: u32| {
        report.rows.iter().find(|row| row.point == point && row.bits.get() == bits).unwrap()
    };

    // 72 weights from 8 to 2 bits; 4608 MACs with 8-bit activations.
    assert_eq!(row("conv.weight", 2).size_saved_bits, 72 * 6);
    assert_eq!(row("conv.weight", 2).bops_saved, 4608 * 6 * 8);
    assert_eq!(row("input.output", 4).size_saved_bits, 0);
    assert_eq!(row("input.output", 4).bops_saved, 4608 * 4 * 8);
    // The logits feed nothing.
    assert_eq!(row("dense.output", 4).bops_saved, 0);
    assert_eq!(report.baseline_bops, (4608 + 192) * 64);
}

#[test]
fn a_report_survives_its_json_form_bit_for_bit() {
    let report = golden_report();
    let text = serde_json::to_string(&report).unwrap();
    let read: Report = serde_json::from_str(&text).unwrap();

    assert_eq!(read, report);
    assert_eq!(read.to_csv(), report.to_csv());
}

#[test]
fn drop_and_counts_agree() {
    let report = golden_report();
    let baseline = report.baseline.measured().unwrap();
    for row in &report.rows {
        let Some(measured) = row.result.measured() else { continue };
        let by_counts = (baseline.correct as f64 - measured.correct as f64) / baseline.n as f64;
        assert!((measured.top1_drop.value - by_counts).abs() < 1e-12, "{}", row.point);
    }
}

#[test]
fn effort_is_that_of_the_evaluations_measured() {
    let state = engine().state;
    let experiment = &state.ledger.experiments()[0];

    let effort = Effort::new(&state.ledger, experiment);

    let done = experiment.stages.iter().flat_map(|stage| &stage.trials);
    let done = done.filter_map(|key| state.ledger.outcome(key));
    let evaluated = done.filter(|outcome| matches!(outcome.result, TrialResult::Evaluated(_))).count() as u64;
    assert!(evaluated > 2);
    assert_eq!(effort.work, Work { macs: 10 * evaluated, macs_alone: 25 * evaluated });
    let [engine, kernels, device] = ["bitloop", "f32", "cpu"].map(str::to_owned);
    let by = MeasuredBy { engine, kernels, device, trials: evaluated };
    assert_eq!(effort.measured, [by]);
}
