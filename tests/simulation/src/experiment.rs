//! The experiments of the simulation, and what their trials give.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bitloop_core::bits::{Bits, PointIndex};
use bitloop_core::device::{Device, DeviceKind, ProbeOffer, Requirements};
use bitloop_core::digest::Digest;
use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding, Shape};
use bitloop_core::plan::{
    Amount, DataPart, DataParts, Limit, Metric, Pairs, Plan, ProbePlan, SearchMethod, SearchPlan, StagePlan,
};
use bitloop_core::trial::{
    Candidates, Evaluation, Guard, ImageRange, Measured, Numerics, Outcome, ProbeSetting, ProbeTarget,
    Provenance, TrialKey, TrialResult, TrialSpec, Work,
};

/// Images that an evaluation sees.
const IMAGES: u64 = 100;

/// So many kinds of CPUs are there, on which preparing a model gives something else each.
pub(crate) const KINDS: usize = 2;

/// What stands for the model of an experiment whose preparing panics once what it gave has been lost.
const FRAGILE: &[u8] = b"fragile model";

fn graph() -> Graph {
    let input = Input { shape: Shape::image(2, 8, 8), mean: vec![0.5; 2], std: vec![0.25; 2] };
    let mut graph = Graph::new("simulated", input);
    let padding = Padding::all(1);
    let conv = |out_channels| {
        let (kernel, stride, dilation) = ([3, 3], [1, 1], [1, 1]);
        Op::Conv2d(Conv2d { out_channels, kernel, stride, padding, dilation, groups: 1, bias: false })
    };
    graph.push("first", conv(4), &[INPUT]);
    graph.push("bend", Op::Relu, &["first"]);
    graph.push("second", conv(6), &["bend"]);
    graph.push("rectify", Op::Relu, &["second"]);
    graph.push("flatten", Op::Flatten, &["rectify"]);
    graph.push("dense", Op::Linear(Linear { out_features: 3, bias: true }), &["flatten"]);
    graph
}

/// What stands for the artifacts that the plans name.
pub fn inputs() -> [&'static [u8]; 4] {
    [b"model", b"calibration", b"selection", b"report"]
}

/// Two plans: a sweep of points and pairs with a search that thinks, and one that wants some of the same trials, on devices of
/// their own.
pub fn plans() -> [Plan; 2] {
    let pairs = Some(Pairs::MostPromising { configs: 30 });
    let every = (0..7).map(PointIndex).collect();
    let sweep = StagePlan::Sensitivity { single: every, pairs, subsets: None };
    let search = StagePlan::Search(SearchPlan {
        method: SearchMethod::Exact,
        predictor: "auto".to_owned(),
        objective: Metric::LossIncrease,
        limits: vec![Limit::computed("size_kib", Amount::OfBaselinePpm(600_000))],
        lowers: None,
        cost: None,
        trials: Some(4),
        round: 2,
    });
    let some = StagePlan::singles((0..5).map(PointIndex).collect());
    [
        plan("searching", vec![StagePlan::Prepare, sweep, search]),
        Plan {
            requirements: vec![Requirements::NONE, Requirements { exclusive: true, ..Requirements::NONE }],
            ..plan("sharing", vec![StagePlan::Prepare, some])
        },
    ]
}

/// A plan and how it comes.
pub(crate) struct Submission {
    pub(crate) plan: Plan,
    pub(crate) priority: i32,
    pub(crate) arrival: Arrival,
}

/// When an experiment comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrival {
    /// So many milliseconds after the beginning.
    After(u64),
    /// When nothing breaks any more.
    Last,
}

/// A plan with a context of its own, whose trials are of every [`Oddity`].
fn odd() -> Plan {
    let some = StagePlan::singles((0..5).map(PointIndex).collect());
    let mut odd = plan("odd", vec![StagePlan::Prepare, some]);
    odd.data.selection.digest = Digest::of(b"odd images");
    odd.guard.data = odd.data.selection.digest;
    odd
}

/// What devices that cannot measure a trial say.
pub(crate) const IMPOSSIBLE: &str = "out of memory";

/// What a measurement says that panics.
pub(crate) const PANIC: &str = "the measurement panicked";

/// The class of all processors, and of the board.
const CLASS: &str = "cpu";

/// The probe that measures a board, which all hosts reach, and what it is called.
const BOARD: (&str, &str) = ("external", "board");

/// The probe that measures the processor of its worker.
const PROCESSOR: &str = "integer";

/// What every worker offers.
pub(crate) fn probes() -> Vec<ProbeOffer> {
    let offer = |name: &str, device: Option<&str>| ProbeOffer {
        name: name.to_owned(),
        class: CLASS.to_owned(),
        device: device.map(str::to_owned),
        runtime: "simulated".to_owned(),
    };
    vec![offer(BOARD.0, Some(BOARD.1)), offer(PROCESSOR, None)]
}

/// The device of every worker.
pub(crate) fn processor() -> Device {
    Device { id: CLASS.to_owned(), class: CLASS.to_owned(), ..Device::default() }
}

/// The device that a trial measures, which no other may meanwhile, on a machine; none of one that measures none.
pub(crate) fn probed(spec: &TrialSpec, machine: usize) -> Option<String> {
    match spec {
        TrialSpec::Probe(probe) if probe.target.probe == BOARD.0 => Some(BOARD.1.to_owned()),
        TrialSpec::Probe(_) => Some(format!("processor of machine {machine}")),
        TrialSpec::Prepare(_) | TrialSpec::Evaluate { .. } | TrialSpec::Train(_) => None,
    }
}

/// A plan that measures the board and a processor, one after the other, with so many images at a time.
fn measuring(name: &str, batch: u32) -> Plan {
    let on = |probe: &str| {
        let target = ProbeTarget { probe: probe.to_owned(), on: BTreeMap::new(), class: None };
        let setting = ProbeSetting { batch, ..ProbeSetting::default() };
        let probe = ProbePlan { setting, configs: 2, repetitions: 2, ..ProbePlan::uniform(target) };
        StagePlan::Probe(Box::new(probe))
    };
    plan(name, vec![StagePlan::Prepare, on(BOARD.0), on(PROCESSOR)])
}

/// What is special about a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oddity {
    None,
    /// It fails wherever it is measured.
    Fails,
    /// No device can measure it.
    Impossible,
    /// Only the first hosts' device can.
    Large,
    /// Measuring it panics.
    Panics,
}

impl Oddity {
    pub(crate) fn of(spec: &TrialSpec) -> Self {
        static ODD: OnceLock<[Digest; KINDS]> = OnceLock::new();
        let odd = ODD.get_or_init(|| {
            let odd = odd();
            std::array::from_fn(|kind| odd.context(prepared(odd.model, kind)).digest())
        });
        let TrialSpec::Evaluate { context, config, .. } = spec else { return Self::None };
        match config.changes().next() {
            Some((PointIndex(point), _)) if odd.contains(context) => {
                [Self::None, Self::Fails, Self::Impossible, Self::Large, Self::Panics][point as usize % 5]
            }
            Some(_) | None => Self::None,
        }
    }

    pub(crate) fn is_impossible_on(self, device: usize) -> bool {
        match self {
            Self::Impossible => true,
            Self::Large => device > 0,
            Self::None | Self::Fails | Self::Panics => false,
        }
    }
}

/// What users submit: the [`plans`], two that measure the same devices and one of odd trials, after one that wants some of their
/// trials on devices that nobody has, and later one with a context of its own that is more urgent, one whose model can be prepared
/// once, and at last one that wants what those of the picky one are, so that they are measured whatever is lost.
pub(crate) fn submissions() -> &'static [Submission] {
    static SUBMISSIONS: OnceLock<Vec<Submission>> = OnceLock::new();
    SUBMISSIONS.get_or_init(|| {
        let some = || StagePlan::singles((0..5).map(PointIndex).collect());
        let on_gpu = Requirements { device: Some(DeviceKind::Cuda), ..Requirements::NONE };
        let picky = Plan { requirements: vec![on_gpu; 2], ..plan("picky", vec![StagePlan::Prepare, some()]) };
        let exact = Plan { numerics: Numerics::Exact, ..plan("exact", vec![StagePlan::Prepare, some()]) };
        let fragile =
            Plan { model: Digest::of(FRAGILE), ..plan("fragile", vec![StagePlan::Prepare, some()]) };
        let last = plan("last", vec![StagePlan::Prepare, some()]);
        let [searching, sharing] = plans();
        let of = |plan, priority, arrival| Submission { plan, priority, arrival };
        vec![
            of(picky, 0, Arrival::After(0)),
            of(searching, 0, Arrival::After(0)),
            of(sharing, 0, Arrival::After(0)),
            of(odd(), 0, Arrival::After(0)),
            of(exact, 1, Arrival::After(3_000)),
            of(fragile, 0, Arrival::After(1_000)),
            of(measuring("measuring", 1), 0, Arrival::After(0)),
            of(measuring("measuring again", 2), 0, Arrival::After(0)),
            of(last, 0, Arrival::Last),
        ]
    })
}

/// Whether a trial prepares the model that can be prepared only once.
pub(crate) fn is_fragile(spec: &TrialSpec) -> bool {
    matches!(spec, TrialSpec::Prepare(prepare) if prepare.model == Digest::of(FRAGILE))
}

/// Whether an artifact is what preparing that model gave.
pub(crate) fn is_of_fragile(artifact: Digest) -> bool {
    (0..KINDS).any(|kind| prepared(Digest::of(FRAGILE), kind) == artifact)
}

/// What preparing a model gives on a CPU of some kind.
pub(crate) fn prepared(model: Digest, kind: usize) -> Digest {
    Digest::of(format!("{model} as CPUs of kind {kind} prepare it").as_bytes())
}

/// Whether a trial ends every process that measures it, where trials do such things.
pub(crate) fn is_poisonous(spec: &TrialSpec) -> bool {
    match spec {
        TrialSpec::Prepare(_) | TrialSpec::Train(_) | TrialSpec::Probe(_) => false,
        TrialSpec::Evaluate { config, .. } => {
            let mut changes = config.changes();
            changes.len() == 1 && changes.all(|(point, _)| point == PointIndex(6))
        }
    }
}

fn plan(name: &str, stages: Vec<StagePlan>) -> Plan {
    let bits = |widths: &[u8]| widths.iter().filter_map(|bits| Bits::new(*bits).ok()).collect();
    let part = |name: &str| DataPart { digest: Digest::of(name.as_bytes()), images: IMAGES };
    let selection = part("selection");
    Plan {
        format: StagePlan::format_of(&stages),
        name: name.to_owned(),
        numerics: Numerics::Float,
        model: Digest::of(b"model"),
        points: graph().points().expect("the graph has points"),
        graph: graph(),
        data: DataParts {
            calibration: part("calibration"),
            selection,
            report: part("report"),
            training: None,
        },
        transforms: Vec::new(),
        guard: Guard {
            data: selection.digest,
            images: ImageRange { start: 0, len: IMAGES },
            drop_max_ppm: 0,
        },
        candidates: Candidates::with_default_rules(
            bits(&[2, 4]),
            bits(&[4]),
            Bits::new(8).expect("8 bits are a width"),
        ),
        evaluation: EvaluationMode::default(),
        stages,
        requirements: Vec::new(),
    }
}

/// What a trial gives on a CPU of some kind: numbers follow from the key, so that every worker gives the same.
pub(crate) fn outcome(key: &TrialKey, spec: &TrialSpec, kind: usize) -> Outcome {
    let draw = |index: usize| u64::from(key.0.as_bytes()[index]);
    let result = match spec {
        TrialSpec::Prepare(prepare) => {
            TrialResult::Prepared { artifact: prepared(prepare.model, kind), steps: Vec::new() }
        }
        TrialSpec::Evaluate { .. } if Oddity::of(spec) == Oddity::Fails => {
            TrialResult::Failed { reason: "simulated".to_owned() }
        }
        TrialSpec::Evaluate { part, .. } => TrialResult::Evaluated(Evaluation {
            n: part.len,
            correct: part.len - draw(0).min(part.len),
            loss_sum: 10.0 + draw(1) as f64 / 3.0,
            loss_difference_sum: draw(1) as f64 / 3.0,
            loss_difference_squares: draw(2) as f64,
            ..Evaluation::default()
        }),
        TrialSpec::Train(_) => TrialResult::Failed { reason: "nobody trains here".to_owned() },
        TrialSpec::Probe(probe) => {
            TrialResult::Measured(Box::new(Measured::made_up(&probe.subject, 1e6 + draw(1) as f64)))
        }
    };
    let text = str::to_owned;
    let provenance =
        Provenance { engine: text("simulation"), device: text(CLASS), kernels: text("simulated") };
    Outcome { result, provenance, work: Work::default() }
}
