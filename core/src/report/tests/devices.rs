//! The results file of an experiment on devices.

use super::*;
use crate::plan::{Amount, Limit, ProbePlan, SearchPlan};
use crate::probe::{Environment, Estimate, Session, Unsteady};
use crate::selection::{OnDevice, Selected, Selection};
use crate::state::{Fact, State};
use crate::trial::{
    Energy, Fidelity, LayerDifference, Measured, ProbeSetting, ProbeSpec, ProbeSubject, ProbeTarget, Reading,
};

const CLASS: &str = "Cortex-A76";

fn board() -> ProbeTarget {
    let on = BTreeMap::from([("board".to_owned(), "pi5".to_owned()), ("rack".to_owned(), "2".to_owned())]);
    ProbeTarget { probe: "onnxruntime".to_owned(), on, class: None }
}

/// Another device, of which nothing is known yet.
fn silent() -> ProbeTarget {
    ProbeTarget { probe: "integer".to_owned(), on: BTreeMap::new(), class: None }
}

/// Sweep, probes of two devices, a search that is limited on one of them, and a verification.
fn plan_of_devices() -> Plan {
    let mut plan = plan("golden");
    let probe =
        |target| StagePlan::Probe(Box::new(ProbePlan { repetitions: 2, ..ProbePlan::uniform(target) }));
    let limits =
        vec![Limit { cost: "latency_us".to_owned(), at_most: Amount::Of(1_000.0), target: Some(board()) }];
    plan.stages.extend([
        probe(board()),
        probe(silent()),
        StagePlan::Search(SearchPlan::exact(limits)),
        StagePlan::verify(1, false),
    ]);
    plan
}

fn config(changes: &[(u32, u8)], plan: &Plan) -> BitConfig {
    let choice = |bits: u8| Choice::Bits(Bits::new(bits).unwrap());
    let changes = changes.iter().map(|(point, bits)| (PointIndex(*point), choice(*bits)));
    BitConfig::against(Choice::Bits(plan.candidates.baseline), changes)
}

/// Times in milliseconds.
fn timed(median: f64, unsteady: Option<Unsteady>) -> Reading {
    let ms = |value: f64| Estimate { median: value * 1e6, low: value * 0.99e6, high: value * 1.02e6 };
    let joules = |value: f64| Estimate { median: value, low: value - 0.0005, high: value + 0.0005 };
    Reading::Whole {
        session: Session {
            config: ms(median),
            baseline: ms(2.0),
            ratio: Estimate::exactly(median / 2.0),
            rounds: 60,
            disturbed: 0,
            outliers: 1,
            unsteady,
        },
        peak_memory_bytes: Some(3 << 20),
        energy: unsteady.is_none().then(|| Energy {
            source: "rapl package-0".to_owned(),
            config: joules(0.002),
            baseline: joules(0.004),
        }),
    }
}

struct History {
    plan: Plan,
    facts: Vec<Fact>,
}

impl History {
    fn measured(&mut self, stage: u32, probed: Vec<(ProbeSpec, Reading)>) {
        let trials: Vec<TrialSpec> =
            probed.iter().map(|(spec, _)| TrialSpec::Probe(Box::new(spec.clone()))).collect();
        self.propose(stage, Batch { trials: trials.clone(), ..Batch::default() });
        for (trial, (_, reading)) in trials.iter().zip(probed) {
            let governor = Some("performance".to_owned());
            let measured =
                Measured { reading, environment: Environment { governor, ..Environment::default() } };
            let mut report = report(trial.key(), TrialResult::Measured(Box::new(measured)));
            report.outcome.provenance.device = CLASS.to_owned();
            self.commit(report);
        }
    }

    fn evaluated(&mut self, stage: u32, configs: &[(BitConfig, u64)]) {
        let mut context = self.plan.context(Digest::of(b"prepared"));
        if stage == 4 {
            context.data = self.plan.data.report.digest;
        }
        let (digest, part) = (context.digest(), context.whole());
        let trial =
            |config: &BitConfig| TrialSpec::Evaluate { context: digest, config: config.clone(), part };
        let trials: Vec<TrialSpec> = configs.iter().map(|(config, _)| trial(config)).collect();
        self.propose(stage, Batch { context: Some(context), trials: trials.clone(), ..Batch::default() });
        for (trial, (_, lost)) in trials.iter().zip(configs) {
            self.commit(report(trial.key(), sums(91 - lost, *lost, 0, 21.5 + *lost as f64, 0.5)));
        }
    }

    fn propose(&mut self, stage: u32, batch: Batch) {
        self.facts.push(Fact::StepProposed { experiment: self.plan.id(), stage, batch });
    }

    fn commit(&mut self, report: TrialReport) {
        self.facts.push(Fact::OutcomeCommitted { key: report.key, outcome: report.outcome });
    }
}

fn probed(plan: &Plan, (config, subject, repetition): (&BitConfig, ProbeSubject, u32)) -> ProbeSpec {
    ProbeSpec {
        target: board().of_class(CLASS),
        prepared: Digest::of(b"prepared"),
        baseline: Choice::Bits(plan.candidates.baseline),
        config: config.clone(),
        setting: ProbeSetting::default(),
        subject,
        repetition,
        asked_by: None,
    }
}

/// The search's first config is compared, and differs.
fn report_on_devices() -> Report {
    report_of(&[(0, 80)])
}

/// The search found two configs; those with these places are compared, and the device recognizes so many images of them, where
/// the simulation recognizes 89.
fn report_of(compared: &[(usize, u64)]) -> Report {
    let plan = plan_of_devices();
    let [mixed, single] = [config(&[(0, 4), (1, 2)], &plan), config(&[(1, 2)], &plan)];
    let float = BitConfig::against(
        Choice::Bits(plan.candidates.baseline),
        (0..5).map(|point| (PointIndex(point), Choice::Float)),
    );
    let baseline = BitConfig::baseline();
    let submitted =
        Fact::ExperimentSubmitted { plan: Box::new(plan.clone()), sources: BTreeMap::new(), priority: 0 };
    let mut history = History { plan: plan.clone(), facts: vec![submitted] };
    history.evaluated(0, &[(float.clone(), 0), (baseline.clone(), 0), (single.clone(), 9)]);
    let whole = |config: &BitConfig, repetition| probed(&plan, (config, ProbeSubject::Whole, repetition));
    history.measured(
        1,
        vec![
            (whole(&baseline, 0), timed(2.0, None)),
            (whole(&float, 0), timed(2.5, None)),
            (whole(&mixed, 0), timed(1.5, Some(Unsteady::Wide(0.05)))),
            (whole(&mixed, 1), timed(1.5, Some(Unsteady::Busy(0.5)))),
        ],
    );
    history.evaluated(3, &[(mixed.clone(), 3)]);
    let predicted = Estimate { median: 1_400.0, low: 1_300.0, high: 1_500.0 };
    let chosen = |config: &BitConfig, measured| Selected {
        config: config.clone(),
        predicted: None,
        costs: BTreeMap::new(),
        devices: vec![OnDevice {
            energy_source: None,
            target: board(),
            cost: "latency_us".to_owned(),
            predicted,
            measured,
            unsteady: Vec::new(),
        }],
    };
    let top = vec![chosen(&mixed, Some(predicted)), chosen(&single, None)];
    let selection = Some(Box::new(Selection { top, ..Selection::default() }));
    history.facts.push(Fact::StageFinished { experiment: plan.id(), stage: 3, selection });
    history.evaluated(4, &[(float, 0), (baseline, 0), (mixed.clone(), 2)]);
    let images = ImageRange { start: 0, len: 100 };
    let subject = ProbeSubject::Fidelity { data: plan.data.report.digest, images };
    let found = |device_correct| Fidelity {
        n: 100,
        device_correct,
        simulated_correct: 89,
        agreeing: 85,
        logit_difference_max: 1.0,
        logit_difference_mean: 0.25,
        first_difference: Some(LayerDifference { node: "conv".to_owned(), share: 0.25, largest: 3.0 }),
    };
    let compared = compared.iter().map(|(place, device_correct)| {
        let spec = probed(&plan, ([&mixed, &single][*place], subject.clone(), 0));
        (spec, Reading::Fidelity(found(*device_correct)))
    });
    history.measured(4, compared.collect());
    let state = State::replayed(history.facts, |_, _| {});
    Report::new(&state.ledger, &state.ledger.experiments()[0]).unwrap()
}

/// Networks that stages had measured whole, in this order.
fn report_on_networks(plan: &Plan, asked: Vec<(u32, Vec<BitConfig>)>) -> Report {
    let submitted =
        Fact::ExperimentSubmitted { plan: Box::new(plan.clone()), sources: BTreeMap::new(), priority: 0 };
    let mut history = History { plan: plan.clone(), facts: vec![submitted] };
    for (stage, configs) in asked {
        let whole = |config: &BitConfig| (probed(plan, (config, ProbeSubject::Whole, 0)), timed(2.0, None));
        history.measured(stage, configs.iter().map(whole).collect());
    }
    let state = State::replayed(history.facts, |_, _| {});
    Report::new(&state.ledger, &state.ledger.experiments()[0]).unwrap()
}

#[test]
fn networks_are_called_by_their_widths_and_no_two_alike() {
    let plan = plan_of_devices();
    let at = |weights: u8, activations: u8| {
        let bits = |point: &Point| match point.kind {
            PointKind::Weight => weights,
            PointKind::Activation => activations,
        };
        let all: Vec<(u32, u8)> = (0..).zip(plan.points.iter().map(bits)).collect();
        config(&all, &plan)
    };
    let of = |changes: &[(u32, u8)]| config(changes, &plan);
    let surveyed = vec![at(8, 8), plan.float_config(), at(4, 8), at(8, 4), at(4, 4)];
    let drawn = vec![of(&[(0, 4), (1, 2), (2, 4)]), of(&[(1, 2)])];
    let found = vec![of(&[(1, 4)]), at(2, 4)];

    let report = report_on_networks(&plan, vec![(1, [surveyed, drawn].concat()), (3, found)]);

    let networks = &report.devices[0].networks;
    let names: Vec<_> = networks.iter().map(|row| (row.kind.as_str(), row.name.as_str())).collect();
    let expected = [
        ("baseline", "baseline W8A8"),
        ("float", "float"),
        ("uniform", "W4A8"),
        ("uniform", "W8A4"),
        ("uniform", "W4A4"),
        ("mixed", "mixed 1: 1 point at 2, 2 at 4 bits"),
        ("mixed", "mixed 2: 1 point at 2 bits"),
        ("search", "finalist 1: 1 point at 4 bits"),
        ("uniform", "W2A4"),
    ];
    assert_eq!(names, expected);
}

/// The first row of a kind, by column. Rows of another width than the header's are no CSV.
fn row(csv: &str, kind: &str) -> BTreeMap<String, String> {
    let mut reader = ::csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    let rows = reader.records().map(Result::unwrap).collect::<Vec<_>>();
    let row = rows.iter().find(|row| row.get(9) == Some(kind)).unwrap();
    header.iter().zip(row).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn golden_csv_of_format_5_with_devices() {
    let csv = report_on_devices().to_csv();

    assert_eq!(
        csv,
        include_str!("../golden_v5_devices.csv"),
        "a changed results file needs a new CSV_FORMAT"
    );
    let names: Vec<&str> = csv.lines().next().unwrap().split(',').skip(CSV_COLUMNS.len()).collect();
    assert_eq!(names.len(), 2 * (2 + 3 * 4 + 2));
    assert_eq!(
        names[..4],
        ["device1", "device1_class", "device1_latency_ms_predicted", "device1_latency_ms_measured"]
    );
    assert_eq!(names[names.len() - 2..], ["device2_unsteady", "device2_refused"]);
}

#[test]
fn columns_of_devices_tell_predicted_from_measured_and_doubtful_from_refused() {
    let csv = report_on_devices().to_csv();

    let (mixed, float, single) = (row(&csv, "weight activation"), row(&csv, "float"), row(&csv, "weight"));

    let expected = [
        ("device1", "onnxruntime on board=pi5,rack=2"),
        ("device1_class", CLASS),
        // The search that chose it wrote microseconds.
        ("device1_latency_ms_predicted", "1.400000"),
        ("device1_latency_ms_measured", "1.500000"),
        ("device1_latency_ms_low", "1.470000"),
        ("device1_latency_ms_high", "1.530000"),
        ("device1_energy_mj_measured", ""),
        ("device1_peak_memory_mib_measured", "3.000000"),
        ("device1_unsteady", "busy wide"),
        (
            "device1_refused",
            "onnxruntime on board=pi5,rack=2 recognizes 80 of 100 images, 89 as simulated, from `conv` on",
        ),
        ("device2", "integer"),
        ("device2_class", ""),
        ("device2_latency_ms_measured", ""),
        ("device2_refused", ""),
    ];
    for (name, value) in expected {
        assert_eq!(mixed[name], value, "{name}");
    }
    let of_float = ["latency_ms_predicted", "latency_ms_measured", "energy_mj_measured", "unsteady"];
    assert_eq!(of_float.map(|name| &float[&format!("device1_{name}")]), ["", "2.500000", "2.000000", ""]);
    let of_single = ["latency_ms_predicted", "latency_ms_measured", "refused"];
    assert_eq!(of_single.map(|name| &single[&format!("device1_{name}")]), ["1.400000", "", ""]);
}

#[test]
fn nothing_is_recommended_that_a_device_which_differs_has_not_computed() {
    let search = report_of(&[(0, 80)]).searches.remove(0);

    assert_eq!(search.recommended(), None);
    assert_eq!(
        search.refusals(),
        [
            "rank 1 is not recommended: onnxruntime on board=pi5,rack=2 recognizes 80 of 100 images, 89 as simulated, from `conv` on",
            "rank 2 is not recommended: onnxruntime on board=pi5,rack=2 computes another config otherwise than simulated, and was \
             not compared here; `verify` compares as many as its `top` says",
        ]
    );
}

#[test]
fn what_a_device_computes_as_simulated_is_recommended_in_the_place_of_what_it_does_not() {
    let search = report_of(&[(0, 80), (1, 89)]).searches.remove(0);

    assert_eq!(search.recommended().map(|(rank, _)| rank), Some(2));
    assert_eq!(search.refusals().len(), 1);
}

#[test]
fn what_was_not_compared_is_recommended_where_no_device_differs() {
    let search = report_of(&[(1, 89)]).searches.remove(0);

    assert_eq!(search.recommended().map(|(rank, _)| rank), Some(1));
    assert!(search.refusals().is_empty());
}

#[test]
fn a_results_file_without_devices_has_no_columns_of_any() {
    assert_eq!(golden_report().to_csv().lines().next(), Some(CSV_COLUMNS.join(",").as_str()));
}

#[test]
fn the_page_on_results_names_every_reason_not_to_rely_on_a_latency() {
    let page = include_str!("../../../../docs/results.md");
    let row = page.lines().find(|line| line.starts_with("| `deviceN_unsteady` |")).unwrap();

    for reason in [
        Unsteady::Few(1),
        Unsteady::Wide(0.1),
        Unsteady::Drift(0.1),
        Unsteady::Busy(0.5),
        Unsteady::Clock(0.1),
    ] {
        assert!(row.contains(&format!("`{}`", reason.as_str())), "{reason:?}: {row}");
    }
}
