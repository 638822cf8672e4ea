mod outcomes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use crate::autoqkeras::Asked;
use crate::device::Requirements;
use crate::digest::Digest;
use crate::plan::{ExperimentId, Plan};
use crate::selection::Selection;
use crate::trial::{EvaluateContext, Outcome, TrialKey, TrialResult, TrialSpec};

use super::fact::{Batch, Fact, Sources};
use super::queue::Lane;
use super::trials::Trials;

/// The most results of one trial that are kept beside its first: a device that never gives the same twice is known by then.
const CONFLICTS_OF_A_TRIAL: usize = 8;

/// Where an experiment stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its trials are handed out.
    Active,
    /// Nothing is handed out until it is resumed.
    Paused,
    /// The user gave it up; submitting it again revives it.
    Cancelled,
    /// Everything is measured.
    Finished,
    /// It cannot go on.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

impl Status {
    /// The word used in tables.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Finished => "finished",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether it goes on, or may be revived.
    fn may_go_on(&self) -> bool {
        match self {
            Self::Active | Self::Paused | Self::Cancelled => true,
            Self::Finished | Self::Failed { .. } => false,
        }
    }

    /// Whether nothing more will happen unless a user acts.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Finished | Self::Failed { .. })
    }
}

/// What came of a trial so far.
#[derive(Clone, Debug, PartialEq)]
pub enum TrialState {
    /// Not measured yet.
    Open,
    /// Measured. Behind a pointer, as of most trials of a large sweep nothing is known yet, and for cheap clones.
    Done(Arc<Outcome>),
    /// It was running on this many workers when they were lost.
    Quarantined {
        /// How many.
        losses: u32,
    },
}

impl TrialState {
    fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Done(outcome) => Some(outcome.as_ref()),
            Self::Open | Self::Quarantined { .. } => None,
        }
    }
}

/// A stage that wants a trial: whose requirements, priority and share of the workers it is measured under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// Position among the experiments.
    pub(super) experiment: u32,
    /// Which of its stages.
    pub(super) stage: u32,
}

impl Claim {
    pub(super) const FIRST: Self = Self { experiment: 0, stage: 0 };
    pub(super) const LAST: Self = Self { experiment: u32::MAX, stage: u32::MAX };
}

/// A trial that some experiment wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its name.
    pub key: TrialKey,
    /// What is to be done.
    pub spec: TrialSpec,
    /// What came of it.
    pub state: TrialState,
    /// Order of proposal over all experiments; trials are handed out in this order.
    pub sequence: u32,
    /// None if whoever proposed it took that back.
    first_claim: Option<Claim>,
    /// Those of the experiments that proposed it later; most trials have none.
    #[expect(
        clippy::box_collection,
        reason = "most have none, and there may be a million: 8 bytes instead of 24"
    )]
    more_claims: Option<Box<Vec<Claim>>>,
}

impl Trial {
    fn claims(&self) -> impl Iterator<Item = Claim> + '_ {
        let more = self.more_claims.iter().flat_map(|claims| claims.iter().copied());
        self.first_claim.into_iter().chain(more)
    }

    fn add_claim(&mut self, claim: Claim) {
        match self.first_claim {
            Some(_) => self.more_claims.get_or_insert_default().push(claim),
            None => self.first_claim = Some(claim),
        }
    }

    /// Takes all claims away.
    fn take_claims(&mut self) -> impl Iterator<Item = Claim> + use<> {
        let first = self.first_claim.take();
        let more = self.more_claims.take();
        first.into_iter().chain(more.into_iter().flat_map(|claims| *claims))
    }

    /// Takes back one of the times that a stage proposed it.
    fn remove_claim(&mut self, claim: Claim) {
        let mut claims: Vec<Claim> = self.claims().collect();
        if let Some(place) = claims.iter().position(|known| *known == claim) {
            claims.remove(place);
        }
        self.first_claim = if claims.is_empty() { None } else { Some(claims.remove(0)) };
        self.more_claims = (!claims.is_empty()).then(|| Box::new(claims));
    }
}

/// Counts of one stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageProgress {
    /// Trials in order of proposal.
    pub trials: Vec<TrialKey>,
    /// What each of them is for, where a search trains; empty elsewhere.
    pub asked: Vec<Asked>,
    /// How many of them are no longer open.
    pub settled: u64,
    /// Whether the searcher is done.
    pub finished: bool,
    /// What it chose, if it is done and chooses anything.
    pub selection: Option<Box<Selection>>,
}

/// A submitted experiment and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Its id.
    pub id: ExperimentId,
    /// What it is; shared with whoever reads it beside the one who changes the ledger.
    pub plan: Arc<Plan>,
    /// Where its inputs were found.
    pub sources: Arc<Sources>,
    /// Experiments with a higher one go first.
    pub priority: i32,
    /// Where it stands.
    pub status: Status,
    /// One per stage of the plan.
    pub stages: Vec<StageProgress>,
    /// Trials that were measured already when they were proposed.
    pub reused: u64,
    /// Of the settled trials, those that failed or were quarantined.
    pub failed: u64,
    /// How often what its searchers had made of outcomes became void: what it had proposed was taken back, as it followed from an artifact
    /// that is no more, or a trial that nobody could measure was measured after all.
    pub restarts: u32,
    /// Of its trials, those that nobody could measure for it and that another experiment has had tried again since: what came of them here.
    given_up: BTreeMap<TrialKey, TrialState>,
}

impl Experiment {
    /// What came of one of its trials for this experiment.
    pub fn came_of<'a>(&'a self, trial: &'a Trial) -> &'a TrialState {
        self.given_up.get(&trial.key).unwrap_or(&trial.state)
    }

    /// Whether it goes on without a trial that another experiment has had tried again since.
    pub(super) fn has_given_up(&self, key: &TrialKey) -> bool {
        self.given_up.contains_key(key)
    }

    /// The first stage that is not finished.
    pub fn current_stage(&self) -> Option<u32> {
        self.stages.iter().position(|stage| !stage.finished).map(|index| index as u32)
    }

    /// Trials settled so far, over all stages.
    pub fn settled(&self) -> u64 {
        self.stages.iter().map(|stage| stage.settled).sum()
    }
}

/// Everything that facts say. Replaying the facts gives the ledger again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    experiments: Vec<Experiment>,
    by_id: BTreeMap<ExperimentId, usize>,
    contexts: BTreeMap<Digest, EvaluateContext>,
    /// What measurements of devices ask of workers, by the digest of their target.
    targets: BTreeMap<Digest, Requirements>,
    trials: Trials,
    /// Later results that differed, each kept once, and so many of them.
    conflicts: HashMap<TrialKey, Vec<TrialResult>>,
    conflicts_kept: u64,
    /// Outcomes that count no more, as their artifacts are gone or they only say that nobody could measure the trial, which another
    /// experiment wants. Their trials are open, or were quarantined since.
    lost: BTreeMap<TrialKey, Arc<Outcome>>,
    /// Trials that nobody could measure.
    unmeasured: BTreeSet<TrialKey>,
}

impl Ledger {
    /// Records a fact; returns the trials that an experiment took back.
    ///
    /// Panics: when a fact speaks of an experiment or trial that no earlier fact introduced; `decide` never makes
    /// such a fact and the store keeps their order.
    pub(super) fn apply(&mut self, fact: &Fact) -> Vec<TrialKey> {
        match fact {
            Fact::OutcomeReplaced { key, outcome } => return self.replace(key, outcome),
            Fact::ExperimentSubmitted { plan, sources, priority } => self.submit(plan, sources, *priority),
            Fact::ExperimentPaused { experiment } => self.known_mut(experiment).status = Status::Paused,
            Fact::ExperimentResumed { experiment } => self.known_mut(experiment).status = Status::Active,
            Fact::ExperimentCancelled { experiment } => self.known_mut(experiment).status = Status::Cancelled,
            Fact::ExperimentFinished { experiment } => self.known_mut(experiment).status = Status::Finished,
            Fact::ExperimentFailed { experiment, reason } => {
                self.known_mut(experiment).status = Status::Failed { reason: reason.clone() };
            }
            Fact::StageFinished { experiment, stage, selection } => {
                let stage = &mut self.known_mut(experiment).stages[*stage as usize];
                stage.finished = true;
                stage.selection.clone_from(selection);
            }
            Fact::StepProposed { experiment, stage, batch } => self.propose(experiment, *stage, batch),
            Fact::OutcomeCommitted { key, outcome } => {
                self.settle(key, TrialState::Done(Arc::new(outcome.clone())))
            }
            Fact::OutcomeLost { key } => {
                self.set_aside(key);
                self.settle(key, TrialState::Open);
            }
            Fact::TrialQuarantined { key, losses } => {
                self.settle(key, TrialState::Quarantined { losses: *losses });
            }
            Fact::ConflictSeen { key, outcome } => {
                self.conflicts.entry(*key).or_default().push(outcome.result.clone());
                self.conflicts_kept += 1;
            }
        }
        Vec::new()
    }

    fn submit(&mut self, plan: &Plan, sources: &Sources, priority: i32) {
        let id = plan.id();
        if let Some(index) = self.by_id.get(&id) {
            // The same plan may be submitted from another place; the newest place is the one to name.
            self.experiments[*index].sources = Arc::new(sources.clone());
            self.experiments[*index].priority = priority;
            return;
        }
        self.by_id.insert(id.clone(), self.experiments.len());
        self.experiments.push(Experiment {
            id,
            plan: Arc::new(plan.clone()),
            sources: Arc::new(sources.clone()),
            priority,
            status: Status::Active,
            stages: vec![StageProgress::default(); plan.stages.len()],
            reused: 0,
            failed: 0,
            restarts: 0,
            given_up: BTreeMap::new(),
        });
    }

    fn propose(&mut self, experiment: &ExperimentId, stage: u32, batch: &Batch) {
        if let Some(context) = &batch.context {
            self.contexts.insert(context.digest(), context.clone());
        }
        let index = self.by_id[experiment];
        self.experiments[index].stages[stage as usize].asked.extend_from_slice(&batch.asked);
        for spec in &batch.trials {
            let key = spec.key();
            let claim = Claim { experiment: index as u32, stage };
            if let TrialSpec::Probe(probe) = spec {
                self.targets.entry(probe.target.digest()).or_insert_with(|| probe.target.requirements());
            }
            match self.trials.get_mut(&key) {
                Some(_) if self.experiments[index].has_given_up(&key) => {}
                Some(known) => known.add_claim(claim),
                None => self.trials.push(Trial {
                    key,
                    spec: spec.clone(),
                    state: TrialState::Open,
                    sequence: self.trials.len() as u32,
                    first_claim: Some(claim),
                    more_claims: None,
                }),
            }
            let trial = self.trials.get(&key).expect("it was put there");
            let owner = &mut self.experiments[index];
            let came = owner.came_of(trial);
            let (settled, failed) = (is_settled(came), has_failed(came));
            owner.stages[stage as usize].trials.push(key);
            owner.stages[stage as usize].settled += u64::from(settled);
            owner.reused += u64::from(settled);
            owner.failed += u64::from(failed);
        }
    }

    fn known_mut(&mut self, id: &ExperimentId) -> &mut Experiment {
        &mut self.experiments[self.by_id[id]]
    }

    /// All experiments in order of submission.
    pub fn experiments(&self) -> &[Experiment] {
        &self.experiments
    }

    /// Ends of experiments that are owed: a crash may have kept the end of the last stage and lost that of the experiment,
    /// which come one after the other.
    pub(super) fn ends_cut_off(&self) -> impl Iterator<Item = Fact> {
        let is_over = |known: &&Experiment| known.status == Status::Active && known.current_stage().is_none();
        let ended = self.experiments.iter().filter(is_over);
        ended.map(|known| Fact::ExperimentFinished { experiment: known.id.clone() })
    }

    /// Finds an experiment.
    pub fn experiment(&self, id: &ExperimentId) -> Option<&Experiment> {
        self.by_id.get(id).map(|index| &self.experiments[*index])
    }

    /// Finds a trial.
    pub fn trial(&self, key: &TrialKey) -> Option<&Trial> {
        self.trials.get(key)
    }

    /// The outcome of a trial that counts now, if it has been measured. An experiment for which nobody could measure it may go by another
    /// one: see [`Self::outcome_for`].
    pub fn outcome(&self, key: &TrialKey) -> Option<&Outcome> {
        self.trial(key)?.state.outcome()
    }

    /// The outcome that a trial has for an experiment, if it has one.
    pub fn outcome_for<'a>(&'a self, experiment: &'a Experiment, key: &TrialKey) -> Option<&'a Outcome> {
        experiment.came_of(self.trial(key)?).outcome()
    }

    /// What a set of evaluations shares.
    pub fn context(&self, digest: &Digest) -> Option<&EvaluateContext> {
        self.contexts.get(digest)
    }

    /// How many different results are kept of trials that had one already.
    pub fn conflicts(&self) -> u64 {
        self.conflicts_kept
    }

    /// Whether a conflict says nothing new: it is known, or so many of this trial are that one more adds nothing.
    pub(super) fn has_conflict(&self, key: &TrialKey, outcome: &Outcome) -> bool {
        let known = self.conflicts.get(key).map(Vec::as_slice).unwrap_or_default();
        known.len() >= CONFLICTS_OF_A_TRIAL || known.contains(&outcome.result)
    }

    /// Whether some active experiment waits for this trial.
    pub fn is_owed(&self, trial: &Trial) -> bool {
        self.active_claims(trial).next().is_some()
    }

    /// The stages that an open trial may be measured for: those of active experiments, the highest priority first, of equals
    /// the first that proposed it. One that asks workers for the same as an earlier one is left out; none if it is not owed.
    pub(super) fn claims(&self, trial: &Trial) -> Vec<Claim> {
        let mut claims: Vec<Claim> = self.active_claims(trial).collect();
        claims.sort_by_key(|claim| std::cmp::Reverse(self.claimant(*claim).priority));
        let mut asked: Vec<&Requirements> = Vec::with_capacity(claims.len());
        claims.retain(|claim| {
            let requirements = self.requirements(&Lane::of(*claim, trial));
            let is_new = !asked.contains(&requirements);
            asked.push(requirements);
            is_new
        });
        claims
    }

    fn active_claims(&self, trial: &Trial) -> impl Iterator<Item = Claim> {
        let is_open = matches!(trial.state, TrialState::Open);
        trial.claims().filter(move |claim| is_open && self.claimant(*claim).status == Status::Active)
    }

    /// What a lane's trials ask of workers: what their stage does, or, where they measure a device, their target.
    pub(super) fn requirements(&self, lane: &Lane) -> &Requirements {
        let target = lane.company.and_then(|company| self.targets.get(&company.context));
        target.unwrap_or_else(|| self.claimant(lane.claim).plan.requires(lane.claim.stage))
    }

    /// Whether any device was ever to be measured.
    pub(super) fn has_probes(&self) -> bool {
        !self.targets.is_empty()
    }

    /// Whether a digest is that of a device which trials were proposed for.
    pub(super) fn is_target(&self, digest: &Digest) -> bool {
        self.targets.contains_key(digest)
    }

    /// The experiment of a claim.
    pub(super) fn claimant(&self, claim: Claim) -> &Experiment {
        &self.experiments[claim.experiment as usize]
    }

    /// Finds the trial that was proposed at this place.
    pub(super) fn proposed_at(&self, sequence: u32) -> &Trial {
        self.trials.at(sequence)
    }

    /// How many trials were ever proposed.
    pub fn proposed(&self) -> usize {
        self.trials.len()
    }

    /// Of the trials that were proposed at these places, those whose keys begin with these hexadecimal digits, in order of
    /// proposal. Whoever looks for one among a million asks for some places at a time.
    pub fn trials_called(&self, start: &str, places: Range<usize>) -> impl Iterator<Item = &Trial> {
        let among = self.trials.iter().skip(places.start).take(places.len());
        among.filter(move |trial| trial.key.0.begins_with(start))
    }

    /// The experiments that want a trial, once for each time that one of their stages proposed it.
    pub fn experiments_of<'a>(&'a self, trial: &'a Trial) -> impl Iterator<Item = &'a Experiment> {
        trial.claims().map(|claim| self.claimant(claim))
    }

    /// All trials, in order of proposal.
    pub(super) fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter()
    }
}

fn is_settled(state: &TrialState) -> bool {
    !matches!(state, TrialState::Open)
}

/// Whether nobody could measure it, which is no result that others could go by.
fn is_unmeasured(state: &TrialState) -> bool {
    match state {
        TrialState::Open => false,
        TrialState::Done(outcome) => outcome.is_given_up(),
        TrialState::Quarantined { .. } => true,
    }
}

fn has_failed(state: &TrialState) -> bool {
    match state {
        TrialState::Open => false,
        TrialState::Done(outcome) => matches!(outcome.result, TrialResult::Failed { .. }),
        TrialState::Quarantined { .. } => true,
    }
}
