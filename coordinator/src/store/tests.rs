mod disk;
mod formats;
mod full_disk;
mod index;
mod tools;

use std::fs;
use std::path::Path;

use bitloop_core::plan::ExperimentId;
use bitloop_core::state::State;
use bitloop_core::trial::TrialResult;

use super::*;
use crate::testing::devices::{facts_in_every_form, facts_of_devices};
use crate::testing::{facts, facts_with_losses};

/// What every store must do. `open` opens the same store again after the last one was dropped.
pub(in crate::store) fn keeps_the_contract(mut open: impl FnMut() -> Box<dyn Store>) {
    let history = facts(20);
    let (first, rest) = history.split_at(5);

    let mut store = open();
    assert_eq!(store.load().unwrap(), Loaded::default());
    store.append(&[]).unwrap();
    assert_eq!(store.raise_epoch().unwrap(), 1);
    store.append(first).unwrap();
    drop(store);

    let mut store = open();
    assert_eq!(store.load().unwrap(), Loaded { epoch: 1, facts: first.to_vec() });
    assert_eq!(store.raise_epoch().unwrap(), 2);
    store.append(rest).unwrap();
    assert_eq!(store.load().unwrap(), Loaded { epoch: 2, facts: history.clone() });
    drop(store);

    let mut store = open();
    let conflict = conflict(&history[2]);
    // A second outcome of one trial is dropped, in a later batch and within one; a conflict is kept each time.
    store.append(&[history[2].clone(), conflict.clone(), conflict.clone()]).unwrap();
    let kept = [&history[..], &[conflict.clone(), conflict]].concat();
    assert_eq!(store.load().unwrap(), Loaded { epoch: 2, facts: kept });
}

pub(in crate::store) fn keeps_the_first_of_two_outcomes_in_one_batch(mut store: impl Store) {
    let history = facts(1);
    let Fact::OutcomeCommitted { key, outcome } = &history[2] else { panic!("{:?}", history[2]) };
    let mut other = outcome.clone();
    other.result = TrialResult::Failed { reason: "second".to_owned() };
    let second = Fact::OutcomeCommitted { key: *key, outcome: other };

    store.append(&[&history[..3], &[second], &history[3..]].concat()).unwrap();

    assert_eq!(store.load().unwrap().facts, history);
}

/// Outcomes that were lost and replaced are facts like others: each is kept, in its place, and the first one of a trial stays
/// the only one that was committed.
pub(in crate::store) fn keeps_outcomes_that_were_replaced(mut open: impl FnMut() -> Box<dyn Store>) {
    let history = facts_with_losses(3);
    let [committed, .., replaced] = [&history[2], &history[history.len() - 1]];
    assert!(
        matches!(committed, Fact::OutcomeCommitted { .. })
            && matches!(replaced, Fact::OutcomeReplaced { .. })
    );
    let mut store = open();
    for batch in history.chunks(4) {
        store.append(batch).unwrap();
    }
    drop(store);

    let mut store = open();
    store.append(&[committed.clone(), replaced.clone()]).unwrap();
    drop(store);

    let kept = [&history[..], std::slice::from_ref(replaced)].concat();
    assert_eq!(open().load().unwrap().facts, kept);
}

pub(in crate::store) fn keeps_a_big_batch_in_order(mut store: impl Store) {
    let history = facts(3_000);

    store.append(&history).unwrap();

    assert_eq!(store.load().unwrap().facts, history);
}

pub(in crate::store) fn refuses_what_cannot_be_replayed(mut open: impl FnMut() -> Box<dyn Store>) {
    let history = facts(2);
    let nowhere = ExperimentId("nowhere".to_owned());
    let unknown = [
        vec![history[2].clone()],
        vec![history[0].clone(), history[2].clone()],
        vec![Fact::ExperimentFinished { experiment: nowhere }],
        vec![history[0].clone(), late_stage(&history[4])],
    ];
    for facts in unknown {
        let mut store = open();
        store.append(&facts).unwrap();

        let refused = store.load().unwrap_err();

        let is_damage = matches!(
            &refused,
            StoreError::Damaged { .. } | StoreError::Database(DatabaseError::Damaged { .. })
        );
        assert!(is_damage, "{refused}");
    }
}

fn conflict(fact: &Fact) -> Fact {
    let Fact::OutcomeCommitted { key, outcome } = fact else { panic!("{fact:?}") };
    Fact::ConflictSeen { key: *key, outcome: outcome.clone() }
}

fn late_stage(fact: &Fact) -> Fact {
    let Fact::StageFinished { experiment, .. } = fact else { panic!("{fact:?}") };
    Fact::StageFinished { experiment: experiment.clone(), stage: 2, selection: None }
}

#[test]
fn memory_keeps_the_contract() {
    let store = MemoryStore::default();
    keeps_the_contract(|| Box::new(store.clone()));
    keeps_the_first_of_two_outcomes_in_one_batch(MemoryStore::default());
    let store = MemoryStore::default();
    keeps_outcomes_that_were_replaced(|| Box::new(store.clone()));
    keeps_a_big_batch_in_order(MemoryStore::default());
    refuses_what_cannot_be_replayed(|| Box::new(MemoryStore::default()));
}

#[test]
fn disk_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    let mut opened = 0;
    let fresh = |name: &str| DiskStore::open(&root.path().join(name)).unwrap();
    keeps_the_contract(|| Box::new(fresh("contract")));
    keeps_the_first_of_two_outcomes_in_one_batch(fresh("twice"));
    keeps_outcomes_that_were_replaced(|| Box::new(fresh("replaced")));
    keeps_a_big_batch_in_order(fresh("big"));
    refuses_what_cannot_be_replayed(|| {
        opened += 1;
        Box::new(fresh(&format!("damaged{opened}")))
    });
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// What a kill leaves is what the files hold at that moment: nothing is flushed, closed or dropped.
#[test]
fn what_was_acknowledged_survives_a_kill() {
    let root = tempfile::tempdir().unwrap();
    let live = root.path().join("live");
    let mut store = DiskStore::open(&live).unwrap();
    let history = facts(60);

    let mut acknowledged = 0;
    for (round, len) in [1, 2, 7, 1, 30, 3, 19].into_iter().enumerate() {
        store.append(&history[acknowledged..acknowledged + len]).unwrap();
        acknowledged += len;
        let killed = root.path().join(format!("killed{round}"));
        copy_folder(&live, &killed);

        let mut reopened = DiskStore::open(&killed).unwrap();

        assert_eq!(reopened.load().unwrap().facts, history[..acknowledged]);
        reopened.append(&history[acknowledged..]).unwrap();
        assert_eq!(reopened.load().unwrap().facts, history);
    }
}

/// The longest file of a store: sled's log.
fn log_of(folder: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().unwrap().is_file());
    files.max_by_key(|entry| entry.metadata().unwrap().len()).unwrap().path()
}

/// The bytes of a log that an append changed: the record that it wrote.
fn changed(before: &[u8], after: &[u8]) -> std::ops::Range<usize> {
    let differs = |at: &usize| before.get(*at).copied().unwrap_or(0) != after[*at];
    let first = (0..after.len()).find(differs).expect("an append writes something");
    let last = (0..after.len()).rev().find(differs).expect("an append writes something");
    first..last + 1
}
