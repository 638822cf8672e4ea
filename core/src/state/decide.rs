//! What happens next: the rules that turn an input into facts, changes and an answer.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::plan::{ExperimentId, Plan};
use crate::selection::Selection;
use crate::trial::{Outcome, TrialKey, TrialSpec};

use super::change::Change;
use super::commit::commit;
use super::dispatch::{Lease, LeaseId, WorkerId, WorkerInfo};
use super::fact::{Batch, Fact, Sources};
use super::fairness::charge_ms;
use super::ledger::{Experiment, Status};
use super::shard::{Portion, Shard, late_trials, next_shard, unbegun_trials};
use super::troubles::Obstacle;
use super::{Event, LEASE_TERM_MS, State, UnixMillis, blame, presence};

/// What a user does to an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Stop handing out its trials.
    Pause,
    /// Go on.
    Resume,
    /// Give it up.
    Cancel,
}

/// What a stage's searcher wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Proposal {
    /// These trials next.
    Trials(Batch),
    /// Nothing until more is settled.
    Wait,
    /// Nothing any more.
    Finished,
    /// Nothing any more; this is what came of it.
    Selected(Box<Selection>),
    /// It cannot go on.
    Failed(String),
}

/// One measured trial as a worker reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Which trial.
    pub key: TrialKey,
    /// What it gave.
    pub outcome: Outcome,
}

/// Something that reaches the coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A user submits an experiment.
    Submit {
        /// Its plan.
        plan: Box<Plan>,
        /// Where its inputs were found.
        sources: Sources,
        /// Experiments with a higher one go first.
        priority: i32,
    },
    /// A user acts on an experiment.
    Act {
        /// Which.
        experiment: ExperimentId,
        /// How.
        action: Action,
    },
    /// A searcher was asked.
    Advance {
        /// For which experiment.
        experiment: ExperimentId,
        /// For which stage.
        stage: u32,
        /// Its answer.
        proposal: Proposal,
    },
    /// A worker comes, or comes back after the coordinator or the connection was gone.
    Register {
        /// What it says of itself.
        info: WorkerInfo,
        /// Trials it still works on.
        held: Vec<TrialKey>,
    },
    /// A worker goes in good order; its leases end.
    Leave {
        /// Which.
        worker: WorkerId,
    },
    /// A worker wants work.
    Request {
        /// Which.
        worker: WorkerId,
    },
    /// A worker is alive.
    Heartbeat {
        /// Which.
        worker: WorkerId,
        /// The lease it works on, if any.
        lease: Option<LeaseId>,
        /// The trials it is busy with: several that it measures together, or none.
        running: Vec<TrialKey>,
    },
    /// A worker reports trials.
    Commit {
        /// Which worker.
        worker: WorkerId,
        /// What it measured.
        reports: Vec<Report>,
        /// Time of one trial in milliseconds.
        trial_ms: f64,
    },
    /// A worker gives a lease back.
    Release {
        /// Which worker.
        worker: WorkerId,
        /// Which lease.
        lease: LeaseId,
        /// Which of its trials; all that are left without a list.
        trials: Option<Vec<TrialKey>>,
        /// What kept it from measuring some of them; none if it only goes, or has not begun.
        obstacle: Option<Obstacle>,
    },
    /// Somebody looked at the artifacts that outcomes name.
    Inspect {
        /// Those that are gone or damaged; all others are there.
        missing: BTreeSet<Digest>,
    },
    /// Somebody wanted artifacts that these outcomes name, and they are gone or damaged.
    Missed {
        /// The artifact of each trial.
        outcomes: BTreeMap<TrialKey, Digest>,
    },
    /// Time passed.
    Tick {
        /// How long the coordinator itself was held up, in milliseconds; deadlines move by as much.
        stalled_ms: u64,
    },
}

/// The answer to an input.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nothing to say.
    Done,
    /// The experiment's id, and whether it was unknown before.
    Submitted {
        /// Its id.
        experiment: ExperimentId,
        /// Whether it is new.
        fresh: bool,
    },
    /// The lease that trials still held are under now.
    Registered {
        /// None if nothing held is owed.
        adopted: Option<Shard>,
    },
    /// Work, or none right now.
    Shard(Option<Shard>),
    /// Whether the worker may go on with its lease.
    Heartbeat {
        /// Whether the lease it named is in force.
        lease_valid: bool,
        /// Trials of it that the worker is to give back unless it has begun them.
        recalled: Vec<TrialKey>,
    },
    /// What became of the reports.
    Committed {
        /// New outcomes.
        accepted: u32,
        /// Outcomes that were there already and are equal.
        duplicates: u32,
        /// Outcomes that were there already and differ.
        conflicts: u32,
    },
}

/// Why an input was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such experiment.
    #[error("no experiment is called `{0}`; `bitloop list` shows them")]
    UnknownExperiment(ExperimentId),
    /// An experiment with another plan has the id of this one.
    #[error(
        "there is an experiment `{0}` already, with another plan; give this one another name and submit it again"
    )]
    IdTaken(ExperimentId),
    /// No experiment has proposed this trial.
    #[error("trial {0} belongs to no experiment here")]
    UnknownTrial(TrialKey),
    /// A worker reports what this trial cannot give.
    #[error(
        "trial {0} cannot give such a result, of another kind or about other images; check the worker's version"
    )]
    WrongResult(TrialKey),
    /// The worker must register first.
    #[error("worker `{}` is not registered", .0.0)]
    UnknownWorker(WorkerId),
    /// The experiment's status does not allow it.
    #[error("experiment `{experiment}` is {status}; it cannot be {wanted}")]
    WrongStatus {
        /// Which experiment.
        experiment: ExperimentId,
        /// Where it stands.
        status: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
}

/// What an input leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What is to be applied, in order; facts among them are to be stored before the reply is sent.
    pub events: Vec<Event>,
    /// The answer.
    pub reply: Reply,
}

impl Decision {
    pub(super) fn new(events: Vec<Event>, reply: Reply) -> Self {
        Self { events, reply }
    }

    fn quiet(events: Vec<Event>) -> Self {
        Self::new(events, Reply::Done)
    }
}

/// Decides what happens. Pure: the same state, input and time give the same answer.
///
/// Errors: a [`Rejection`] changes nothing.
pub fn decide(state: &State, input: &Input, now: UnixMillis) -> Result<Decision, Rejection> {
    match input {
        Input::Submit { plan, sources, priority } => submit(state, plan, (sources, *priority)),
        Input::Act { experiment, action } => act(state, experiment, *action),
        Input::Advance { experiment, stage, proposal } => Ok(advance(state, experiment, *stage, proposal)),
        Input::Register { info, held } => Ok(presence::register(state, info, held, now)),
        Input::Leave { worker } => Ok(Decision::quiet(presence::leave(state, worker, |_, _| false))),
        Input::Request { worker } => request(state, worker, now),
        Input::Heartbeat { worker, lease, running } => heartbeat(state, worker, *lease, running, now),
        Input::Commit { worker, reports, trial_ms } => commit(state, worker, reports, *trial_ms),
        Input::Release { worker, lease, trials, obstacle } => {
            let given = (*lease, trials.as_deref(), obstacle.as_ref());
            Ok(Decision::quiet(release(state, worker, given, now)))
        }
        Input::Inspect { missing } => Ok(Decision::quiet(inspect(state, missing))),
        Input::Missed { outcomes } => Ok(Decision::quiet(missed(state, outcomes))),
        Input::Tick { stalled_ms } => Ok(Decision::quiet(presence::tick(state, *stalled_ms, now))),
    }
}

fn submit(state: &State, plan: &Plan, (sources, priority): (&Sources, i32)) -> Result<Decision, Rejection> {
    let experiment = plan.id();
    let submitted =
        Fact::ExperimentSubmitted { plan: Box::new(plan.clone()), sources: sources.clone(), priority };
    let known = state.ledger.experiment(&experiment);
    // An id has only some digits of the plan's digest.
    if known.is_some_and(|known| *known.plan != *plan) {
        return Err(Rejection::IdTaken(experiment));
    }
    let mut events = Vec::new();
    if known.is_none_or(|known| *known.sources != *sources || known.priority != priority) {
        events.push(submitted.into());
    }
    if known.is_some_and(|known| known.status == Status::Cancelled) {
        events.push(Fact::ExperimentResumed { experiment: experiment.clone() }.into());
    }
    Ok(Decision::new(events, Reply::Submitted { experiment, fresh: known.is_none() }))
}

fn act(state: &State, id: &ExperimentId, action: Action) -> Result<Decision, Rejection> {
    let known = state.ledger.experiment(id).ok_or_else(|| Rejection::UnknownExperiment(id.clone()))?;
    let experiment = id.clone();
    let refuse = |wanted| {
        Err(Rejection::WrongStatus { experiment: id.clone(), status: known.status.as_str(), wanted })
    };
    let fact = match (action, &known.status) {
        (Action::Pause, Status::Active) => Fact::ExperimentPaused { experiment },
        (Action::Pause, Status::Paused)
        | (Action::Resume, Status::Active)
        | (Action::Cancel, Status::Cancelled) => {
            return Ok(Decision::quiet(Vec::new()));
        }
        (Action::Resume, Status::Paused | Status::Cancelled) => Fact::ExperimentResumed { experiment },
        (Action::Cancel, Status::Active | Status::Paused) => Fact::ExperimentCancelled { experiment },
        (Action::Pause, Status::Cancelled | Status::Finished | Status::Failed { .. }) => {
            return refuse("paused");
        }
        (Action::Resume, Status::Finished | Status::Failed { .. }) => return refuse("resumed"),
        (Action::Cancel, Status::Finished | Status::Failed { .. }) => return refuse("cancelled"),
    };
    Ok(Decision::quiet(vec![fact.into()]))
}

fn advance(state: &State, id: &ExperimentId, stage: u32, proposal: &Proposal) -> Decision {
    // An answer to a question that is no longer open changes nothing.
    let Some(known) = state.ledger.experiment(id) else {
        return Decision::quiet(Vec::new());
    };
    if known.status != Status::Active || known.current_stage() != Some(stage) {
        return Decision::quiet(Vec::new());
    }
    let experiment = id.clone();
    let events = match proposal {
        Proposal::Wait => Vec::new(),
        Proposal::Trials(batch) => {
            let untried = state.ledger.untried(known, &batch.trials).into_iter();
            let mut events: Vec<Event> = untried.map(|key| Fact::OutcomeLost { key }.into()).collect();
            events.push(Fact::StepProposed { experiment, stage, batch: batch.clone() }.into());
            events
        }
        Proposal::Failed(reason) => {
            vec![Fact::ExperimentFailed { experiment, reason: reason.clone() }.into()]
        }
        Proposal::Finished => finish(known, stage, None),
        Proposal::Selected(selection) => finish(known, stage, Some(selection.clone())),
    };
    Decision::quiet(events)
}

fn finish(known: &Experiment, stage: u32, selection: Option<Box<Selection>>) -> Vec<Event> {
    let experiment = known.id.clone();
    let mut events = vec![Fact::StageFinished { experiment: experiment.clone(), stage, selection }.into()];
    if stage as usize + 1 == known.stages.len() {
        events.push(Fact::ExperimentFinished { experiment }.into());
    }
    events
}

fn request(state: &State, worker: &WorkerId, now: UnixMillis) -> Result<Decision, Rejection> {
    let known = state.dispatch.worker(worker).ok_or_else(|| Rejection::UnknownWorker(worker.clone()))?;
    let (ledger, dispatch) = (&state.ledger, &state.dispatch);
    // A request is no sign of life: it may have waited here for long, and be decided again and again.
    let portion =
        next_shard(ledger, dispatch, (known, now)).or_else(|| late_trials(ledger, dispatch, (known, now)));
    if let Some(portion) = portion {
        let (grant, shard) = grant(state, worker, portion, now);
        return Ok(Decision::new(vec![grant.into()], Reply::Shard(Some(shard))));
    }
    let recalled = unbegun_trials(ledger, dispatch, (known, now))
        .map(|(lease, trials)| Change::TrialsRecalled { lease, trials: trials.into_iter().collect() }.into());
    Ok(Decision::new(recalled.into_iter().collect(), Reply::Shard(None)))
}

/// The lease that a worker gets, and what it is told of it.
pub(super) fn grant(
    state: &State,
    worker: &WorkerId,
    portion: Portion<'_>,
    now: UnixMillis,
) -> (Change, Shard) {
    let Portion { claim, trials, predicted_ms, exclusive, probed, second } = portion;
    let lease = state.dispatch.next_lease();
    let terms = Lease {
        worker: worker.clone(),
        claim,
        trials: trials.iter().map(|(key, _)| **key).collect(),
        running: BTreeSet::new(),
        deadline: now.after(LEASE_TERM_MS),
        since: now,
        predicted_ms,
        exclusive,
        probed,
        second,
        charge_ms: if second { 0.0 } else { charge_ms(predicted_ms) / trials.len().max(1) as f64 },
        recalled: BTreeSet::new(),
        withdrawn: BTreeSet::new(),
    };
    let context = trials.first().and_then(|(_, spec)| spec.context());
    let trials = trials.into_iter().map(|(key, spec)| (*key, spec.clone())).collect();
    (Change::LeaseGranted { lease, terms }, Shard { lease, context, trials })
}

fn heartbeat(
    state: &State,
    worker: &WorkerId,
    lease: Option<LeaseId>,
    running: &[TrialKey],
    now: UnixMillis,
) -> Result<Decision, Rejection> {
    state.dispatch.worker(worker).ok_or_else(|| Rejection::UnknownWorker(worker.clone()))?;
    let mut events = vec![Change::WorkerSeen { worker: worker.clone(), now }.into()];
    let held = lease.filter(|id| state.dispatch.lease(*id).is_some_and(|lease| lease.worker == *worker));
    let recalled = held.and_then(|id| state.dispatch.lease(id)).map(|lease| &lease.recalled);
    let recalled = recalled.into_iter().flatten().filter(|key| !running.contains(key)).copied().collect();
    if let Some(lease) = held {
        let own =
            |key: &&TrialKey| state.dispatch.lease(lease).is_some_and(|terms| terms.trials.contains(*key));
        let (running, deadline) = (running.iter().filter(own).copied().collect(), now.after(LEASE_TERM_MS));
        events.push(Change::LeaseRenewed { lease, running, deadline }.into());
    }
    let lease_valid = held.is_some() || lease.is_none();
    Ok(Decision::new(events, Reply::Heartbeat { lease_valid, recalled }))
}

/// Outcomes whose artifact has gone count no more; those whose artifact has come back do again.
///
/// What only experiments wanted that are over stays as it was measured. But a prepared model is looked for by whoever comes
/// next.
fn inspect(state: &State, missing: &BTreeSet<Digest>) -> Vec<Event> {
    let is_prepared = |key| {
        let trial = state.ledger.trial(key);
        trial.is_some_and(|trial| matches!(trial.spec, TrialSpec::Prepare(_)))
    };
    let outcomes = state.ledger.artifacts().filter_map(|(key, artifact)| {
        match (state.ledger.lost(key), missing.contains(&artifact)) {
            (None, true) if !is_prepared(key) && !state.ledger.is_in_use(key) => None,
            (None, true) => Some(Fact::OutcomeLost { key: *key }.into()),
            (Some(lost), false) => Some(Fact::OutcomeReplaced { key: *key, outcome: lost.clone() }.into()),
            (None, false) | (Some(_), true) => None,
        }
    });
    outcomes.collect()
}

/// Outcomes whose artifact was missed count no more, unless they name another one by now, or only experiments that are over have
/// them: those keep what they have, and nobody would measure it again.
fn missed(state: &State, outcomes: &BTreeMap<TrialKey, Digest>) -> Vec<Event> {
    let is_lost = |(key, artifact): &(&TrialKey, &Digest)| {
        let named = state.ledger.outcome(key).and_then(|outcome| outcome.result.artifact());
        named == Some(**artifact) && state.ledger.is_in_use(key)
    };
    let lost = outcomes.iter().filter(is_lost);
    lost.map(|(key, _)| Fact::OutcomeLost { key: *key }.into()).collect()
}

fn release(
    state: &State,
    worker: &WorkerId,
    (lease, trials, obstacle): (LeaseId, Option<&[TrialKey]>, Option<&Obstacle>),
    now: UnixMillis,
) -> Vec<Event> {
    // A stale lease never changes state.
    if state.dispatch.held_by(worker).all(|(id, _)| id != lease) {
        return Vec::new();
    }
    // What it gives back it is not at, also where that was taken away before.
    let left = trials.map(|trials| Change::TrialsLeft {
        worker: worker.clone(),
        trials: trials.iter().copied().collect(),
    });
    let Some(held) = state.dispatch.lease(lease) else {
        return vec![left.unwrap_or(Change::DeviceVacated { lease }).into()];
    };
    let returned = trials.map(|trials| Change::TrialsReturned { lease, trials: trials.to_vec() });
    let ended = returned.unwrap_or(Change::LeaseEnded { lease, running: BTreeSet::new() });
    let mut events: Vec<Event> = vec![ended.into()];
    events.extend(left.map(Event::from));
    if let (Some(obstacle), Some(known)) = (obstacle, state.dispatch.worker(worker)) {
        events.extend(blame::given_back(state, (held, &known.info), obstacle, now));
    }
    events
}
