//! Small plans, outcomes, workers and services for tests.

pub(crate) mod devices;
pub(crate) mod moto;
pub(crate) mod postgres;

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use bitloop_core::bits::{Bits, PointIndex};
use bitloop_core::device::Device;
use bitloop_core::digest::Digest;
use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding, Shape};
use bitloop_core::plan::{DataPart, DataParts, ExperimentId, OLDEST_PLAN_FORMAT, Plan, StagePlan};
use bitloop_core::state::{Batch, Fact, Report, Shard, Sources, WorkerId, WorkerInfo};
use bitloop_core::trial::{
    Candidates, Evaluation, Guard, ImageRange, Measured, Numerics, Outcome, Provenance, TrialKey,
    TrialResult, TrialSpec, Work,
};

use crate::artifacts::Artifacts;
use crate::coordinator::{Coordinator, Elsewhere};
use crate::data_dir::DataDir;
use crate::driver::{Committed, Handle, Overview, Summary, WorkerSummary};
use crate::store::{Loaded, MemoryStore, Store, StoreError};

/// A coordinator with its facts in `store`, and everything else in `folder`.
pub(crate) fn open_on(folder: &Path, store: Box<dyn Store>) -> Coordinator {
    let data_dir = DataDir::open(folder).unwrap();
    Coordinator::open_with(data_dir, Elsewhere { store: Some(store), ..Elsewhere::default() }).unwrap()
}

/// Trials of [`plan`]: prepare, float, baseline, two weights at two widths, three activations at one.
pub(crate) const PLAN_TRIALS: u64 = 10;

pub(crate) const MODEL: &[u8] = b"model";
pub(crate) const CALIBRATION: &[u8] = b"calibration";
pub(crate) const SELECTION: &[u8] = b"selection";
pub(crate) const PREPARED: &[u8] = b"prepared";

fn graph() -> Graph {
    let input = Input { shape: Shape::image(2, 8, 8), mean: vec![0.5; 2], std: vec![0.25; 2] };
    let mut graph = Graph::new("small", input);
    let conv = Conv2d {
        out_channels: 4,
        kernel: [3, 3],
        stride: [1, 1],
        padding: Padding::all(1),
        dilation: [1, 1],
        groups: 1,
        bias: false,
    };
    graph.push("conv", Op::Conv2d(conv), &[INPUT]);
    graph.push("relu", Op::Relu, &["conv"]);
    graph.push("flatten", Op::Flatten, &["relu"]);
    graph.push("dense", Op::Linear(Linear { out_features: 3, bias: true }), &["flatten"]);
    graph
}

pub(crate) fn plan(name: &str) -> Plan {
    let bits = |widths: &[u8]| widths.iter().map(|bits| Bits::new(*bits).unwrap()).collect();
    let part = |bytes: &[u8], images| DataPart { digest: Digest::of(bytes), images };
    Plan {
        format: OLDEST_PLAN_FORMAT,
        name: name.to_owned(),
        numerics: Numerics::Float,
        model: Digest::of(MODEL),
        graph: graph(),
        data: DataParts {
            calibration: part(CALIBRATION, 8),
            selection: part(SELECTION, 100),
            report: part(b"report", 100),
            training: None,
        },
        points: graph().points().unwrap(),
        transforms: Vec::new(),
        guard: Guard {
            data: Digest::of(SELECTION),
            images: ImageRange { start: 0, len: 100 },
            drop_max_ppm: 0,
        },
        candidates: Candidates::with_default_rules(bits(&[2, 4]), bits(&[4]), Bits::new(8).unwrap()),
        evaluation: EvaluationMode::default(),
        requirements: Vec::new(),
        stages: vec![StagePlan::Prepare, StagePlan::singles((0..5).map(PointIndex).collect())],
    }
}

/// The same sweep on other images, so that no trial is shared.
pub(crate) fn plan_on(name: &str, selection: Digest) -> Plan {
    let mut plan = plan(name);
    plan.data.selection.digest = selection;
    plan
}

pub(crate) fn store(artifacts: &Artifacts, bytes: &[u8]) {
    let mut writer = artifacts.writer(Digest::of(bytes)).unwrap();
    writer.write(bytes).unwrap();
    writer.finish().unwrap();
}

pub(crate) fn store_inputs(artifacts: &Artifacts) {
    for bytes in [MODEL, CALIBRATION, SELECTION, PREPARED] {
        store(artifacts, bytes);
    }
}

/// Submits a plan whose artifacts it stores first.
pub(crate) async fn submit(handle: &Handle, name: &str) -> ExperimentId {
    store_inputs(handle.artifacts());
    handle.submit(plan(name), Sources::new(), 0).await.unwrap().experiment
}

/// What a trial gives; numbers follow from the key, so that every run gives the same.
pub(crate) fn outcome(key: &TrialKey, spec: &TrialSpec) -> Outcome {
    let result = match spec {
        TrialSpec::Prepare(_) => TrialResult::Prepared { artifact: Digest::of(PREPARED), steps: vec![] },
        TrialSpec::Evaluate { .. } => TrialResult::Evaluated(Evaluation {
            n: 100,
            correct: u64::from(key.0.as_bytes()[0] % 100),
            loss_sum: 0.1 + f64::from(key.0.as_bytes()[1]) / 3.0,
            ..Evaluation::default()
        }),
        TrialSpec::Train(_) => TrialResult::Failed { reason: "nobody trains here".to_owned() },
        TrialSpec::Probe(probe) => TrialResult::Measured(Box::new(Measured::made_up(&probe.subject, 1e6))),
    };
    let text = str::to_owned;
    let provenance = Provenance { engine: text("test"), device: text("cpu"), kernels: text("none") };
    Outcome { result, provenance, work: Work::default() }
}

pub(crate) fn reports(shard: &Shard) -> Vec<Report> {
    let report = |(key, spec): &(TrialKey, TrialSpec)| Report { key: *key, outcome: outcome(key, spec) };
    shard.trials.iter().map(report).collect()
}

/// Reports that differ from [`reports`].
pub(crate) fn other_reports(shard: &Shard) -> Vec<Report> {
    let mut reports = reports(shard);
    for report in &mut reports {
        report.outcome.result = TrialResult::Failed { reason: "differs".to_owned() };
    }
    reports
}

pub(crate) fn worker(name: &str) -> WorkerInfo {
    let text = str::to_owned;
    WorkerInfo {
        id: WorkerId(text(name)),
        host: text("here"),
        machine: text("here"),
        device: Device { id: text("cpu"), class: text("cpu"), ..Device::default() },
        threads: 1,
        ..WorkerInfo::default()
    }
}

pub(crate) async fn register(handle: &Handle, name: &str) -> WorkerId {
    let info = worker(name);
    let id = info.id.clone();
    handle.register(info, Vec::new()).await.unwrap();
    id
}

/// What the driver itself says at this moment, whatever it has published.
pub(crate) async fn overview_now(handle: &Handle) -> Overview {
    handle.ask(|view| view.overview()).await.unwrap()
}

/// An experiment in [`overview_now`].
pub(crate) async fn summary_now(handle: &Handle, id: &ExperimentId) -> Summary {
    overview_now(handle).await.experiment(id).unwrap().clone()
}

/// The workers in [`overview_now`].
pub(crate) async fn workers_now(handle: &Handle) -> Vec<WorkerSummary> {
    overview_now(handle).await.workers
}

/// Takes one shard and commits all of it.
pub(crate) async fn work_once(handle: &Handle, worker: &WorkerId) -> Committed {
    let shard = handle.request_shard(worker).await.unwrap().unwrap();
    handle.commit(worker, reports(&shard), 500.0).await.unwrap()
}

/// The next shard; none if the experiment ends first. A request for work would wait for ever then, as the tests' clock
/// stands still.
pub(crate) async fn next_shard(handle: &Handle, worker: &WorkerId, id: &ExperimentId) -> Option<Shard> {
    let mut overview = handle.overview();
    let is_over = |overview: &Arc<Overview>| {
        overview.experiment(id).is_some_and(|experiment| experiment.status.is_over())
    };
    tokio::select! {
        over = overview.wait_for(is_over) => {
            over.unwrap();
            None
        }
        shard = handle.request_shard(worker) => Some(shard.unwrap().unwrap()),
    }
}

/// Takes a shard and commits it; `false` if the experiment ended first.
pub(crate) async fn work(handle: &Handle, worker: &WorkerId, id: &ExperimentId) -> bool {
    let Some(shard) = next_shard(handle, worker, id).await else { return false };
    handle.commit(worker, reports(&shard), 500.0).await.unwrap();
    true
}

/// Works until an experiment is over.
pub(crate) async fn work_off(handle: &Handle, worker: &WorkerId, id: &ExperimentId) {
    while work(handle, worker, id).await {}
}

/// A history as a store would hold it: one experiment, `trials` proposed evaluations, each with an outcome.
pub(crate) fn facts(trials: u32) -> Vec<Fact> {
    let plan = plan("stored");
    let experiment = plan.id();
    let context = plan.context(Digest::of(PREPARED));
    let specs: Vec<TrialSpec> = (0..trials)
        .map(|index| {
            let baseline = bitloop_core::bits::Choice::Float;
            let lowered = (PointIndex(index), bitloop_core::bits::Choice::Bits(Bits::new(4).unwrap()));
            let config = bitloop_core::bits::BitConfig::against(baseline, [lowered]);
            TrialSpec::Evaluate { context: context.digest(), config, part: context.whole() }
        })
        .collect();
    let sources = Sources::from([("model.safetensors".to_owned(), Digest::of(MODEL))]);
    let mut facts = vec![
        Fact::ExperimentSubmitted { plan: Box::new(plan), sources, priority: 0 },
        Fact::StepProposed {
            experiment: experiment.clone(),
            stage: 1,
            batch: Batch { context: Some(context), trials: specs.clone(), ..Batch::default() },
        },
    ];
    facts.extend(specs.iter().map(|spec| {
        let key = spec.key();
        Fact::OutcomeCommitted { key, outcome: outcome(&key, spec) }
    }));
    facts.push(Fact::StageFinished { experiment, stage: 1, selection: None });
    facts
}

/// The same, and then an outcome that is lost and replaced, twice.
pub(crate) fn facts_with_losses(trials: u32) -> Vec<Fact> {
    let mut facts = facts(trials);
    let committed = |fact: &Fact| match fact {
        Fact::OutcomeCommitted { key, outcome } => Some((*key, outcome.clone())),
        _ => None,
    };
    let (key, mut outcome) = facts.iter().find_map(committed).unwrap();
    for again in ["once", "twice"] {
        outcome.provenance.engine = again.to_owned();
        facts.push(Fact::OutcomeLost { key });
        facts.push(Fact::OutcomeReplaced { key, outcome: outcome.clone() });
    }
    facts
}

/// A store that fails while a test says so, with the error that it says.
#[derive(Default)]
pub(crate) struct FailingStore {
    pub(crate) inner: MemoryStore,
    pub(crate) failure: Failure,
}

/// The error that a [`FailingStore`] gives at the moment; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<StoreError>>>);

impl Failure {
    pub(crate) fn set(&self, failure: StoreError) {
        *self.0.lock().unwrap() = Some(failure);
    }

    pub(crate) fn disk_full(&self) {
        self.set(StoreError::Write { folder: "full".into(), reason: "no space left".to_owned() });
    }

    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap() = None;
    }
}

impl Store for FailingStore {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.inner.load()
    }

    fn append(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        match self.failure.0.lock().unwrap().clone() {
            Some(failure) => Err(failure),
            None => self.inner.append(facts),
        }
    }

    fn raise_epoch(&mut self) -> Result<u64, StoreError> {
        self.inner.raise_epoch()
    }
}

/// A store that waits, in the middle of storing, until a test lets it go on.
pub(crate) struct HeldStore {
    pub(crate) inner: MemoryStore,
    pub(crate) hold: Hold,
}

/// Where a [`HeldStore`] waits; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Hold(Arc<(Mutex<Held>, Condvar)>);

#[derive(Default)]
struct Held {
    is_closed: bool,
    waits: bool,
}

impl Hold {
    /// From now on whatever is stored waits.
    pub(crate) fn close(&self) {
        self.0.0.lock().unwrap().is_closed = true;
    }

    /// Returns when the store waits.
    pub(crate) fn await_held(&self) {
        let held = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(held, |held| !held.waits).unwrap());
    }

    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().is_closed = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut held = self.0.0.lock().unwrap();
        held.waits = held.is_closed;
        self.0.1.notify_all();
        held = self.0.1.wait_while(held, |held| held.is_closed).unwrap();
        held.waits = false;
    }
}

impl Store for HeldStore {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.inner.load()
    }

    fn append(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        self.hold.pass();
        self.inner.append(facts)
    }

    fn raise_epoch(&mut self) -> Result<u64, StoreError> {
        self.inner.raise_epoch()
    }
}
