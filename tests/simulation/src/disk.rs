//! What outlives the coordinator's process: facts as every store keeps them, and the artifacts that they speak of.

use std::collections::BTreeSet;

use bitloop_core::digest::Digest;
use bitloop_core::state::{Fact, Ledger};
use bitloop_core::trial::TrialKey;

/// The coordinator's disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    facts: Vec<Fact>,
    /// The trials that an outcome was committed of.
    committed: BTreeSet<TrialKey>,
    pub(crate) epoch: u64,
    pub(crate) is_full: bool,
    /// Those that are there and whole.
    pub(crate) artifacts: BTreeSet<Digest>,
}

impl Disk {
    /// The facts, in their order.
    pub(crate) fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// Writes facts; returns those that are kept. As every store: a second commit of one trial is dropped without a word.
    pub(crate) fn append(&mut self, facts: Vec<Fact>) -> Vec<Fact> {
        let mut kept = facts;
        kept.retain(|fact| match fact {
            Fact::OutcomeCommitted { key, .. } => self.committed.insert(*key),
            Fact::ExperimentSubmitted { .. }
            | Fact::ExperimentPaused { .. }
            | Fact::ExperimentResumed { .. }
            | Fact::ExperimentCancelled { .. }
            | Fact::StepProposed { .. }
            | Fact::StageFinished { .. }
            | Fact::ExperimentFinished { .. }
            | Fact::ExperimentFailed { .. }
            | Fact::OutcomeLost { .. }
            | Fact::OutcomeReplaced { .. }
            | Fact::ConflictSeen { .. }
            | Fact::TrialQuarantined { .. } => true,
        });
        self.facts.extend_from_slice(&kept);
        kept
    }

    /// Of the artifacts that the last outcomes name, those that are gone.
    pub(crate) fn missing(&self, ledger: &Ledger) -> BTreeSet<Digest> {
        let named = ledger.artifacts().map(|(_, artifact)| artifact);
        named.filter(|artifact| !self.artifacts.contains(artifact)).collect()
    }
}
