//! Calls that get lost, fail on the way, come late or twice, on both sides of a real coordinator and real workers.

mod faults;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Once};
use std::task::{Context, Poll};
use std::time::Duration;

use bitloop_coordinator::{Coordinator, ServeError};
use bitloop_core::digest::Digest;
use bitloop_core::report::Report;
use bitloop_core::state::Sources;
use bitloop_core::trial::TrialSpec;
use bitloop_proto::results::ResultsParts;
use bitloop_proto::transport::{Connection, InProcess, in_process};
use bitloop_proto::v1::coordinator_client::CoordinatorClient;
use bitloop_proto::v1::{
    ActOnExperimentRequest, ExperimentAction, ExperimentStatus, ExperimentSummary, ResultsRequest,
    SubmitRequest, WatchExperimentRequest,
};
use bitloop_simulation::experiment::{inputs, plans};
use bitloop_worker::{Beforehand, ExecuteError, Executor, WorkerOptions, work};
use faults::{Fate, Faults, Faulty};
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, http};
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::{Layer, Service, ServiceExt};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Nothing takes longer unless it never ends.
const PATIENCE: Duration = Duration::from_secs(120);

/// Takes calls for a coordinator and makes them.
#[derive(Clone)]
struct Forward(Faulty<Channel>);

impl NamedService for Forward {
    const NAME: &'static str = "bitloop.v1.Coordinator";
}

impl Service<http::Request<Body>> for Forward {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The channel is asked when a call is made.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut next = self.0.clone();
        Box::pin(async move {
            let answer = match next.ready().await {
                Ok(next) => next.call(request).await,
                Err(error) => Err(error),
            };
            Ok(answer.unwrap_or_else(|error| Status::unavailable(error.to_string()).into_http()))
        })
    }
}

/// A place between workers and a coordinator where calls come to harm: at the server that the workers see, and at the
/// client that the coordinator sees.
async fn stand_between(coordinator: &InProcess, faults: [Faults; 2], end: CancellationToken) -> Connection {
    let (incoming, connector) = in_process();
    let [at_server, at_client] = faults;
    let channel = coordinator.connect().await.expect("the coordinator is in this process");
    let forward = Forward(at_client.layer(channel));
    tokio::spawn(async move {
        let server = tonic::transport::Server::builder().layer(at_server).add_service(forward);
        server.serve_with_incoming_shutdown(incoming, end.cancelled_owned()).await
    });
    Connection::InProcess(connector)
}

fn options(number: usize) -> WorkerOptions {
    WorkerOptions {
        id: format!("w{number}"),
        host: "here".to_owned(),
        machine: "here".to_owned(),
        threads: 1,
        labels: BTreeMap::new(),
        share: None,
        cache_dir: None,
        connect_timeout: None,
        max_give_backs: None,
        idle_exit: None,
    }
}

fn open(folder: &Path) -> Arc<Coordinator> {
    let coordinator = Coordinator::open(folder).expect("an empty folder");
    for bytes in inputs() {
        let mut writer =
            coordinator.handle().artifacts().writer(Digest::of(bytes)).expect("room for an artifact");
        writer.write(bytes).expect("room for an artifact");
        writer.finish().expect("these are its bytes");
    }
    Arc::new(coordinator)
}

/// A coordinator in this process.
struct Served {
    coordinator: Arc<Coordinator>,
    connector: InProcess,
    end: CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
    _folder: TempDir,
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let coordinator = open(folder.path());
        let (incoming, connector) = in_process();
        let end = CancellationToken::new();
        let (serving, served_until) = (Arc::clone(&coordinator), end.clone());
        let serving = tokio::spawn(async move { serving.serve_incoming(incoming, served_until).await });
        Self { coordinator, connector, end, serving, _folder: folder }
    }

    async fn end(self) {
        self.end.cancel();
        self.serving.await.expect("no panic").expect("the service goes on");
    }
}

/// What a worker calls, in the order of the service's definition.
const OF_WORKERS: [&str; 10] = [
    "StoreArtifact",
    "FetchArtifact",
    "Register",
    "RequestShard",
    "FetchContext",
    "Heartbeat",
    "Commit",
    "Release",
    "WriteLines",
    "Leave",
];

/// Measures nothing, but fetches what a preparation is made from and gives back the first evaluations, so that it has
/// a reason for every call.
fn reluctant() -> impl Executor {
    let mut is_willing = false;
    Beforehand::new(move |trials, setting| match trials {
        [TrialSpec::Prepare(prepare), ..] => {
            setting.artifacts.fetch(&prepare.model)?;
            Ok(())
        }
        _ if std::mem::replace(&mut is_willing, true) => Ok(()),
        _ => Err(ExecuteError::Device { reason: "not now".to_owned() }),
    })
}

/// Lets the lines of this process's workers be kept, and sent.
fn keep_lines() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| tracing_subscriber::registry().with(bitloop_worker::log_lines()).init());
}

/// Measures both experiments with two workers, whose calls pass through `faults`, and goes on until calls of all of
/// `methods` have come to harm, on either side; returns the results.
async fn results(faults: [Faults; 2], methods: [&[&str]; 2]) -> Vec<String> {
    keep_lines();
    let served = Served::start();
    let handle = served.coordinator.handle();
    let stop = CancellationToken::new();
    let connection = stand_between(&served.connector, faults.clone(), served.end.clone()).await;
    let mut workers = JoinSet::new();
    for number in 0..2 {
        workers.spawn(work(connection.clone(), Box::new(reluctant()), options(number), stop.clone()));
    }

    let mut results = Vec::new();
    for plan in plans() {
        let id =
            handle.submit(plan, Sources::new(), 0).await.expect("the plan can be carried out").experiment;
        let mut overview = handle.overview();
        let over = overview
            .wait_for(|overview| overview.experiment(&id).is_some_and(|known| known.status.is_over()));
        tokio::time::timeout(PATIENCE, over).await.expect("it ends").expect("the driver goes on");
        assert_eq!(handle.summary(&id).expect("it is known").conflicts, 0);
        results.push(handle.report(&id).await.expect("it is known").0.to_csv());
    }
    for (side, methods) in faults.iter().zip(methods) {
        let harmed = tokio::time::timeout(PATIENCE, side.have_harmed(methods)).await;
        harmed.unwrap_or_else(|_| panic!("never called, or never harmed: {:?}", side.unharmed(methods)));
    }
    // The coordinator outlives the workers, so that they can take their leave.
    stop.cancel();
    while let Some(ended) = workers.join_next().await {
        ended.expect("no panic").expect("nothing refuses the worker");
    }
    served.end().await;
    results
}

/// Goal: whatever happens to calls, the results are those of calls that arrive, and nothing comes to an end.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_come_to_harm_change_no_result() {
    let faults = [1, 2].map(|seed| [Faults::drawn(seed, 40), Faults::drawn(seed + 100, 40)]);
    let [first, second] = faults.clone();

    let (calm, first, second) = tokio::join!(
        results([Faults::none(), Faults::none()], [&[]; 2]),
        results(first, [&[]; 2]),
        results(second, [&[]; 2])
    );

    assert!(first == calm && second == calm);
    for befallen in faults.map(|faults| faults.map(|faults| faults.befallen())) {
        eprintln!("{befallen:?}");
        let met = |fate: &Fate| befallen.iter().any(|counts| counts.contains_key(fate));
        assert!(Fate::HARM.iter().all(met), "too few calls to mean anything: {befallen:?}");
    }
}

/// Goal: the same of every kind of harm to every call that a worker makes, at the server's side and at the client's.
#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_a_worker_may_come_to_every_kind_of_harm_on_either_side() {
    // Calls of each method, so that what is tried again may fail again.
    const CALLS: u64 = 2;
    // Workers leave last.
    let [until_then @ .., leave] = &OF_WORKERS;
    let mut harmed = JoinSet::new();
    for (fate, side) in Fate::HARM.into_iter().flat_map(|fate| [(fate, 0), (fate, 1)]) {
        harmed.spawn(async move {
            let mut faults = [Faults::none(), Faults::none()];
            let mut methods = [&[][..], &[][..]];
            faults[side] = Faults::first(fate, CALLS);
            methods[side] = until_then;
            let results = results(faults.clone(), methods).await;
            assert_eq!(faults[side].unharmed(&[leave]), [""; 0], "{fate:?} on side {side}");
            (fate, side, results)
        });
    }

    let calm = results([Faults::none(), Faults::none()], [&[]; 2]).await;

    while let Some(ended) = harmed.join_next().await {
        let (fate, side, results) = ended.expect("no panic");
        assert!(results == calm, "{fate:?} on side {side}");
    }
}

/// What the commands of a person call to have something measured.
const OF_PEOPLE: [&str; 4] = ["Submit", "WatchExperiment", "ActOnExperiment", "Results"];

/// A person, who gives a command again when it says that the coordinator is gone.
struct Person(CoordinatorClient<Channel>);

impl Person {
    async fn repeat<Q: Clone, A, F: Future<Output = Result<A, Status>>>(
        &self,
        request: Q,
        call: impl Fn(CoordinatorClient<Channel>, Q) -> F,
    ) -> A {
        loop {
            match call(self.0.clone(), request.clone()).await {
                Ok(answer) => return answer,
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
            }
        }
    }

    async fn submit(&self, plan: Vec<u8>) -> String {
        let request = SubmitRequest { plan, sources: HashMap::new(), priority: 0 };
        let call =
            |mut client: CoordinatorClient<Channel>, request| async move { client.submit(request).await };
        let submitted = self.repeat(request, call).await;
        submitted.into_inner().experiment
    }

    async fn act(&self, experiment: &str, action: ExperimentAction) -> ExperimentStatus {
        let request = ActOnExperimentRequest { experiment: experiment.to_owned(), action: action.into() };
        let call = |mut client: CoordinatorClient<Channel>, request| async move {
            client.act_on_experiment(request).await
        };
        let acted = self.repeat(request, call).await;
        acted.into_inner().status()
    }

    /// How it ends, or that it rests.
    async fn watch(&self, experiment: &str) -> ExperimentStatus {
        let request = WatchExperimentRequest { experiment: experiment.to_owned() };
        let call = |mut client: CoordinatorClient<Channel>, request| async move {
            let mut summaries = client.watch_experiment(request).await?.into_inner();
            let mut last = ExperimentSummary::default();
            while let Some(summary) = summaries.message().await? {
                last = summary;
                if last.status() == ExperimentStatus::Paused {
                    break;
                }
            }
            Ok(last.status())
        };
        self.repeat(request, call).await
    }

    async fn results(&self, experiment: &str) -> String {
        let request = ResultsRequest { experiment: experiment.to_owned() };
        let call = |mut client: CoordinatorClient<Channel>, request| async move {
            let mut answer = client.results(request).await?.into_inner();
            let mut parts = ResultsParts::default();
            while let Some(part) = answer.message().await? {
                parts.take(part);
            }
            Ok(parts)
        };
        let (report, _) = self.repeat(request, call).await.finish().expect("all of it came");
        serde_json::from_slice::<Report>(&report).expect("a report").to_csv()
    }
}

/// What a person comes to, whose calls pass through `faults`: hands in two experiments, calls one off, stops the other,
/// goes on with it, and reads its results.
async fn results_for_a_person(faults: [Faults; 2]) -> String {
    let served = Served::start();
    let between = stand_between(&served.connector, faults, served.end.clone()).await;
    let channel = between.connect().await.expect("somebody stands between");
    let person = Person(CoordinatorClient::new(channel));
    let [plan, other] = plans().map(|plan| plan.to_document());

    let (id, other) = (person.submit(plan).await, person.submit(other).await);
    // What was held up on its way may revive it.
    while person.act(&other, ExperimentAction::Cancel).await != ExperimentStatus::Cancelled {}
    assert_eq!(person.act(&id, ExperimentAction::Pause).await, ExperimentStatus::Paused);
    let stop = CancellationToken::new();
    let direct = Connection::InProcess(served.connector.clone());
    let working = tokio::spawn(work(direct, Box::new(reluctant()), options(0), stop.clone()));
    // What was held up on its way may stop it again.
    let mut status = ExperimentStatus::Paused;
    while status == ExperimentStatus::Paused {
        person.act(&id, ExperimentAction::Resume).await;
        status = person.watch(&id).await;
    }
    assert_eq!(status, ExperimentStatus::Finished);
    let results = person.results(&id).await;

    let overview = served.coordinator.handle().overview();
    let known: Vec<_> = overview.borrow().experiments.iter().map(|known| known.id.to_string()).collect();
    assert_eq!(known, [id, other], "nothing is submitted twice");
    stop.cancel();
    working.await.expect("no panic").expect("nothing refuses the worker");
    drop(person);
    served.end().await;
    results
}

/// Goal: whatever becomes of a person's calls, giving the commands again comes to the same.
#[tokio::test(flavor = "multi_thread")]
async fn commands_that_are_given_again_come_to_what_they_would_have_come_to() {
    let mut harmed = JoinSet::new();
    for (fate, side) in Fate::HARM.into_iter().flat_map(|fate| [(fate, 0), (fate, 1)]) {
        harmed.spawn(async move {
            let mut faults = [Faults::none(), Faults::none()];
            faults[side] = Faults::first(fate, 2);
            let results = within_patience(faults.clone()).await;
            assert_eq!(faults[side].unharmed(&OF_PEOPLE), [""; 0], "{fate:?} on side {side}");
            (format!("{fate:?} on side {side}"), results)
        });
    }
    for seed in 1..=8 {
        harmed.spawn(async move {
            // Of few calls many.
            let faults = [Faults::drawn(seed, 100), Faults::drawn(seed + 100, 100)];
            (format!("seed {seed}"), within_patience(faults).await)
        });
    }

    let calm = within_patience([Faults::none(), Faults::none()]).await;

    while let Some(ended) = harmed.join_next().await {
        let (harm, results) = ended.expect("no panic");
        assert!(results == calm, "{harm}");
    }
}

async fn within_patience(faults: [Faults; 2]) -> String {
    tokio::time::timeout(PATIENCE, results_for_a_person(faults)).await.expect("it ends")
}
