//! Searches within limits on devices, against devices whose times are known.

use bitloop_core::bits::BitConfig;
use bitloop_core::latency::{Layout, Source};
use bitloop_core::plan::{Amount, Limit, Lowered, Metric, ProbePlan, SearchPlan};
use bitloop_core::probe::{Environment, Estimate, Session, Unsteady};
use bitloop_core::state::Status;
use bitloop_core::trial::{
    Energy, Fidelity, Measured, Outcome, ProbeSpec, ProbeSubject, ProbeTarget, Provenance, Reading,
};

use super::stages::{IMAGES, lost, staged, sweep};
use super::*;

mod energy;
mod fidelity;
mod fleet;

/// What a device takes of a whole network and of its layers, in milliseconds.
#[derive(Clone, Copy)]
struct Board {
    /// Of a layer at these widths.
    layer: fn(u32, u32) -> f64,
    /// Of a value that is converted between widths.
    change: f64,
    /// Of every network whose widths are not all those of a uniform one: what no sum says.
    mixed: f64,
    /// Whether it tells layers apart.
    tells_layers: bool,
    /// Times of all that is measured once the search has begun to evaluate, as a part of what they were before.
    later: f64,
    /// What comes of the finalists.
    finals: Finals,
    /// What counts the joules, of which it takes one a second, if anything does.
    counter: Option<&'static str>,
    /// Of a thousand images those that it gets wrong of a quantized network beyond the simulation.
    wrong: u64,
}

/// What comes of measurements once the search has begun to evaluate.
#[derive(Clone, Copy, PartialEq)]
enum Finals {
    Steady,
    /// There is a counter of energy then.
    Counted,
    /// The first repetition of each is beside others, and takes twice as long.
    BusyAtFirst,
    /// Nobody can measure them.
    GivenUp,
}

const PLAIN: Board = Board {
    layer: |weight, input| 0.1 * f64::from(weight) + 0.05 * f64::from(input),
    change: 0.0,
    mixed: 0.0,
    tells_layers: true,
    later: 1.0,
    finals: Finals::Steady,
    counter: None,
    wrong: 0,
};

fn target(board: &str) -> ProbeTarget {
    let on = BTreeMap::from([("board".to_owned(), board.to_owned())]);
    ProbeTarget { probe: "integer".to_owned(), on, class: None }
}

fn probe(board: &str) -> StagePlan {
    StagePlan::Probe(Box::new(ProbePlan { configs: 12, repetitions: 2, ..ProbePlan::uniform(target(board)) }))
}

fn limit(board: &str, at_most: Amount) -> Limit {
    Limit { cost: "latency_ms".to_owned(), at_most, target: Some(target(board)) }
}

fn limited(limits: Vec<Limit>) -> SearchPlan {
    SearchPlan { trials: Some(24), round: 4, ..SearchPlan::exact(limits) }
}

fn experiment(boards: &[&str], search: SearchPlan) -> Plan {
    let plan = staged(4, Vec::new());
    let mut stages = vec![StagePlan::Prepare, sweep(&plan, None, None)];
    stages.extend(boards.iter().map(|board| probe(board)));
    stages.push(StagePlan::Search(search));
    Plan { stages, ..plan }
}

/// Nanoseconds of a config.
fn whole(plan: &Plan, board: &Board, config: &BitConfig) -> f64 {
    let layout = Layout::new(plan).unwrap();
    let widths: Vec<_> = layout.units.iter().map(|unit| layout.widths(config, unit)).collect();
    let sum: f64 = widths.iter().map(|(weight, input)| (board.layer)(weight.unwrap(), *input)).sum();
    let mixed = if widths.iter().any(|pair| *pair != widths[0]) { board.mixed } else { 0.0 };
    (sum + mixed + 0.3 + layout.changed_elements(config) * board.change) * 1e6
}

/// A value with an interval of a part in a thousand to each side, off by a little that the trial decides.
fn about(value: f64, trial: &TrialSpec) -> Estimate {
    let off = 1.0 + (f64::from(trial.key().0.as_bytes()[0]) / 255.0 - 0.5) * 1e-3;
    let median = value * off;
    Estimate { median, low: median * 0.999, high: median * 1.001 }
}

/// What a board answers.
fn measured(plan: &Plan, board: &Board, spec: &ProbeSpec) -> TrialResult {
    let trial = TrialSpec::Probe(Box::new(spec.clone()));
    let time = whole(plan, board, &spec.config);
    let reading = match spec.subject {
        ProbeSubject::Whole => {
            let baseline = whole(plan, board, &BitConfig::baseline());
            let [config, baseline, ratio] =
                [time, baseline, time / baseline].map(|value| about(value, &trial));
            let (rounds, disturbed, outliers) = (60, 0, 0);
            let session = Session { config, baseline, ratio, rounds, disturbed, outliers, unsteady: None };
            let joules = |time: Estimate| time.scaled(1e-9);
            let energy = board.counter.map(|source| Energy {
                source: source.to_owned(),
                config: joules(session.config),
                baseline: joules(session.baseline),
            });
            Reading::Whole { session, peak_memory_bytes: None, energy }
        }
        ProbeSubject::Layers if !board.tells_layers => {
            return TrialResult::Failed { reason: "it does not tell layers apart".to_owned() };
        }
        ProbeSubject::Layers => {
            let layout = Layout::new(plan).unwrap();
            let of_unit = |unit: &bitloop_core::latency::Unit| {
                let (weight, input) = layout.widths(&spec.config, unit);
                (unit.node.clone(), about((board.layer)(weight.unwrap(), input) * 1e6, &trial))
            };
            let nodes = layout.units.iter().map(of_unit).collect();
            let (other, whole) = (about(0.3e6, &trial), about(time, &trial));
            Reading::Layers { nodes, other, whole, unsteady: None }
        }
        ProbeSubject::Fidelity { images, .. } => {
            let is_baseline = spec.config == BitConfig::baseline();
            let simulated_correct = images.len / 2;
            let wrong = if is_baseline { 0 } else { images.len * board.wrong / 1_000 };
            let device_correct = simulated_correct - wrong;
            Reading::Fidelity(Fidelity {
                n: images.len,
                simulated_correct,
                device_correct,
                agreeing: images.len,
                ..Fidelity::default()
            })
        }
    };
    TrialResult::Measured(Box::new(Measured { reading, environment: Environment::default() }))
}

/// The same with other times of whole networks.
fn slowed(result: TrialResult, factor: f64) -> TrialResult {
    let TrialResult::Measured(mut measured) = result else { return result };
    if let Reading::Whole { session, .. } = &mut measured.reading {
        session.config = session.config.scaled(factor);
        session.ratio = session.ratio.scaled(factor);
    }
    TrialResult::Measured(measured)
}

fn busy(result: TrialResult) -> TrialResult {
    let TrialResult::Measured(mut measured) = result else { return result };
    if let Reading::Whole { session, .. } = &mut measured.reading {
        session.unsteady = Some(Unsteady::Busy(0.6));
    }
    TrialResult::Measured(measured)
}

impl Driver {
    /// Nobody could measure it, as a host says whose class is not the board's.
    fn give_up(&mut self, key: TrialKey) {
        let failed = outcome(TrialResult::Failed { reason: "the board is not there".to_owned() });
        let outcome = Outcome { provenance: Provenance::of_nobody("another host".to_owned()), ..failed };
        let reports = vec![Report { key, outcome }];
        self.feed(Input::Commit { worker: WorkerId("w".into()), reports, trial_ms: 1.0 });
    }
}

/// What comes of an experiment on some boards, by their names: its status in the end, and the driver.
fn run(plan: Plan, boards: &[(&str, Board)]) -> Driver {
    let mut driver = Driver::new(plan.clone());
    let (mut was_probed, mut is_late) = (false, false);
    driver.prepare();
    for _ in 0..200 {
        if driver.status() != "active" {
            return driver;
        }
        driver.ask();
        let owed = driver.proposed.iter().filter(|trial| driver.state.ledger.outcome(&trial.key()).is_none());
        let owed: Vec<TrialSpec> = owed.cloned().collect();
        for trial in owed {
            let result = match &trial {
                TrialSpec::Evaluate { config, part, .. } => {
                    is_late = was_probed;
                    let lost = (lost(config) as f64 * part.len as f64 / IMAGES as f64).round() as u64;
                    let correct = part.len - lost;
                    TrialResult::Evaluated(Evaluation { n: part.len, correct, lost, ..Evaluation::default() })
                }
                TrialSpec::Probe(spec) => {
                    let (_, board) =
                        boards.iter().find(|(name, _)| spec.target.on["board"] == *name).unwrap();
                    was_probed = true;
                    let result = measured(&plan, board, spec);
                    match (is_late, board.finals) {
                        (false, _) => result,
                        (true, Finals::Steady) => slowed(result, board.later),
                        (true, Finals::Counted) => {
                            measured(&plan, &Board { counter: Some("later"), ..*board }, spec)
                        }
                        (true, Finals::BusyAtFirst) if spec.repetition == 0 => busy(slowed(result, 2.0)),
                        (true, Finals::BusyAtFirst) => result,
                        (true, Finals::GivenUp) => {
                            driver.give_up(trial.key());
                            continue;
                        }
                    }
                }
                TrialSpec::Prepare(_) | TrialSpec::Train(_) => panic!("the preparation is done"),
            };
            driver.commit(trial.key(), result);
        }
    }
    panic!("it does not come to an end");
}

#[test]
fn a_search_keeps_a_measured_limit_on_a_device_that_adds_up() {
    let plan = experiment(&["one"], limited(vec![limit("one", Amount::Of(4.0))]));

    let driver = run(plan, &[("one", PLAIN)]);

    assert_eq!(driver.status(), "finished");
    let results = driver.results();
    let [search] = results.searches.as_slice() else { panic!("one search") };
    assert!(!search.top.is_empty());
    for top in &search.top {
        let [device] = top.devices.as_slice() else { panic!("one device") };
        let (measured, predicted) = (device.measured.unwrap(), device.predicted);
        assert!(measured.median <= 4.0, "{measured:?}");
        assert!((measured.median / predicted.median - 1.0).abs() < 0.01, "{measured:?} {predicted:?}");
    }
    let [device] = results.devices.as_slice() else { panic!("one device") };
    let layers = device.layers.as_ref().unwrap();
    assert_eq!(layers.source, Source::Layers);
    assert!(device.additivity.as_ref().unwrap().mean_error < 0.001);
    // Chance decides whether a factor next to one is worth its place.
    let correction = device.correction.as_ref().unwrap();
    assert!((correction.scale - 1.0).abs() < 0.01 && correction.per_change == 0.0, "{correction:?}");
    assert!(device.fronts[0].points.len() > 2);
    assert!(device.finalists.iter().all(|finalist| finalist.measured.is_some()));
    let probes = driver.proposed.iter().filter(|trial| matches!(trial, TrialSpec::Probe(_)));
    assert_eq!(device.trials, probes.map(TrialSpec::key).collect::<Vec<_>>());
    // The baseline takes 5.1 ms: something had to be lowered, and only as far as it takes.
    assert!(search.top[0].devices[0].measured.unwrap().median > 3.5);
}

#[test]
fn layers_that_a_probe_does_not_tell_apart_are_measured_one_by_one() {
    let plan = experiment(&["one"], limited(vec![limit("one", Amount::OfBaselinePpm(800_000))]));

    let driver = run(plan, &[("one", Board { tells_layers: false, ..PLAIN })]);

    assert_eq!(driver.status(), "finished");
    let results = driver.results();
    let device = &results.devices[0];
    assert_eq!(device.layers.as_ref().unwrap().source, Source::OneByOne);
    assert!(device.additivity.as_ref().unwrap().mean_error < 0.02, "{:?}", device.additivity);
    assert_eq!(device.failures.len(), 1);
    let top = &results.searches[0].top[0];
    assert!(top.devices[0].measured.unwrap().median <= 0.8 * 5.1 * 1.001);
}

#[test]
fn what_mixed_networks_take_beyond_the_sum_is_learned_from_whole_ones() {
    let board = Board { mixed: 1.0, ..PLAIN };
    let plan = experiment(&["one"], limited(vec![limit("one", Amount::Of(4.5))]));

    let driver = run(plan, &[("one", board)]);

    assert_eq!(driver.status(), "finished");
    let results = driver.results();
    assert!(!results.devices[0].additivity.as_ref().unwrap().is_additive());
    for top in &results.searches[0].top {
        assert!(top.devices[0].measured.unwrap().median <= 4.5);
    }
}

#[test]
fn a_limit_below_all_predictions_fails_before_anything_is_evaluated() {
    let plan = experiment(&["one"], limited(vec![limit("one", Amount::Of(0.5))]));

    let driver = run(plan, &[("one", PLAIN)]);

    let status = driver.state.ledger.experiment(&driver.plan.id()).unwrap().status.clone();
    let Status::Failed { reason } = status else { panic!("{status:?}") };
    assert!(
        reason.contains("no bit config keeps the limits: latency_ms (integer on board=one) is at least"),
        "{reason}"
    );
}

#[test]
fn finalists_that_break_a_limit_tighten_it_until_one_keeps_it() {
    let plan = experiment(&["one"], limited(vec![limit("one", Amount::Of(4.0))]));

    let driver = run(plan, &[("one", Board { later: 1.4, ..PLAIN })]);

    let experiment = driver.state.ledger.experiment(&driver.plan.id()).unwrap();
    assert_eq!(experiment.status, Status::Finished);
    let results = driver.results();
    let search = &results.searches[0];
    assert!(!search.top.is_empty());
    assert!(search.top.iter().all(|top| top.devices[0].measured.unwrap().median <= 4.0));
    assert!(
        search.notes.iter().any(|note| note.contains("predicted to keep the limit, and do not")),
        "{:?}",
        search.notes
    );
}

#[test]
fn nothing_is_recommended_that_breaks_a_limit_and_the_nearest_is_named() {
    let plan = experiment(&["one"], limited(vec![limit("one", Amount::Of(4.0))]));

    let driver = run(plan, &[("one", Board { later: 4.0, ..PLAIN })]);

    let status = driver.state.ledger.experiment(&driver.plan.id()).unwrap().status.clone();
    let Status::Failed { reason } = status else { panic!("{status:?}") };
    assert!(reason.contains("nearest to them came latency_ms (integer on board=one) of"), "{reason}");
    assert!(reason.contains("its limit is 4.0000"), "{reason}");
    // Not even as the best so far: nobody knows what else would keep the limit.
    assert_eq!(driver.results().searches[0].top, []);
}

#[test]
fn a_latency_is_lowered_as_far_as_the_loss_allows() {
    let lowers = Lowered { cost: "latency_ms".to_owned(), target: target("one"), loss_max: 0.5 };
    let plan = experiment(&["one"], SearchPlan { lowers: Some(lowers), ..limited(Vec::new()) });

    let driver = run(plan, &[("one", PLAIN)]);

    assert_eq!(driver.status(), "finished");
    let results = driver.results();
    let top = &results.searches[0].top;
    let of = |row: &bitloop_core::report::TopRow| row.devices[0].measured.unwrap().median;
    assert!(of(&top[0]) < 5.0, "{}", of(&top[0]));
    assert!(top.windows(2).all(|pair| of(&pair[0]) <= of(&pair[1])));
    for row in top {
        assert!(row.row.result.measured().unwrap().loss_by(Metric::Top1Drop).value <= 0.5);
    }
}

#[test]
fn finalists_that_nobody_can_measure_end_the_search() {
    let plan = experiment(&["one"], limited(vec![limit("one", Amount::Of(4.0))]));

    let driver = run(plan, &[("one", Board { finals: Finals::GivenUp, ..PLAIN })]);

    let status = driver.state.ledger.experiment(&driver.plan.id()).unwrap().status.clone();
    assert!(matches!(status, Status::Failed { .. }), "{status:?}");
    let keys: BTreeSet<TrialKey> = driver.proposed.iter().map(TrialSpec::key).collect();
    assert_eq!(keys.len(), driver.proposed.len(), "nothing is asked for twice");
}

#[test]
fn finalists_beside_others_are_measured_again_before_they_are_judged() {
    let plan = experiment(&["one"], limited(vec![limit("one", Amount::Of(4.0))]));
    let calm = run(plan.clone(), &[("one", PLAIN)]);

    let driver = run(plan, &[("one", Board { finals: Finals::BusyAtFirst, ..PLAIN })]);

    assert_eq!(driver.status(), "finished");
    let top = |driver: &Driver| driver.results().searches[0].top.clone();
    let configs = |driver: &Driver| top(driver).into_iter().map(|top| top.row.changes).collect::<Vec<_>>();
    assert_eq!(configs(&driver), configs(&calm));
    for row in top(&driver) {
        assert!(row.devices[0].unsteady.is_empty() && row.devices[0].measured.unwrap().median <= 4.0);
    }
}

#[test]
fn a_loss_that_nothing_keeps_is_named() {
    let lowers = Lowered { cost: "latency_ms".to_owned(), target: target("one"), loss_max: -1.0 };
    let plan = experiment(&["one"], SearchPlan { lowers: Some(lowers), ..limited(Vec::new()) });

    let driver = run(plan, &[("one", PLAIN)]);

    let status = driver.state.ledger.experiment(&driver.plan.id()).unwrap().status.clone();
    let Status::Failed { reason } = status else { panic!("{status:?}") };
    assert!(reason.contains("is as low as -1, the least is"), "{reason}");
}

#[test]
fn what_is_unsteady_is_repeated_and_then_left_at_that() {
    let mut plan = staged(2, Vec::new());
    plan.stages = vec![StagePlan::Prepare, probe("one")];
    let mut driver = Driver::new(plan.clone());
    driver.prepare();
    while driver.status() == "active" {
        driver.ask();
        let owed = driver.proposed.iter().filter(|trial| driver.state.ledger.outcome(&trial.key()).is_none());
        for trial in owed.cloned().collect::<Vec<_>>() {
            let TrialSpec::Probe(spec) = &trial else { panic!("nothing else is asked for") };
            let mut result = measured(&plan, &PLAIN, spec);
            if let TrialResult::Measured(measured) = &mut result
                && let Reading::Whole { session, .. } = &mut measured.reading
                && spec.config == BitConfig::baseline()
            {
                session.unsteady = Some(Unsteady::Drift(0.1));
            }
            driver.commit(trial.key(), result);
        }
    }

    let of_baseline = driver.proposed.iter().filter(|trial| match trial {
        TrialSpec::Probe(spec) => spec.config == BitConfig::baseline() && spec.subject == ProbeSubject::Whole,
        TrialSpec::Prepare(_) | TrialSpec::Evaluate { .. } | TrialSpec::Train(_) => false,
    });
    // The survey, two rounds, and one more: twice as often as asked for in all.
    assert_eq!(of_baseline.count(), 4);
    let results = driver.results();
    let rows = &results.devices[0].networks;
    let baseline = rows.iter().find(|row| row.kind == "baseline").unwrap();
    assert_eq!((baseline.sessions, baseline.unsteady.len()), (4, 4));
    assert!(rows.iter().filter(|row| row.kind != "baseline").all(|row| row.sessions == 2));
}
