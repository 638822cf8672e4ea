//! The trials that wait for a worker, by what is measured together.

use std::collections::{BTreeMap, BTreeSet};

use crate::bits::BitConfig;
use crate::trial::{Company, TrialKey, TrialSpec};

use super::ledger::Trial;

/// Where a trial stands among those that it is measured with.
///
/// Bit configs in the order of their changes are a trie walked depth first: neighbours agree in the longest prefix of
/// points. Trials that go alone keep the order of proposal.
type Place = (Option<BitConfig>, u64);

/// Waiting trials of one [`Company`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    trie: BTreeMap<Place, TrialKey>,
    sequences: BTreeSet<u64>,
}

impl Group {
    /// Sequence of the trial that was proposed first.
    pub(super) fn first(&self) -> u64 {
        self.sequences.first().copied().unwrap_or(u64::MAX)
    }

    /// The trials in the order of the trie.
    pub(super) fn trials(&self) -> impl Iterator<Item = &TrialKey> {
        self.trie.values()
    }
}

/// How many trials of each kind wait for a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Preparations of models.
    pub prepare: u64,
    /// Evaluations of bit configs.
    pub evaluate: u64,
    /// Trainings.
    pub train: u64,
}

impl Queued {
    fn of_mut(&mut self, spec: &TrialSpec) -> &mut u64 {
        match spec {
            TrialSpec::Prepare(_) => &mut self.prepare,
            TrialSpec::Evaluate { .. } => &mut self.evaluate,
            TrialSpec::Train(_) => &mut self.train,
        }
    }
}

/// All waiting trials.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Queue {
    queued: Queued,
    by_sequence: BTreeMap<u64, TrialKey>,
    groups: BTreeMap<Option<Company>, Group>,
}

impl Queue {
    pub(super) fn insert(&mut self, key: TrialKey, trial: &Trial) {
        if self.by_sequence.insert(trial.sequence, key).is_none() {
            *self.queued.of_mut(&trial.spec) += 1;
        }
        let group = self.groups.entry(trial.spec.company()).or_default();
        group.sequences.insert(trial.sequence);
        group.trie.insert(place(trial), key);
    }

    pub(super) fn remove(&mut self, trial: &Trial) {
        if self.by_sequence.remove(&trial.sequence).is_none() {
            return;
        }
        *self.queued.of_mut(&trial.spec) -= 1;
        let company = trial.spec.company();
        let Some(group) = self.groups.get_mut(&company) else { return };
        group.sequences.remove(&trial.sequence);
        group.trie.remove(&place(trial));
        if group.trie.is_empty() {
            self.groups.remove(&company);
        }
    }

    pub(super) fn contains(&self, trial: &Trial) -> bool {
        self.by_sequence.contains_key(&trial.sequence)
    }

    /// How many they are, by kind.
    pub(super) fn queued(&self) -> Queued {
        self.queued
    }

    /// The trials in order of proposal.
    pub(super) fn trials(&self) -> impl ExactSizeIterator<Item = (&u64, &TrialKey)> {
        self.by_sequence.iter()
    }

    /// The groups, ordered by context and then by part of its images.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Option<Company>, &Group)> {
        self.groups.iter()
    }

    /// Checks that both orders hold the same trials; returns the first breach.
    pub(super) fn check(&self) -> Result<(), String> {
        let in_groups: BTreeSet<u64> =
            self.groups.values().flat_map(|group| group.sequences.iter().copied()).collect();
        let whole = self.groups.values().all(|group| {
            let places = group.trie.keys().map(|(_, sequence)| *sequence).collect::<BTreeSet<u64>>();
            !places.is_empty() && places == group.sequences
        });
        let Queued { prepare, evaluate, train } = self.queued;
        let counted = prepare + evaluate + train == self.by_sequence.len() as u64;
        match whole && counted && in_groups.iter().eq(self.by_sequence.keys()) {
            true => Ok(()),
            false => Err("the queue's groups do not hold or count the queue's trials".to_owned()),
        }
    }
}

fn place(trial: &Trial) -> Place {
    match &trial.spec {
        TrialSpec::Prepare(_) | TrialSpec::Train(_) => (None, trial.sequence),
        TrialSpec::Evaluate { config, .. } => (Some(config.clone()), trial.sequence),
    }
}
