//! What must always hold, and the memory that it takes to tell.

mod waits;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bitloop_core::digest::Digest;
use bitloop_core::plan::ExperimentId;
use bitloop_core::state::{
    Change, Event, Fact, Input, LEASE_TERM_MS, LeaseId, Loss, QUARANTINE_LOSSES, Reply, State, WorkerId,
};
use bitloop_core::trial::{Outcome, TrialKey, TrialSpec};
use bitloop_core::worker::{Call, FailureKind};

use self::waits::Waits;
use crate::disk::Disk;
use crate::experiment::is_poisonous;
use crate::message::{Body, Instant};

/// Replaying everything takes long, so it is done at every so many writes, and at each start.
const FULL_REPLAY_PERIOD: u64 = 16;

/// Watches a cluster and remembers the first breach.
#[derive(Default)]
pub(crate) struct Oracle {
    breach: Option<String>,
    /// What the coordinator said to be durable.
    acknowledged: HashMap<TrialKey, Outcome>,
    /// The trials of which it said so that make artifacts: what they gave may be lost, and be another one later.
    made: BTreeSet<TrialKey>,
    /// The artifact that each finished experiment rests on.
    rests_on: BTreeMap<ExperimentId, Digest>,
    /// Workers whose outcome was refused, as its artifact had gone before it was committed.
    pub(crate) excused: BTreeSet<WorkerId>,
    pub(crate) waits: Waits,
    /// When a worker was last heard by the coordinator, and a lease last renewed, in the time that it was not held up.
    heard: BTreeMap<WorkerId, Instant>,
    renewed: BTreeMap<LeaseId, Instant>,
    /// For how long the coordinator was held up so far.
    stalled_ms: u64,
    /// Leases and queue before a stale lease was named.
    untouched: Option<Dispatched>,
    /// The facts stored so far, replayed one by one.
    replay: State,
    writes: u64,
    /// The workers that were given up while they ran a trial, or had nothing else, since the coordinator's start.
    losses: HashMap<TrialKey, BTreeSet<WorkerId>>,
    /// Processes that ended.
    gone: BTreeSet<WorkerId>,
    pub(crate) steps: u64,
    /// Outcomes that counted no more, as their artifact was gone.
    pub(crate) lost: u64,
    pub(crate) quarantined: u64,
    /// Those of them that no process died of: three happened to end while they ran it.
    pub(crate) unlucky: u64,
}

/// Who works on what.
type Dispatched = (Vec<(LeaseId, Vec<TrialKey>)>, Vec<TrialKey>);

fn dispatched(state: &State) -> Dispatched {
    let leases = state.dispatch.leases();
    let leases = leases.map(|(id, lease)| (*id, lease.trials.iter().copied().collect())).collect();
    (leases, state.dispatch.queue(&state.ledger).copied().collect())
}

impl Oracle {
    /// The first breach, if there was one.
    pub(crate) fn verdict(&mut self) -> Result<(), String> {
        self.breach.take().map_or(Ok(()), Err)
    }

    pub(crate) fn require(&mut self, holds: bool, breach: impl FnOnce() -> String) {
        if !holds && self.breach.is_none() {
            self.breach = Some(breach());
        }
    }

    /// A coordinator started from what is on disk.
    pub(crate) fn restarted(&mut self, state: &State) {
        self.heard.clear();
        self.renewed.clear();
        self.losses.clear();
        self.waits.forget();
        let is_known =
            |key: &&TrialKey| state.ledger.outcome(key).is_some() || state.ledger.lost(key).is_some();
        let forgotten = self.made.iter().find(|key| !is_known(key)).copied();
        self.require(forgotten.is_none(), || {
            format!("the acknowledged outcome of {forgotten:?} is forgotten")
        });
        let lost =
            self.acknowledged.iter().find(|(key, outcome)| state.ledger.outcome(key) != Some(*outcome));
        let lost = lost.map(|(key, _)| *key);
        self.require(lost.is_none(), || {
            let instead = lost.and_then(|key| state.ledger.trial(&key)).map(|trial| &trial.state);
            format!("the acknowledged outcome of {lost:?} is lost, which is {instead:?}")
        });
        let equal = state.ledger == self.replay.ledger;
        self.require(equal, || "a restart gives another ledger than the facts did one by one".to_owned());
        let checked = state.check();
        self.require(checked.is_ok(), || format!("{checked:?} after a restart"));
    }

    /// A process ended. One that was cut off when it was to leave could not say so, and is as one that died.
    pub(crate) fn ended(&mut self, worker: WorkerId) {
        self.gone.insert(worker);
    }

    /// The coordinator notices that it was held up itself.
    pub(crate) fn stalled(&mut self, stalled_ms: u64) {
        self.stalled_ms += stalled_ms;
    }

    /// An input was decided and is about to be applied.
    pub(crate) fn before(&mut self, state: &State, input: &Input, events: &[Event], now: Instant) {
        self.untouched = is_stale(state, input).then(|| dispatched(state));
        let awake = now - self.stalled_ms.min(now);
        for event in events {
            match event {
                Event::Change(Change::LeaseGranted { lease, terms }) => {
                    self.renewed.insert(*lease, awake);
                    let is_doubtful = |key: &&TrialKey| state.dispatch.losses(key) >= QUARANTINE_LOSSES;
                    let is_asked = matches!(input, Input::Request { .. });
                    let doubtful = terms.trials.iter().find(is_doubtful).filter(|_| is_asked);
                    self.require(doubtful.is_none(), || format!("{doubtful:?} is leased though withheld"));
                }
                Event::Change(Change::LeaseEnded { lease, .. }) if matches!(input, Input::Tick { .. }) => {
                    let since =
                        self.renewed.get(lease).map_or(u64::MAX, |renewed| awake.saturating_sub(*renewed));
                    let holder = state.dispatch.lease(*lease).map(|lease| lease.worker.clone());
                    let silent = holder.and_then(|worker| self.heard.get(&worker).copied());
                    let silent = silent.map_or(u64::MAX, |heard| awake.saturating_sub(heard));
                    self.require(since.max(silent) >= LEASE_TERM_MS, || {
                        format!("{lease:?} was ended {since} ms after its renewal")
                    });
                }
                Event::Change(Change::WorkerLeft { worker }) if matches!(input, Input::Tick { .. }) => {
                    let since = self.heard.get(worker).map_or(u64::MAX, |heard| awake.saturating_sub(*heard));
                    self.require(since >= LEASE_TERM_MS, || {
                        format!("{worker:?} was given up {since} ms after it was heard")
                    });
                }
                Event::Change(Change::TrialLost { loss: Loss::Suspected, .. }) => {}
                Event::Change(Change::TrialLost { key, worker, loss: Loss::Silent { .. } | Loss::Hung }) => {
                    self.losses.entry(*key).or_default().insert(worker.clone());
                }
                Event::Fact(fact) => self.before_fact(state, input, fact),
                Event::Change(
                    Change::Started { .. }
                    | Change::Settled
                    | Change::LeaseEnded { .. }
                    | Change::WorkerLeft { .. }
                    | Change::WorkerJoined { .. }
                    | Change::WorkerSeen { .. }
                    | Change::WorkerCommitted { .. }
                    | Change::LeaseRenewed { .. }
                    | Change::HeldUp { .. }
                    | Change::TrialsRecalled { .. }
                    | Change::TrialsReturned { .. }
                    | Change::TrialsLeft { .. }
                    | Change::DeviceVacated { .. }
                    | Change::TrialsGivenBack { .. },
                ) => {}
            }
        }
    }

    fn before_fact(&mut self, state: &State, input: &Input, fact: &Fact) {
        match fact {
            Fact::OutcomeLost { key } if state.ledger.is_unmeasured(key) => {
                let is_wanted = matches!(input, Input::Advance { .. });
                self.require(is_wanted, || format!("nobody asked for {key}, which nobody could measure"));
            }
            Fact::OutcomeLost { key } => {
                self.lost += 1;
                let named = state.ledger.outcome(key).and_then(|outcome| outcome.result.artifact());
                let is_gone = named.is_some_and(|named| match input {
                    Input::Inspect { missing } => missing.contains(&named),
                    Input::Missed { outcomes } => outcomes.get(key) == Some(&named),
                    Input::Submit { .. }
                    | Input::Act { .. }
                    | Input::Advance { .. }
                    | Input::Register { .. }
                    | Input::Leave { .. }
                    | Input::Request { .. }
                    | Input::Heartbeat { .. }
                    | Input::Commit { .. }
                    | Input::Release { .. }
                    | Input::Tick { .. } => false,
                });
                self.require(is_gone, || format!("the outcome of {key} is lost, but not its artifact"));
            }
            // CPUs of different kinds prepare a model differently.
            Fact::ConflictSeen { key, .. } => {
                let spec = state.ledger.trial(key).map(|trial| &trial.spec);
                let is_prepared = matches!(spec, Some(TrialSpec::Prepare(_)));
                self.require(is_prepared, || format!("outcomes of {key} differ"));
            }
            Fact::TrialQuarantined { key, .. } => {
                self.quarantined += 1;
                let spec = state.ledger.trial(key).map(|trial| &trial.spec);
                self.unlucky += u64::from(!spec.is_some_and(is_poisonous));
                let gone = self.losses.get(key).map_or(0, |lost| lost.intersection(&self.gone).count());
                self.require(gone >= QUARANTINE_LOSSES as usize, || {
                    format!("{key} is quarantined though only {gone} processes that ran it are gone for good")
                });
            }
            Fact::ExperimentSubmitted { .. }
            | Fact::ExperimentPaused { .. }
            | Fact::ExperimentResumed { .. }
            | Fact::ExperimentCancelled { .. }
            | Fact::StepProposed { .. }
            | Fact::StageFinished { .. }
            | Fact::ExperimentFinished { .. }
            | Fact::ExperimentFailed { .. }
            | Fact::OutcomeCommitted { .. }
            | Fact::OutcomeReplaced { .. } => {}
        }
    }

    /// An input was applied.
    pub(crate) fn after(&mut self, state: &State, input: &Input, reply: &Reply, now: Instant) {
        self.steps += 1;
        let checked = state.check();
        self.require(checked.is_ok(), || format!("{checked:?} after {input:?}"));
        let crowded = crowded(state);
        self.require(crowded.is_none(), || {
            format!("{crowded:?} has more leases than it may, after {input:?}")
        });
        if let Some(untouched) = self.untouched.take() {
            self.require(untouched == dispatched(state), || {
                format!("a stale lease changed something: {input:?}")
            });
        }
        let awake = now - self.stalled_ms.min(now);
        match input {
            Input::Register { info, .. } => {
                self.heard.insert(info.id.clone(), awake);
            }
            Input::Heartbeat { worker, lease, .. } => {
                self.heard.insert(worker.clone(), awake);
                if let (Some(lease), Reply::Heartbeat { lease_valid: true, .. }) = (lease, reply) {
                    self.renewed.insert(*lease, awake);
                }
            }
            Input::Submit { .. }
            | Input::Act { .. }
            | Input::Advance { .. }
            | Input::Leave { .. }
            | Input::Request { .. }
            | Input::Commit { .. }
            | Input::Release { .. }
            | Input::Inspect { .. }
            | Input::Missed { .. }
            | Input::Tick { .. } => {}
        }
    }

    /// Facts are durable.
    pub(crate) fn stored(&mut self, facts: &[Fact]) {
        for fact in facts {
            self.replay.apply(&Event::Fact(fact.clone()));
            if let Fact::ExperimentFinished { experiment } = fact {
                self.rests_on
                    .extend(prepared(&self.replay, experiment).map(|made| (experiment.clone(), made)));
            }
        }
    }

    /// The artifact that a finished experiment rests on.
    pub(crate) fn rests_on(&self, experiment: &ExperimentId) -> Option<Digest> {
        self.rests_on.get(experiment).copied()
    }

    /// Replaying the facts gives the ledger at hand.
    pub(crate) fn compare_with_replay(&mut self, state: &State, disk: &Disk) {
        self.writes += 1;
        let equal = state.ledger == self.replay.ledger;
        self.require(equal, || "the facts replayed one by one give another ledger".to_owned());
        if self.writes.is_multiple_of(FULL_REPLAY_PERIOD) {
            let fresh = State::replayed(disk.facts().iter().cloned(), |_, _| {});
            let equal = state.ledger == fresh.ledger;
            self.require(equal, || "the facts on disk give another ledger".to_owned());
        }
    }

    /// An answer is about to be sent.
    pub(crate) fn acknowledges(&mut self, asked: &Body, answer: &Result<Reply, FailureKind>) {
        if let (Body::Call(Call::Commit { reports, .. }), Ok(_)) = (asked, answer) {
            for report in reports {
                if report.outcome.result.artifact().is_some() {
                    self.made.insert(report.key);
                    continue;
                }
                let known = self.acknowledged.entry(report.key).or_insert_with(|| report.outcome.clone());
                let equal = known.result == report.outcome.result;
                self.require(equal, || format!("two outcomes of {} were acknowledged", report.key));
            }
        }
    }
}

/// What an experiment's first trial gave, also if that is lost.
fn prepared(state: &State, experiment: &ExperimentId) -> Option<Digest> {
    let key = state.ledger.experiment(experiment)?.stages.first()?.trials.first()?;
    let outcome = state.ledger.outcome(key).or_else(|| state.ledger.lost(key))?;
    outcome.result.artifact()
}

/// A trial that is under more than two leases, or under two of one worker.
fn crowded(state: &State) -> Option<TrialKey> {
    let mut holders: HashMap<TrialKey, Vec<&WorkerId>> = HashMap::new();
    for (_, lease) in state.dispatch.leases() {
        for key in &lease.trials {
            let holders = holders.entry(*key).or_default();
            if holders.len() == 2 || holders.contains(&&lease.worker) {
                return Some(*key);
            }
            holders.push(&lease.worker);
        }
    }
    None
}

/// Whether an input names a lease that its worker does not hold.
fn is_stale(state: &State, input: &Input) -> bool {
    match input {
        Input::Release { worker, lease, .. } | Input::Heartbeat { worker, lease: Some(lease), .. } => {
            state.dispatch.lease(*lease).is_none_or(|held| held.worker != *worker)
        }
        Input::Heartbeat { lease: None, .. }
        | Input::Submit { .. }
        | Input::Act { .. }
        | Input::Advance { .. }
        | Input::Register { .. }
        | Input::Leave { .. }
        | Input::Request { .. }
        | Input::Commit { .. }
        | Input::Inspect { .. }
        | Input::Missed { .. }
        | Input::Tick { .. } => false,
    }
}
