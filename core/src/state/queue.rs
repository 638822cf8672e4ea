//! The trials that wait for a worker, by whom they are measured for and what together with.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::bits::BitConfig;
use crate::trial::{Company, TrialSpec};

use super::ledger::{Claim, Trial};
use super::pace;

/// Trials that any worker takes from the same end: of one stage, and measured together if they can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lane {
    /// Whom they are measured for.
    pub(super) claim: Claim,
    /// What they are measured together with; none for those that go alone.
    pub(super) company: Option<Company>,
}

impl Lane {
    /// The lane that a trial waits in for a claim.
    pub(super) fn of(claim: Claim, trial: &Trial) -> Self {
        Self { claim, company: trial.spec.company() }
    }
}

/// Where a trial stands in its lane.
///
/// Bit configs in the order of their changes are a trie walked depth first: neighbours agree in the longest prefix of
/// points. Of the others the longest come first, so that all workers end together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Alone(Reverse<u64>, u32),
    InTrie(BitConfig, u32),
}

impl Place {
    fn sequence(&self) -> u32 {
        match self {
            Self::Alone(_, sequence) | Self::InTrie(_, sequence) => *sequence,
        }
    }
}

/// The waiting trials of one lane.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    places: BTreeSet<Place>,
    sequences: BTreeSet<u32>,
    /// How many of them count in another lane.
    elsewhere: usize,
}

impl Group {
    /// Sequence of the trial that was proposed first.
    pub(super) fn first(&self) -> u32 {
        self.sequences.first().copied().unwrap_or(u32::MAX)
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.sequences.len()
    }

    /// How many count here: one that waits in several lanes counts where it is wanted first.
    pub(super) fn counted(&self) -> usize {
        self.len() - self.elsewhere
    }

    /// Sequences of the trials in the order in which they are taken.
    pub(super) fn trials(&self) -> impl Iterator<Item = u32> {
        self.places.iter().map(Place::sequence)
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
    /// Measurements of devices.
    pub probe: u64,
}

impl Queued {
    /// How many of all kinds.
    pub fn all(self) -> u64 {
        let Self { prepare, evaluate, train, probe } = self;
        prepare + evaluate + train + probe
    }

    fn of_mut(&mut self, spec: &TrialSpec) -> &mut u64 {
        match spec {
            TrialSpec::Prepare(_) => &mut self.prepare,
            TrialSpec::Evaluate { .. } => &mut self.evaluate,
            TrialSpec::Train(_) => &mut self.train,
            TrialSpec::Probe(_) => &mut self.probe,
        }
    }
}

/// All waiting trials.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Queue {
    /// How often a trial came, went, or changed its lanes.
    changes: u64,
    queued: Queued,
    claims: BTreeSet<(u32, Claim)>,
    /// Where trials count that wait in several lanes; most wait in one.
    counted: BTreeMap<u32, Claim>,
    groups: BTreeMap<Lane, Group>,
}

impl Queue {
    /// Puts a trial into the lanes of these claims, out of all others: whoever can measure it for one of them takes it.
    pub(super) fn set(&mut self, trial: &Trial, claims: &[Claim]) {
        let counted = claims.first().filter(|_| claims.len() > 1).copied();
        let is_counted = self.counted.get(&trial.sequence) == counted.as_ref();
        if is_counted && self.claims_of(trial).eq(claims.iter().copied().collect::<BTreeSet<_>>()) {
            return;
        }
        self.remove(trial);
        self.changes += 1;
        *self.queued.of_mut(&trial.spec) += u64::from(!claims.is_empty());
        self.counted.extend(counted.map(|claim| (trial.sequence, claim)));
        for claim in claims.iter().copied() {
            self.claims.insert((trial.sequence, claim));
            let group = self.groups.entry(Lane::of(claim, trial)).or_default();
            group.sequences.insert(trial.sequence);
            group.elsewhere += usize::from(counted.is_some_and(|counted| counted != claim));
            group.places.insert(place(trial));
        }
    }

    pub(super) fn remove(&mut self, trial: &Trial) {
        let claims: Vec<Claim> = self.claims_of(trial).collect();
        self.changes += u64::from(!claims.is_empty());
        *self.queued.of_mut(&trial.spec) -= u64::from(!claims.is_empty());
        let counted = self.counted.remove(&trial.sequence);
        for claim in claims {
            self.claims.remove(&(trial.sequence, claim));
            let lane = Lane::of(claim, trial);
            let Some(group) = self.groups.get_mut(&lane) else { continue };
            group.sequences.remove(&trial.sequence);
            group.elsewhere -= usize::from(counted.is_some_and(|counted| counted != claim));
            group.places.remove(&place(trial));
            if group.places.is_empty() {
                self.groups.remove(&lane);
            }
        }
    }

    /// Whom a trial waits for, in their order.
    pub(super) fn claims_of(&self, trial: &Trial) -> impl Iterator<Item = Claim> {
        let of = |claim: Claim| (trial.sequence, claim);
        self.claims.range(of(Claim::FIRST)..=of(Claim::LAST)).map(|(_, claim)| *claim)
    }

    pub(super) fn contains(&self, trial: &Trial) -> bool {
        self.claims_of(trial).next().is_some()
    }

    /// How often a trial came, went, or changed its lanes.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// How many they are, by kind.
    pub(super) fn queued(&self) -> Queued {
        self.queued
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.queued.all() as usize
    }

    /// The trials in order of proposal.
    pub(super) fn trials(&self) -> impl Iterator<Item = u32> {
        let mut before = None;
        let sequences = self.claims.iter().map(|(sequence, _)| *sequence);
        sequences.filter(move |sequence| before.replace(*sequence) != Some(*sequence))
    }

    /// The lanes, ordered by experiment, stage, context and then by part of its images.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Lane, &Group)> {
        self.groups.iter()
    }

    /// The trials of a lane, if any wait there.
    pub(super) fn group(&self, lane: &Lane) -> Option<&Group> {
        self.groups.get(lane)
    }

    /// Checks that both orders hold the same trials; returns the first breach.
    pub(super) fn check(&self) -> Result<(), String> {
        let in_groups: BTreeSet<(u32, Claim)> = self
            .groups
            .iter()
            .flat_map(|(lane, group)| group.sequences.iter().map(|sequence| (*sequence, lane.claim)))
            .collect();
        let whole = self.groups.values().all(|group| {
            let places = group.trials().collect::<BTreeSet<u32>>();
            !places.is_empty() && places == group.sequences
        });
        let in_lanes: usize = self.groups.values().map(Group::counted).sum();
        let counted = self.len() == self.trials().count() && self.len() == in_lanes;
        match whole && counted && in_groups == self.claims {
            true => Ok(()),
            false => Err("the queue's lanes do not hold or count the queue's trials".to_owned()),
        }
    }
}

fn place(trial: &Trial) -> Place {
    match &trial.spec {
        TrialSpec::Prepare(_) | TrialSpec::Train(_) | TrialSpec::Probe(_) => {
            Place::Alone(Reverse(pace::units(&trial.spec)), trial.sequence)
        }
        // All of a lane see the same images, so that none is longer.
        TrialSpec::Evaluate { config, .. } => Place::InTrie(config.clone(), trial.sequence),
    }
}
