use std::collections::BTreeMap;

use super::*;
use crate::bits::{BitConfig, Choice, PointIndex};
use crate::state::tests::{Engine, plan};
use crate::state::{Batch, Input, Proposal, Report as TrialReport, WorkerId};
use crate::trial::{Outcome, Provenance, TrialSpec};

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
    let trials: Vec<TrialSpec> =
        configs.into_iter().map(|config| TrialSpec::Evaluate { context: digest, config }).collect();
    let keys: Vec<_> = trials.iter().map(TrialSpec::key).collect();
    engine.feed(Input::Submit { plan: Box::new(plan), sources: BTreeMap::new() }).unwrap();
    let proposal = Proposal::Trials(Batch { context: Some(context), trials });
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
    TrialReport { key, outcome: Outcome { result, provenance } }
}

fn golden_report() -> Report {
    let state = engine().state;
    Report::new(&state.ledger, &state.ledger.experiments()[0]).unwrap()
}

#[test]
fn golden_csv_of_format_1() {
    let expected = include_str!("golden_v1.csv");
    assert_eq!(golden_report().to_csv(), expected, "a changed results file needs a new CSV_FORMAT");
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
