//! A history of an experiment on devices: every form of plan, trial, outcome and selection that speaks of one.

use std::collections::BTreeMap;

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::device::Requirements;
use bitloop_core::digest::Digest;
use bitloop_core::plan::{Amount, ExperimentId, Limit, Lowered, Plan, ProbePlan, SearchPlan, StagePlan};
use bitloop_core::probe::{Environment, Estimate, Session, Unsteady};
use bitloop_core::report::Interval;
use bitloop_core::selection::{Front, FrontPoint, OnDevice, Proof, Selected, Selection, ShadowPrice};
use bitloop_core::state::{Batch, Fact, Sources};
use bitloop_core::trial::{
    Energy, Fidelity, ImageRange, LayerDifference, Measured, Outcome, ProbeSetting, ProbeSpec, ProbeSubject,
    ProbeTarget, Provenance, Reading, TrialResult, TrialSpec, Work,
};

use super::{PREPARED, SELECTION, facts_with_losses, plan};

const CLASS: &str = "Cortex-A76";

/// Where the stage that measures the device stands in [`plan_of_devices`].
const PROBES: u32 = 2;

fn board() -> ProbeTarget {
    let on = BTreeMap::from([("board".to_owned(), "pi5".to_owned())]);
    ProbeTarget { probe: "onnxruntime".to_owned(), on, class: None }
}

fn here() -> ProbeTarget {
    ProbeTarget { probe: "integer".to_owned(), on: BTreeMap::new(), class: None }
}

fn search(limits: Vec<Limit>, lowers: Option<Lowered>) -> StagePlan {
    StagePlan::Search(SearchPlan { lowers, trials: Some(10), round: 5, ..SearchPlan::exact(limits) })
}

fn on(target: ProbeTarget, cost: &str, at_most: Amount) -> Limit {
    Limit { cost: cost.to_owned(), at_most, target: Some(target) }
}

/// A plan with probe stages, limits on two devices, a search that lowers a measured cost, and a difference that devices may
/// have.
pub(crate) fn plan_of_devices() -> Plan {
    let setting = ProbeSetting { batch: 2, threads: 4, half_width_ppm: 30_000, at_most_ms: 9_000 };
    let probe = |target, fidelity| {
        StagePlan::Probe(Box::new(ProbePlan {
            target,
            setting,
            configs: 7,
            repetitions: 3,
            fidelity,
            seed: 11,
        }))
    };
    let limits = vec![
        Limit::computed("size_kib", Amount::OfBaselinePpm(500_000)),
        on(board(), "latency_ms", Amount::Of(3.5)),
        on(here(), "peak_memory_mib", Amount::OfBaselinePpm(800_000)),
    ];
    let lowers = Lowered { cost: "energy_mj".to_owned(), target: here(), loss_max: 0.5 };
    let mut plan = plan("devices");
    plan.stages.extend([
        probe(board(), 64),
        probe(here(), 0),
        search(limits, None),
        search(Vec::new(), Some(lowers)),
        StagePlan::Verify { top: 3, uniform: false, difference_max_ppm: 10_000 },
    ]);
    let requirements = |stage: &StagePlan| {
        let StagePlan::Probe(probe) = stage else { return Requirements::NONE };
        probe.target.requirements()
    };
    plan.requirements = plan.stages.iter().map(requirements).collect();
    plan.format = StagePlan::format_of(&plan.stages);
    plan
}

fn lowered() -> BitConfig {
    let four = Choice::Bits(Bits::new(4).unwrap());
    BitConfig::against(Choice::Bits(Bits::new(8).unwrap()), [(PointIndex(1), four), (PointIndex(3), four)])
}

fn whole(median: f64) -> Estimate {
    Estimate { median, low: median - 0.5, high: median + 0.25 }
}

fn timed(unsteady: Option<Unsteady>) -> Reading {
    Reading::Whole {
        session: Session {
            config: whole(1_500.5),
            baseline: whole(2_000.25),
            ratio: Estimate { median: 0.75, low: 0.7, high: 0.8 },
            rounds: 120,
            disturbed: 0,
            outliers: 3,
            unsteady,
        },
        peak_memory_bytes: unsteady.is_none().then_some(6_352_896),
        energy: unsteady.is_none().then(|| Energy {
            source: "rapl package-0".to_owned(),
            config: Estimate { median: 0.002, low: 0.001, high: 0.003 },
            baseline: Estimate { median: 0.004, low: 0.004, high: 0.005 },
        }),
    }
}

fn compared(images: u64, first_difference: Option<LayerDifference>) -> Reading {
    Reading::Fidelity(Fidelity {
        n: images,
        device_correct: 61,
        simulated_correct: 60,
        agreeing: 59,
        logit_difference_max: 0.125,
        logit_difference_mean: 0.01,
        first_difference,
    })
}

/// What is asked, and what comes of it: a measurement with all that may be known of the machine, and some with nothing.
fn asked(experiment: &ExperimentId) -> Vec<(ProbeSpec, TrialResult)> {
    let spec = |config: BitConfig, subject, repetition| ProbeSpec {
        target: board().of_class(CLASS),
        prepared: Digest::of(PREPARED),
        baseline: Choice::Bits(Bits::new(8).unwrap()),
        config,
        setting: ProbeSetting { batch: 2, threads: 4, half_width_ppm: 30_000, at_most_ms: 9_000 },
        subject,
        repetition,
        asked_by: None,
    };
    let survey = ProbeSpec {
        target: board(),
        asked_by: Some(experiment.clone()),
        ..spec(BitConfig::baseline(), ProbeSubject::Whole, 0)
    };
    let images =
        |len| ProbeSubject::Fidelity { data: Digest::of(SELECTION), images: ImageRange { start: 0, len } };
    let difference = LayerDifference { node: "conv".to_owned(), share: 0.25, largest: 3.0 };
    let layers = Reading::Layers {
        unsteady: None,
        nodes: BTreeMap::from([("conv".to_owned(), whole(900.0)), ("dense".to_owned(), whole(300.0))]),
        other: whole(50.0),
        whole: whole(1_250.0),
    };
    let found = |reading, environment| TrialResult::Measured(Box::new(Measured { reading, environment }));
    let unsaid = Environment::default;
    let failed = TrialResult::Failed { reason: "the probe cannot tell what a network computes".to_owned() };
    vec![
        (survey, found(timed(None), surroundings())),
        (spec(lowered(), ProbeSubject::Whole, 0), found(timed(Some(Unsteady::Wide(0.04))), unsaid())),
        (spec(lowered(), ProbeSubject::Whole, 1), found(timed(Some(Unsteady::Drift(-0.05))), unsaid())),
        (spec(lowered(), ProbeSubject::Whole, 2), found(timed(Some(Unsteady::Busy(0.5))), unsaid())),
        (spec(lowered(), ProbeSubject::Layers, 0), found(layers, unsaid())),
        (spec(lowered(), images(64), 0), found(compared(64, Some(difference)), unsaid())),
        (spec(BitConfig::baseline(), images(64), 0), found(compared(64, None), unsaid())),
        (spec(BitConfig::baseline(), images(32), 0), failed),
    ]
}

fn surroundings() -> Environment {
    Environment {
        governor: Some("performance".to_owned()),
        affinity: vec![0, 2],
        mhz: Some([2_400.0, 2_350.5]),
        celsius: Some([48.5, 61.0]),
        load: Some([0.25, 1.5]),
        others: Some(0.0625),
        more: BTreeMap::from([("throttled".to_owned(), "0x0".to_owned())]),
    }
}

fn selection() -> Selection {
    let predicted = Estimate { median: 3.25, low: 3.0, high: 3.5 };
    let devices = vec![
        OnDevice {
            energy_source: None,
            unsteady: Vec::new(),
            target: board(),
            cost: "latency_ms".to_owned(),
            predicted,
            measured: Some(Estimate { median: 3.375, low: 3.25, high: 3.5 }),
        },
        OnDevice {
            energy_source: None,
            target: here(),
            cost: "peak_memory_mib".to_owned(),
            predicted,
            measured: None,
            unsteady: Vec::new(),
        },
    ];
    Selection {
        top: vec![Selected {
            config: lowered(),
            predicted: Some(Interval { value: 0.5, low: 0.25, high: 0.75 }),
            costs: BTreeMap::from([("size_kib".to_owned(), 1.5)]),
            devices,
        }],
        proof: Some(Proof { objective: 0.5, bound: 0.4375 }),
        prices: vec![ShadowPrice { cost: "size_kib".to_owned(), step: 0.5, looser: -0.125, tighter: None }],
        notes: vec!["4 bits are not faster than 8 here".to_owned()],
        fronts: vec![Front {
            target: board(),
            cost: "latency_ms".to_owned(),
            points: vec![FrontPoint { config: lowered(), loss: 0.5, cost: 3.25 }],
        }],
    }
}

/// An experiment, its probe trials of every subject with what came of them, and a selection with costs on devices.
pub(crate) fn facts_of_devices() -> Vec<Fact> {
    let plan = plan_of_devices();
    let experiment = plan.id();
    let asked = asked(&experiment);
    let trials: Vec<TrialSpec> =
        asked.iter().map(|(spec, _)| TrialSpec::Probe(Box::new(spec.clone()))).collect();
    let provenance = Provenance {
        engine: "test".to_owned(),
        device: CLASS.to_owned(),
        kernels: "ONNX Runtime 1.20.1, CPUExecutionProvider".to_owned(),
    };
    let outcomes = trials.iter().zip(asked).map(|(trial, (_, result))| Fact::OutcomeCommitted {
        key: trial.key(),
        outcome: Outcome { result, provenance: provenance.clone(), work: Work::default() },
    });
    let outcomes: Vec<Fact> = outcomes.collect();
    let finished =
        |stage, selection| Fact::StageFinished { experiment: experiment.clone(), stage, selection };
    let batch = Batch { trials, ..Batch::default() };
    let mut facts = vec![
        Fact::ExperimentSubmitted { plan: Box::new(plan), sources: Sources::new(), priority: -1 },
        Fact::StepProposed { experiment: experiment.clone(), stage: PROBES, batch },
    ];
    facts.extend(outcomes);
    facts.push(finished(PROBES, None));
    facts.push(finished(PROBES + 2, Some(Box::new(selection()))));
    facts
}

/// Facts in all their forms, for the golden files of the newest format.
pub(crate) fn facts_in_every_form() -> Vec<Fact> {
    [facts_with_losses(2), facts_of_devices()].concat()
}
