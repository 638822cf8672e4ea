//! The searchers against a state that is driven by hand.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::bits::{Bits, Choice, PointIndex};
use bitloop_core::digest::Digest;
use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::graph::{Graph, INPUT, Input as GraphInput, Linear, Op, Shape};
use bitloop_core::plan::{DataPart, DataParts, OLDEST_PLAN_FORMAT, Plan, StagePlan};
use bitloop_core::report::Report as Results;
use bitloop_core::state::{Event, Fact, Input, Proposal, Report, State, UnixMillis, WorkerId, decide};
use bitloop_core::trial::{
    Candidates, Evaluation, Guard, ImageRange, Numerics, Outcome, Provenance, TrialKey, TrialResult,
    TrialSpec, Work,
};

use crate::{plan_size, searcher};

pub(crate) fn plan(layers: usize) -> Plan {
    let input = GraphInput { shape: Shape(vec![4]), mean: vec![0.0; 4], std: vec![1.0; 4] };
    let mut graph = Graph::new("layers", input);
    let mut last = INPUT.to_owned();
    for layer in 0..layers {
        let op = Op::Linear(Linear { out_features: 4, bias: false });
        last = graph.push(format!("dense_{layer}"), op, &[&last]);
    }
    let part = DataPart { digest: Digest::of(b"images"), images: 10 };
    let bits = |widths: &[u8]| widths.iter().map(|width| Bits::new(*width).unwrap()).collect();
    let points = graph.points().unwrap().len() as u32;
    Plan {
        format: OLDEST_PLAN_FORMAT,
        name: "test".to_owned(),
        numerics: Numerics::Float,
        model: Digest::of(b"model"),
        points: graph.points().unwrap(),
        graph,
        data: DataParts { calibration: part, selection: part, report: part, training: None },
        transforms: Vec::new(),
        guard: Guard { data: part.digest, images: ImageRange { start: 0, len: 10 }, drop_max_ppm: 0 },
        candidates: Candidates::with_default_rules(bits(&[2, 3, 4]), bits(&[4, 6]), Bits::new(8).unwrap()),
        evaluation: EvaluationMode::default(),
        requirements: Vec::new(),
        stages: vec![StagePlan::Prepare, StagePlan::singles((0..points).map(PointIndex).collect())],
    }
}

fn outcome(result: TrialResult) -> Outcome {
    let provenance = Provenance { engine: String::new(), device: String::new(), kernels: String::new() };
    Outcome { result, provenance, work: Work::default() }
}

mod adaptive;
mod autoqkeras;
mod devices;
mod measured_goal;
mod reports;
mod so_far;
mod stages;

struct Driver {
    state: State,
    plan: Plan,
    proposed: Vec<TrialSpec>,
}

impl Driver {
    fn new(plan: Plan) -> Self {
        let mut driver = Self { state: State::default(), plan: plan.clone(), proposed: Vec::new() };
        driver.submit(plan);
        driver
    }

    /// Goes on with another plan; what was measured is still known.
    fn submit(&mut self, plan: Plan) {
        self.plan = plan.clone();
        self.proposed.clear();
        self.feed(Input::Submit { plan: Box::new(plan), sources: BTreeMap::new(), priority: 0 });
    }

    fn feed(&mut self, input: Input) {
        let decision = decide(&self.state, &input, UnixMillis(0)).unwrap();
        for event in decision.events {
            if let Event::Fact(Fact::StepProposed { batch, .. }) = &event {
                self.proposed.extend(batch.trials.clone());
            }
            self.state.apply(&event);
        }
    }

    /// Asks the current stage's searcher once; none when the experiment is over.
    fn ask(&mut self) -> Option<Proposal> {
        let id = self.plan.id();
        let experiment = self.state.ledger.experiment(&id).unwrap();
        let history = self.state.history(experiment)?;
        let stage = history.stage();
        let proposal = searcher(&self.plan, &self.plan.stages[stage as usize]).propose(&history).conclude();
        self.feed(Input::Advance { experiment: id, stage, proposal: proposal.clone() });
        Some(proposal)
    }

    fn commit(&mut self, key: TrialKey, result: TrialResult) {
        let reports = vec![Report { key, outcome: outcome(result) }];
        self.feed(Input::Commit { worker: WorkerId("w".into()), reports, trial_ms: 1.0 });
    }

    fn status(&self) -> &'static str {
        self.state.ledger.experiment(&self.plan.id()).unwrap().status.as_str()
    }

    fn results(&self) -> Results {
        let experiment = self.state.ledger.experiment(&self.plan.id()).unwrap();
        Results::new(&self.state.ledger, experiment).unwrap()
    }

    fn prepare(&mut self) {
        self.ask();
        self.commit(
            self.proposed[0].key(),
            TrialResult::Prepared { artifact: Digest::of(b"prepared"), steps: vec![] },
        );
        assert_eq!(self.ask(), Some(Proposal::Finished));
    }
}

#[test]
fn a_sweep_lowers_every_point_to_every_width_once_and_finishes() {
    let plan = plan(3);
    let mut driver = Driver::new(plan.clone());
    driver.prepare();
    while driver.status() == "active" {
        driver.ask();
        let keys: Vec<TrialKey> = driver.proposed.iter().map(TrialSpec::key).collect();
        for key in keys {
            if driver.state.ledger.outcome(&key).is_none() {
                driver.commit(key, TrialResult::Evaluated(Evaluation { n: 10, ..Evaluation::default() }));
            }
        }
    }

    assert_eq!(driver.status(), "finished");
    // 4 activations at 2 widths, 3 weights at 3, the float network, the baseline and the preparation.
    assert_eq!(plan_size(&plan), 4 * 2 + 3 * 3 + 2 + 1);
    assert_eq!(driver.proposed.len() as u64, plan_size(&plan));
    let keys: BTreeSet<TrialKey> = driver.proposed.iter().map(TrialSpec::key).collect();
    assert_eq!(keys.len(), driver.proposed.len());
    let changes: Vec<usize> = driver.proposed[1..]
        .iter()
        .map(|trial| match trial {
            TrialSpec::Evaluate { config, .. } => config.changes().len(),
            TrialSpec::Prepare(_) | TrialSpec::Train(_) | TrialSpec::Probe(_) => {
                panic!("only the first trial prepares")
            }
        })
        .collect();
    assert_eq!(changes[..2], [7, 0]);
    assert!(changes[2..].iter().all(|count| *count == 1));
    let TrialSpec::Evaluate { config, .. } = &driver.proposed[1] else { panic!("an evaluation") };
    assert!(config.changes().all(|(_, choice)| choice == Choice::Float));
}

#[test]
fn a_large_sweep_is_proposed_in_steps() {
    let mut driver = Driver::new(plan(2_000));
    driver.prepare();
    let mut steps = Vec::new();
    while let Some(Proposal::Trials(batch)) = driver.ask() {
        steps.push(batch.trials.len());
    }

    assert!(steps.iter().all(|step| *step <= 1_024), "{steps:?}");
    assert_eq!(driver.proposed.len() as u64, plan_size(&driver.plan), "all of it waits for workers");
}

#[test]
fn the_same_history_gives_the_same_proposals() {
    let (mut a, mut b) = (Driver::new(plan(5)), Driver::new(plan(5)));
    a.prepare();
    b.prepare();
    a.ask();
    b.ask();

    assert_eq!(a.proposed, b.proposed);
}

#[test]
fn a_failed_preparation_fails_the_experiment() {
    let mut driver = Driver::new(plan(1));
    driver.ask();
    driver.commit(driver.proposed[0].key(), TrialResult::Failed { reason: "no memory".to_owned() });

    assert_eq!(driver.ask(), Some(Proposal::Failed("the model cannot be prepared: no memory".to_owned())));
    assert_eq!(driver.status(), "failed");
}

mod properties {
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;

    fn widths() -> impl Strategy<Value = Vec<Bits>> {
        subsequence(vec![2_u8, 3, 4, 5, 6, 7], 1..=6)
            .prop_map(|widths| widths.into_iter().map(|width| Bits::new(width).unwrap()).collect())
    }

    fn any_plan() -> impl Strategy<Value = Plan> {
        (1..6_usize, widths(), widths()).prop_flat_map(|(layers, weight_bits, activation_bits)| {
            let mut plan = plan(layers);
            plan.candidates.weight_bits = weight_bits;
            plan.candidates.activation_bits = activation_bits;
            let points: Vec<u32> = (0..plan.points.len() as u32).collect();
            subsequence(points.clone(), 1..=points.len()).prop_map(move |chosen| {
                let single = chosen.into_iter().map(PointIndex).collect();
                Plan { stages: vec![StagePlan::Prepare, StagePlan::singles(single)], ..plan.clone() }
            })
        })
    }

    proptest! {
        /// Goal: whatever a plan chooses, its document keeps it, its sweep has exactly the announced trials, none twice,
        /// and each lowers at most one point below the baseline.
        #[test]
        fn every_plan_is_kept_by_its_document_and_swept_exactly_once(plan in any_plan()) {
            let read = Plan::from_document(&plan.to_document()).unwrap();
            prop_assert_eq!(&read, &plan);
            prop_assert_eq!(read.id(), plan.id());

            let mut driver = Driver::new(plan.clone());
            driver.prepare();
            while driver.ask() != Some(Proposal::Wait) {}

            prop_assert_eq!(driver.proposed.len() as u64, plan_size(&plan));
            let keys: BTreeSet<TrialKey> = driver.proposed.iter().map(TrialSpec::key).collect();
            prop_assert_eq!(keys.len(), driver.proposed.len());
            for trial in &driver.proposed[2..] {
                let TrialSpec::Evaluate { config, .. } = trial else { panic!("an evaluation") };
                prop_assert!(config.changes().len() <= 1);
            }
        }
    }
}
