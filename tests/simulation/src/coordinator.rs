//! A coordinator: the real rules and searchers, in rounds as the driver makes them, over a disk that may fail.

mod parked;

use std::collections::{BTreeSet, VecDeque};

use bitloop_core::digest::Digest;
use bitloop_core::state::Reply as Decided;
use bitloop_core::state::{
    Change, Decision, Event as StateEvent, Fact, Input, LeaseId, Parked, QUARANTINE_LOSSES, Rejection, Shard,
    State, UnixMillis, Waiting, WorkerId, decide,
};
use bitloop_core::trial::TrialKey;
use bitloop_core::worker::{Answer, Beat, Call, Epoch, FailureKind};
use bitloop_search::{Concluded, Searchers, Thinking};

use self::parked::Waiter;
use crate::disk::Disk;
use crate::faults::Sabotage;
use crate::message::{Body, Instant, Pulse, Reply, Request, Returned};
use crate::oracle::Oracle;

/// As the driver: how often time passes for leases.
const TICK_MS: u64 = 500;

/// As the driver: a tick this late means that the coordinator itself was held up.
const STALL_MS: u64 = 2_000;

/// As the driver: how long a request waits for work.
const LONG_POLL_MS: u64 = 15_000;

/// As the driver: requests taken in one round.
const REQUESTS_PER_ROUND: usize = 257;

/// As the driver: how often searchers are asked within a round.
const STEPS_PER_ROUND: usize = 4;

/// An answer that waits for the disk.
struct Pending {
    request: Request,
    answer: Result<Decided, FailureKind>,
    /// The shard that a commit brings.
    next: Option<Shard>,
}

impl Pending {
    fn new(request: Request, answer: Result<Decided, FailureKind>) -> Self {
        Self { request, answer, next: None }
    }
}

/// A clock as the program's: the date at its start and the time since.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: Instant,
    date_at_start: u64,
}

impl Clock {
    fn now(self, now: Instant) -> UnixMillis {
        UnixMillis(self.date_at_start + (now - self.started))
    }
}

/// What a process finds when it starts.
pub(crate) struct Calendar {
    /// What the calendar says, which may be anything.
    pub(crate) date: u64,
    pub(crate) sabotage: Option<Sabotage>,
}

/// What a round leaves for the world to do.
#[derive(Default)]
pub(crate) struct After {
    pub(crate) replies: Vec<Reply>,
    pub(crate) thoughts: Vec<Concluded>,
    /// Facts are on their way to the disk.
    pub(crate) is_storing: bool,
}

/// The process.
pub(crate) struct Coordinator {
    /// Which start this is, to tell its events from those of others.
    pub(crate) start: u64,
    pub(crate) state: State,
    pub(crate) inbox: VecDeque<Request>,
    epoch: Epoch,
    clock: Clock,
    ticked: UnixMillis,
    searchers: Searchers,
    parked: Parked<Waiter>,
    facts: Vec<Fact>,
    replies: Vec<Pending>,
    /// Whether the disk is being written.
    pub(crate) is_storing: bool,
    /// Whether the disk could not be written: everything is refused until it can.
    pub(crate) is_out: bool,
    is_searching: bool,
    sabotage: Option<Sabotage>,
}

impl Coordinator {
    /// Loads the disk and raises the epoch. Whether the artifacts are there is for [`Self::inspect`].
    pub(crate) fn start(disk: &mut Disk, start: u64, now: Instant, calendar: Calendar) -> Self {
        let Calendar { date, sabotage } = calendar;
        let mut state = State::replayed(disk.facts().iter().cloned(), |_, _| {});
        disk.epoch += 1;
        let clock = Clock { started: now, date_at_start: date };
        state.apply(&Change::Started { now: clock.now(now) }.into());
        Self {
            start,
            state,
            inbox: VecDeque::new(),
            epoch: Epoch(disk.epoch),
            clock,
            ticked: clock.now(now),
            searchers: Searchers::default(),
            parked: Parked::default(),
            facts: Vec::new(),
            replies: Vec::new(),
            is_storing: false,
            is_out: false,
            is_searching: true,
            sabotage,
        }
    }

    /// The epoch that it is in.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Facts that are applied and not stored.
    pub(crate) fn unstored(&self) -> &[Fact] {
        &self.facts
    }

    /// When the next round is due if nothing comes in.
    pub(crate) fn next_round(&self, now: Instant) -> Instant {
        let since = self.clock.now(now).0.saturating_sub(self.ticked.0);
        if self.is_searching { now + 1 } else { now + TICK_MS.saturating_sub(since).max(1) }
    }

    /// One round, up to the disk.
    pub(crate) fn round(&mut self, now: Instant, oracle: &mut Oracle) -> After {
        let mut after = After::default();
        if self.is_storing {
            return after;
        }
        if self.is_out {
            after.replies = self.refuse_all();
            after.is_storing = true;
            self.is_storing = true;
            return after;
        }
        self.tick(now, oracle);
        for _ in 0..REQUESTS_PER_ROUND {
            let Some(request) = self.inbox.pop_front() else { break };
            self.take(request, now, oracle);
        }
        self.advance(now, oracle, &mut after);
        self.serve_parked(now, oracle);
        if self.facts.is_empty() {
            after.replies = self.answer(oracle);
        } else {
            self.is_storing = true;
            after.is_storing = true;
        }
        after
    }

    /// The disk has answered.
    pub(crate) fn stored(&mut self, disk: &mut Disk, now: Instant, oracle: &mut Oracle) -> Vec<Reply> {
        self.is_storing = false;
        if disk.is_full {
            self.is_out = true;
            return self.refuse_round(now, oracle);
        }
        self.is_out = false;
        let mut facts = std::mem::take(&mut self.facts);
        if self.sabotage == Some(Sabotage::ForgetsOutcomes) {
            facts.retain(|fact| !matches!(fact, Fact::OutcomeCommitted { .. }));
        }
        oracle.stored(&disk.append(facts));
        oracle.compare_with_replay(&self.state, disk);
        self.answer(oracle)
    }

    /// A user's wish, told until it is granted.
    pub(crate) fn act(&mut self, input: &Input, now: Instant, oracle: &mut Oracle) {
        // A refusal leaves everything as it is.
        let _ = self.step(input, now, oracle);
    }

    /// Somebody has missed an artifact, which may be there again by now.
    pub(crate) fn miss(&mut self, artifact: Digest, disk: &Disk, (now, oracle): (Instant, &mut Oracle)) {
        if disk.artifacts.contains(&artifact) {
            return;
        }
        let outcomes = self.state.ledger.artifacts().filter(|(_, named)| *named == artifact);
        let outcomes = outcomes.map(|(key, named)| (*key, named)).collect();
        self.act(&Input::Missed { outcomes }, now, oracle);
    }

    /// Looks at a start whether the artifacts are there that facts speak of.
    pub(crate) fn inspect(&mut self, disk: &Disk, now: Instant, oracle: &mut Oracle) {
        let missing = disk.missing(&self.state.ledger);
        self.act(&Input::Inspect { missing }, now, oracle);
    }

    pub(crate) fn conclude(&mut self, thought: Concluded, now: Instant, oracle: &mut Oracle) {
        self.is_searching = true;
        if let Some(answer) = self.searchers.has_concluded(&self.state, thought) {
            self.act(&answer, now, oracle);
        }
    }

    fn step(&mut self, input: &Input, now: Instant, oracle: &mut Oracle) -> Result<Decided, Rejection> {
        let time = self.clock.now(now);
        let Decision { mut events, reply } = decide(&self.state, input, time)?;
        if let (Input::Request { worker }, Decided::Shard(Some(_))) = (input, &reply) {
            let breach = oracle.waits.granted(&self.state, worker, time);
            oracle.require(breach.is_none(), || breach.unwrap_or_default());
        }
        self.spoil(&mut events);
        oracle.before(&self.state, input, &events, now);
        for event in events {
            self.state.apply(&event);
            if let StateEvent::Fact(fact) = event {
                self.facts.push(fact);
            }
        }
        oracle.after(&self.state, input, &reply, now);
        Ok(reply)
    }

    /// Breaks a rule, if the simulation is to notice it.
    fn spoil(&self, events: &mut Vec<StateEvent>) {
        match self.sabotage {
            Some(Sabotage::TakesSilenceForDeath) => {
                let lost = events.iter().filter_map(|event| match event {
                    StateEvent::Change(Change::TrialLost { key, .. }) => Some(*key),
                    StateEvent::Change(_) | StateEvent::Fact(_) => None,
                });
                let quarantined: BTreeSet<TrialKey> = lost.collect();
                let fact = |key| Fact::TrialQuarantined { key, losses: QUARANTINE_LOSSES }.into();
                events.extend(quarantined.into_iter().map(fact));
            }
            Some(Sabotage::KeepsLeases) => {
                events.retain(|event| !matches!(event, StateEvent::Change(Change::LeaseEnded { .. })))
            }
            Some(Sabotage::CommitsAgain) => events.iter_mut().for_each(|event| {
                if let StateEvent::Fact(Fact::OutcomeReplaced { key, outcome }) = event {
                    *event = Fact::OutcomeCommitted { key: *key, outcome: outcome.clone() }.into();
                }
            }),
            Some(Sabotage::FreesDevicesAtOnce) => {
                let freed =
                    self.state.dispatch.leases().map(|(lease, _)| Change::DeviceVacated { lease: *lease });
                events.extend(freed.map(StateEvent::from));
            }
            Some(Sabotage::ForgetsOutcomes | Sabotage::ServesCommitsFirst) | None => {}
        }
    }

    fn tick(&mut self, now: Instant, oracle: &mut Oracle) {
        let unix = self.clock.now(now);
        let since_ms = unix.0.saturating_sub(self.ticked.0);
        if since_ms < TICK_MS {
            return;
        }
        self.ticked = unix;
        self.parked.note_tick();
        let late_ms = since_ms - TICK_MS;
        let stalled_ms = if late_ms > STALL_MS { late_ms } else { 0 };
        oracle.stalled(stalled_ms);
        self.act(&Input::Tick { stalled_ms }, now, oracle);
    }

    fn take(&mut self, request: Request, now: Instant, oracle: &mut Oracle) {
        let input = match self.input_of(&request) {
            Ok(input) => input,
            Err(kind) => return self.replies.push(Pending::new(request, Err(kind))),
        };
        let Some(input) = input else {
            // What only reads is answered at the end of the round.
            return self.replies.push(Pending::new(request, Ok(Decided::Done)));
        };
        match matches!(input, Input::Request { .. }) {
            true => self.take_request(request, now, oracle),
            false => self.take_at_once(request, &input, (now, oracle)),
        }
    }

    /// What a request means; none if it only reads. As the service: most calls name the epoch that they are meant for.
    fn input_of(&self, request: &Request) -> Result<Option<Input>, FailureKind> {
        let worker = request.worker.clone();
        let current = |epoch: &Epoch| (*epoch == self.epoch).then_some(()).ok_or(FailureKind::NotRegistered);
        let input = match &request.body {
            Body::Beat { beat: Beat { epoch, lease }, running } => {
                current(epoch)?;
                Input::Heartbeat { worker, lease: *lease, running: running.clone() }
            }
            Body::Call(Call::Register { info, held }) => {
                Input::Register { info: info.as_ref().clone(), held: held.clone() }
            }
            Body::Call(Call::RequestShard { epoch }) => {
                current(epoch)?;
                Input::Request { worker }
            }
            Body::Call(Call::FetchContext { .. }) => return Ok(None),
            Body::Call(Call::Commit { reports, trial_ms, .. }) => {
                Input::Commit { worker, reports: reports.clone(), trial_ms: *trial_ms }
            }
            Body::Call(Call::Release { epoch, lease, obstacle }) => {
                current(epoch)?;
                Input::Release { worker, lease: *lease, trials: None, obstacle: obstacle.clone() }
            }
            Body::GiveBack { epoch, lease, trials } => {
                current(epoch)?;
                Input::Release { worker, lease: *lease, trials: Some(trials.clone()), obstacle: None }
            }
            Body::Call(Call::Leave) => Input::Leave { worker },
        };
        Ok(Some(input))
    }

    fn advance(&mut self, now: Instant, oracle: &mut Oracle, after: &mut After) {
        if self.facts.is_empty() && !self.is_searching {
            return;
        }
        self.is_searching = true;
        for _ in 0..STEPS_PER_ROUND {
            let mut thinking = Vec::new();
            let answers = self.searchers.ask_all(&self.state, &mut thinking);
            after.thoughts.extend(thinking.into_iter().map(Thinking::conclude));
            if answers.is_empty() {
                self.is_searching = false;
                return;
            }
            for answer in answers {
                self.act(&answer, now, oracle);
            }
        }
    }

    fn answer(&mut self, oracle: &mut Oracle) -> Vec<Reply> {
        let pending = std::mem::take(&mut self.replies);
        pending
            .into_iter()
            .map(|Pending { request, answer, next }| {
                oracle.acknowledges(&request.body, &answer);
                let body = self.returned(&request.body, (answer, next));
                Reply { to: request.from, call: request.call, body }
            })
            .collect()
    }

    fn returned(
        &self,
        asked: &Body,
        (answer, next): (Result<Decided, FailureKind>, Option<Shard>),
    ) -> Returned {
        let call = match (asked, answer) {
            (body, Err(kind)) => return body.failed(kind),
            (Body::Beat { .. }, Ok(Decided::Heartbeat { lease_valid, recalled })) => {
                return Returned::Beat(Ok(Pulse { lease_valid, recalled }));
            }
            // `decide` answers a heartbeat as one.
            (Body::Beat { .. }, Ok(_)) => return asked.failed(FailureKind::Garbled),
            (Body::GiveBack { .. }, Ok(_)) => return Returned::GaveBack(Ok(())),
            (Body::Call(call), Ok(answer)) => match (call, answer) {
                (Call::Register { .. }, Decided::Registered { adopted }) => {
                    Answer::Registered { epoch: self.epoch, adopted }
                }
                (_, Decided::Shard(shard)) => Answer::Shard(shard),
                (Call::FetchContext { digest }, _) => match self.state.ledger.context(digest) {
                    Some(context) => Answer::Context(context.clone().into()),
                    None => return asked.failed(FailureKind::NotFound),
                },
                (Call::Commit { .. }, _) => Answer::Committed { next },
                (Call::Release { .. }, _) => Answer::Released,
                (Call::Register { .. } | Call::RequestShard { .. } | Call::Leave, _) => Answer::Left,
            },
        };
        Returned::Call(Ok(call))
    }

    /// As the driver's outage: leases that nobody hears of come back.
    fn refuse_round(&mut self, now: Instant, oracle: &mut Oracle) -> Vec<Reply> {
        let pending = std::mem::take(&mut self.replies);
        let mut refused = Vec::new();
        for Pending { request, answer, next } in pending {
            let granted = match answer {
                Ok(Decided::Shard(shard)) => shard,
                Ok(_) | Err(_) => next,
            };
            if let Some(shard) = granted {
                self.act(&release(request.worker.clone(), shard.lease), now, oracle);
            }
            refused.push(refusal(&request));
        }
        refused.extend(self.refuse_all());
        refused
    }

    fn refuse_all(&mut self) -> Vec<Reply> {
        self.inbox.drain(..).map(|request| refusal(&request)).collect()
    }
}

fn release(worker: WorkerId, lease: LeaseId) -> Input {
    Input::Release { worker, lease, trials: None, obstacle: None }
}

fn refusal(request: &Request) -> Reply {
    Reply { to: request.from, call: request.call, body: request.body.failed(FailureKind::Away) }
}

/// As the service.
fn kind_of(rejection: &Rejection) -> FailureKind {
    match rejection {
        Rejection::UnknownExperiment(_) => FailureKind::NotFound,
        Rejection::UnknownWorker(_) => FailureKind::NotRegistered,
        Rejection::IdTaken(_)
        | Rejection::UnknownTrial(_)
        | Rejection::WrongResult(_)
        | Rejection::WrongStatus { .. } => FailureKind::Invalid,
    }
}
