//! What a decision means for people: records of the trials it is about, and events.

use std::collections::BTreeSet;

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::{
    Change, Decision, Event, Fact, Input, LEASE_TERM_MS, Lease, LeaseId, Obstacle, Report, State, UnixMillis,
    WorkerId,
};
use bitloop_core::trial::{Outcome, TrialKey, TrialResult};

use super::events::{EventKind, Happening};
use super::record::{End, Met, Record, Short, key_digits, short_reason};

/// Failed or differing trials of one commit that get an event of their own.
const NAMED_MAX: usize = 8;

/// Give-backs in a row of one device after which people are told.
const UNABLE_TIMES: u32 = 3;

/// Failed trials in one record: with their reasons they stay far below the longest line that is read.
const FAILED_MAX: usize = 64;

/// What has happened and is not told yet.
#[derive(Debug, Default)]
pub(crate) struct Happened {
    pub(super) records: Vec<Record>,
    pub(super) happenings: Vec<Happening>,
}

impl Happened {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.happenings.is_empty()
    }
}

/// Notes what a decision means, before it is applied.
pub(crate) fn note(
    state: &State,
    (input, decision): (&Input, &Decision),
    now: UnixMillis,
    happened: &mut Happened,
) {
    let mut notes = Notes { state, now, obstacle: None, happened };
    match input {
        Input::Commit { worker, reports, .. } => notes.reported(worker, reports, decision),
        Input::Heartbeat { .. } => notes.begun(decision),
        Input::Tick { .. } => {
            notes.lost(decision);
            notes.facts(decision);
        }
        Input::Leave { worker } => {
            notes.ended(decision, |_| End::Left);
            if !decision.events.is_empty() {
                let text = "it left in good order; what it held goes to others".to_owned();
                notes.of_worker(EventKind::WorkerLeft, worker, text);
            }
        }
        Input::Register { .. } => {
            notes.ended(decision, |_| End::Registered);
            notes.joined(decision);
            notes.granted(decision, Some(input));
        }
        Input::Request { .. } => notes.granted(decision, None),
        Input::Release { worker, obstacle, .. } => {
            notes.obstacle = obstacle.as_ref();
            notes.ended(decision, |_| End::GivenBack);
            notes.given_back(decision);
            notes.given_up(worker, decision);
        }
        Input::Submit { .. }
        | Input::Act { .. }
        | Input::Advance { .. }
        | Input::Inspect { .. }
        | Input::Missed { .. } => notes.facts(decision),
    }
}

/// What a stored fact means; nobody knows any more when it happened.
pub(super) fn of_the_past(state: &State, fact: &Fact) -> Vec<Happening> {
    let mut happened = Happened::default();
    let mut notes = Notes { state, now: UnixMillis(0), obstacle: None, happened: &mut happened };
    match fact {
        Fact::OutcomeCommitted { key, outcome } => {
            if let TrialResult::Failed { reason } = &outcome.result {
                notes.of_trial(EventKind::TrialFailed, key, short_reason(reason));
            }
        }
        Fact::ConflictSeen { key, outcome } => {
            let text = format!("measured again on {} it differs", outcome.provenance.device);
            notes.of_trial(EventKind::Conflict, key, text);
        }
        fact => notes.fact(fact),
    }
    happened.happenings
}

struct Notes<'a> {
    state: &'a State,
    now: UnixMillis,
    /// Why trials come back, if something kept a worker from measuring them.
    obstacle: Option<&'a Obstacle>,
    happened: &'a mut Happened,
}

impl Notes<'_> {
    fn record(&mut self, record: Record) {
        self.happened.records.push(record);
    }

    fn happening(&mut self, kind: EventKind, text: String) -> &mut Happening {
        self.happened.happenings.push(Happening::new(self.now, kind, text));
        self.happened.happenings.last_mut().expect("it was pushed just now")
    }

    fn of_worker(&mut self, kind: EventKind, worker: &WorkerId, text: String) -> &mut Happening {
        let happening = self.happening(kind, text);
        happening.worker = Some(worker.0.clone());
        happening
    }

    /// The experiments that some trials are of.
    fn experiments<'k>(&self, trials: impl IntoIterator<Item = &'k TrialKey>) -> Vec<String> {
        let ledger = &self.state.ledger;
        let trials = trials.into_iter().filter_map(|key| ledger.trial(key));
        let experiments = trials.flat_map(|trial| ledger.experiments_of(trial));
        let experiments: BTreeSet<&ExperimentId> = experiments.map(|experiment| &experiment.id).collect();
        experiments.into_iter().map(|id| id.0.clone()).collect()
    }

    fn of_trial(&mut self, kind: EventKind, key: &TrialKey, text: String) -> &mut Happening {
        let experiments = self.experiments([key]);
        let happening = self.happening(kind, text);
        happening.trial = Some(key_digits(key));
        happening.experiments = experiments;
        happening
    }

    fn facts(&mut self, decision: &Decision) {
        for event in &decision.events {
            match event {
                // It is told of when the results file is there.
                Event::Fact(Fact::ExperimentFinished { .. }) | Event::Change(_) => {}
                Event::Fact(fact) => self.fact(fact),
            }
        }
    }

    /// Facts about experiments and quarantined trials; outcomes are told of with the commit that they came with.
    fn fact(&mut self, fact: &Fact) {
        use EventKind as Kind;
        let (kind, experiment, text) = match fact {
            Fact::ExperimentSubmitted { plan, priority, .. } => {
                let text = match priority {
                    0 => "it was submitted".to_owned(),
                    priority => format!("it was submitted with priority {priority}"),
                };
                (Kind::ExperimentSubmitted, plan.id(), text)
            }
            Fact::ExperimentPaused { experiment } => {
                (Kind::ExperimentPaused, experiment.clone(), "it was paused".to_owned())
            }
            Fact::ExperimentResumed { experiment } => {
                (Kind::ExperimentResumed, experiment.clone(), "it goes on".to_owned())
            }
            Fact::ExperimentCancelled { experiment } => {
                (Kind::ExperimentCancelled, experiment.clone(), "it was cancelled".to_owned())
            }
            Fact::StageFinished { experiment, stage, .. } => {
                let known = self.state.ledger.experiment(experiment);
                let word = known.and_then(|known| known.plan.stages.get(*stage as usize));
                let word = word.map_or("", |stage| stage.as_str());
                let text = format!("stage {} (`{word}`) is finished", stage + 1);
                (Kind::StageFinished, experiment.clone(), text)
            }
            Fact::ExperimentFinished { experiment } => {
                (Kind::ExperimentFinished, experiment.clone(), "it is finished".to_owned())
            }
            Fact::ExperimentFailed { experiment, reason } => {
                (Kind::ExperimentFailed, experiment.clone(), short_reason(reason))
            }
            Fact::TrialQuarantined { key, losses } => return self.quarantined(key, *losses),
            // What is proposed is no event.
            Fact::OutcomeLost { key } if self.state.ledger.is_unmeasured(key) => return,
            Fact::OutcomeLost { key } => {
                let text = "its artifact is gone or damaged; it is measured again".to_owned();
                self.of_trial(EventKind::OutcomeLost, key, text);
                return;
            }
            Fact::OutcomeReplaced { key, outcome } => return self.replaced(key, outcome),
            Fact::StepProposed { .. } | Fact::OutcomeCommitted { .. } | Fact::ConflictSeen { .. } => return,
        };
        self.happening(kind, text).experiments = vec![experiment.0];
    }

    fn quarantined(&mut self, key: &TrialKey, losses: u32) {
        self.record(Record::Quarantined { at: self.now.0, trial: key.into(), losses });
        let text = format!("{losses} workers were lost while they ran it; it is not tried again");
        self.of_trial(EventKind::TrialQuarantined, key, text);
    }

    fn replaced(&mut self, key: &TrialKey, outcome: &Outcome) {
        let lost = self.state.ledger.lost(key).filter(|lost| !lost.is_given_up());
        let text = match lost.map(|lost| lost.result.artifact()).map(|lost| lost == outcome.result.artifact())
        {
            None => "it was given up, and could be measured after all",
            Some(true) => "its artifact is there again",
            Some(false) => {
                "measured again it gave another artifact; what experiments under way had measured after it is taken back"
            }
        };
        self.of_trial(EventKind::OutcomeReplaced, key, text.to_owned());
    }

    fn joined(&mut self, decision: &Decision) {
        let mut is_back = false;
        for event in &decision.events {
            match event {
                Event::Change(Change::WorkerLeft { .. }) => is_back = true,
                Event::Change(Change::WorkerJoined { info, .. }) => {
                    let again = if is_back { "again, " } else { "" };
                    let text = format!("{again}on {} at {}", info.device.class, info.host);
                    self.of_worker(EventKind::WorkerJoined, &info.id, text);
                }
                Event::Change(_) | Event::Fact(_) => {}
            }
        }
    }

    fn granted(&mut self, decision: &Decision, registering: Option<&Input>) {
        for event in &decision.events {
            let Event::Change(Change::LeaseGranted { lease, terms }) = event else { continue };
            let device = match registering {
                // It is no worker of the state yet.
                Some(Input::Register { info, .. }) => Some(&info.device),
                Some(_) | None => self.state.dispatch.worker(&terms.worker).map(|worker| &worker.info.device),
            };
            let record = Record::Leased {
                at: self.now.0,
                lease: lease.0,
                worker: terms.worker.0.clone(),
                device: device.map(|device| device.class.clone()).unwrap_or_default(),
                second: terms.second,
                held: registering.is_some(),
                trials: terms.trials.iter().map(Short::from).collect(),
            };
            self.record(record);
        }
    }

    fn begun(&mut self, decision: &Decision) {
        for event in &decision.events {
            let Event::Change(Change::LeaseRenewed { lease, running, .. }) = event else { continue };
            let Some(terms) = self.state.dispatch.lease(*lease) else { continue };
            let is_new = |key: &&TrialKey| !terms.running.contains(key) && terms.trials.contains(key);
            let trials: Vec<Short> = running.iter().filter(is_new).map(Short::from).collect();
            if !trials.is_empty() {
                self.record(Record::Begun { at: self.now.0, lease: lease.0, trials });
            }
        }
    }

    /// Records what came back of leases that end; `why` by the lease's terms.
    fn ended(&mut self, decision: &Decision, why: impl Fn(&Lease) -> End) -> Vec<(LeaseId, End)> {
        let mut ended = Vec::new();
        for event in &decision.events {
            let (lease, trials) = match event {
                Event::Change(Change::LeaseEnded { lease, .. }) => (*lease, None),
                Event::Change(Change::TrialsReturned { lease, trials }) => (*lease, Some(trials)),
                Event::Change(_) | Event::Fact(_) => continue,
            };
            let Some(terms) = self.state.dispatch.lease(lease) else { continue };
            let trials: Vec<&TrialKey> = match trials {
                Some(trials) => trials.iter().collect(),
                None => terms.trials.iter().collect(),
            };
            let is_named =
                |key: &&TrialKey| self.obstacle.is_some_and(|obstacle| obstacle.trials.contains(key));
            let (named, others): (Vec<&TrialKey>, Vec<&TrialKey>) = trials.into_iter().partition(is_named);
            let end = why(terms);
            for (trials, obstacle) in [(named, self.obstacle), (others, None)] {
                if !trials.is_empty() {
                    let trials = trials.into_iter().map(Short::from).collect();
                    let (at, obstacle) = (self.now.0, obstacle.map(Met::from));
                    self.record(Record::Ended { at, lease: lease.0, end, trials, obstacle });
                }
            }
            ended.push((lease, end));
        }
        ended
    }

    /// Workers that were given up, and leases that nobody renewed.
    fn lost(&mut self, decision: &Decision) {
        let lost = |event: &Event| match event {
            Event::Change(Change::WorkerLeft { worker }) => Some(worker.clone()),
            Event::Change(_) | Event::Fact(_) => None,
        };
        let lost: BTreeSet<WorkerId> = decision.events.iter().filter_map(lost).collect();
        for worker in &lost {
            let leases = self.state.dispatch.leases().filter(|(_, lease)| lease.worker == *worker);
            let experiments = self.experiments(leases.flat_map(|(_, lease)| &lease.trials));
            let text = format!("nothing was heard of it for {} s", LEASE_TERM_MS / 1_000);
            self.of_worker(EventKind::WorkerLost, worker, text).experiments = experiments;
        }
        let now = self.now;
        let why = |terms: &Lease| match lost.contains(&terms.worker) {
            true => End::Lost,
            false if terms.deadline < now => End::Expired,
            false => End::Hung,
        };
        for (lease, end) in self.ended(decision, why) {
            let Some(terms) = self.state.dispatch.lease(lease) else { continue };
            let (left, running) = (terms.trials.len(), terms.running.len());
            let why = match end {
                End::Lost => "its worker was lost",
                End::Hung => "its worker says that it lives but gets nowhere, restart it",
                End::Expired | End::GivenBack | End::Left | End::Registered => "nobody renewed it",
            };
            let text = format!("lease {}: {why}; {left} trials go to others, {running} had begun", lease.0);
            let experiments = self.experiments(&terms.trials);
            self.of_worker(EventKind::LeaseTakenBack, &terms.worker, text).experiments = experiments;
        }
    }

    fn reported(&mut self, worker: &WorkerId, reports: &[Report], decision: &Decision) {
        let mut facts = decision.events.iter().filter_map(|event| match event {
            Event::Fact(Fact::OutcomeCommitted { key, .. } | Fact::OutcomeReplaced { key, .. }) => {
                Some((key, true))
            }
            Event::Fact(Fact::ConflictSeen { key, .. }) => Some((key, false)),
            Event::Fact(_) | Event::Change(_) => None,
        });
        let mut next = facts.next();
        let (mut measured, mut failed) = (Vec::new(), Vec::new());
        let (mut duplicates, mut conflicts) = (Vec::new(), Vec::new());
        // Facts stand in the order of the reports that they come from.
        for report in reports {
            let fact = next.filter(|(key, _)| **key == report.key).map(|(_, is_new)| is_new);
            if fact.is_some() {
                next = facts.next();
            }
            match (fact, &report.outcome.result) {
                (Some(true), TrialResult::Failed { reason }) => {
                    failed.push((report.key, short_reason(reason)))
                }
                (Some(true), _) => measured.push(Short::from(&report.key)),
                (Some(false), _) => conflicts.push(report.key),
                (None, _) => duplicates.push(report.key),
            }
        }
        for event in &decision.events {
            if let Event::Fact(Fact::OutcomeReplaced { key, outcome }) = event {
                self.replaced(key, outcome);
            }
        }
        self.announce_reported(worker, (&failed, &conflicts, &duplicates));
        let failed: Vec<_> = failed.into_iter().map(|(key, reason)| (Short::from(&key), reason)).collect();
        let (failed, more) = failed.split_at(failed.len().min(FAILED_MAX));
        let [duplicates, conflicts] =
            [duplicates, conflicts].map(|keys| keys.iter().map(Short::from).collect());
        let (at, worker) = (self.now.0, worker.0.clone());
        for failed in more.chunks(FAILED_MAX) {
            let (worker, failed) = (worker.clone(), failed.to_vec());
            let [measured, duplicates, conflicts] = Default::default();
            self.record(Record::Reported { at, worker, measured, failed, duplicates, conflicts });
        }
        let failed = failed.to_vec();
        self.record(Record::Reported { at, worker, measured, failed, duplicates, conflicts });
    }

    /// A device that comes to nothing again and again: told once in a row.
    fn given_back(&mut self, decision: &Decision) {
        for event in &decision.events {
            let Event::Change(Change::TrialsGivenBack { worker, obstacle, .. }) = event else { continue };
            let first = obstacle.trials.first().and_then(|key| self.state.ledger.trial(key));
            let info = self.state.dispatch.worker(worker).map(|worker| &worker.info);
            let Some((trial, info)) = first.zip(info) else { continue };
            let before = self.state.dispatch.given_back(info, (trial, obstacle.kind), self.now);
            if before + 1 == UNABLE_TIMES {
                let text = format!("it gave trials back {UNABLE_TIMES} times in a row: {}", obstacle.reason);
                let experiments = self.experiments(&obstacle.trials);
                self.of_worker(EventKind::WorkerUnable, worker, short_reason(&text)).experiments =
                    experiments;
            }
        }
    }

    /// Trials that have failed, as nobody could measure them.
    fn given_up(&mut self, worker: &WorkerId, decision: &Decision) {
        let failed = decision.events.iter().filter_map(|event| match event {
            Event::Fact(Fact::OutcomeCommitted { key, outcome } | Fact::OutcomeReplaced { key, outcome }) => {
                match &outcome.result {
                    TrialResult::Failed { reason } => Some((*key, short_reason(reason))),
                    TrialResult::Prepared { .. }
                    | TrialResult::Evaluated(_)
                    | TrialResult::Trained(_)
                    | TrialResult::Measured(_) => None,
                }
            }
            Event::Fact(_) | Event::Change(_) => None,
        });
        let failed: Vec<(TrialKey, String)> = failed.collect();
        if !failed.is_empty() {
            self.announce_reported(worker, (&failed, &[], &[]));
            let failed = failed.into_iter().map(|(key, reason)| (Short::from(&key), reason)).collect();
            let (measured, duplicates, conflicts) = Default::default();
            let (at, worker) = (self.now.0, worker.0.clone());
            self.record(Record::Reported { at, worker, measured, failed, duplicates, conflicts });
        }
    }

    fn announce_reported(
        &mut self,
        worker: &WorkerId,
        (failed, conflicts, duplicates): (&[(TrialKey, String)], &[TrialKey], &[TrialKey]),
    ) {
        let name = || Some(worker.0.clone());
        for (key, reason) in failed.iter().take(NAMED_MAX) {
            self.of_trial(EventKind::TrialFailed, key, reason.clone()).worker = name();
        }
        if failed.len() > NAMED_MAX {
            let more = &failed[NAMED_MAX..];
            let experiments = self.experiments(more.iter().map(|(key, _)| key));
            let text = format!("{} more trials of the same report failed", more.len());
            self.of_worker(EventKind::TrialFailed, worker, text).experiments = experiments;
        }
        for key in conflicts.iter().take(NAMED_MAX) {
            let text = "measured again it differs; the first outcome stays".to_owned();
            self.of_trial(EventKind::Conflict, key, text).worker = name();
        }
        if conflicts.len() > NAMED_MAX {
            let more = &conflicts[NAMED_MAX..];
            let text = format!("{} more outcomes of the same report differ", more.len());
            let experiments = self.experiments(more);
            self.of_worker(EventKind::Conflict, worker, text).experiments = experiments;
        }
        if !duplicates.is_empty() {
            let text = format!("{} outcomes that it reported were there already", duplicates.len());
            let experiments = self.experiments(duplicates);
            self.of_worker(EventKind::Duplicates, worker, text).experiments = experiments;
        }
    }
}
