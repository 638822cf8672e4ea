//! The state machine: what each input changes. What is to be done then is in `next.rs`.

mod next;
mod taken;
mod unheard;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::digest::Digest;
use crate::state::{LeaseId, Obstacle, ObstacleKind, Shard, WorkerInfo};
use crate::trial::{EvaluateContext, TrialKey, TrialSpec};

use super::backoff::Backoff;
use super::pending::{BATCH, Measured, Pending};
use super::{Answer, Beat, Effect, End, Epoch, Failure, FailureKind, Finish, Input, Millis, Notice};

/// Finished outcomes wait no longer than this for their commit, in milliseconds.
const COMMIT_PERIOD_MS: u64 = 500;

/// How long compute, and then the coordinator, may take at the end, in milliseconds.
const FAREWELL_MS: u64 = 2_000;

/// A request that is answered sooner with nothing did not wait for work; asking again at once would be a storm.
const SHORT_POLL_MS: u64 = 200;

/// Contexts kept: the current one and that of the stage before.
const KEPT_CONTEXTS: usize = 2;

/// What a worker is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it says of itself.
    pub info: WorkerInfo,
    /// After how many shards in a row of which it measured nothing, as what they need did not come, it ends; never if none.
    pub max_give_backs: Option<u32>,
    /// After how many milliseconds without a shard it leaves; never if none.
    pub idle_exit_ms: Option<u64>,
    /// What an earlier process left written down; none if outcomes cannot be written down at all.
    pub spool: Option<Vec<Measured>>,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Shards that it took.
    pub shards: u64,
    /// Outcomes that the coordinator acknowledged.
    pub committed: u64,
    /// Outcomes that the coordinator did not want.
    pub dropped: u64,
}

/// How far the shard at hand is.
#[derive(Clone, Debug)]
enum Progress {
    /// It is not measured yet, as what its evaluations share is not known.
    Waiting { context: Option<Digest>, trials: Vec<(TrialKey, TrialSpec)> },
    /// It is being measured.
    Measuring,
    /// It is to be reported.
    Ended(End),
}

/// The shard at hand.
#[derive(Clone, Debug)]
struct Current {
    remaining: BTreeSet<TrialKey>,
    /// Whether it takes a device that another worker may reach, too.
    is_probe: bool,
    progress: Progress,
}

/// The call under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calling {
    Register,
    RequestShard { asked: Millis },
    FetchContext(Digest),
    Commit { count: usize },
    Release,
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Working,
    /// Compute is to stop; no call is made.
    WindingDown {
        until: Millis,
    },
    /// What is finished is committed, the rest given back.
    Farewell {
        until: Millis,
    },
    Over,
}

/// Shards given back.
#[derive(Clone, Debug)]
struct GiveBacks {
    /// Those since something was measured for which something did not come, if there is a limit.
    count: u32,
    backoff: Backoff,
    /// The reason last told, which is not told again.
    reason: String,
}

/// A worker's side of the protocol: takes what happens, says what to do.
#[derive(Clone, Debug)]
pub struct Protocol {
    info: WorkerInfo,
    max_give_backs: Option<u32>,
    idle_exit_ms: Option<u64>,
    /// Since when it waits for a shard.
    idle_since: Option<Millis>,
    has_spool: bool,
    epoch: Option<Epoch>,
    lease: Option<LeaseId>,
    /// A lease that was taken away while something of it was measured: the coordinator is told when that has stopped, as the device
    /// is nobody else's before.
    stopping: Option<LeaseId>,
    /// The coordinator gave the lease, or prolonged it, no earlier than this: when it was asked for it, or was told of it last.
    heard: Millis,
    current: Option<Current>,
    contexts: VecDeque<(Digest, Arc<EvaluateContext>)>,
    pending: Pending,
    /// Whether something is written down that is not acknowledged.
    is_spooled: bool,
    /// How many outcomes are to be committed one batch after another.
    draining: usize,
    /// How many outcomes one commit takes: one, behind a batch that was refused.
    batch: usize,
    commit_at: Millis,
    calling: Option<Calling>,
    /// When the last call was made.
    called: Millis,
    /// No call before this time.
    rest_until: Millis,
    backoff: Backoff,
    give_backs: GiveBacks,
    /// Whether the coordinator did not answer lately.
    is_away: bool,
    phase: Phase,
    ending: Finish,
    now: Millis,
    summary: Summary,
    effects: Vec<Effect>,
}

impl Protocol {
    /// A worker that has done nothing yet.
    pub fn new(settings: Settings) -> Self {
        let Settings { info, max_give_backs, idle_exit_ms, spool } = settings;
        let backoff = Backoff::new(&info.id.0);
        let has_spool = spool.is_some();
        let pending = Pending::spooled(spool.unwrap_or_default());
        Self {
            max_give_backs,
            idle_exit_ms,
            idle_since: None,
            has_spool,
            epoch: None,
            lease: None,
            stopping: None,
            heard: Millis(0),
            current: None,
            contexts: VecDeque::with_capacity(KEPT_CONTEXTS),
            is_spooled: !pending.is_empty(),
            draining: pending.len(),
            pending,
            batch: BATCH,
            commit_at: Millis(0),
            calling: None,
            called: Millis(0),
            rest_until: Millis(0),
            give_backs: GiveBacks { count: 0, backoff: backoff.clone(), reason: String::new() },
            backoff,
            is_away: false,
            phase: Phase::Working,
            ending: Finish::Shutdown,
            now: Millis(0),
            summary: Summary::default(),
            effects: Vec::new(),
            info,
        }
    }

    /// Takes note of something that happened, and says what to do about it.
    ///
    /// Until the first input, which is [`Input::Time`], nothing is done.
    pub fn step(&mut self, input: Input, now: Millis) -> Vec<Effect> {
        self.now = self.now.max(now);
        if matches!(input, Input::SpoolFailed) {
            self.pending.spool_failed();
            return Vec::new();
        }
        if self.phase == Phase::Over {
            return Vec::new();
        }
        match input {
            Input::Answered(answer) => self.answered(answer),
            Input::Failed(failure) => self.failed(failure),
            Input::Measured(measured) => self.keep(measured),
            Input::Ended(end) => self.ended(end),
            Input::LeaseVoid(beat) => self.revoke(beat),
            Input::Displaced(epoch) => self.displace(epoch),
            Input::Silence => self.is_away = true,
            Input::Heard { beat, ago_ms } => self.is_heard(beat, ago_ms),
            Input::GivenBack { beat, trials } => self.forget_trials(beat, &trials),
            Input::Time | Input::SpoolFailed => {}
            Input::Shutdown => self.wind_down(Finish::Shutdown),
        }
        self.proceed();
        std::mem::take(&mut self.effects)
    }

    /// When [`Input::Time`] is to be fed in at the latest, unless something else is before.
    pub fn due(&self) -> Option<Millis> {
        let limit = match self.phase {
            Phase::Working => self.patience_ends().into_iter().chain(self.breaks_off()).min(),
            Phase::Over => None,
            Phase::WindingDown { until } | Phase::Farewell { until } => Some(until),
        };
        let call = match self.calling {
            Some(_) => None,
            None if self.pending.is_empty() || self.is_commit_pressing() => Some(self.rest_until),
            None => Some(self.rest_until.max(self.commit_at)),
        };
        [limit, call].into_iter().flatten().filter(|due| *due > self.now).min()
    }

    /// What a heartbeat says now; none while the worker is not registered.
    pub fn beat(&self) -> Option<Beat> {
        self.epoch.map(|epoch| Beat { epoch, lease: self.lease })
    }

    /// Whether the worker is about to end.
    pub fn is_ending(&self) -> bool {
        self.phase != Phase::Working
    }

    /// What the worker did.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// How many outcomes the coordinator has not acknowledged: those written down, and the others.
    pub fn unacknowledged(&self) -> (usize, usize) {
        let unspooled = self.pending.unspooled();
        (self.pending.len() - unspooled, unspooled)
    }

    fn tell(&mut self, notice: Notice) {
        self.effects.push(Effect::Tell(notice));
    }

    fn answered(&mut self, answer: Answer) {
        let Some(calling) = self.calling.take() else { return };
        self.is_away = false;
        match answer {
            Answer::Registered { epoch, adopted } => {
                self.epoch = Some(epoch);
                self.tell(Notice::Registered { epoch });
                if self.current.is_none() && self.idle_since.is_none() {
                    self.idle_since = Some(self.now);
                }
                self.adopt(adopted.as_ref());
            }
            Answer::Shard(Some(shard)) => self.take_shard(shard),
            Answer::Shard(None) => self.find_no_work(calling),
            Answer::Context(context) => {
                self.forget_waits();
                if let Calling::FetchContext(digest) = calling {
                    self.contexts.truncate(KEPT_CONTEXTS - 1);
                    self.contexts.push_front((digest, context));
                }
            }
            Answer::Committed { next } => {
                self.forget_waits();
                if let Calling::Commit { count } = calling {
                    self.summary.committed += count as u64;
                    self.acknowledge(count);
                }
                // Nothing is left to say of the shard before, or no other would have been wanted.
                self.settle_current();
                if let Some(shard) = next.filter(|_| self.current.is_none()) {
                    self.take_shard(shard);
                }
            }
            Answer::Released => self.released(),
            Answer::Left => self.finish(),
        }
    }

    fn forget_waits(&mut self) {
        self.backoff = Backoff::new(&self.info.id.0);
    }

    fn rest(&mut self) {
        let wait = self.backoff.next_wait();
        self.rest_until = self.now.after(wait.as_millis() as u64);
    }

    fn abandon(&mut self) {
        if self.calling.take().is_some() {
            self.effects.push(Effect::Abandon);
        }
    }

    fn find_no_work(&mut self, calling: Calling) {
        match calling {
            Calling::RequestShard { asked } if self.now < asked.after(SHORT_POLL_MS) => self.rest(),
            Calling::RequestShard { .. }
            | Calling::Register
            | Calling::FetchContext(_)
            | Calling::Commit { .. }
            | Calling::Release
            | Calling::Leave => self.forget_waits(),
        }
    }

    fn take_shard(&mut self, shard: Shard) {
        let Shard { lease, context, trials } = shard;
        self.forget_waits();
        self.summary.shards += 1;
        self.idle_since = None;
        (self.lease, self.heard) = (Some(lease), self.called);
        let remaining = trials.iter().map(|(key, _)| *key).collect();
        let is_probe = trials.iter().any(|(_, spec)| matches!(spec, TrialSpec::Probe(_)));
        self.current = Some(Current { remaining, is_probe, progress: Progress::Waiting { context, trials } });
    }

    /// Does what a failed call asks for before it is tried again: wait, and register if need be.
    fn failed(&mut self, failure: Failure) {
        let Some(calling) = self.calling.take() else { return };
        let Failure { kind, reason } = failure;
        self.is_away = kind == FailureKind::Away;
        match (calling, kind) {
            (Calling::Release, _) => self.released(),
            (Calling::Leave, _) => {
                self.tell(Notice::NoGoodbye);
                self.finish();
            }
            (_, FailureKind::Away) => self.rest(),
            (
                Calling::RequestShard { .. } | Calling::FetchContext(_) | Calling::Commit { .. },
                FailureKind::NotRegistered,
            ) => {
                self.epoch = None;
                self.rest();
            }
            // One of these is of no experiment there, as after the loss of its store: the others are still welcome.
            (Calling::Commit { count }, FailureKind::NotFound | FailureKind::Invalid) if count > 1 => {
                self.batch = 1;
            }
            (Calling::Commit { count }, FailureKind::NotFound | FailureKind::Invalid) => {
                self.tell(Notice::Dropped { reason });
                self.summary.dropped += count as u64;
                self.acknowledge(count);
            }
            (Calling::FetchContext(_), FailureKind::NotFound | FailureKind::Garbled) => {
                if let Some(current) = &mut self.current {
                    let trials = current.remaining.iter().copied().collect();
                    let obstacle = Obstacle { kind: ObstacleKind::Supply, reason, trials };
                    current.progress = Progress::Ended(End::GaveUp(obstacle));
                }
            }
            (
                Calling::Register
                | Calling::RequestShard { .. }
                | Calling::FetchContext(_)
                | Calling::Commit { .. },
                FailureKind::NotRegistered
                | FailureKind::NotFound
                | FailureKind::Invalid
                | FailureKind::Garbled
                | FailureKind::Refused,
            ) => self.wind_down(Finish::Refused),
        }
    }

    fn keep(&mut self, measured: Measured) {
        self.give_backs.count = 0;
        if let Some(current) = &mut self.current {
            current.remaining.remove(&measured.report.key);
        }
        if self.pending.is_empty() {
            self.commit_at = self.now.after(COMMIT_PERIOD_MS);
        }
        self.pending.push(measured);
    }

    fn acknowledge(&mut self, count: usize) {
        self.pending.acknowledge(count);
        self.draining = self.draining.saturating_sub(count);
        if self.draining == 0 {
            self.commit_at = self.now.after(COMMIT_PERIOD_MS);
        }
        if self.pending.is_empty() {
            self.batch = BATCH;
            if std::mem::take(&mut self.is_spooled) {
                self.effects.push(Effect::ClearSpool);
            }
        }
    }

    fn ended(&mut self, end: End) {
        if let Some(current) = &mut self.current {
            current.progress = Progress::Ended(end);
        }
    }

    /// Begins the end.
    fn wind_down(&mut self, ending: Finish) {
        if self.phase != Phase::Working {
            // A coordinator that refuses the last calls is not told goodbye.
            return if ending == Finish::Refused {
                self.finish()
            };
        }
        self.ending = ending;
        self.abandon();
        self.stop();
        let until = self.now.after(FAREWELL_MS);
        self.phase = Phase::WindingDown { until };
    }

    fn say_goodbye(&mut self) {
        self.rest_until = self.now;
        match self.epoch {
            Some(_) => self.phase = Phase::Farewell { until: self.now.after(FAREWELL_MS) },
            None => self.finish(),
        }
    }

    fn finish(&mut self) {
        self.abandon();
        self.phase = Phase::Over;
        self.spool();
        self.effects.push(Effect::Finish(self.ending.clone()));
    }

    fn spool(&mut self) {
        if self.has_spool && self.pending.unspooled() > 0 {
            self.is_spooled = true;
            self.effects.push(Effect::Spool(self.pending.spool()));
        }
    }
}
