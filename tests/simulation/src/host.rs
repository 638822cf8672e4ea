//! A worker's machine: its disk, and the program around the protocol.

use std::collections::BTreeSet;

use bitloop_core::device::Share;
use bitloop_core::digest::Digest;
use bitloop_core::state::{LEASE_TERM_MS, Obstacle, ObstacleKind, Report, WorkerId, WorkerInfo};
use bitloop_core::trial::{TrialKey, TrialSpec};
use bitloop_core::worker::{
    Answer, Beat, Call, Effect, End, Failure, FailureKind, Input, Measured, Millis, Order, Protocol,
    Settings, read_spool, spool_head, spool_line,
};

use crate::experiment::{
    IMPOSSIBLE, Oddity, PANIC, is_fragile, is_poisonous, outcome, probed, probes, processor,
};
use crate::message::{Body, Instant, Process, Pulse, Returned};

/// A process that has been suspended hears within this time that a lease is over which it got meanwhile.
const SUSPICION_MS: u64 = 2 * LEASE_TERM_MS;

/// A probe that is stopped is killed within this time.
const KILL_MS: u64 = 1_000;

/// Milliseconds between two heartbeats, as the coordinator asks for.
pub(crate) const BEAT_MS: u64 = LEASE_TERM_MS / 5;

/// What outlives the worker's process.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_full: bool,
}

/// The compute thread's work.
#[derive(Debug)]
struct Computing {
    /// Tells its events from those of earlier orders.
    number: u64,
    order: Order,
    next: usize,
    is_stopped: bool,
    /// Whether the process was suspended meanwhile: until it is told so, it measures what may be another one's.
    was_suspended: bool,
    /// Trials taken out of the order for others, which the coordinator may not know yet.
    withdrawn: Vec<TrialKey>,
    /// Whether trials that go together end together.
    is_together: bool,
}

/// A worker's process.
pub(crate) struct Program {
    pub(crate) process: Process,
    pub(crate) id: WorkerId,
    pub(crate) started: Instant,
    pace_ms: u64,
    /// The host whose device it measures on.
    device: usize,
    protocol: Protocol,
    /// The call that is waited for.
    pub(crate) call: Option<u64>,
    /// What the heartbeat thread waits for the answer of.
    pub(crate) beat: Option<(u64, Body)>,
    /// When that was sent.
    pub(crate) beat_at: Instant,
    computing: Option<Computing>,
    orders: u64,
    /// Nothing happens to it before: it was suspended.
    pub(crate) suspended_until: Instant,
    pub(crate) is_over: bool,
}

/// A machine that workers run on, one after another.
pub(crate) struct Host {
    pub(crate) program: Option<Program>,
    /// None on a machine whose workers keep nothing.
    pub(crate) spool: Option<Spool>,
    pub(crate) processes: u64,
    /// Time of a trial in milliseconds.
    pub(crate) pace_ms: u64,
    /// The host whose device its workers measure on, and their part of that device.
    pub(crate) device: (usize, Share),
    /// Of which kind its CPU is.
    pub(crate) kind: usize,
    /// Artifacts that it keeps; a machine without a spool keeps none.
    cache: BTreeSet<Digest>,
    /// Whether messages to and from the coordinator get lost.
    pub(crate) is_cut_off: [bool; 2],
}

/// What measuring takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// This artifact.
    Artifact(Digest),
    /// Somewhere to leave one.
    Room,
}

/// What the compute thread finds around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// Whether it gives up, as something that it needs does not come.
    pub(crate) gives_up: bool,
    /// Of which kind the CPU is.
    pub(crate) kind: usize,
    /// Whether preparing panics where it can.
    pub(crate) is_worn: bool,
}

/// What follows from the answer to a heartbeat.
pub(crate) enum Beaten {
    Nothing,
    Tell(Input),
    /// Its lease is in force.
    Heard(Beat),
    /// The heartbeat thread goes on with this.
    Send(Body),
}

/// What a program wants of the world.
pub(crate) enum Wish {
    Call(Box<Call>),
    /// The compute thread begins to work.
    Compute {
        number: u64,
    },
    /// The compute thread ends within this time.
    Stop {
        number: u64,
        within_ms: u64,
    },
    /// The process dies while it writes to its spool, of which a part is written.
    TornSpool(Vec<Measured>),
    Breach(String),
}

impl Computing {
    /// The trials that are measured next, together.
    fn at_hand(&self) -> &[(TrialKey, TrialSpec)] {
        let left = &self.order.trials[self.next..];
        match self.is_together {
            true => left.chunk_by(|(_, one), (_, next)| one.goes_with(next)).next().unwrap_or_default(),
            false => &left[..left.len().min(1)],
        }
    }
}

impl Host {
    pub(crate) fn new(has_spool: bool, (pace_ms, kind): (u64, usize), device: (usize, Share)) -> Self {
        let (spool, cache) = (has_spool.then(Spool::default), BTreeSet::new());
        Self { program: None, spool, processes: 0, pace_ms, device, kind, cache, is_cut_off: [false; 2] }
    }

    /// Keeps an artifact that was made or fetched here, if it keeps any.
    pub(crate) fn keep(&mut self, artifact: Digest) {
        if self.spool.is_some() {
            self.cache.insert(artifact);
        }
    }

    /// Whether an artifact need not be fetched.
    pub(crate) fn keeps(&self, artifact: &Digest) -> bool {
        self.cache.contains(artifact)
    }

    /// Trials take as long from now on.
    pub(crate) fn change_pace(&mut self, pace_ms: u64) {
        self.pace_ms = pace_ms;
        if let Some(program) = &mut self.program {
            program.pace_ms = pace_ms;
        }
    }

    /// Starts a process, which takes over what an earlier one wrote down.
    pub(crate) fn start(&mut self, host: usize, now: Instant) -> Process {
        self.processes += 1;
        let process = Process { host, number: self.processes };
        let id = WorkerId(format!("w{host}-{}", self.processes));
        let info = WorkerInfo {
            id: id.clone(),
            host: format!("host{}", self.device.0),
            machine: format!("machine{}", self.device.0),
            device: processor(),
            share: self.device.1,
            threads: 1,
            probes: probes(),
            ..WorkerInfo::default()
        };
        let left = self.spool.as_mut().map(|spool| {
            let outcomes = read_spool(&spool.bytes).outcomes;
            spool.bytes = Vec::new();
            if !outcomes.is_empty() {
                spool.write(&outcomes);
            }
            outcomes
        });
        self.program = Some(Program {
            process,
            id,
            started: now,
            pace_ms: self.pace_ms,
            device: self.device.0,
            protocol: Protocol::new(Settings { info, max_give_backs: None, idle_exit_ms: None, spool: left }),
            call: None,
            beat: None,
            beat_at: now,
            computing: None,
            orders: 0,
            suspended_until: 0,
            is_over: false,
        });
        process
    }
}

impl Spool {
    fn write(&mut self, outcomes: &[Measured]) {
        if self.bytes.is_empty() {
            self.bytes = spool_head();
        }
        self.bytes.extend(outcomes.iter().flat_map(spool_line));
    }

    /// Writes all but the end, as a crash does.
    pub(crate) fn write_torn(&mut self, outcomes: &[Measured], cut: usize) {
        let before = self.bytes.len();
        self.write(outcomes);
        let written = self.bytes.len() - before;
        self.bytes.truncate(self.bytes.len() - cut % written.max(1));
    }
}

impl Program {
    fn millis(&self, now: Instant) -> Millis {
        Millis(now - self.started)
    }

    /// When time is to pass for the protocol.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.protocol.due().map(|due| self.started + due.0)
    }

    /// Whether nothing that it did is unknown to the coordinator.
    pub(crate) fn is_idle(&self) -> bool {
        self.computing.is_none() && self.protocol.unacknowledged() == (0, 0)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.protocol.summary().dropped
    }

    /// What a heartbeat says, if one is sent.
    pub(crate) fn next_beat(&self) -> Option<(Beat, Vec<TrialKey>)> {
        let beat = self.protocol.beat()?;
        let running = if beat.lease.is_some() { self.running() } else { Vec::new() };
        Some((beat, running))
    }

    /// The trials being measured, together.
    fn running(&self) -> Vec<TrialKey> {
        let trials = self.computing.as_ref().map(Computing::at_hand).unwrap_or_default();
        trials.iter().map(|(key, _)| *key).collect()
    }

    /// How long it takes until the compute thread says something, in milliseconds.
    pub(crate) fn compute_ms(&self) -> u64 {
        self.computing.as_ref().map_or(0, |computing| self.pace_ms * computing.at_hand().len() as u64)
    }

    pub(crate) fn answered(&mut self, answer: Result<Answer, FailureKind>) -> Input {
        self.call = None;
        match answer {
            Ok(answer) => Input::Answered(answer),
            Err(kind) => Input::Failed(Failure { kind, reason: "simulated".to_owned() }),
        }
    }

    /// What the answer to the heartbeat thread means, as in the program.
    pub(crate) fn beaten(&mut self, asked: Body, answer: Returned) -> Beaten {
        match (asked, answer) {
            (Body::Beat { beat, .. }, Returned::Beat(answer)) => match answer {
                Ok(Pulse { lease_valid: true, recalled }) => match self.give_back(beat, &recalled) {
                    Beaten::Nothing => Beaten::Heard(beat),
                    given_back @ (Beaten::Tell(_) | Beaten::Heard(_) | Beaten::Send(_)) => given_back,
                },
                Ok(Pulse { lease_valid: false, .. }) => Beaten::Tell(Input::LeaseVoid(beat)),
                Err(FailureKind::NotRegistered) => Beaten::Tell(Input::Displaced(beat.epoch)),
                Err(
                    FailureKind::Away
                    | FailureKind::NotFound
                    | FailureKind::Invalid
                    | FailureKind::Garbled
                    | FailureKind::Refused,
                ) => Beaten::Tell(Input::Silence),
            },
            (Body::GiveBack { epoch, lease, trials }, Returned::GaveBack(Ok(()))) => {
                if let Some(computing) = &mut self.computing {
                    computing.withdrawn.retain(|key| !trials.contains(key));
                }
                Beaten::Tell(Input::GivenBack { beat: Beat { epoch, lease: Some(lease) }, trials })
            }
            (Body::GiveBack { .. } | Body::Beat { .. } | Body::Call(_), _) => Beaten::Nothing,
        }
    }

    /// Takes trials out of the order that are not begun, and gives back what is taken out.
    fn give_back(&mut self, beat: Beat, recalled: &[TrialKey]) -> Beaten {
        let (Some(lease), Some(computing)) = (beat.lease, &mut self.computing) else {
            return Beaten::Nothing;
        };
        let begun = computing.next + computing.at_hand().len();
        let unbegun = computing.order.trials.split_off(begun);
        let (back, kept): (Vec<_>, Vec<_>) = unbegun.into_iter().partition(|(key, _)| recalled.contains(key));
        computing.order.trials.extend(kept);
        computing.withdrawn.extend(back.into_iter().map(|(key, _)| key));
        match computing.withdrawn.is_empty() {
            true => Beaten::Nothing,
            false => {
                let trials = computing.withdrawn.clone();
                Beaten::Send(Body::GiveBack { epoch: beat.epoch, lease, trials })
            }
        }
    }

    /// What it needs for what it measures now.
    pub(crate) fn need(&self) -> Need {
        let Some(computing) = &self.computing else { return Need::Nothing };
        match (computing.at_hand().first().map(|(_, spec)| spec), &computing.order.context) {
            (Some(TrialSpec::Prepare(_)), _) => Need::Room,
            (Some(TrialSpec::Evaluate { .. }), Some(context)) => Need::Artifact(context.prepared),
            (Some(TrialSpec::Probe(probe)), _) => Need::Artifact(probe.prepared),
            (Some(TrialSpec::Evaluate { .. } | TrialSpec::Train(_)) | None, _) => Need::Nothing,
        }
    }

    /// The compute thread's next word, if it still works on this order.
    pub(crate) fn compute(&mut self, number: u64, site: Site) -> Vec<Input> {
        let Site { gives_up, kind, is_worn } = site;
        let Some(computing) = self.computing.as_mut().filter(|computing| computing.number == number) else {
            return Vec::new();
        };
        let keys = || computing.at_hand().iter().map(|(key, _)| *key).collect();
        let gave_up = |kind, reason: &str, trials| {
            Input::Ended(End::GaveUp(Obstacle { kind, reason: reason.to_owned(), trials }))
        };
        if computing.is_stopped || gives_up {
            let end = match gives_up {
                true => gave_up(ObstacleKind::Supply, "simulated", keys()),
                false => Input::Ended(End::Stopped),
            };
            self.computing = None;
            return vec![end];
        }
        let is_impossible = |spec: &TrialSpec| Oddity::of(spec).is_impossible_on(self.device);
        if computing.at_hand().iter().any(|(_, spec)| is_impossible(spec)) {
            let end = gave_up(ObstacleKind::Device, IMPOSSIBLE, keys());
            self.computing = None;
            return vec![end];
        }
        let mut said = Vec::new();
        for (key, spec) in computing.at_hand() {
            // As the program, which measures them one by one when one of several panics.
            if Oddity::of(spec) == Oddity::Panics || (is_worn && is_fragile(spec)) {
                said.push(gave_up(ObstacleKind::Panic, PANIC, vec![*key]));
                self.computing = None;
                return said;
            }
            let report = Report { key: *key, outcome: outcome(key, spec, kind) };
            said.push(Input::Measured(Measured { report, compute_ms: self.pace_ms as f64 }));
        }
        computing.next += said.len();
        if computing.next >= computing.order.trials.len() {
            self.computing = None;
            said.push(Input::Ended(End::Finished));
        }
        said
    }

    /// The device that it measures alone now.
    pub(crate) fn probed(&self) -> Option<String> {
        let (_, spec) = self.computing.as_ref()?.at_hand().first()?;
        probed(spec, self.device)
    }

    /// The same, unless it may have been suspended as that was taken from it.
    pub(crate) fn probes_awake(&self) -> Option<String> {
        self.computing.as_ref().filter(|computing| !computing.was_suspended).and_then(|_| self.probed())
    }

    /// It does nothing for a while.
    pub(crate) fn suspend(&mut self, until: Instant) {
        // What it would have done before was put off until the end of the first.
        self.suspended_until = self.suspended_until.max(until);
        if let Some(computing) = &mut self.computing {
            computing.was_suspended = true;
        }
    }

    /// Whether it dies of what it measures now.
    pub(crate) fn is_poisoned(&self) -> bool {
        let at_hand = self.computing.as_ref().map(Computing::at_hand).unwrap_or_default();
        at_hand.iter().any(|(_, spec)| is_poisonous(spec))
    }

    /// Whether it is about to go.
    pub(crate) fn is_ending(&self) -> bool {
        self.protocol.is_ending()
    }

    /// Whether an order is under way.
    pub(crate) fn order(&self) -> Option<u64> {
        self.computing.as_ref().map(|computing| computing.number)
    }

    /// Feeds the protocol, and does on this machine what can be done here. `tears` says that the process dies in the next
    /// write to its spool.
    pub(crate) fn feed(
        &mut self,
        input: Input,
        now: Instant,
        spool: Option<&mut Spool>,
        tears: bool,
    ) -> Vec<Wish> {
        let millis = self.millis(now);
        let mut spool = spool;
        let mut wishes = Vec::new();
        for effect in self.protocol.step(input, millis) {
            match effect {
                Effect::Call(call) => {
                    if self.call.is_some() {
                        wishes.push(Wish::Breach("two calls at a time".to_owned()));
                    }
                    wishes.push(Wish::Call(Box::new(call)));
                }
                Effect::Abandon => self.call = None,
                Effect::Measure(order) => {
                    // A machine has one device, and an order takes all of it.
                    if self.computing.is_some() {
                        wishes.push(Wish::Breach("a device is given two shards".to_owned()));
                    }
                    self.orders += 1;
                    let (number, is_together) = (self.orders, self.orders.is_multiple_of(2));
                    self.computing = Some(Computing {
                        number,
                        order,
                        next: 0,
                        is_stopped: false,
                        was_suspended: self.suspended_until > 0 && now < self.suspended_until + SUSPICION_MS,
                        withdrawn: Vec::new(),
                        is_together,
                    });
                    wishes.push(Wish::Compute { number });
                }
                Effect::Stop => {
                    if let Some(computing) = &mut self.computing {
                        computing.is_stopped = true;
                        let number = computing.number;
                        if self.probed().is_some() {
                            wishes.push(Wish::Stop { number, within_ms: KILL_MS });
                        }
                    }
                }
                Effect::Spool(outcomes) => match spool.as_deref_mut() {
                    Some(_) if tears => {
                        wishes.push(Wish::TornSpool(outcomes));
                        return wishes;
                    }
                    Some(Spool { is_full: false, .. }) => {
                        if let Some(spool) = spool.as_deref_mut() {
                            spool.write(&outcomes);
                        }
                    }
                    Some(Spool { is_full: true, .. }) => {
                        self.protocol.step(Input::SpoolFailed, millis);
                    }
                    None => {
                        wishes.push(Wish::Breach("a machine without a spool is told to use it".to_owned()))
                    }
                },
                Effect::ClearSpool => {
                    if let Some(spool) = spool.as_deref_mut() {
                        spool.bytes.clear();
                    }
                }
                Effect::Tell(_) => {}
                Effect::Finish(_) => self.is_over = true,
            }
        }
        wishes
    }
}
