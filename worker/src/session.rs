//! What carries out the protocol's decisions: calls, the compute thread, the spool, the clock. One task owns all of it.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bitloop_core::worker::{
    Answer, Call, Effect, End, Finish, Input, Measured, Millis, Notice, Protocol, Settings,
};
use bitloop_proto::trace;
use bitloop_proto::transport::Connection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, error, info, info_span, warn};

use crate::client::{Client, ClientError, Registration};
use crate::clock;
use crate::compute::{Compute, Order, Progress};
use crate::heartbeat::{Heartbeat, Pulse};
use crate::presence::Presence;
use crate::spool::Spool;
use crate::worker::{WorkSummary, WorkerError};

/// Answers to heartbeats that may wait for the session.
const BEATS_WAITING: usize = 4;

/// What a session is made of.
pub(crate) struct Parts {
    pub(crate) connection: Connection,
    pub(crate) client: Client,
    pub(crate) compute: Compute,
    pub(crate) presence: Arc<Presence>,
    pub(crate) spool: Option<Spool>,
    /// Cancelled when the session ends, as the compute thread may be waiting for a transfer.
    pub(crate) transfers: CancellationToken,
}

/// A call under way.
type Calling = Pin<Box<dyn Future<Output = Result<Answered, ClientError>> + Send>>;

struct Answered {
    answer: Answer,
    /// How often the coordinator wants a heartbeat, if it said so.
    heartbeat: Option<Duration>,
}

impl From<Answer> for Answered {
    fn from(answer: Answer) -> Self {
        Self { answer, heartbeat: None }
    }
}

enum Event {
    Called(Result<Answered, ClientError>),
    Progress(Option<Progress>),
    Beat(Input),
    Time,
    Shutdown,
}

pub(crate) struct Session {
    protocol: Protocol,
    parts: Parts,
    spool: Option<Arc<Mutex<Spool>>>,
    calling: Option<Calling>,
    /// Ends the order at hand.
    stop: Arc<AtomicBool>,
    heartbeat: Option<Heartbeat>,
    beats: mpsc::Receiver<Input>,
    beats_sender: mpsc::Sender<Input>,
    started: Instant,
    /// Where in its trace the last shard stands.
    shard_context: Option<String>,
    /// What the last call failed with.
    refusal: Option<ClientError>,
    /// Why the worker cannot go on, whatever the coordinator says.
    broken: Option<WorkerError>,
}

impl Session {
    pub(crate) fn new(mut parts: Parts, settings: Settings) -> Self {
        let (beats_sender, beats) = mpsc::channel(BEATS_WAITING);
        Self {
            protocol: Protocol::new(settings),
            spool: parts.spool.take().map(|spool| Arc::new(Mutex::new(spool))),
            parts,
            calling: None,
            stop: Arc::default(),
            heartbeat: None,
            beats,
            beats_sender,
            started: clock::now(),
            shard_context: None,
            refusal: None,
            broken: None,
        }
    }

    /// Works until `shutdown` is cancelled, or no work has come for as long as the settings say.
    pub(crate) async fn work(mut self, shutdown: CancellationToken) -> Result<WorkSummary, WorkerError> {
        let mut finish = self.feed(Input::Time).await;
        while finish.is_none() {
            let event = self.next_event(&shutdown).await;
            finish = self.take(event).await;
        }
        let ending = match (self.broken.take(), finish, self.refusal.take()) {
            (Some(broken), _, _) => Err(broken),
            (None, Some(Finish::Refused), Some(refusal)) => Err(WorkerError::Refused(refusal)),
            (None, Some(Finish::GaveUp { reason }), _) => Err(WorkerError::GaveUp { reason }),
            (None, Some(Finish::Shutdown | Finish::Refused) | None, _) => Ok(self.summary()),
        };
        self.join().await;
        ending
    }

    fn summary(&self) -> WorkSummary {
        let done = self.protocol.summary();
        let (spooled, lost) = self.protocol.unacknowledged();
        if spooled > 0 {
            let worker = &self.parts.client.worker().0;
            warn!(
                worker,
                outcomes = spooled,
                "the next worker with this cache folder sends what could not be sent"
            );
        }
        WorkSummary { shards: done.shards, committed: done.committed, lost: done.dropped + lost as u64 }
    }

    async fn join(self) {
        let heartbeat = self.heartbeat.map(Heartbeat::stop);
        let compute = self.parts.compute.finish();
        let joined = tokio::task::spawn_blocking(move || {
            let heartbeat = heartbeat.map_or(Ok(()), |thread| thread.join());
            compute.join().and(heartbeat)
        });
        if !matches!(joined.await, Ok(Ok(()))) {
            error!("a thread of the worker panicked");
        }
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(clock::elapsed(self.started).as_millis()).unwrap_or(u64::MAX))
    }

    async fn next_event(&mut self, shutdown: &CancellationToken) -> Event {
        let due = self.protocol.due().map(|due| Duration::from_millis(due.0.saturating_sub(self.now().0)));
        let is_ending = self.protocol.is_ending();
        tokio::select! {
            () = shutdown.cancelled(), if !is_ending => Event::Shutdown,
            called = outcome_of(&mut self.calling) => Event::Called(called),
            progress = self.parts.compute.progress.recv(), if !self.is_compute_gone() => Event::Progress(progress),
            Some(beat) = self.beats.recv() => Event::Beat(beat),
            () = sleep(due) => Event::Time,
        }
    }

    async fn take(&mut self, event: Event) -> Option<Finish> {
        match event {
            Event::Called(Ok(Answered { answer, heartbeat })) => {
                self.calling = None;
                let finish = self.feed(Input::Answered(answer)).await;
                match heartbeat.map(|period| self.start_heartbeat(period)) {
                    Some(Err(error)) => self.end_broken(error).await.or(finish),
                    Some(Ok(())) | None => finish,
                }
            }
            Event::Called(Err(error)) => {
                self.calling = None;
                debug!(worker = self.parts.client.worker().0, %error, "a call came to nothing");
                let failure = error.failure();
                self.refusal = Some(error);
                self.feed(Input::Failed(failure)).await
            }
            Event::Progress(Some(Progress::Measured(measured))) => self.feed(Input::Measured(measured)).await,
            Event::Progress(Some(Progress::Ended(end))) => self.feed(Input::Ended(end)).await,
            Event::Progress(None) => self.end_broken(WorkerError::ComputeThread).await,
            Event::Beat(input) => self.feed(input).await,
            Event::Time => self.feed(Input::Time).await,
            Event::Shutdown => self.feed(Input::Shutdown).await,
        }
    }

    fn is_compute_gone(&self) -> bool {
        matches!(self.broken, Some(WorkerError::ComputeThread))
    }

    /// Leaves in good order, as far as the coordinator is concerned.
    async fn end_broken(&mut self, error: WorkerError) -> Option<Finish> {
        if matches!(error, WorkerError::ComputeThread) {
            self.feed_one(Input::Ended(End::Stopped)).await;
        }
        self.broken = Some(error);
        self.feed(Input::Shutdown).await
    }

    /// Begins with heartbeats, once.
    fn start_heartbeat(&mut self, period: Duration) -> Result<(), WorkerError> {
        if self.heartbeat.is_some() {
            return Ok(());
        }
        let pulse = Pulse {
            connection: self.parts.connection.clone(),
            worker: self.parts.client.worker().clone(),
            presence: Arc::clone(&self.parts.presence),
            period,
            answers: self.beats_sender.clone(),
        };
        self.heartbeat = Some(Heartbeat::start(pulse)?);
        Ok(())
    }

    /// Gives the protocol an input and does what it says; returns how the work ends, if it does.
    async fn feed(&mut self, input: Input) -> Option<Finish> {
        let finish = self.feed_one(input).await;
        self.parts.presence.works_under(self.protocol.beat());
        if self.protocol.is_ending() {
            self.parts.transfers.cancel();
        }
        finish
    }

    async fn feed_one(&mut self, input: Input) -> Option<Finish> {
        let mut finish = None;
        for effect in self.protocol.step(input, self.now()) {
            match effect {
                Effect::Call(call) => {
                    self.calling = Some(make(self.parts.client.clone(), call, self.shard_context.clone()));
                }
                Effect::Abandon => self.calling = None,
                Effect::Measure(shard) => {
                    self.stop = Arc::default();
                    let span = self.shard_span(shard.trials.len());
                    let order = Order { shard, stop: Arc::clone(&self.stop), span };
                    // The thread has room, as it has no other order; without it nothing comes of its progress either.
                    let _ = self.parts.compute.orders.send(order).await;
                }
                Effect::Stop => self.stop.store(true, Ordering::Relaxed),
                Effect::Spool(outcomes) => self.write_down(outcomes).await,
                Effect::ClearSpool => with_spool(self.spool.clone(), Spool::clear).await,
                Effect::Tell(notice) => tell(&self.parts.client.worker().0, &notice),
                Effect::Finish(end) => finish = Some(end),
            }
        }
        finish
    }

    /// A span for a shard, below its lease's; the log says by it what its lines are about.
    fn shard_span(&mut self, trials: usize) -> Span {
        let (worker, lease) =
            (&self.parts.client.worker().0, self.protocol.beat().and_then(|beat| beat.lease));
        let lease = lease.map(|lease| lease.0);
        let span = info_span!(target: trace::TARGET, "shard", worker, lease, trials);
        let span = trace::below(span, self.parts.client.take_lease_context().as_deref());
        self.shard_context = trace::context(&span);
        span
    }

    async fn write_down(&mut self, outcomes: Vec<Measured>) {
        let written = Arc::new(AtomicBool::new(false));
        let report = Arc::clone(&written);
        let append = move |spool: &mut Spool| report.store(spool.append(&outcomes), Ordering::Relaxed);
        with_spool(self.spool.clone(), append).await;
        if !written.load(Ordering::Relaxed) {
            // It asks for nothing then.
            self.protocol.step(Input::SpoolFailed, self.now());
        }
    }
}

/// Lets another thread wait for the disk.
async fn with_spool(spool: Option<Arc<Mutex<Spool>>>, work: impl FnOnce(&mut Spool) + Send + 'static) {
    let Some(spool) = spool else { return };
    let done = tokio::task::spawn_blocking(move || {
        work(&mut spool.lock().unwrap_or_else(PoisonError::into_inner));
    });
    if done.await.is_err() {
        error!("the spool's thread panicked");
    }
}

async fn outcome_of(calling: &mut Option<Calling>) -> Result<Answered, ClientError> {
    match calling {
        Some(calling) => calling.await,
        None => pending().await,
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => pending().await,
    }
}

fn make(client: Client, call: Call, context: Option<String>) -> Calling {
    Box::pin(async move {
        Ok(match call {
            Call::Register { info, held } => {
                let Registration { epoch, adopted, heartbeat } = client.register(&info, &held).await?;
                Answered { answer: Answer::Registered { epoch, adopted }, heartbeat: Some(heartbeat) }
            }
            Call::RequestShard { epoch } => Answer::Shard(client.request_shard(epoch).await?).into(),
            Call::FetchContext { digest } => {
                Answer::Context(Arc::new(client.fetch_context(&digest).await?)).into()
            }
            Call::Commit { epoch, reports, trial_ms, wants_shard } => {
                let reported = (reports.as_slice(), trial_ms, wants_shard);
                Answer::Committed { next: client.commit(epoch, reported, context.as_deref()).await? }.into()
            }
            Call::Release { epoch, lease, obstacle } => {
                client.release(epoch, lease, (&[], obstacle.as_ref())).await?;
                Answer::Released.into()
            }
            Call::Leave => {
                client.leave().await?;
                Answer::Left.into()
            }
        })
    })
}

/// Several workers may be in one process.
fn tell(worker: &str, notice: &Notice) {
    match notice {
        Notice::Registered { epoch } => info!(worker, epoch = epoch.0, "registered"),
        Notice::Adopted { lease, trials } => {
            info!(worker, lease = lease.0, trials, "held trials are under a new lease");
        }
        Notice::Dropped { reason } => warn!(worker, reason, "an outcome is dropped"),
        Notice::CannotMeasure { reason } => {
            warn!(worker, reason, "trials cannot be measured here and go back");
        }
        Notice::LeaseEnded => debug!(worker, "a lease ended before its shard was done"),
        Notice::Idle { limit_ms } => {
            info!(worker, idle_s = *limit_ms as f64 / 1e3, "no work has come; the worker leaves");
        }
        Notice::DidNotStop => warn!(worker, "the running trial did not stop in time"),
        Notice::NoGoodbye => debug!(worker, "the coordinator was not told that the worker leaves"),
    }
}
