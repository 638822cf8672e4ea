mod answers;
mod chronicle;
mod members;
mod readers;
mod results;
mod security;
mod transfers;

use std::sync::Arc;

use bitloop_core::digest::Digest;
use bitloop_core::report::{Effort, Report};
use bitloop_core::state::Shard;
use bitloop_proto::results::ResultsParts;
use bitloop_proto::transport::{InProcess, in_process};
use bitloop_proto::v1;
use bitloop_proto::v1::coordinator_client::CoordinatorClient;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::Channel;

use super::*;
use crate::coordinator::{Coordinator, ServeError};
use crate::store::{MemoryStore, Store, StoreError};
use crate::testing::*;

type Client = CoordinatorClient<Channel>;

struct Served {
    client: Client,
    channel: Channel,
    /// For further connections.
    connector: InProcess,
    coordinator: Arc<Coordinator>,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
    folder: TempDir,
}

impl Served {
    async fn start() -> Self {
        Self::start_on(Box::new(MemoryStore::default())).await
    }

    async fn start_on(store: Box<dyn Store>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), store).await
    }

    async fn start_in(folder: TempDir, store: Box<dyn Store>) -> Self {
        let coordinator = Arc::new(open_on(folder.path(), store));
        let (incoming, connector) = in_process();
        let shutdown = CancellationToken::new();
        let (serving, token) = (coordinator.clone(), shutdown.clone());
        let serving = tokio::spawn(async move { serving.serve_incoming(incoming, token).await });
        let channel = connector.connect().await.unwrap();
        let client = CoordinatorClient::new(channel.clone());
        Self { client, channel, connector, coordinator, shutdown, serving, folder }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap().unwrap();
        Arc::into_inner(self.coordinator).unwrap().close().await.unwrap();
    }
}

async fn store_all(client: &mut Client) {
    for bytes in [MODEL, CALIBRATION, SELECTION, PREPARED] {
        let digest = Digest::of(bytes).as_bytes().to_vec();
        let chunks: Vec<_> = bytes
            .chunks(5)
            .map(|data| v1::ArtifactChunk { digest: digest.clone(), data: data.to_vec() })
            .collect();
        let stored = client.store_artifact(tokio_stream::iter(chunks)).await.unwrap();
        assert_eq!(stored.into_inner().size, bytes.len() as u64);
    }
}

async fn submit_plan(client: &mut Client, name: &str) -> String {
    let plan = plan(name).to_document();
    let request = v1::SubmitRequest { plan, sources: Default::default(), priority: 0 };
    client.submit(request).await.unwrap().into_inner().experiment
}

fn registration(name: &str) -> v1::RegisterRequest {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    v1::RegisterRequest { info: Some((&worker(name)).into()), held: Vec::new(), version }
}

fn commit_request(shard: &Shard, epoch: u64) -> v1::CommitRequest {
    let reports = reports(shard).iter().map(Into::into).collect();
    v1::CommitRequest { worker: "w1".to_owned(), epoch, reports, trial_ms: 500.0, wants_shard: false }
}

async fn next_shard(client: &mut Client, epoch: u64) -> Shard {
    let request = v1::RequestShardRequest { worker: "w1".to_owned(), epoch };
    let answer = client.request_shard(request).await.unwrap().into_inner();
    answer.shard.unwrap().try_into().unwrap()
}

/// The JSON documents of an experiment's report and of what it took.
async fn fetch_results(client: &mut Client, experiment: &str) -> (Vec<u8>, Vec<u8>) {
    let request = v1::ResultsRequest { experiment: experiment.to_owned() };
    let mut answers = client.results(request).await.unwrap().into_inner();
    let mut parts = ResultsParts::default();
    while let Some(part) = answers.message().await.unwrap() {
        parts.take(part);
    }
    parts.finish().unwrap()
}

fn is_over(summary: &v1::ExperimentSummary) -> bool {
    summary.status() == v1::ExperimentStatus::Finished
}

#[tokio::test]
async fn a_sweep_runs_over_the_wire() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    store_all(&mut client).await;
    let experiment = submit_plan(&mut client, "sweep").await;
    let epoch = client.register(registration("w1")).await.unwrap().into_inner().epoch;
    let watched = v1::WatchExperimentRequest { experiment: "sweep".to_owned() };
    let mut watched = client.watch_experiment(watched).await.unwrap().into_inner();

    let backlog = client.backlog(v1::BacklogRequest {}).await.unwrap().into_inner();
    assert_eq!((backlog.classes.len(), backlog.classes[0].queued), (1, 1), "only the prepare trial is known");
    assert_eq!(backlog.classes[0].requires, Some(v1::Requirements::default()));

    let mut settled = 0;
    while settled < PLAN_TRIALS {
        let shard = next_shard(&mut client, epoch).await;
        if let Some(context) = shard.context {
            let digest = context.as_bytes().to_vec();
            let context = client.fetch_context(v1::FetchContextRequest { digest }).await.unwrap();
            assert_eq!(context.into_inner().points.len(), 5);
        }
        let running = vec![shard.trials[0].0.0.as_bytes().to_vec()];
        let (worker, lease) = ("w1".to_owned(), Some(shard.lease.0));
        let beat = v1::HeartbeatRequest { worker, epoch, lease, running };
        assert!(client.heartbeat(beat).await.unwrap().into_inner().lease_valid);
        let committed = client.commit(commit_request(&shard, epoch)).await.unwrap().into_inner();
        settled += u64::from(committed.accepted);
    }

    let mut last = watched.message().await.unwrap().unwrap();
    while let Some(next) = watched.message().await.unwrap() {
        assert!(next.settled >= last.settled);
        last = next;
    }
    assert!(is_over(&last));
    assert_eq!((last.settled, last.total), (PLAN_TRIALS, PLAN_TRIALS));
    let (report, effort) = fetch_results(&mut client, &experiment).await;
    let report: Report = serde_json::from_slice(&report).unwrap();
    let effort: Effort = serde_json::from_slice(&effort).unwrap();
    assert_eq!(effort.measured[0].trials, PLAN_TRIALS - 1, "all but the prepare trial");
    assert_eq!((report.experiment, report.rows.len()), (experiment.clone(), 7));
    let shown = v1::ShowExperimentRequest { experiment };
    let shown = client.show_experiment(shown).await.unwrap().into_inner();
    assert_eq!(shown.plan, plan("sweep").to_document());
    let listed = client.list_experiments(v1::ListExperimentsRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.experiments, [shown.summary.unwrap()]);
    let workers = client.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner();
    assert_eq!(workers.workers[0].committed, PLAN_TRIALS);
    drop((client, watched));
    served.stop().await;
}

#[tokio::test]
async fn artifacts_travel_in_chunks_and_wrong_ones_are_refused() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    let bytes: Vec<u8> = (0..600_000u32).map(|index| (index % 251) as u8).collect();
    let digest = Digest::of(&bytes).as_bytes().to_vec();
    let chunk =
        |digest: &[u8], data: &[u8]| v1::ArtifactChunk { digest: digest.to_vec(), data: data.to_vec() };

    let wrong = tokio_stream::iter([chunk(&digest, b"other")]);
    let refused = client.store_artifact(wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let missing = v1::MissingArtifactsRequest { digests: vec![digest.clone(), digest.clone()] };
    let missing = client.missing_artifacts(missing).await.unwrap().into_inner();
    assert_eq!(missing.digests, std::slice::from_ref(&digest));
    let absent = v1::FetchArtifactRequest { digest: digest.clone() };
    let mut nothing = client.fetch_artifact(absent.clone()).await.unwrap().into_inner();
    assert_eq!(nothing.message().await.unwrap_err().code(), Code::NotFound);

    let chunks: Vec<_> = bytes.chunks(100_000).map(|data| chunk(&digest, data)).collect();
    client.store_artifact(tokio_stream::iter(chunks)).await.unwrap();
    let mut fetched = client.fetch_artifact(absent).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(chunk) = fetched.message().await.unwrap() {
        assert_eq!(chunk.digest, digest);
        all.extend(chunk.data);
    }
    assert_eq!(all, bytes);
}

#[tokio::test]
async fn every_refusal_has_its_status() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    let worker = || "w1".to_owned();
    let experiment = || "nowhere".to_owned();

    let unknown = client.results(v1::ResultsRequest { experiment: experiment() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let unknown = v1::WatchExperimentRequest { experiment: experiment() };
    assert_eq!(client.watch_experiment(unknown).await.unwrap_err().code(), Code::NotFound);
    let unknown = v1::FetchContextRequest { digest: vec![1; 32] };
    assert_eq!(client.fetch_context(unknown).await.unwrap_err().code(), Code::NotFound);
    let no_plan = v1::SubmitRequest { plan: b"{}".to_vec(), sources: Default::default(), priority: 0 };
    assert_eq!(client.submit(no_plan).await.unwrap_err().code(), Code::InvalidArgument);
    let early =
        v1::SubmitRequest { plan: plan("sweep").to_document(), sources: Default::default(), priority: 0 };
    let early = client.submit(early).await.unwrap_err();
    assert_eq!(early.code(), Code::InvalidArgument);
    assert!(early.message().contains(&Digest::of(MODEL).to_string()), "{}", early.message());
    let urgent =
        v1::SubmitRequest { plan: plan("sweep").to_document(), sources: Default::default(), priority: 101 };
    let urgent = client.submit(urgent).await.unwrap_err();
    assert_eq!(urgent.code(), Code::InvalidArgument);
    assert!(urgent.message().contains("101 is no priority"), "{}", urgent.message());

    let stranger = v1::RequestShardRequest { worker: worker(), epoch: 1 };
    let stranger = client.request_shard(stranger).await.unwrap_err();
    assert_eq!(stranger.code(), Code::FailedPrecondition);
    assert!(stranger.message().starts_with("worker"), "{}", stranger.message());
    let other = v1::RegisterRequest { version: "9.9.9".to_owned(), ..registration("w1") };
    let other = client.register(other).await.unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument);
    assert!(other.message().contains("9.9.9") && other.message().contains(env!("CARGO_PKG_VERSION")));
    client.register(registration("w1")).await.unwrap();
    let early = v1::HeartbeatRequest { worker: worker(), epoch: 7, lease: None, running: Vec::new() };
    let early = client.heartbeat(early).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition);
    assert!(early.message().starts_with("epoch"), "{}", early.message());
}

#[tokio::test]
async fn outcomes_are_checked_and_welcome_from_any_epoch() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    store_all(&mut client).await;
    let experiment = submit_plan(&mut client, "sweep").await;
    let epoch = client.register(registration("w1")).await.unwrap().into_inner().epoch;
    let shard = next_shard(&mut client, epoch).await;

    let mut without_artifact = commit_request(&shard, epoch);
    let absent = Digest::of(b"absent");
    let prepared = v1::Prepared { artifact: absent.as_bytes().to_vec(), steps: "[]".to_owned() };
    let result = v1::report::Result::Prepared(prepared);
    without_artifact.reports[0].result = Some(result);
    let refused = client.commit(without_artifact).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains(&absent.to_string()), "{}", refused.message());
    let mut unknown = commit_request(&shard, epoch);
    unknown.reports[0].key = vec![7; 32];
    assert_eq!(client.commit(unknown).await.unwrap_err().code(), Code::InvalidArgument);
    let committed = client.commit(commit_request(&shard, epoch + 1)).await.unwrap().into_inner();
    assert_eq!(committed.accepted, 1);

    let cancel = |action: v1::ExperimentAction| v1::ActOnExperimentRequest {
        experiment: experiment.clone(),
        action: action.into(),
    };
    let cancelled =
        client.act_on_experiment(cancel(v1::ExperimentAction::Cancel)).await.unwrap().into_inner();
    assert_eq!(cancelled.status(), v1::ExperimentStatus::Cancelled);
    let wrong = client.act_on_experiment(cancel(v1::ExperimentAction::Pause)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn health_says_that_the_coordinator_serves() {
    let served = Served::start().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(served.channel.clone());
    let service = "bitloop.v1.Coordinator".to_owned();

    let answer = health.check(tonic_health::pb::HealthCheckRequest { service }).await.unwrap();

    let serving = tonic_health::pb::health_check_response::ServingStatus::Serving;
    assert_eq!(answer.into_inner().status(), serving);
}

#[tokio::test]
async fn questions_for_health_and_reflection_are_small() {
    use tonic_reflection::pb::v1 as reflection;
    let served = Served::start().await;
    let long = "x".repeat(sizes::SMALL_BYTES_MAX + 1);
    let mut health = tonic_health::pb::health_client::HealthClient::new(served.channel.clone());
    let mut reflected =
        reflection::server_reflection_client::ServerReflectionClient::new(served.channel.clone());
    let message = reflection::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = reflection::ServerReflectionRequest { host: long.clone(), message_request: Some(message) };

    let refused = health.check(tonic_health::pb::HealthCheckRequest { service: long }).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    let mut answers =
        reflected.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    assert!(!matches!(answers.message().await, Ok(Some(_))), "it reads no such message");
}

#[tokio::test]
async fn a_shutdown_answers_waiting_workers_and_watchers() {
    let served = Served::start().await;
    let mut client = served.client.clone();
    store_all(&mut client).await;
    submit_plan(&mut client, "sweep").await;
    let epoch = client.register(registration("w1")).await.unwrap().into_inner().epoch;
    let watched = v1::WatchExperimentRequest { experiment: "sweep".to_owned() };
    let mut watched = client.watch_experiment(watched).await.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();
    next_shard(&mut client, epoch).await;

    let request = v1::RequestShardRequest { worker: "w1".to_owned(), epoch };
    let mut other = client.clone();
    let waiting = other.request_shard(request);
    let stop = async {
        client.list_workers(v1::ListWorkersRequest {}).await.unwrap();
        served.shutdown.cancel();
    };
    let (waited, ()) = tokio::join!(waiting, stop);

    assert_eq!(waited.unwrap_err().code(), Code::Unavailable);
    while let Ok(Some(_)) = watched.message().await {}
    drop((client, other, watched));
    served.stop().await;
}

#[tokio::test]
async fn reflection_lists_the_service() {
    use tonic_reflection::pb::v1 as reflection;
    let served = Served::start().await;
    let mut client =
        reflection::server_reflection_client::ServerReflectionClient::new(served.channel.clone());
    let message = reflection::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = reflection::ServerReflectionRequest { host: String::new(), message_request: Some(message) };

    let answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap();

    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let text = format!("{answer:?}");
    assert!(text.contains("bitloop.v1.Coordinator"), "{text}");
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_service_goes_on_when_there_is_space() {
    let store = FailingStore::default();
    let disk = store.failure.clone();
    let served = Served::start_on(Box::new(store)).await;
    let mut client = served.client.clone();
    store_all(&mut client).await;
    let request =
        || v1::SubmitRequest { plan: plan("sweep").to_document(), sources: Default::default(), priority: 0 };
    disk.disk_full();

    let refused = client.submit(request()).await.unwrap_err();

    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("no space left"), "{refused}");
    disk.clear();
    while client.submit(request()).await.is_err() {}
    let listed = client.list_experiments(v1::ListExperimentsRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.experiments.len(), 1);
    drop(client);
    served.stop().await;
}

#[tokio::test]
async fn a_store_that_needs_a_person_ends_the_service() {
    let store = FailingStore::default();
    let damage = StoreError::Damaged { folder: "store".into(), reason: "a page is gone".to_owned() };
    store.failure.set(damage.clone());
    let served = Served::start_on(Box::new(store)).await;
    let mut client = served.client.clone();
    store_all(&mut client).await;
    let request =
        v1::SubmitRequest { plan: plan("sweep").to_document(), sources: Default::default(), priority: 0 };

    let refused = client.submit(request).await.unwrap_err();

    assert_eq!(refused.code(), Code::Unavailable, "another start may follow");
    drop(client);
    let ended = served.serving.await.unwrap();
    assert!(matches!(ended, Err(ServeError::Stopped)), "{ended:?}");
    let cause = Arc::into_inner(served.coordinator).unwrap().close().await.unwrap_err();
    assert_eq!(cause.to_string(), damage.to_string());
}

#[tokio::test]
async fn tcp_clients_are_served_until_the_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::open(folder.path()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();

    let ask = async {
        let endpoint = bitloop_proto::transport::Endpoint::parse(&url).unwrap();
        let channel = bitloop_proto::transport::connect(&endpoint).await.unwrap();
        let mut client = CoordinatorClient::new(channel);
        let listed = client.list_experiments(v1::ListExperimentsRequest {}).await.unwrap();
        shutdown.cancel();
        listed.into_inner()
    };
    let (served, listed) = tokio::join!(coordinator.serve(listener, shutdown.clone()), ask);

    served.unwrap();
    assert_eq!(listed.experiments, []);
    coordinator.close().await.unwrap();
}
