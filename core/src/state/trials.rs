//! All trials that were ever proposed, found by key or by order of proposal.
//!
//! A sweep may have a million of them, so that each lies in one place: the table by key holds nothing but places.

use hashbrown::HashTable;

use super::ledger::Trial;
use crate::trial::TrialKey;

/// Trials in order of proposal.
#[derive(Clone, Debug, Default)]
pub(super) struct Trials {
    list: Vec<Trial>,
    places: HashTable<u32>,
}

impl PartialEq for Trials {
    fn eq(&self, other: &Self) -> bool {
        // The places follow from the list.
        self.list == other.list
    }
}

impl Trials {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn get(&self, key: &TrialKey) -> Option<&Trial> {
        self.place(key).map(|place| self.at(place))
    }

    pub(super) fn get_mut(&mut self, key: &TrialKey) -> Option<&mut Trial> {
        self.place(key).map(|place| &mut self.list[place as usize])
    }

    /// The trial at a place in the order of proposal.
    ///
    /// Panics: when there are not so many; places come from this list.
    pub(super) fn at(&self, place: u32) -> &Trial {
        &self.list[place as usize]
    }

    /// Adds a trial that is not there yet.
    pub(super) fn push(&mut self, trial: Trial) {
        let place = u32::try_from(self.list.len()).expect("nobody proposes four billion trials");
        let hash = hash(&trial.key);
        self.list.push(trial);
        let list = &self.list;
        self.places.insert_unique(hash, place, |place| hash_at(list, *place));
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Trial> {
        self.list.iter()
    }

    fn place(&self, key: &TrialKey) -> Option<u32> {
        self.places.find(hash(key), |place| self.at(*place).key == *key).copied()
    }
}

fn hash_at(list: &[Trial], place: u32) -> u64 {
    hash(&list[place as usize].key)
}

/// Keys are digests: their first bytes are as good as any hash of them.
fn hash(key: &TrialKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key.0.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
