//! The lease loop: register, take a shard, have it measured, commit, again. One task owns all of the state.
//!
//! While the coordinator is away, compute goes on and outcomes wait in memory; the next registration names what is
//! held, so that nobody else measures it.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bitloop_core::digest::Digest;
use bitloop_core::state::{LeaseId, Shard, WorkerInfo};
use bitloop_core::trial::{EvaluateContext, TrialKey};
use bitloop_proto::transport::Connection;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::backoff::Backoff;
use crate::client::{Client, ClientError, Epoch, Registration};
use crate::clock;
use crate::compute::{Compute, End, Order, Progress};
use crate::heartbeat::{Heartbeat, Pulse};
use crate::pending::{BATCH, Pending};
use crate::presence::Presence;
use crate::worker::{WorkSummary, WorkerError};

/// Finished outcomes wait no longer than this for their commit.
const COMMIT_PERIOD: Duration = Duration::from_millis(500);

/// How long compute, and then the coordinator, may take at shutdown.
const FAREWELL: Duration = Duration::from_secs(2);

/// A request that is answered sooner with nothing did not wait for work; asking again at once would be a storm.
const SHORT_POLL: Duration = Duration::from_millis(200);

/// Contexts kept: the current one and that of the stage before.
const KEPT_CONTEXTS: usize = 2;

/// Why the loop ends.
enum Stop {
    Shutdown,
    Fatal(WorkerError),
}

impl From<WorkerError> for Stop {
    fn from(error: WorkerError) -> Self {
        Self::Fatal(error)
    }
}

/// The shard that is being measured.
struct Current {
    remaining: BTreeSet<TrialKey>,
    stop: Arc<AtomicBool>,
    /// Whether the compute thread has it.
    started: bool,
}

#[expect(clippy::large_enum_variant, reason = "an event lives for one turn of the loop")]
enum Event {
    Progress(Option<Progress>),
    CommitDue,
    Displaced,
    Shutdown,
}

pub(crate) struct Session {
    client: Client,
    compute: Compute,
    presence: Arc<Presence>,
    info: WorkerInfo,
    pending: Pending,
    current: Option<Current>,
    contexts: VecDeque<(Digest, Arc<EvaluateContext>)>,
    heartbeat: Option<Heartbeat>,
    shutdown: CancellationToken,
    transfers: CancellationToken,
    given_back: GivenBack,
    idle_exit: Option<Duration>,
    summary: WorkSummary,
}

/// Shards given back since one was finished.
struct GivenBack {
    count: u32,
    /// When the worker itself gives up; never if none.
    limit: Option<u32>,
    backoff: Backoff,
    /// The reason last said, which is not said again.
    reason: String,
}

impl GivenBack {
    fn none(info: &WorkerInfo, limit: Option<u32>) -> Self {
        Self { count: 0, limit, backoff: Backoff::new(&info.id.0), reason: String::new() }
    }
}

impl Session {
    pub(crate) fn new(client: Client, compute: Compute, presence: Arc<Presence>, info: WorkerInfo) -> Self {
        let given_back = GivenBack::none(&info, None);
        Self {
            client,
            compute,
            presence,
            info,
            pending: Pending::default(),
            current: None,
            contexts: VecDeque::with_capacity(KEPT_CONTEXTS),
            heartbeat: None,
            shutdown: CancellationToken::new(),
            transfers: CancellationToken::new(),
            given_back,
            idle_exit: None,
            summary: WorkSummary::default(),
        }
    }

    /// Cancels `transfers` when it ends.
    pub(crate) fn ending(mut self, transfers: CancellationToken) -> Self {
        self.transfers = transfers;
        self
    }

    /// Ends the work with an error when so many shards in a row were given back.
    pub(crate) fn giving_up_after(mut self, limit: Option<u32>) -> Self {
        self.given_back.limit = limit;
        self
    }

    /// Ends the work when no shard has come for so long; never if none.
    pub(crate) fn idling_for(mut self, limit: Option<Duration>) -> Self {
        self.idle_exit = limit;
        self
    }

    pub(crate) async fn run(
        mut self,
        connection: Connection,
        shutdown: CancellationToken,
    ) -> Result<WorkSummary, WorkerError> {
        self.shutdown = shutdown;
        let Err(end) = self.work(connection).await;
        // From here on only time ends the waiting.
        self.shutdown = CancellationToken::new();
        self.farewell().await;
        let Self { compute, heartbeat, summary, .. } = self;
        let heartbeat = heartbeat.map(Heartbeat::stop);
        let compute = compute.finish();
        let joined = tokio::task::spawn_blocking(move || {
            let heartbeat = heartbeat.map_or(Ok(()), |thread| thread.join());
            compute.join().and(heartbeat)
        });
        if !matches!(joined.await, Ok(Ok(()))) {
            error!("a thread of the worker panicked");
        }
        match end {
            Stop::Shutdown => Ok(summary),
            Stop::Fatal(error) => Err(error),
        }
    }

    async fn work(&mut self, connection: Connection) -> Result<Infallible, Stop> {
        let registration = self.register().await?;
        let heartbeat = Heartbeat::start(Pulse {
            connection,
            worker: self.info.id.clone(),
            presence: Arc::clone(&self.presence),
            period: registration.heartbeat,
        });
        self.heartbeat = Some(heartbeat.map_err(WorkerError::from)?);
        info!(worker = %self.info.id.0, "registered");
        loop {
            let shard = self.next_shard_while_patient().await?;
            self.summary.shards += 1;
            self.measure(shard).await?;
        }
    }

    /// Runs a call unless the worker is shutting down.
    async fn unless_shutdown<T>(&self, call: impl Future<Output = T>) -> Result<T, Stop> {
        self.shutdown.run_until_cancelled(call).await.ok_or(Stop::Shutdown)
    }

    async fn pause(&self, backoff: &mut Backoff) -> Result<(), Stop> {
        self.unless_shutdown(tokio::time::sleep(backoff.next_wait())).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(&self.info.id.0)
    }

    async fn epoch(&mut self) -> Result<Epoch, Stop> {
        match self.presence.epoch() {
            Some(epoch) => Ok(epoch),
            None => self.register().await.map(|registration| registration.epoch),
        }
    }

    async fn register(&mut self) -> Result<Registration, Stop> {
        let mut backoff = self.backoff();
        loop {
            let unfinished = self.current.iter().flat_map(|current| current.remaining.iter().copied());
            let held: Vec<TrialKey> = self.pending.keys().chain(unfinished).collect();
            match self.unless_shutdown(self.client.register(&self.info, &held)).await? {
                Ok(registration) => {
                    self.presence.take_lease();
                    self.presence.registered(registration.epoch);
                    self.adopt(registration.adopted.as_ref());
                    return Ok(registration);
                }
                Err(error) if error.is_retryable() => {
                    debug!(%error, "registering is tried again");
                    self.pause(&mut backoff).await?;
                }
                Err(error) => return Err(Stop::Fatal(WorkerError::Refused(error))),
            }
        }
    }

    /// Goes on under the new lease, or stops the work that nobody waits for any more.
    fn adopt(&mut self, adopted: Option<&Shard>) {
        let Some(current) = &self.current else { return };
        let wanted = |shard: &&Shard| shard.trials.iter().any(|(key, _)| current.remaining.contains(key));
        match adopted.filter(wanted) {
            Some(shard) => {
                info!(
                    lease = shard.lease.0,
                    trials = shard.trials.len(),
                    "held trials are under a new lease"
                );
                self.presence.took(shard.lease, &current.stop);
            }
            None => current.stop.store(true, Ordering::Relaxed),
        }
    }

    /// The next shard, unless the worker may not wait so long. A lease that is granted just then ends as the worker leaves.
    async fn next_shard_while_patient(&mut self) -> Result<Shard, Stop> {
        let Some(limit) = self.idle_exit else { return self.next_shard().await };
        let shard = tokio::time::timeout(limit, self.next_shard()).await;
        shard.unwrap_or_else(|_| {
            info!(idle_s = limit.as_secs_f64(), "no work has come; the worker leaves");
            Err(Stop::Shutdown)
        })
    }

    async fn next_shard(&mut self) -> Result<Shard, Stop> {
        let mut backoff = self.backoff();
        loop {
            let epoch = self.epoch().await?;
            let asked = clock::now();
            match self.unless_shutdown(self.client.request_shard(epoch)).await? {
                Ok(Some(shard)) => return Ok(shard),
                Ok(None) if clock::elapsed(asked) >= SHORT_POLL => backoff = self.backoff(),
                Ok(None) => self.pause(&mut backoff).await?,
                Err(error) => self.mend(error, epoch, &mut backoff).await?,
            }
        }
    }

    /// Does what a failed call asks for before it is tried again: wait, and register if need be.
    async fn mend(&self, error: ClientError, epoch: Epoch, backoff: &mut Backoff) -> Result<(), Stop> {
        if matches!(error, ClientError::NotRegistered { .. }) {
            debug!(%error, "registering again");
            self.presence.displace(epoch);
        } else if error.is_retryable() {
            debug!(%error, "a call is tried again");
        } else {
            return Err(Stop::Fatal(WorkerError::Refused(error)));
        }
        self.pause(backoff).await
    }

    async fn measure(&mut self, shard: Shard) -> Result<(), Stop> {
        let stop = Arc::new(AtomicBool::new(false));
        self.presence.took(shard.lease, &stop);
        self.current = Some(Current {
            remaining: shard.trials.iter().map(|(key, _)| *key).collect(),
            stop: Arc::clone(&stop),
            started: false,
        });
        let end = match self.context(shard.context).await? {
            Ok(context) => {
                let sent = self.compute.orders.send(Order { context, trials: shard.trials, stop }).await;
                sent.map_err(|_| WorkerError::ComputeThread)?;
                if let Some(current) = &mut self.current {
                    current.started = true;
                }
                self.follow().await?
            }
            Err(end) => end,
        };
        self.commit_all().await?;
        self.release().await?;
        match end {
            End::Finished => self.given_back = GivenBack::none(&self.info, self.given_back.limit),
            End::Stopped => debug!("a lease ended before its shard was done"),
            End::GaveUp { reason } => self.given_back(reason).await?,
        }
        Ok(())
    }

    /// Keeps outcomes and commits them until the compute thread is done with the shard.
    async fn follow(&mut self) -> Result<End, Stop> {
        let mut commits = tokio::time::interval(COMMIT_PERIOD);
        commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                progress = self.compute.progress.recv() => Event::Progress(progress),
                _ = commits.tick() => Event::CommitDue,
                () = self.presence.displaced() => Event::Displaced,
                () = self.shutdown.cancelled() => Event::Shutdown,
            };
            match event {
                Event::Progress(progress) => {
                    if let Some(end) = self.keep(progress)? {
                        return Ok(end);
                    }
                    if self.pending.is_full() {
                        self.commit_all().await?;
                    }
                }
                Event::CommitDue => self.commit_all().await?,
                Event::Displaced => {
                    self.epoch().await?;
                    self.commit_all().await?;
                }
                Event::Shutdown => return Err(Stop::Shutdown),
            }
        }
    }

    fn keep(&mut self, progress: Option<Progress>) -> Result<Option<End>, Stop> {
        match progress {
            Some(Progress::Measured(measured)) => {
                if let Some(current) = &mut self.current {
                    current.remaining.remove(&measured.report.key);
                }
                self.pending.push(measured);
                Ok(None)
            }
            Some(Progress::Ended(end)) => {
                if let Some(current) = &mut self.current {
                    current.started = false;
                }
                Ok(Some(end))
            }
            None => Err(Stop::Fatal(WorkerError::ComputeThread)),
        }
    }

    /// Commits everything that is finished; waits for a coordinator that is away.
    async fn commit_all(&mut self) -> Result<(), Stop> {
        let mut backoff = self.backoff();
        let mut limit = BATCH;
        while !self.pending.is_empty() {
            let epoch = self.epoch().await?;
            let (reports, trial_ms) = self.pending.batch(limit);
            let count = reports.len();
            match self.unless_shutdown(self.client.commit(epoch, &reports, trial_ms)).await? {
                Ok(()) => {
                    self.pending.acknowledge(count);
                    self.summary.committed += count as u64;
                    backoff = self.backoff();
                }
                // One of these is of no experiment there, as after the loss of its store: the others are still welcome.
                Err(ClientError::Invalid { .. } | ClientError::NotFound { .. }) if count > 1 => limit = 1,
                Err(error @ (ClientError::Invalid { .. } | ClientError::NotFound { .. })) => {
                    warn!(%error, "an outcome is dropped");
                    self.pending.acknowledge(1);
                    self.summary.lost += 1;
                }
                Err(error) => self.mend(error, epoch, &mut backoff).await?,
            }
        }
        Ok(())
    }

    /// Finds what a shard's evaluations share, if anything; else how the shard ends.
    async fn context(
        &mut self,
        digest: Option<Digest>,
    ) -> Result<Result<Option<Arc<EvaluateContext>>, End>, Stop> {
        let Some(digest) = digest else { return Ok(Ok(None)) };
        if let Some((_, context)) = self.contexts.iter().find(|(known, _)| *known == digest) {
            return Ok(Ok(Some(Arc::clone(context))));
        }
        let mut backoff = self.backoff();
        while self.current.as_ref().is_some_and(|current| !current.stop.load(Ordering::Relaxed)) {
            let epoch = self.epoch().await?;
            match self.unless_shutdown(self.client.fetch_context(&digest)).await? {
                Ok(context) => {
                    let context = Arc::new(context);
                    self.contexts.truncate(KEPT_CONTEXTS - 1);
                    self.contexts.push_front((digest, Arc::clone(&context)));
                    return Ok(Ok(Some(context)));
                }
                Err(
                    error @ (ClientError::NotFound { .. }
                    | ClientError::Malformed { .. }
                    | ClientError::Damaged { .. }),
                ) => return Ok(Err(End::GaveUp { reason: error.to_string() })),
                Err(error) => self.mend(error, epoch, &mut backoff).await?,
            }
        }
        Ok(Err(End::Stopped))
    }

    /// Waits, ever longer, so that a trial that cannot be done here does not come back at once.
    async fn given_back(&mut self, reason: String) -> Result<(), Stop> {
        let given_back = &mut self.given_back;
        given_back.count = given_back.count.saturating_add(1);
        if given_back.limit.is_some_and(|limit| given_back.count >= limit) {
            return Err(Stop::Fatal(WorkerError::GaveUp { reason }));
        }
        // A worker that gives up says why at its end.
        if given_back.limit.is_none() && given_back.reason != reason {
            warn!(reason, "trials cannot be measured; tried again for as long as they are owed");
            given_back.reason = reason;
        }
        let wait = given_back.backoff.next_wait();
        self.unless_shutdown(tokio::time::sleep(wait)).await
    }

    /// Ends the current shard. A lease of which nothing is left has ended by itself.
    async fn release(&mut self) -> Result<(), Stop> {
        let current = self.current.take();
        let unfinished = current.is_some_and(|current| !current.remaining.is_empty());
        let Some(lease) = self.presence.take_lease().filter(|_| unfinished) else {
            return Ok(());
        };
        self.unless_shutdown(self.release_lease(lease)).await
    }

    async fn release_lease(&self, lease: LeaseId) {
        let Some(epoch) = self.presence.epoch() else { return };
        // Without an answer the lease ends at its deadline.
        if let Err(error) = self.client.release(epoch, lease, &[]).await {
            debug!(%error, "a lease was not released");
        }
    }

    /// Stops compute, commits what is finished, gives the rest back and leaves; each within a short time.
    async fn farewell(&mut self) {
        self.transfers.cancel();
        if let Some(current) = &self.current {
            current.stop.store(true, Ordering::Relaxed);
        }
        if tokio::time::timeout(FAREWELL, self.wind_down()).await.is_err() {
            warn!("the running trial did not stop in time");
        }
        if self.presence.epoch().is_some() {
            let goodbye = async {
                let committed = self.commit_all().await;
                let released = self.release().await;
                let left = self.client.leave().await;
                committed.is_ok() && released.is_ok() && left.is_ok()
            };
            if !matches!(tokio::time::timeout(FAREWELL, goodbye).await, Ok(true)) {
                debug!("the coordinator was not told that the worker leaves");
            }
        }
        self.summary.lost += self.pending.keys().count() as u64;
    }

    async fn wind_down(&mut self) {
        while self.current.as_ref().is_some_and(|current| current.started) {
            let progress = self.compute.progress.recv().await;
            if self.keep(progress).is_err() {
                return;
            }
        }
    }
}
