//! The service of `coordinator.proto`: reads a request, asks the driver, writes the answer.

use std::sync::Arc;
use std::time::Duration;

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::{Explanation, LeaseId, Obstacle, Shard, UnixMillis, WorkerId, WorkerInfo};
use bitloop_proto::convert::{self, ConvertError, digest, digest_to_wire};
use bitloop_proto::v1;
use bitloop_proto::v1::coordinator_server::Coordinator;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::VERSION;
use super::chronicle::{self, Wanted};
use super::origins::Origins;
use super::overview::{self, backlog_to_wire, summary_to_wire, worker_to_wire};
use super::owners::{OfWorker, Owners};
use super::peer::Peer;
use super::results;
use super::status;
use super::streams::{self, Answers};
use super::transfers::Transfers;
use crate::chronicle::UnknownWorker;
use crate::clock;
use crate::driver::{HEARTBEAT_MS, Handle, RequestError};

/// How long artifacts are read that somebody asks for: most lie on a disk and are read by then. With the time for a turn it is
/// less than a call may take, and what is left is only looked for.
const READING_MAX: Duration = Duration::from_secs(15);

pub(super) struct Service {
    handle: Handle,
    owners: Arc<Owners>,
    origins: Origins,
    transfers: Transfers,
    reports: Transfers,
    shutdown: CancellationToken,
}

type Answer<T> = Result<Response<T>, Status>;

impl Service {
    pub(super) fn new(handle: Handle, owners: Arc<Owners>, shutdown: CancellationToken) -> Self {
        let (origins, transfers) = (Origins::default(), Transfers::default());
        Self { handle, owners, origins, transfers, reports: Transfers::new(results::limits()), shutdown }
    }

    fn check_epoch(&self, epoch: u64) -> Result<(), Status> {
        let current = self.handle.epoch();
        match epoch == current {
            true => Ok(()),
            false => Err(status::other_epoch(epoch, current)),
        }
    }

    /// Finds the experiment that a text means.
    fn resolve(&self, text: String) -> Result<ExperimentId, Status> {
        let text = convert::name("experiment", text).map_err(unreadable)?;
        self.handle.resolve(&text).map_err(refused)
    }

    /// Says with an answer where in its trace the lease stands that it brings, if it brings one.
    async fn traced<T>(
        &self,
        mut answer: Response<T>,
        (worker, shard): (&WorkerId, Option<&Shard>),
    ) -> Response<T> {
        if let Some(shard) = shard {
            self.origins.lease(&self.handle, (worker, shard), answer.metadata_mut()).await;
        }
        answer
    }

    /// Reads which worker a request is of, and makes sure that it comes from there.
    fn sender<M: OfWorker>(&self, request: Request<M>) -> Result<(WorkerId, M), Status> {
        self.owners.check(&request, request.get_ref().worker())?;
        let message = request.into_inner();
        let worker = convert::worker_id("worker", message.worker().to_owned()).map_err(unreadable)?;
        Ok((worker, message))
    }
}

#[tonic::async_trait]
impl Coordinator for Service {
    async fn missing_artifacts(
        &self,
        request: Request<v1::MissingArtifactsRequest>,
    ) -> Answer<v1::MissingArtifactsResponse> {
        let asked = convert::digests("digests", &request.get_ref().digests).map_err(unreadable)?;
        let transfer = self.transfers.begin(request.extensions().get::<Peer>()).await?;
        let artifacts = self.handle.artifacts().clone();
        // Reading stops when the answer is given up; until then it is somebody's turn.
        let gone = CancellationToken::new();
        let _gone = gone.clone().drop_guard();
        let began = clock::instant();
        let missing = streams::blocking(move || {
            let since = || clock::instant().saturating_duration_since(began);
            let is_wanted = || !gone.is_cancelled() && since() < READING_MAX;
            let missing = artifacts.missing_or_damaged_while(&asked, is_wanted);
            drop(transfer);
            missing
        })
        .await?;
        Ok(Response::new(v1::MissingArtifactsResponse {
            digests: missing.iter().map(digest_to_wire).collect(),
        }))
    }

    async fn store_artifact(
        &self,
        request: Request<Streaming<v1::ArtifactChunk>>,
    ) -> Answer<v1::StoreArtifactResponse> {
        let artifacts = self.handle.artifacts().clone();
        let transfer = self.transfers.begin(request.extensions().get::<Peer>()).await?;
        let size = streams::receive(artifacts, request.into_inner(), transfer).await?;
        self.handle.metrics().artifact_stored(size);
        Ok(Response::new(v1::StoreArtifactResponse { size }))
    }

    type FetchArtifactStream = Answers<v1::ArtifactChunk>;

    async fn fetch_artifact(
        &self,
        request: Request<v1::FetchArtifactRequest>,
    ) -> Answer<Self::FetchArtifactStream> {
        let digest = digest("digest", &request.get_ref().digest).map_err(unreadable)?;
        let turn = self.transfers.turn(request.extensions().get::<Peer>());
        let (artifacts, metrics) = (self.handle.artifacts().clone(), self.handle.metrics().clone());
        Ok(Response::new(streams::send((artifacts, digest), turn, metrics)))
    }

    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Answer<v1::SubmitResponse> {
        let request = request.into_inner();
        let plan = self.handle.read_plan(request.plan).await.map_err(refused)?;
        let sources = convert::sources(&request.sources).map_err(unreadable)?;
        let priority = convert::priority(request.priority).map_err(unreadable)?;
        // Before the first lease, which may be granted with the answer.
        self.origins.note(&plan);
        let id = plan.id();
        let submitted = self.handle.submit(plan, sources, priority).await;
        let submitted = submitted.inspect_err(|_| self.origins.forget(&id)).map_err(refused)?;
        let summary = self.handle.summary(&submitted.experiment).map_err(refused)?;
        let warnings = self.handle.warnings(&submitted.experiment).await.map_err(refused)?;
        Ok(Response::new(v1::SubmitResponse {
            warnings,
            experiment: submitted.experiment.0,
            fresh: submitted.fresh,
            summary: Some(summary_to_wire(&summary)),
        }))
    }

    async fn list_experiments(
        &self,
        _: Request<v1::ListExperimentsRequest>,
    ) -> Answer<v1::ListExperimentsResponse> {
        let experiments = self.handle.experiments().map_err(refused)?;
        Ok(Response::new(v1::ListExperimentsResponse {
            experiments: experiments.iter().map(summary_to_wire).collect(),
        }))
    }

    async fn show_experiment(
        &self,
        request: Request<v1::ShowExperimentRequest>,
    ) -> Answer<v1::ShowExperimentResponse> {
        let id = self.resolve(request.into_inner().experiment)?;
        let shown = self.handle.show(&id).await.map_err(refused)?;
        Ok(Response::new(v1::ShowExperimentResponse {
            summary: Some(summary_to_wire(&shown.summary)),
            plan: shown.plan,
            sources: convert::sources_to_wire(&shown.sources),
        }))
    }

    type WatchExperimentStream = Answers<v1::ExperimentSummary>;

    async fn watch_experiment(
        &self,
        request: Request<v1::WatchExperimentRequest>,
    ) -> Answer<Self::WatchExperimentStream> {
        let id = self.resolve(request.into_inner().experiment)?;
        let summaries = streams::watch(id, self.handle.overview(), self.shutdown.clone());
        Ok(Response::new(summaries))
    }

    async fn act_on_experiment(
        &self,
        request: Request<v1::ActOnExperimentRequest>,
    ) -> Answer<v1::ExperimentSummary> {
        let request = request.into_inner();
        let action = convert::action(request.action).map_err(unreadable)?;
        let id = self.resolve(request.experiment)?;
        let summary = self.handle.act(&id, action).await.map_err(refused)?;
        Ok(Response::new(summary_to_wire(&summary)))
    }

    type ResultsStream = Answers<v1::ResultsResponse>;

    async fn results(&self, request: Request<v1::ResultsRequest>) -> Answer<Self::ResultsStream> {
        let turn = self.reports.turn(request.extensions().get::<Peer>());
        let id = self.resolve(request.into_inner().experiment)?;
        Ok(Response::new(results::send((self.handle.clone(), id), turn, self.shutdown.clone())))
    }

    async fn list_workers(&self, _: Request<v1::ListWorkersRequest>) -> Answer<v1::ListWorkersResponse> {
        let workers = self.handle.workers().map_err(refused)?;
        Ok(Response::new(v1::ListWorkersResponse { workers: workers.iter().map(worker_to_wire).collect() }))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Answer<v1::ExplainResponse> {
        let subject = convert::name("subject", request.into_inner().subject).map_err(unreadable)?;
        let explanation = self.handle.explain(&subject).await.map_err(refused)?;
        let Explanation { subject, standing, reasons } = explanation;
        Ok(Response::new(v1::ExplainResponse { subject, standing, reasons }))
    }

    async fn backlog(&self, _: Request<v1::BacklogRequest>) -> Answer<v1::BacklogResponse> {
        let overview = self.handle.overview();
        let classes = overview.borrow().backlog.iter().map(backlog_to_wire).collect();
        Ok(Response::new(v1::BacklogResponse { classes }))
    }

    async fn overview(&self, _: Request<v1::OverviewRequest>) -> Answer<v1::OverviewResponse> {
        let observed = self.handle.observe().map_err(refused)?;
        Ok(Response::new(overview::overview(&observed)))
    }

    type TrialLogStream = Answers<v1::TrialLogResponse>;

    async fn trial_log(&self, request: Request<v1::TrialLogRequest>) -> Answer<Self::TrialLogStream> {
        let request = request.into_inner();
        let trial = convert::name("trial", request.trial).map_err(unreadable)?;
        let trial = self.handle.standing(&trial).await.map_err(refused)?;
        let entries = chronicle::trial_log(&self.handle, trial, request.follow, self.shutdown.clone());
        Ok(Response::new(entries))
    }

    type EventsStream = Answers<v1::EventsResponse>;

    async fn events(&self, request: Request<v1::EventsRequest>) -> Answer<Self::EventsStream> {
        let v1::EventsRequest { experiment, after, since_ms, follow } = request.into_inner();
        let chronicle = self.handle.chronicle().clone();
        let experiment = match experiment.is_empty() {
            true => None,
            false => Some(self.resolve(experiment)?),
        };
        let since = match since_ms {
            0 => UnixMillis(0),
            ago => UnixMillis(chronicle.now().0.saturating_sub(ago)),
        };
        let wanted = Wanted { experiment, after: chronicle::cursor(&after)?, since, follow };
        Ok(Response::new(chronicle::events(chronicle, wanted, self.shutdown.clone())))
    }

    async fn register(&self, request: Request<v1::RegisterRequest>) -> Answer<v1::RegisterResponse> {
        let message = request.get_ref();
        let version = convert::name("version", message.version.clone()).map_err(unreadable)?;
        if version != VERSION {
            return Err(Status::invalid_argument(format!(
                "this coordinator is bitloop {VERSION}, the worker is {version}; use the same version everywhere"
            )));
        }
        let info = message.info.clone().ok_or(ConvertError::Missing { field: "info" });
        let info: WorkerInfo = info.and_then(TryInto::try_into).map_err(unreadable)?;
        let held = convert::trial_keys("held", &message.held).map_err(unreadable)?;
        let overview = self.handle.overview();
        let known = || overview.borrow().workers.iter().map(|worker| worker.info.id.0.clone()).collect();
        self.owners.note(&request, &info.id.0, clock::instant(), known)?;
        let adopted = self.handle.register(info, held).await.map_err(refused)?;
        Ok(Response::new(v1::RegisterResponse {
            epoch: self.handle.epoch(),
            adopted: adopted.as_ref().map(Into::into),
            heartbeat_ms: HEARTBEAT_MS,
        }))
    }

    async fn request_shard(
        &self,
        request: Request<v1::RequestShardRequest>,
    ) -> Answer<v1::RequestShardResponse> {
        let (worker, request) = self.sender(request)?;
        self.check_epoch(request.epoch)?;
        let shard = tokio::select! {
            shard = self.handle.request_shard(&worker) => shard.map_err(refused)?,
            () = self.shutdown.cancelled() => return Err(status::stopping()),
        };
        let answer = Response::new(v1::RequestShardResponse { shard: shard.as_ref().map(Into::into) });
        Ok(self.traced(answer, (&worker, shard.as_ref())).await)
    }

    async fn fetch_context(&self, request: Request<v1::FetchContextRequest>) -> Answer<v1::EvaluateContext> {
        let digest = digest("digest", &request.into_inner().digest).map_err(unreadable)?;
        let context = self.handle.context(digest).await.map_err(refused)?;
        Ok(Response::new((&context).into()))
    }

    async fn heartbeat(&self, request: Request<v1::HeartbeatRequest>) -> Answer<v1::HeartbeatResponse> {
        let (worker, request) = self.sender(request)?;
        self.check_epoch(request.epoch)?;
        let running = convert::trial_keys("running", &request.running).map_err(unreadable)?;
        let lease = request.lease.map(LeaseId);
        let beat = self.handle.heartbeat(&worker, lease, running).await.map_err(refused)?;
        Ok(Response::new(v1::HeartbeatResponse {
            lease_valid: beat.lease_valid,
            recalled: beat.recalled.iter().map(|key| digest_to_wire(&key.0)).collect(),
        }))
    }

    /// Outcomes are welcome from any epoch: what a worker measured while the coordinator was away is not lost.
    async fn commit(&self, request: Request<v1::CommitRequest>) -> Answer<v1::CommitResponse> {
        let (worker, request) = self.sender(request)?;
        let reports = convert::reports(request.reports).map_err(unreadable)?;
        let trial_ms = convert::millis("trial_ms", request.trial_ms).map_err(unreadable)?;
        // A worker that means another start of the coordinator has to register before it gets work.
        let (committed, shard) = match request.wants_shard && self.check_epoch(request.epoch).is_ok() {
            true => self.handle.commit_last(&worker, reports, trial_ms).await.map_err(refused)?,
            false => (self.handle.commit(&worker, reports, trial_ms).await.map_err(refused)?, None),
        };
        let answer = Response::new(v1::CommitResponse {
            accepted: committed.accepted,
            duplicates: committed.duplicates,
            conflicts: committed.conflicts,
            shard: shard.as_ref().map(Into::into),
        });
        Ok(self.traced(answer, (&worker, shard.as_ref())).await)
    }

    async fn release(&self, request: Request<v1::ReleaseRequest>) -> Answer<v1::ReleaseResponse> {
        let (worker, request) = self.sender(request)?;
        self.check_epoch(request.epoch)?;
        let trials = convert::trial_keys("trials", &request.trials).map_err(unreadable)?;
        let trials = (!trials.is_empty()).then_some(trials);
        let obstacle = request.obstacle.map(Obstacle::try_from).transpose().map_err(unreadable)?;
        let lease = LeaseId(request.lease);
        self.handle.release(&worker, lease, (trials, obstacle)).await.map_err(refused)?;
        Ok(Response::new(v1::ReleaseResponse {}))
    }

    async fn write_lines(&self, request: Request<v1::WriteLinesRequest>) -> Answer<v1::WriteLinesResponse> {
        let (worker, request) = self.sender(request)?;
        let lines = convert::log_lines(request.lines).map_err(unreadable)?;
        let written = self.handle.chronicle().write_lines(&worker, lines, request.left_out);
        let refused = written.map_err(|UnknownWorker| status::no_lease())?;
        Ok(Response::new(v1::WriteLinesResponse { refused }))
    }

    async fn leave(&self, request: Request<v1::LeaveRequest>) -> Answer<v1::LeaveResponse> {
        let (worker, _) = self.sender(request)?;
        self.handle.leave(&worker).await.map_err(refused)?;
        self.owners.forget(&worker.0);
        Ok(Response::new(v1::LeaveResponse {}))
    }
}

fn unreadable(error: ConvertError) -> Status {
    status::unreadable(&error)
}

fn refused(error: RequestError) -> Status {
    status::refused(&error)
}
