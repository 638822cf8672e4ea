//! Calls that get lost, fail on the way, come late or twice, on both sides of a real coordinator and real workers.

mod faults;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bitloop_coordinator::Coordinator;
use bitloop_core::digest::Digest;
use bitloop_core::state::Sources;
use bitloop_proto::transport::{Connection, InProcess, in_process};
use bitloop_simulation::experiment::{inputs, plans};
use bitloop_worker::{EmptyExecutor, WorkerOptions, work};
use faults::{Fate, Faults, Faulty};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, http};
use tonic::server::NamedService;
use tonic::transport::Channel;
use tower::{Layer, Service, ServiceExt};

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
            Ok(answer.unwrap_or_else(|error| tonic::Status::unavailable(error.to_string()).into_http()))
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

/// Measures both experiments with two workers, whose calls pass through `faults`; returns the results.
async fn results(faults: [Faults; 2]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = open(folder.path());
    let handle = coordinator.handle();
    let (incoming, connector) = in_process();
    let end = CancellationToken::new();
    let (serving, served_until) = (Arc::clone(&coordinator), end.clone());
    let serving = tokio::spawn(async move { serving.serve_incoming(incoming, served_until).await });
    let connection = stand_between(&connector, faults, end.clone()).await;
    let mut workers = JoinSet::new();
    for number in 0..2 {
        workers.spawn(work(connection.clone(), Box::new(EmptyExecutor), options(number), end.clone()));
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
    end.cancel();
    while let Some(ended) = workers.join_next().await {
        ended.expect("no panic").expect("nothing refuses the worker");
    }
    serving.await.expect("no panic").expect("the service goes on");
    results
}

/// Goal: whatever happens to calls, the results are those of calls that arrive, and nothing comes to an end.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_come_to_harm_change_no_result() {
    let faults = [1, 2].map(|seed| [Faults::drawn(seed, 40), Faults::drawn(seed + 100, 40)]);
    let [first, second] = faults.clone();

    let (calm, first, second) =
        tokio::join!(results([Faults::none(), Faults::none()]), results(first), results(second));

    assert!(first == calm && second == calm);
    for befallen in faults.map(|faults| faults.map(|faults| faults.befallen())) {
        eprintln!("{befallen:?}");
        let met = |fate: &Fate| befallen.iter().any(|counts| counts.contains_key(fate));
        assert!(Fate::HARM.iter().all(met), "too few calls to mean anything: {befallen:?}");
    }
}
