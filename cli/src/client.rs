//! A user's side of the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bitloop_coordinator::security::TokenTerms;
use bitloop_core::digest::Digest;
use bitloop_core::plan::Plan;
use bitloop_core::report::{Effort, REPORT_FORMAT, Report};
use bitloop_core::state::Sources;
use bitloop_proto::results::ResultsParts;
use bitloop_proto::trace;
use bitloop_proto::transport::{MAX_MESSAGE_BYTES, SERVICE, VERSION_HEADER};
use bitloop_proto::upload::{self, Stalled};
use bitloop_proto::v1::coordinator_client::CoordinatorClient;
use bitloop_proto::v1::membership_client::MembershipClient;
use bitloop_proto::v1::{
    ActOnExperimentRequest, BacklogClass, BacklogRequest, EventsRequest, EventsResponse, ExperimentAction,
    ExperimentSummary, ExplainRequest, ExplainResponse, FetchArtifactRequest, IssueTokenRequest,
    ListExperimentsRequest, ListWorkersRequest, MissingArtifactsRequest, OverviewRequest, OverviewResponse,
    ResultsRequest, RevokeRequest, RevokeResponse, Role, ShowExperimentRequest, ShowExperimentResponse,
    SubmitRequest, TrialLogRequest, TrialLogResponse, WatchExperimentRequest, WorkerSummary,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tracing::{Instrument, Span, info_span};

use crate::args::Remote;
use crate::clock::Stopwatch;
use crate::failure::{Exit, Failure, Prospect};
use crate::identity;
use crate::inputs::Prepared;

/// How long a command waits for a coordinator.
const REACH_SECONDS: f64 = 10.0;

/// Pause between two attempts to reach it.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// Deadline of one answer, and of the next part of one that comes in parts: the coordinator says every ten seconds that there is
/// something to wait for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Deadline of the answer to what is missing: the coordinator may have to wait for its turn, and reads what it has.
const LOOK_TIMEOUT: Duration = Duration::from_secs(150);

/// For one chunk of an artifact. The first one waits for its turn, which the coordinator gives up after 100 s.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(120);

/// For the answer behind the last chunk, which the coordinator may have to hand on to a bucket.
const STORED_TIMEOUT: Duration = Duration::from_secs(300);

/// How tonic begins to say that no HTTP/2 came back.
const PROTOCOL_ERROR: &str = "h2 protocol error";

/// A connection to a coordinator.
#[derive(Clone)]
pub(crate) struct Client {
    inner: CoordinatorClient<Channel>,
    members: MembershipClient<Channel>,
    channel: Channel,
    /// How the coordinator is called in messages.
    name: String,
    /// Whether anything was answered: then it is a coordinator, whatever happens to it.
    has_answered: Arc<AtomicBool>,
}

/// What a coordinator says of itself with every answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Introduction {
    pub(crate) version: Option<String>,
    /// Its date, in seconds since 1970.
    pub(crate) unix_seconds: Option<u64>,
}

/// What became of a submission.
pub(crate) struct Submitted {
    /// Whether the experiment was unknown before.
    pub(crate) fresh: bool,
    pub(crate) summary: ExperimentSummary,
    /// What no connected worker can do of it.
    pub(crate) warnings: Vec<String>,
}

impl Client {
    /// Reaches a coordinator, waiting a while for one that is just starting.
    ///
    /// Errors: exit code 3 with the URL when none answers.
    pub(crate) async fn connect(remote: &Remote) -> Result<Self, Failure> {
        let (url, connection) = (&remote.coordinator, identity::connection(remote).await?);
        let waited = Stopwatch::start();
        loop {
            let refused = match connection.connect().await {
                Ok(channel) => return Ok(Self::over(channel, url)),
                Err(refused) => refused,
            };
            if waited.seconds() > REACH_SECONDS {
                let message = format!(
                    "no coordinator answers at {url} ({}); start one with `bitloop coordinator`, or name another with \
                     --coordinator",
                    refused.reason
                );
                return Err(Failure::new(Exit::Unreachable, message));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Speaks over an established channel.
    pub(crate) fn over(channel: Channel, name: &str) -> Self {
        let inner = CoordinatorClient::new(channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (members, has_answered) = (MembershipClient::new(channel.clone()), Arc::default());
        Self { inner, members, channel, name: name.to_owned(), has_answered }
    }

    /// Takes note of an answer.
    fn heard<T>(&self, answer: Response<T>) -> T {
        self.has_answered.store(true, Ordering::Relaxed);
        answer.into_inner()
    }

    /// Sends what the coordinator lacks and submits the plan.
    pub(crate) async fn submit(&mut self, prepared: &Prepared) -> Result<Submitted, Failure> {
        let span = info_span!(target: trace::TARGET, "submit", experiment = prepared.plan.name);
        self.submit_now(prepared).instrument(span).await
    }

    async fn submit_now(&mut self, prepared: &Prepared) -> Result<Submitted, Failure> {
        let digests = prepared.artifacts.keys().map(|digest| digest.as_bytes().to_vec()).collect();
        let mut request = self.within(MissingArtifactsRequest { digests });
        request.set_timeout(LOOK_TIMEOUT);
        let missing = self.inner.missing_artifacts(request).await.map_err(|status| self.failure(status))?;
        for digest in self.heard(missing).digests {
            let digest = Digest::from_slice(&digest)?;
            let Some(bytes) = prepared.artifacts.get(&digest) else { continue };
            self.store_artifact(digest, bytes).await?;
        }
        let sources = prepared
            .sources
            .iter()
            .map(|(path, digest)| (path.clone(), digest.as_bytes().to_vec()))
            .collect();
        let request = self.within(SubmitRequest {
            plan: prepared.plan.to_document(),
            sources,
            priority: prepared.priority,
        });
        let answer = self.inner.submit(request).await.map_err(|status| self.failure(status))?;
        let answer = self.heard(answer);
        let summary = answer.summary.ok_or_else(|| self.malformed("submit"))?;
        Ok(Submitted { fresh: answer.fresh, summary, warnings: answer.warnings })
    }

    /// Asks who answers; every member may.
    pub(crate) async fn introduction(&self) -> Result<Introduction, Failure> {
        let request = self.within(HealthCheckRequest { service: SERVICE.to_owned() });
        let answer = HealthClient::new(self.channel.clone()).check(request).await;
        let answer = answer.map_err(|status| self.failure(status))?;
        let text = |name: &str| answer.metadata().get(name)?.to_str().ok().map(str::to_owned);
        let date = text("date").and_then(|date| httpdate::parse_http_date(&date).ok());
        let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        Ok(Introduction { version: text(VERSION_HEADER), unix_seconds: since.map(|since| since.as_secs()) })
    }

    /// Says why an experiment or a trial is measured or not.
    pub(crate) async fn explain(&mut self, subject: &str) -> Result<ExplainResponse, Failure> {
        let request = self.within(ExplainRequest { subject: subject.to_owned() });
        let answer = self.inner.explain(request).await.map_err(|status| self.failure(status))?;
        Ok(self.heard(answer))
    }

    /// However large it is and however slow the way, as long as it moves.
    async fn store_artifact(&mut self, digest: Digest, bytes: &[u8]) -> Result<(), Failure> {
        let (sender, chunks) = mpsc::channel(1);
        let mut request = tonic::Request::new(ReceiverStream::new(chunks));
        trace::write(&mut request, &Span::current());
        let mut inner = self.inner.clone();
        let mut answer = Box::pin(inner.store_artifact(request));
        let sent = tokio::select! {
            // A coordinator that refuses it does not take all of it.
            answer = &mut answer => return answer.map(|_| ()).map_err(|status| self.failure(status)),
            sent = upload::send_chunks((&digest, bytes), sender, CHUNK_TIMEOUT) => sent,
        };
        let late = |what: &str| self.failure(Status::deadline_exceeded(format!("{what}; submit again")));
        sent.map_err(|Stalled| late("it takes no more of an artifact"))?;
        let stored = tokio::time::timeout(STORED_TIMEOUT, answer).await;
        let stored = stored.map_err(|_| late("it does not say that it has stored an artifact"))?;
        stored.map(|_| ()).map_err(|status| self.failure(status))
    }

    /// All experiments in order of submission.
    pub(crate) async fn list(&mut self) -> Result<Vec<ExperimentSummary>, Failure> {
        let request = self.within(ListExperimentsRequest {});
        let answer = self.inner.list_experiments(request).await.map_err(|status| self.failure(status))?;
        Ok(self.heard(answer).experiments)
    }

    /// One experiment with its plan and where its inputs were found.
    pub(crate) async fn show(
        &mut self,
        experiment: &str,
    ) -> Result<(ExperimentSummary, Plan, Sources), Failure> {
        let request = self.within(ShowExperimentRequest { experiment: experiment.to_owned() });
        let answer = self.inner.show_experiment(request).await.map_err(|status| self.failure(status))?;
        let ShowExperimentResponse { summary, plan, sources } = self.heard(answer);
        let summary = summary.ok_or_else(|| self.malformed("show"))?;
        let sources = sources
            .into_iter()
            .map(|(path, digest)| Ok((path, Digest::from_slice(&digest)?)))
            .collect::<Result<Sources, Failure>>()?;
        Ok((summary, Plan::from_document(&plan)?, sources))
    }

    /// The experiment's summary, now and whenever it changes.
    pub(crate) async fn watch(&mut self, experiment: &str) -> Result<Streaming<ExperimentSummary>, Failure> {
        // A stream lasts as long as the experiment: no deadline.
        let request = WatchExperimentRequest { experiment: experiment.to_owned() };
        let answer = self.inner.watch_experiment(request).await.map_err(|status| self.failure(status))?;
        Ok(self.heard(answer))
    }

    /// Pauses, resumes or cancels.
    pub(crate) async fn act(
        &mut self,
        experiment: &str,
        action: ExperimentAction,
    ) -> Result<ExperimentSummary, Failure> {
        let request =
            self.within(ActOnExperimentRequest { experiment: experiment.to_owned(), action: action.into() });
        let answer = self.inner.act_on_experiment(request).await.map_err(|status| self.failure(status))?;
        Ok(self.heard(answer))
    }

    /// What has been measured so far, and what it took.
    pub(crate) async fn results(&mut self, experiment: &str) -> Result<(Report, Effort), Failure> {
        let request = self.within(ResultsRequest { experiment: experiment.to_owned() });
        let answer = self.inner.results(request).await.map_err(|status| self.failure(status))?;
        let (mut answer, mut parts) = (self.heard(answer), ResultsParts::default());
        while let Some(part) = self.next(&mut answer).await? {
            parts.take(part);
        }
        let (report, effort) =
            parts.finish().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let report: Report = serde_json::from_slice(&report)?;
        if report.format != REPORT_FORMAT {
            let message = format!(
                "the coordinator writes reports of format {}, this program reads {REPORT_FORMAT}; use the same version",
                report.format
            );
            return Err(Failure::new(Exit::Failed, message));
        }
        Ok((report, serde_json::from_slice(&effort)?))
    }

    /// The next part of an answer that comes in parts; none at its end.
    async fn next<T>(&self, parts: &mut Streaming<T>) -> Result<Option<T>, Failure> {
        match tokio::time::timeout(ANSWER_TIMEOUT, parts.message()).await {
            Ok(next) => next.map_err(|status| self.failure(status)),
            Err(_) => {
                let reason = format!("nothing came for {} s", ANSWER_TIMEOUT.as_secs());
                Err(self.failure(Status::deadline_exceeded(reason)))
            }
        }
    }

    /// The bytes of an artifact, compared with its digest.
    pub(crate) async fn artifact(&mut self, digest: Digest) -> Result<Vec<u8>, Failure> {
        // A stream lasts as long as the artifact is large: no deadline but that of each chunk.
        let request = FetchArtifactRequest { digest: digest.as_bytes().to_vec() };
        let answer = self.inner.fetch_artifact(request).await.map_err(|status| self.failure(status))?;
        let mut chunks = self.heard(answer);
        let mut bytes = Vec::new();
        while let Some(chunk) = self.next(&mut chunks).await? {
            bytes.extend_from_slice(&chunk.data);
        }
        match Digest::of(&bytes) {
            found if found == digest => Ok(bytes),
            found => {
                let message = format!("artifact {digest} arrived damaged, as {found}; ask for it again");
                Err(Failure::new(Exit::Failed, message))
            }
        }
    }

    /// The workers that the coordinator has heard from lately.
    pub(crate) async fn workers(&mut self) -> Result<Vec<WorkerSummary>, Failure> {
        let request = self.within(ListWorkersRequest {});
        let answer = self.inner.list_workers(request).await.map_err(|status| self.failure(status))?;
        Ok(self.heard(answer).workers)
    }

    /// The open trials, by what they need of a worker.
    pub(crate) async fn backlog(&mut self) -> Result<Vec<BacklogClass>, Failure> {
        let request = self.within(BacklogRequest {});
        let answer = self.inner.backlog(request).await.map_err(|status| self.failure(status))?;
        Ok(self.heard(answer).classes)
    }

    /// Everything that a person watches.
    pub(crate) async fn overview(&mut self) -> Result<OverviewResponse, Failure> {
        let request = self.within(OverviewRequest {});
        let answer = self.inner.overview(request).await.map_err(|status| self.failure(status))?;
        Ok(self.heard(answer))
    }

    /// A trial's attempts, and what workers wrote meanwhile.
    pub(crate) async fn trial_log(
        &mut self,
        trial: &str,
        follow: bool,
    ) -> Result<Streaming<TrialLogResponse>, Failure> {
        // A stream lasts as long as the trial: no deadline.
        let request = TrialLogRequest { trial: trial.to_owned(), follow };
        let answer = self.inner.trial_log(request).await.map_err(|status| self.failure(status))?;
        Ok(self.heard(answer))
    }

    /// What happened on the cluster.
    pub(crate) async fn events(
        &mut self,
        request: EventsRequest,
    ) -> Result<Streaming<EventsResponse>, Failure> {
        // A stream lasts as long as anybody looks: no deadline.
        let answer = self.inner.events(request).await.map_err(|status| self.failure(status))?;
        Ok(self.heard(answer))
    }

    /// Makes a join token.
    pub(crate) async fn issue_token(&mut self, terms: TokenTerms) -> Result<String, Failure> {
        let TokenTerms { role, uses, valid } = terms;
        let request =
            IssueTokenRequest { role: Role::from(role).into(), uses, valid_seconds: valid.as_secs() };
        let request = self.within(request);
        let answer = self.members.issue_token(request).await.map_err(|status| self.failure(status))?;
        Ok(self.heard(answer).token)
    }

    /// Shuts a member out; returns its name, and whether it was in before.
    pub(crate) async fn revoke(&mut self, name: &str) -> Result<(String, bool), Failure> {
        let request = self.within(RevokeRequest { name: name.to_owned() });
        let answer = self.members.revoke(request).await.map_err(|status| self.failure(status))?;
        let RevokeResponse { member, is_new } = self.heard(answer);
        Ok((member, is_new))
    }

    /// Turns a refusal into a failure; a coordinator that is gone has its own exit code.
    pub(crate) fn failure(&self, status: Status) -> Failure {
        // The coordinator itself says neither "unknown" nor "cancelled": they are what a broken connection comes to, as is
        // HTTP/2's own complaint. Speaking to TLS without TLS gives any of them.
        let is_broken = match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled => true,
            Code::Internal | Code::ResourceExhausted => status.message().starts_with(PROTOCOL_ERROR),
            _ => false,
        };
        match is_broken {
            true => {
                let may_be_tls =
                    self.name.starts_with("http://") && !self.has_answered.load(Ordering::Relaxed);
                let hint = if may_be_tls { "; if it speaks TLS, write https:// for http://" } else { "" };
                let message = format!("the coordinator at {} is gone: {}{hint}", self.name, status.message());
                Failure::new(Exit::Unreachable, message)
            }
            false => {
                let prospect = match status.code() {
                    Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument => {
                        Prospect::Refusal
                    }
                    Code::ResourceExhausted => Prospect::Answer,
                    _ => Prospect::Open,
                };
                Failure { prospect, ..Failure::new(Exit::Failed, status.message()) }
            }
        }
    }

    fn within<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(ANSWER_TIMEOUT);
        trace::write(&mut request, &Span::current());
        request
    }

    fn malformed(&self, call: &str) -> Failure {
        let message = format!("the coordinator's answer to {call} is incomplete; is it another version?");
        Failure::new(Exit::Failed, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tls_is_no_reason_any_more_once_a_coordinator_has_answered() {
        let channel = tonic::transport::Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let client = Client::over(channel, "http://127.0.0.1:1");
        let broken =
            || client.failure(Status::internal(format!("{PROTOCOL_ERROR}: it breaks off"))).error.to_string();
        assert!(broken().contains("TLS"), "{}", broken());

        client.clone().heard(Response::new(()));

        assert!(broken().contains("it breaks off") && !broken().contains("TLS"), "{}", broken());
    }
}
