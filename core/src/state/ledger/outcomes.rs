//! What came of trials: outcomes that are there, that were lost with their artifact, and that were given again.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Claim, Experiment, Ledger, Trial, TrialState, has_failed, is_settled, is_unmeasured};
use crate::digest::Digest;
use crate::state::fact::Fact;
use crate::trial::{Outcome, TrialKey, TrialSpec};

impl Ledger {
    /// Records what came of a trial. The ledger of a coordinator is told by facts alone; this is for who puts a part of one
    /// together.
    ///
    /// Panics: when the trial was never proposed.
    pub fn settle(&mut self, key: &TrialKey, state: TrialState) {
        let trial = self.trials.get_mut(key).expect("an outcome is only stored for a proposed trial");
        let (settled, failed) = (is_settled(&state), has_failed(&state));
        let before = std::mem::replace(&mut trial.state, state);
        for claim in trial.claims() {
            let owner = &mut self.experiments[claim.experiment as usize];
            let stage = &mut owner.stages[claim.stage as usize];
            stage.settled = stage.settled + u64::from(settled) - u64::from(is_settled(&before));
            owner.failed = owner.failed + u64::from(failed) - u64::from(has_failed(&before));
        }
        match is_unmeasured(&trial.state) {
            true => self.unmeasured.insert(*key),
            false => self.unmeasured.remove(key),
        };
        match (before, &trial.state) {
            (_, TrialState::Done(_)) => drop(self.lost.remove(key)),
            (TrialState::Done(outcome), TrialState::Open | TrialState::Quarantined { .. }) => {
                self.lost.insert(*key, outcome);
            }
            (TrialState::Open | TrialState::Quarantined { .. }, _) => {}
        }
    }

    /// Of the trials that an experiment wants now, those that nobody could measure for others. It has them tried again: devices, probes and
    /// workers may be others by now.
    pub(in crate::state) fn untried(&self, by: &Experiment, trials: &[TrialSpec]) -> BTreeSet<TrialKey> {
        // A name is a hash of all that is to be done, and mostly none is needed.
        if self.unmeasured.is_empty() {
            return BTreeSet::new();
        }
        let has_tried = |key: &TrialKey| {
            let mut claims = self.trials.get(key).into_iter().flat_map(Trial::claims);
            by.has_given_up(key) || claims.any(|claim| self.claimant(claim).id == by.id)
        };
        let keys = trials.iter().map(TrialSpec::key);
        keys.filter(|key| self.is_unmeasured(key) && !has_tried(key)).collect()
    }

    /// Has the experiments that wanted a trial which nobody could measure keep that, whatever comes of it from now on.
    pub(super) fn set_aside(&mut self, key: &TrialKey) {
        let unmeasured = self.trials.get_mut(key).filter(|_| self.unmeasured.contains(key));
        let Some(trial) = unmeasured else { return };
        for claim in trial.take_claims() {
            let experiment = &mut self.experiments[claim.experiment as usize];
            experiment.given_up.insert(*key, trial.state.clone());
        }
    }

    /// What is to be recorded of a trial that is open, or was given up: its outcome, or if it has had one, another.
    pub(in crate::state) fn outcome_of(&self, key: TrialKey, outcome: Outcome) -> Fact {
        match self.lost.contains_key(&key) || self.outcome(&key).is_some() {
            true => Fact::OutcomeReplaced { key, outcome },
            false => Fact::OutcomeCommitted { key, outcome },
        }
    }

    /// Gives a trial that lost its outcome, or was given up, another one. Whatever followed from an artifact that is another one now is taken
    /// back, so that nothing rests on two. A searcher that has gone on without the trial is made anew, as a coordinator that starts makes it.
    pub(super) fn replace(&mut self, key: &TrialKey, outcome: &Outcome) -> Vec<TrialKey> {
        let lost = self.lost.get(key).cloned();
        if self.outcome(key).is_some_and(Outcome::is_given_up) {
            self.restart_claimants(key);
        }
        self.settle(key, TrialState::Done(Arc::new(outcome.clone())));
        // Nothing followed from what nobody could measure for others.
        let is_set_aside = lost.as_ref().is_some_and(|lost| lost.is_given_up());
        if is_set_aside || lost.and_then(|lost| lost.result.artifact()) == outcome.result.artifact() {
            return Vec::new();
        }
        let mut claims: Vec<Claim> = self.trials.get(key).into_iter().flat_map(Trial::claims).collect();
        claims.sort_unstable();
        claims.into_iter().flat_map(|claim| self.take_back(claim, key)).collect()
    }

    /// Has searchers of experiments that are not over and want a trial made anew. Nothing is taken back.
    fn restart_claimants(&mut self, key: &TrialKey) {
        let claims = self.trials.get(key).into_iter().flat_map(Trial::claims);
        let claimants: BTreeSet<u32> = claims.map(|claim| claim.experiment).collect();
        for experiment in claimants {
            let experiment = &mut self.experiments[experiment as usize];
            experiment.restarts += u32::from(experiment.status.may_go_on());
        }
    }

    /// Takes back what an experiment proposed after a trial, in its stage and in those behind. One that is over keeps all.
    fn take_back(&mut self, claim: Claim, key: &TrialKey) -> Vec<TrialKey> {
        let experiment = &mut self.experiments[claim.experiment as usize];
        if !experiment.status.may_go_on() {
            return Vec::new();
        }
        let first = &experiment.stages[claim.stage as usize];
        // It is there no more if an earlier stage wanted it too.
        let Some(place) = first.trials.iter().position(|known| known == key) else { return Vec::new() };
        let mut taken = Vec::new();
        for (stage, progress) in (claim.stage..).zip(&mut experiment.stages[claim.stage as usize..]) {
            let kept = if stage == claim.stage { place + 1 } else { 0 };
            for key in progress.trials.drain(kept..) {
                let Some(trial) = self.trials.get_mut(&key) else { continue };
                trial.remove_claim(Claim { stage, ..claim });
                let came = experiment.given_up.get(&key).unwrap_or(&trial.state);
                progress.settled -= u64::from(is_settled(came));
                experiment.failed -= u64::from(has_failed(came));
                taken.push(key);
            }
            progress.asked.truncate(kept);
            progress.finished = false;
            progress.selection = None;
        }
        let stages = &experiment.stages;
        experiment.given_up.retain(|key, _| stages.iter().any(|stage| stage.trials.contains(key)));
        experiment.restarts += 1;
        taken
    }

    /// The artifacts that outcomes are worth nothing without, each with its trial: those that count and those that were lost.
    pub fn artifacts(&self) -> impl Iterator<Item = (&TrialKey, Digest)> {
        let held = self.trials.iter().filter_map(|trial| match &trial.state {
            TrialState::Done(outcome) => Some((&trial.key, outcome)),
            TrialState::Open | TrialState::Quarantined { .. } => None,
        });
        held.chain(&self.lost).filter_map(|(key, outcome)| Some((key, outcome.result.artifact()?)))
    }

    /// Whether an experiment proposed a trial that goes on, or may be revived.
    pub fn is_in_use(&self, key: &TrialKey) -> bool {
        let mut claims = self.trials.get(key).into_iter().flat_map(Trial::claims);
        claims.any(|claim| self.claimant(claim).status.may_go_on())
    }

    /// Whether nobody could measure a trial: it was given up, or quarantined.
    pub fn is_unmeasured(&self, key: &TrialKey) -> bool {
        self.unmeasured.contains(key)
    }

    /// The outcome that a trial has lost, if it has none since.
    pub fn lost(&self, key: &TrialKey) -> Option<&Outcome> {
        self.lost.get(key).map(Arc::as_ref)
    }
}
