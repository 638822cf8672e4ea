//! Reports over the wire.

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::graph::{Linear, Op};
use bitloop_core::plan::{ExperimentId, Plan};
use bitloop_core::state::{Batch, Fact};
use bitloop_core::trial::{Evaluation, Outcome, TrialKey, TrialResult, TrialSpec};
use bitloop_proto::transport::MAX_MESSAGE_BYTES;
use tokio_stream::StreamExt;

use super::super::results as on_their_way;
use super::super::transfers::{Limits, Transfers};
use super::*;

/// The number of trials beyond which a report has more bytes than a message may have.
const MANY: usize = 40_000;

/// Points that bit configs differ in.
const POINTS: u32 = 6;

/// A plan with as many points as it takes.
fn large_plan() -> Plan {
    let mut plan = plan("large");
    plan.graph.push("last", Op::Linear(Linear { out_features: 3, bias: true }), &["dense"]);
    plan.points = plan.graph.points().unwrap();
    assert!(plan.points.len() >= POINTS as usize);
    plan
}

/// So many bit configs of its first points, no two the same. None of the first 40 000 is the baseline with one point changed.
fn configs(count: usize) -> impl Iterator<Item = BitConfig> {
    let choices = [2, 3, 4, 5, 6, 7, 8, 16].map(|bits| Choice::Bits(Bits::new(bits).unwrap()));
    (0..count).map(move |number| {
        let place = |point: u32| number / choices.len().pow(point) % choices.len();
        let changes = (0..POINTS).map(|point| (PointIndex(point), choices[place(point)]));
        BitConfig::against(Choice::Bits(Bits::new(8).unwrap()), changes)
    })
}

/// An outcome with numbers as long as measured ones are.
fn measured(key: &TrialKey, spec: &TrialSpec) -> Outcome {
    let mut outcome = outcome(key, spec);
    if let TrialResult::Evaluated(sums) = &mut outcome.result {
        let third = |byte: usize| 1.0 + f64::from(key.0.as_bytes()[byte]) / 3.0;
        *sums = Evaluation {
            lost: 7,
            gained: 3,
            loss_difference_sum: third(2),
            loss_difference_squares: third(3) * third(3),
            kl_sum: third(4),
            signal_sum: third(5),
            noise_sum: third(6) / 7.0,
            ..*sums
        };
    }
    outcome
}

/// A sweep that has ended, with an outcome for each of so many trials; its id.
fn finished(store: &mut dyn Store, trials: usize) -> ExperimentId {
    let plan = large_plan();
    let (experiment, context) = (plan.id(), plan.context(Digest::of(PREPARED)));
    let (digest, part) = (context.digest(), context.whole());
    let specs = configs(trials).map(|config| TrialSpec::Evaluate { context: digest, config, part });
    let specs: Vec<TrialSpec> = specs.collect();
    let outcomes = specs.iter().map(|spec| {
        let key = spec.key();
        Fact::OutcomeCommitted { key, outcome: measured(&key, spec) }
    });
    let outcomes: Vec<Fact> = outcomes.collect();
    let batch = Batch { context: Some(context), trials: specs, ..Batch::default() };
    let ended = |stage| Fact::StageFinished { experiment: experiment.clone(), stage, selection: None };
    let mut facts = vec![
        Fact::ExperimentSubmitted { plan: Box::new(plan), sources: Default::default(), priority: 0 },
        Fact::StepProposed { experiment: experiment.clone(), stage: 1, batch },
    ];
    facts.extend(outcomes);
    facts.extend([ended(0), ended(1), Fact::ExperimentFinished { experiment: experiment.clone() }]);
    store.append(&facts).unwrap();
    experiment
}

#[tokio::test]
async fn a_report_of_many_trials_arrives_though_it_is_larger_than_any_message() {
    let mut store = MemoryStore::default();
    let id = finished(&mut store, MANY);
    let served = Served::start_on(Box::new(store)).await;

    let (written, _) = fetch_results(&mut served.client.clone(), &id.0).await;

    assert!(written.len() > MAX_MESSAGE_BYTES, "{} bytes are no test", written.len());
    let report: Report = serde_json::from_slice(&written).unwrap();
    assert_eq!(report.configs.iter().filter(|row| row.result.measured().is_some()).count(), MANY);
    served.stop().await;
}

#[tokio::test]
async fn a_report_says_that_it_will_come_while_it_waits_for_its_turn() {
    let mut store = MemoryStore::default();
    let id = finished(&mut store, 10);
    let served = Served::start_on(Box::new(store)).await;
    let transfers = Transfers::new(on_their_way::limits());
    let mut others = Vec::new();
    for _ in 0..on_their_way::limits().at_once {
        others.push(transfers.begin(None).await.unwrap());
    }

    let asked = (served.coordinator.handle(), id);
    let mut report = on_their_way::send(asked, transfers.turn(None), CancellationToken::new());
    let note = report.next().await.unwrap().unwrap();
    assert_eq!(note, v1::ResultsResponse::default());
    drop(others);

    let parts: Vec<_> = report.map(Result::unwrap).collect().await;
    assert_eq!(parts.last().unwrap().digest.len(), 32);
    served.stop().await;
}

#[tokio::test]
async fn a_report_that_nobody_reads_gives_its_turn_to_others_and_says_why() {
    let mut store = MemoryStore::default();
    let id = finished(&mut store, 10);
    let served = Served::start_on(Box::new(store)).await;
    let slow = Limits { at_once: 1, chunk_patience: Duration::from_millis(100), ..on_their_way::limits() };
    let transfers = Transfers::new(slow);

    let turn = transfers.begin(None).await.unwrap();
    let asked = (served.coordinator.handle(), id);
    let mut report = on_their_way::send(asked, async { turn }, CancellationToken::new());
    let _next = transfers.begin(None).await.unwrap();

    let late = loop {
        match report.next().await.expect("a report that is cut off says so") {
            Ok(_) => {}
            Err(late) => break late,
        }
    };
    assert_eq!(
        (late.code(), late.message()),
        (Code::DeadlineExceeded, "the report moved too slowly; try again")
    );
    served.stop().await;
}

#[tokio::test]
async fn what_ends_too_early_says_why_though_an_answer_waits() {
    let stop = CancellationToken::new();
    let mut answers = streams::stream(stop.clone(), |sender: tokio::sync::mpsc::Sender<_>| async move {
        sender.send("answer").await.unwrap();
        std::future::pending().await
    });
    // Until the answer waits, and then until the end is known.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }

    assert_eq!(answers.next().await.unwrap().unwrap(), "answer");
    assert_eq!(answers.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert!(answers.next().await.is_none());
}
