//! The way to the driver, for the RPC service and for a coordinator in the same process.
//!
//! What only looks is answered from the latest overview, see `observe.rs`; the driver hears of it only where that says so.

use std::sync::Arc;

use bitloop_core::digest::Digest;
use bitloop_core::plan::{ExperimentId, Plan};
use bitloop_core::state::{
    self, Action, Input, LeaseId, Obstacle, Reply, Shard, Sources, UnixMillis, WorkerId, WorkerInfo,
};
use bitloop_core::trial::{EvaluateContext, TrialKey, TrialResult};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::command::{Command, Next, RequestError};
use super::view::{Overview, Summary, View};
use crate::artifacts::Artifacts;
use crate::chronicle::Chronicle;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Longest name of an experiment, as in experiment files.
const NAME_BYTES_MAX: usize = 64;

/// Reports that are gathered at once, so that whoever asks for many waits for himself.
const REPORTS_AT_ONCE: usize = 2;

/// Plans that are read or checked at once, likewise: that takes a thread as long as a second.
const PLANS_AT_ONCE: usize = 2;

/// A way to the driver; clones are cheap.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    pub(super) source: Source,
    artifacts: Artifacts,
    pub(super) reports: Arc<Semaphore>,
    pub(crate) plans: Arc<Semaphore>,
}

/// What there is to look at without the driver.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) overview: watch::Receiver<Arc<Overview>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) chronicle: Chronicle,
    pub(super) clock: Clock,
    /// When the coordinator started.
    pub(super) opened: UnixMillis,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    pub experiment: ExperimentId,
    /// False if the experiment was known already.
    pub fresh: bool,
}

/// What became of some reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub accepted: u32,
    pub duplicates: u32,
    pub conflicts: u32,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Whether the worker may go on with its lease.
    pub lease_valid: bool,
    /// Trials of it that the worker is to give back unless it has begun them.
    pub recalled: Vec<TrialKey>,
}

impl Handle {
    pub(super) fn new(commands: mpsc::Sender<Command>, source: Source, artifacts: Artifacts) -> Self {
        let [reports, plans] =
            [REPORTS_AT_ONCE, PLANS_AT_ONCE].map(|at_once| Arc::new(Semaphore::new(at_once)));
        Self { commands, source, artifacts, reports, plans }
    }

    /// The number of this start of the coordinator.
    pub fn epoch(&self) -> u64 {
        self.metrics().epoch()
    }

    /// Whether an experiment's results file cannot be written, or not be made, though everything is measured.
    pub fn has_unwritten_results(&self, experiment: &ExperimentId) -> bool {
        self.source.metrics.has_unwritten_results(experiment)
    }

    /// What the coordinator counts about itself.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.source.metrics
    }

    /// What happened, for people.
    pub(crate) fn chronicle(&self) -> &Chronicle {
        &self.source.chronicle
    }

    /// The artifacts that trials read and write.
    pub fn artifacts(&self) -> &Artifacts {
        &self.artifacts
    }

    /// How far everything is, now and whenever it changes.
    pub fn overview(&self) -> watch::Receiver<Arc<Overview>> {
        self.source.overview.clone()
    }

    /// Reads a plan.
    pub(crate) async fn read_plan(&self, document: Vec<u8>) -> Result<Plan, RequestError> {
        let read = self.at_leisure(move || Plan::from_document(&document)).await?;
        read.map_err(RequestError::from)
    }

    /// Does what takes long with a plan on a thread that has the time, and for a few at once, whether or not anybody
    /// still waits for it.
    pub(super) async fn at_leisure<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        let turn = self.plans.clone().acquire_owned().await.map_err(|_| RequestError::Stopped)?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            body()
        });
        done.await.map_err(|_| RequestError::Plan("its check broke off; the log says where".to_owned()))
    }

    /// Submits a plan whose artifacts are here; a plan that is known already goes on where it is.
    pub async fn submit(
        &self,
        plan: Plan,
        sources: Sources,
        priority: i32,
    ) -> Result<Submitted, RequestError> {
        // The name becomes a file name.
        let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
        let is_name = (1..=NAME_BYTES_MAX).contains(&plan.name.len())
            && plan.name.chars().all(allowed)
            && !plan.name.starts_with(['.', '-']);
        if !is_name {
            return Err(RequestError::Name(plan.name));
        }
        if plan.stages.is_empty() {
            return Err(RequestError::NoStages(plan.name));
        }
        // Limits are checked by solving for them, which may take a second.
        let checked = self.at_leisure(move || {
            let mistake = bitloop_search::check(&plan).into_iter().next();
            (plan, mistake)
        });
        let (plan, mistake) = checked.await?;
        if let Some(mistake) = mistake {
            return Err(RequestError::Plan(mistake.to_string()));
        }
        self.require(plan.artifacts()).await?;
        let plan = Box::new(plan);
        match self.send(Input::Submit { plan, sources, priority }).await? {
            Reply::Submitted { experiment, fresh } => Ok(Submitted { experiment, fresh }),
            other => unreachable_reply(&other),
        }
    }

    /// Pauses, resumes or cancels an experiment.
    pub async fn act(&self, experiment: &ExperimentId, action: Action) -> Result<Summary, RequestError> {
        let experiment = experiment.clone();
        self.send(Input::Act { experiment: experiment.clone(), action }).await?;
        // The overview with it comes before the answer.
        self.summary(&experiment)
    }

    /// Registers a worker; returns the lease of those trials that it holds and that are still owed.
    pub async fn register(
        &self,
        info: WorkerInfo,
        held: Vec<TrialKey>,
    ) -> Result<Option<Shard>, RequestError> {
        match self.send(Input::Register { info, held }).await? {
            Reply::Registered { adopted } => Ok(adopted),
            other => unreachable_reply(&other),
        }
    }

    /// Waits for work, up to the long poll's time.
    pub async fn request_shard(&self, worker: &WorkerId) -> Result<Option<Shard>, RequestError> {
        let worker = worker.clone();
        match self.send(Input::Request { worker }).await? {
            Reply::Shard(shard) => Ok(shard),
            other => unreachable_reply(&other),
        }
    }

    /// Says that a worker is alive; returns whether it may go on with its lease, and what of it others wait for.
    pub async fn heartbeat(
        &self,
        worker: &WorkerId,
        lease: Option<LeaseId>,
        running: Vec<TrialKey>,
    ) -> Result<Beat, RequestError> {
        let input = Input::Heartbeat { worker: worker.clone(), lease, running };
        match self.send(input).await? {
            Reply::Heartbeat { lease_valid, recalled } => Ok(Beat { lease_valid, recalled }),
            other => unreachable_reply(&other),
        }
    }

    /// Reports trials; they are durable when this returns.
    pub async fn commit(
        &self,
        worker: &WorkerId,
        reports: Vec<state::Report>,
        trial_ms: f64,
    ) -> Result<Committed, RequestError> {
        self.check(&reports).await?;
        Ok(committed(self.send(Input::Commit { worker: worker.clone(), reports, trial_ms }).await?))
    }

    /// Reports trials for a worker that has nothing to do behind them, and takes a shard for it if there is one.
    pub async fn commit_last(
        &self,
        worker: &WorkerId,
        reports: Vec<state::Report>,
        trial_ms: f64,
    ) -> Result<(Committed, Option<Shard>), RequestError> {
        self.check(&reports).await?;
        let ((reply, answer), (next, shard)) = (oneshot::channel(), oneshot::channel());
        let next = Next { worker: worker.clone(), reply: next };
        let commit = Box::new(Input::Commit { worker: worker.clone(), reports, trial_ms });
        self.give(Command::LastCommit { commit, reply, next }).await?;
        let committed = committed(answer.await.map_err(|_| RequestError::Stopped)??);
        let shard = match shard.await {
            Ok(Ok(Reply::Shard(shard))) => shard,
            // Its reports are stored all the same; it asks anew, and is told why it gets nothing.
            Ok(Err(_)) | Err(_) => None,
            Ok(Ok(other)) => unreachable_reply(&other),
        };
        Ok((committed, shard))
    }

    /// Makes sure that reports say what can be, and that their artifacts are here.
    async fn check(&self, reports: &[state::Report]) -> Result<(), RequestError> {
        let mut artifacts = Vec::new();
        for report in reports {
            artifacts.extend(report.outcome.result.artifact());
            match &report.outcome.result {
                TrialResult::Evaluated(sums) => {
                    let sums = [
                        sums.loss_sum,
                        sums.loss_difference_sum,
                        sums.loss_difference_squares,
                        sums.kl_sum,
                        sums.signal_sum,
                        sums.noise_sum,
                    ];
                    if !sums.iter().all(|sum| sum.is_finite()) {
                        return Err(RequestError::NotFinite(report.key));
                    }
                }
                TrialResult::Trained(trained) => {
                    if !(trained.loss_sum.is_finite() && trained.learning_rate.is_finite()) {
                        return Err(RequestError::NotFinite(report.key));
                    }
                    if !trained.is_consistent() {
                        return Err(RequestError::Inconsistent(report.key));
                    }
                }
                TrialResult::Measured(measured) => {
                    measured.check().map_err(|_| RequestError::Inconsistent(report.key))?;
                }
                TrialResult::Prepared { .. } | TrialResult::Failed { .. } => {}
            }
        }
        self.require(artifacts).await
    }

    /// Gives a lease back, or some of its trials; maybe as something kept the worker from measuring them.
    pub async fn release(
        &self,
        worker: &WorkerId,
        lease: LeaseId,
        (trials, obstacle): (Option<Vec<TrialKey>>, Option<Obstacle>),
    ) -> Result<(), RequestError> {
        let worker = worker.clone();
        self.send(Input::Release { worker, lease, trials, obstacle }).await.map(|_| ())
    }

    /// Says that a worker goes; its leases end.
    pub async fn leave(&self, worker: &WorkerId) -> Result<(), RequestError> {
        let worker = worker.clone();
        self.send(Input::Leave { worker }).await.map(|_| ())
    }

    /// What no connected worker can do of an experiment.
    pub async fn warnings(&self, id: &ExperimentId) -> Result<Vec<String>, RequestError> {
        let id = id.clone();
        self.ask(move |view| view.warnings(&id)).await
    }

    /// What the evaluations of a shard share.
    pub async fn context(&self, digest: Digest) -> Result<EvaluateContext, RequestError> {
        self.ask(move |view| view.context(&digest)).await?
    }

    /// An experiment that asked for a trial.
    pub(crate) async fn claimant(&self, key: TrialKey) -> Result<Option<ExperimentId>, RequestError> {
        self.ask(move |view| {
            let ledger = &view.state.ledger;
            let trial = ledger.trial(&key)?;
            ledger.experiments_of(trial).next().map(|experiment| experiment.id.clone())
        })
        .await
    }

    /// Waits until the driver has answered, which says that it is at work and can store what comes.
    pub(crate) async fn answers(&self) -> Result<(), RequestError> {
        self.ask(|_| ()).await
    }

    async fn require(&self, digests: Vec<Digest>) -> Result<(), RequestError> {
        if digests.is_empty() {
            return Ok(());
        }
        let artifacts = self.artifacts.clone();
        let looked = tokio::task::spawn_blocking(move || artifacts.missing(&digests)).await;
        let missing = looked.map_err(|_| RequestError::Stopped)?;
        let missing = missing.map_err(|error| RequestError::Artifacts { reason: error.to_string() })?;
        match missing.is_empty() {
            true => Ok(()),
            false => Err(RequestError::MissingArtifacts(missing)),
        }
    }

    async fn send(&self, input: Input) -> Result<Reply, RequestError> {
        let (reply, answer) = oneshot::channel();
        let input = Box::new(input);
        self.give(Command::Input { input, reply }).await?;
        answer.await.map_err(|_| RequestError::Stopped)?
    }

    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        let (reply, answer) = oneshot::channel();
        let query = Box::new(move |view: Result<&View<'_>, RequestError>| {
            // Whoever asked may have gone, and then nobody is held up for it.
            if !reply.is_closed() {
                let _ = reply.send(view.map(question));
            }
        });
        self.give(Command::Query(query)).await?;
        answer.await.map_err(|_| RequestError::Stopped)?
    }

    async fn give(&self, command: Command) -> Result<(), RequestError> {
        self.commands.send(command).await.map_err(|_| RequestError::Stopped)
    }
}

fn committed(reply: Reply) -> Committed {
    match reply {
        Reply::Committed { accepted, duplicates, conflicts } => Committed { accepted, duplicates, conflicts },
        other => unreachable_reply(&other),
    }
}

fn unreachable_reply(reply: &Reply) -> ! {
    unreachable!("`decide` answers every kind of input with its own kind of reply, not {reply:?}")
}
