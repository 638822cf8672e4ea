//! A coordinator that follows a script and remembers what it was told.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitloop_core::bits::{BitConfig, Bits, Choice, PointIndex};
use bitloop_core::digest::Digest;
use bitloop_core::state::{LeaseId, Obstacle, Shard};
use bitloop_core::trial::{
    Candidates, EvaluateContext, Guard, ImageRange, Numerics, PrepareSpec, TrialKey, TrialSpec,
};
use bitloop_proto::convert;
use bitloop_proto::transport::{Connection, in_process};
use bitloop_proto::v1::coordinator_server::{Coordinator, CoordinatorServer};
use bitloop_proto::v1::*;
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};

/// No condition takes longer unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The lease that trials still held are put under.
pub(crate) const ADOPTED: u64 = 99;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    /// Keys in ascending order.
    Register {
        held: Vec<TrialKey>,
    },
    Request,
    FetchArtifact(Digest),
    StoreArtifact(Digest),
    Commit {
        epoch: u64,
        keys: Vec<TrialKey>,
    },
    Release {
        lease: u64,
    },
    /// Of some trials alone.
    GiveBack {
        lease: u64,
        keys: Vec<TrialKey>,
    },
    Leave,
}

#[derive(Default)]
pub(crate) struct Script {
    pub(crate) epoch: u64,
    pub(crate) shards: VecDeque<Shard>,
    pub(crate) contexts: BTreeMap<Digest, EvaluateContext>,
    pub(crate) artifacts: BTreeMap<Digest, Vec<u8>>,
    /// What the next commits are answered with instead of being recorded.
    pub(crate) commit_failures: VecDeque<Code>,
    /// Leases that heartbeats are told to be void.
    pub(crate) void: Vec<u64>,
    /// Trials that the next heartbeat with a lease is asked for.
    pub(crate) recalled: Vec<TrialKey>,
    /// What the last heartbeat said to be measured.
    pub(crate) running: Vec<TrialKey>,
    /// What the next calls that give something back are answered with.
    pub(crate) release_failures: VecDeque<Code>,
    /// Artifacts that never come to their end.
    pub(crate) stuck: Vec<Digest>,
    /// Trials that commits may not name.
    pub(crate) refused: Vec<TrialKey>,
    pub(crate) calls: Vec<Call>,
    /// Why leases were given back.
    pub(crate) obstacles: Vec<Obstacle>,
    given: Vec<(TrialKey, TrialSpec)>,
    pub(crate) reports: Vec<Report>,
    /// What workers wrote, as text.
    pub(crate) lines: Vec<String>,
    /// What the next calls with lines are answered with.
    pub(crate) line_failures: VecDeque<Code>,
}

impl Script {
    pub(crate) fn committed(&self) -> Vec<TrialKey> {
        let key = |report: &Report| TrialKey(Digest::from_slice(&report.key).unwrap());
        self.reports.iter().map(key).collect()
    }

    fn next_shard(&mut self) -> Option<bitloop_proto::v1::Shard> {
        let shard = self.shards.pop_front()?;
        self.given.extend(shard.trials.iter().cloned());
        Some((&shard).into())
    }

    fn check(&self, epoch: u64) -> Result<(), Status> {
        match epoch == self.epoch {
            true => Ok(()),
            false => Err(Status::failed_precondition(format!("epoch is {}", self.epoch))),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Fake {
    script: Arc<Mutex<Script>>,
    changed: watch::Sender<()>,
}

impl Fake {
    /// Starts it; the connection leads there.
    pub(crate) fn start() -> (Self, Connection) {
        let script = Script { epoch: 1, ..Default::default() };
        let fake = Self { script: Arc::new(Mutex::new(script)), changed: watch::Sender::new(()) };
        let (incoming, connector) = in_process();
        let service = CoordinatorServer::new(fake.clone());
        tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        (fake, Connection::InProcess(connector))
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        let value = change(&mut self.script.lock().unwrap());
        self.changed.send_replace(());
        value
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, condition: impl Fn(&Script) -> bool) {
        let mut changes = self.changed.subscribe();
        let holds = async {
            while !condition(&self.script.lock().unwrap()) {
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, holds).await.is_err() {
            panic!("never came true; calls: {:?}", self.script.lock().unwrap().calls);
        }
    }

    /// Adds a shard of evaluations and returns their keys.
    pub(crate) fn hand_out(&self, lease: u64, trials: std::ops::Range<u32>) -> Vec<TrialKey> {
        let context = context();
        let digest = context.digest();
        let four = Choice::Bits(Bits::new(4).unwrap());
        let trials: Vec<_> = trials
            .map(|point| {
                let config = BitConfig::against(context.baseline, [(PointIndex(point), four)]);
                let spec = TrialSpec::Evaluate { context: digest, config, part: context.whole() };
                (spec.key(), spec)
            })
            .collect();
        let keys = trials.iter().map(|(key, _)| *key).collect();
        self.with(|script| {
            script.contexts.insert(digest, context);
            script.shards.push_back(Shard { lease: LeaseId(lease), context: Some(digest), trials });
        });
        keys
    }

    /// Adds a shard with one prepare trial.
    pub(crate) fn hand_out_prepare(&self, lease: u64, model: Digest) -> TrialKey {
        let images = ImageRange { start: 0, len: 1 };
        let data = Digest::of(b"data");
        let bits = Bits::new(8).unwrap();
        let spec = PrepareSpec {
            model,
            data,
            images,
            transforms: Vec::new(),
            guard: Guard { data, images, drop_max_ppm: 0 },
            candidates: Candidates::with_default_rules(vec![bits], vec![bits], bits),
            points: Vec::new(),
        };
        let spec = TrialSpec::Prepare(Box::new(spec));
        let key = spec.key();
        let shard = Shard { lease: LeaseId(lease), context: None, trials: vec![(key, spec)] };
        self.with(|script| script.shards.push_back(shard));
        key
    }
}

fn context() -> EvaluateContext {
    EvaluateContext {
        prepared: Digest::of(b"prepared"),
        data: Digest::of(b"data"),
        images: ImageRange { start: 0, len: 1 },
        numerics: Numerics::Float,
        baseline: Choice::Bits(Bits::new(8).unwrap()),
        points: (0..1_000).map(|point| format!("point{point}")).collect(),
    }
}

fn keys<'a>(bytes: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<TrialKey> {
    bytes.into_iter().map(|bytes| TrialKey(Digest::from_slice(bytes).unwrap())).collect()
}

type Answer<T> = Result<Response<T>, Status>;
type Chunks<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Coordinator for Fake {
    type FetchArtifactStream = Chunks<ArtifactChunk>;
    type WatchExperimentStream = Chunks<ExperimentSummary>;
    type TrialLogStream = Chunks<TrialLogResponse>;
    type EventsStream = Chunks<EventsResponse>;
    type ResultsStream = Chunks<ResultsResponse>;

    async fn trial_log(&self, _: Request<TrialLogRequest>) -> Answer<Self::TrialLogStream> {
        Err(Status::unimplemented("no worker asks"))
    }

    async fn events(&self, _: Request<EventsRequest>) -> Answer<Self::EventsStream> {
        Err(Status::unimplemented("no worker asks"))
    }

    async fn register(&self, request: Request<RegisterRequest>) -> Answer<RegisterResponse> {
        let mut held = keys(&request.into_inner().held);
        held.sort();
        self.with(|script| {
            let held_specs = script.given.iter().filter(|(key, _)| held.contains(key));
            let trials: Vec<_> = held_specs.cloned().collect();
            let shard = Shard { lease: LeaseId(ADOPTED), context: Some(context().digest()), trials };
            let adopted = (!shard.trials.is_empty()).then(|| (&shard).into());
            script.calls.push(Call::Register { held });
            Ok(Response::new(RegisterResponse { epoch: script.epoch, adopted, heartbeat_ms: 50 }))
        })
    }

    async fn request_shard(&self, request: Request<RequestShardRequest>) -> Answer<RequestShardResponse> {
        let epoch = request.into_inner().epoch;
        self.with(|script| script.calls.push(Call::Request));
        let mut changes = self.changed.subscribe();
        loop {
            {
                let mut script = self.script.lock().unwrap();
                script.check(epoch)?;
                if let Some(shard) = script.next_shard() {
                    return Ok(Response::new(RequestShardResponse { shard: Some(shard) }));
                }
            }
            changes.changed().await.map_err(|_| Status::unavailable("the test is over"))?;
        }
    }

    async fn fetch_context(
        &self,
        request: Request<FetchContextRequest>,
    ) -> Answer<bitloop_proto::v1::EvaluateContext> {
        let digest = convert::digest("digest", &request.into_inner().digest).unwrap();
        let context = self.with(|script| script.contexts.get(&digest).map(Into::into));
        context.map(Response::new).ok_or_else(|| Status::not_found("no such context"))
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Answer<HeartbeatResponse> {
        let request = request.into_inner();
        self.with(|script| {
            script.check(request.epoch)?;
            script.running = keys(&request.running);
            let lease_valid = request.lease.is_none_or(|lease| !script.void.contains(&lease));
            let recalled = request.lease.map(|_| std::mem::take(&mut script.recalled)).unwrap_or_default();
            let recalled = recalled.iter().map(|key| convert::digest_to_wire(&key.0)).collect();
            Ok(Response::new(HeartbeatResponse { lease_valid, recalled }))
        })
    }

    async fn commit(&self, request: Request<CommitRequest>) -> Answer<CommitResponse> {
        let request = request.into_inner();
        self.with(|script| {
            let keys = keys(request.reports.iter().map(|report| &report.key));
            script.calls.push(Call::Commit { epoch: request.epoch, keys });
            if let Some(code) = script.commit_failures.pop_front() {
                return Err(Status::new(code, "by the script"));
            }
            script.check(request.epoch)?;
            if script
                .refused
                .iter()
                .any(|key| request.reports.iter().any(|report| report.key == key.0.as_bytes()))
            {
                return Err(Status::invalid_argument("an unknown trial"));
            }
            assert!(request.trial_ms >= 0.0 && !request.reports.is_empty());
            script.reports.extend(request.reports);
            let next = request.wants_shard.then(|| script.next_shard()).flatten();
            Ok(Response::new(CommitResponse { shard: next, ..Default::default() }))
        })
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Answer<ReleaseResponse> {
        let ReleaseRequest { lease, trials, obstacle, .. } = request.into_inner();
        let obstacle = obstacle.map(|obstacle| Obstacle::try_from(obstacle).unwrap());
        self.with(|script| {
            script.obstacles.extend(obstacle);
            script.calls.push(match trials.is_empty() {
                true => Call::Release { lease },
                false => Call::GiveBack { lease, keys: keys(&trials) },
            });
            match script.release_failures.pop_front() {
                Some(code) => Err(Status::new(code, "by the script")),
                None => Ok(Response::new(ReleaseResponse {})),
            }
        })
    }

    async fn write_lines(&self, request: Request<WriteLinesRequest>) -> Answer<WriteLinesResponse> {
        let request = request.into_inner();
        assert_eq!(request.worker, "w1");
        self.with(|script| {
            if let Some(code) = script.line_failures.pop_front() {
                return Err(Status::new(code, "by the script"));
            }
            script.lines.extend(request.lines.into_iter().map(|line| line.text));
            Ok(Response::new(WriteLinesResponse::default()))
        })
    }

    async fn leave(&self, _: Request<LeaveRequest>) -> Answer<LeaveResponse> {
        self.with(|script| script.calls.push(Call::Leave));
        Ok(Response::new(LeaveResponse {}))
    }

    async fn fetch_artifact(
        &self,
        request: Request<FetchArtifactRequest>,
    ) -> Answer<Self::FetchArtifactStream> {
        let name = request.into_inner().digest;
        let digest = convert::digest("digest", &name).unwrap();
        let (bytes, is_stuck) = self.with(|script| {
            script.calls.push(Call::FetchArtifact(digest));
            (script.artifacts.get(&digest).cloned(), script.stuck.contains(&digest))
        });
        if is_stuck {
            return Ok(Response::new(Box::pin(tokio_stream::pending())));
        }
        let bytes = bytes.ok_or_else(|| Status::not_found("no such artifact"))?;
        let chunk = move |data: &[u8]| Ok(ArtifactChunk { digest: name.clone(), data: data.to_vec() });
        let chunks: Vec<_> = bytes.chunks(100_000).map(chunk).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }

    async fn store_artifact(
        &self,
        request: Request<Streaming<ArtifactChunk>>,
    ) -> Answer<StoreArtifactResponse> {
        let mut chunks = request.into_inner();
        let (mut name, mut bytes) = (Vec::new(), Vec::new());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            name = chunk.digest;
            bytes.extend(chunk.data);
        }
        let digest = Digest::of(&bytes);
        assert_eq!(convert::digest_to_wire(&digest), name);
        self.with(|script| {
            script.calls.push(Call::StoreArtifact(digest));
            let size = bytes.len() as u64;
            script.artifacts.insert(digest, bytes);
            Ok(Response::new(StoreArtifactResponse { size }))
        })
    }

    async fn explain(&self, _: Request<ExplainRequest>) -> Answer<ExplainResponse> {
        Err(Status::unimplemented("no worker asks"))
    }

    async fn missing_artifacts(
        &self,
        _: Request<MissingArtifactsRequest>,
    ) -> Answer<MissingArtifactsResponse> {
        Err(Status::unimplemented("no worker asks"))
    }

    async fn submit(&self, _: Request<SubmitRequest>) -> Answer<SubmitResponse> {
        Err(Status::unimplemented("no worker asks"))
    }

    async fn list_experiments(&self, _: Request<ListExperimentsRequest>) -> Answer<ListExperimentsResponse> {
        Err(Status::unimplemented("no worker asks"))
    }

    async fn show_experiment(&self, _: Request<ShowExperimentRequest>) -> Answer<ShowExperimentResponse> {
        Err(Status::unimplemented("no worker asks"))
    }

    async fn watch_experiment(
        &self,
        _: Request<WatchExperimentRequest>,
    ) -> Answer<Self::WatchExperimentStream> {
        Err(Status::unimplemented("no worker asks"))
    }

    async fn act_on_experiment(&self, _: Request<ActOnExperimentRequest>) -> Answer<ExperimentSummary> {
        Err(Status::unimplemented("no worker asks"))
    }

    async fn results(&self, _: Request<ResultsRequest>) -> Answer<Self::ResultsStream> {
        Err(Status::unimplemented("no worker asks"))
    }

    async fn list_workers(&self, _: Request<ListWorkersRequest>) -> Answer<ListWorkersResponse> {
        Err(Status::unimplemented("no worker asks"))
    }

    async fn backlog(&self, _: Request<BacklogRequest>) -> Answer<BacklogResponse> {
        Err(Status::unimplemented("no worker asks"))
    }

    async fn overview(&self, _: Request<OverviewRequest>) -> Answer<OverviewResponse> {
        Err(Status::unimplemented("no worker asks"))
    }
}
