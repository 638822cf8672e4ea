//! `bitloop store`.

use super::*;
use crate::data_dir::{DataDir, DataDirError};

/// A store of these facts, each its own batch; closed.
fn stored(facts: &[Fact]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(root.path()).unwrap();
    store.raise_epoch().unwrap();
    for fact in facts {
        store.append(std::slice::from_ref(fact)).unwrap();
    }
    root
}

fn reopened(root: &Path) -> Vec<Fact> {
    DiskStore::open(root).unwrap().load().unwrap().facts
}

#[test]
fn a_whole_store_is_verified_with_its_counts() {
    let history = facts(4);
    let root = stored(&history);

    let verified = verify(root.path()).unwrap();

    assert!(verified.is_whole(), "{verified:?}");
    assert_eq!(verified.notes, Vec::<String>::new());
    let count = |held: Option<Held>| held.map(|held| (held.facts, held.epoch));
    assert_eq!(count(verified.journal), Some((history.len() as u64, 1)));
    assert_eq!(count(verified.store), count(verified.journal));
}

#[test]
fn outcomes_that_were_replaced_are_verified_rebuilt_and_compacted() {
    let history = facts_with_losses(3);
    let root = stored(&history);

    assert!(verify(root.path()).unwrap().is_whole());
    assert_eq!(rebuild(root.path()).unwrap().facts, history.len() as u64);
    assert_eq!(reopened(root.path()), history);
    assert_eq!(compact(root.path()).unwrap().facts, history.len() as u64);
    assert_eq!(reopened(root.path()), history);
    assert!(verify(root.path()).unwrap().is_whole());
}

#[test]
fn the_first_difference_is_named_and_mended_by_a_rebuild() {
    let history = facts(4);
    let root = stored(&history);
    let store = root.path().join("store");
    fs::remove_dir_all(&store).unwrap();
    // The same facts, but for one outcome.
    let mut other = history.clone();
    let Fact::OutcomeCommitted { outcome, .. } = &mut other[3] else { panic!("{:?}", other[3]) };
    outcome.result = TrialResult::Failed { reason: "differs".to_owned() };
    let other = stored(&other);
    copy_folder(&other.path().join("store"), &store);

    let verified = verify(root.path()).unwrap();

    assert_eq!(verified.difference.as_deref(), Some("fact 3 is not the same in journal and sled"));
    assert!(matches!(compact(root.path()), Err(ToolError::Differs { .. })));
    let rebuilt = rebuild(root.path()).unwrap();
    assert_eq!(rebuilt.facts, history.len() as u64);
    assert!(rebuilt.aside.unwrap().join("db").exists(), "what was there is kept");
    assert!(verify(root.path()).unwrap().is_whole());
    assert_eq!(reopened(root.path()), history);
}

#[test]
fn damage_of_either_part_is_found_and_left_as_it_is() {
    let history = facts(4);
    let root = stored(&history);
    let segment = root.path().join("journal/000001.jsonl");
    let whole = fs::read(&segment).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&segment, &flipped).unwrap();
    let verified = verify(root.path()).unwrap();
    assert!(verified.difference.unwrap().contains("000001.jsonl, line"));
    assert!(matches!(rebuild(root.path()), Err(ToolError::Store(StoreError::Journal { .. }))));
    assert_eq!(fs::read(&segment).unwrap(), flipped);

    fs::write(&segment, [&whole[..], b"torn"].concat()).unwrap();
    let verified = verify(root.path()).unwrap();
    assert!(verified.is_whole());
    assert!(verified.notes[0].contains("4 bytes"), "{:?}", verified.notes);
    assert_eq!(fs::read(&segment).unwrap().len(), whole.len() + 4, "it only looks");

    fs::remove_dir_all(root.path().join("store")).unwrap();
    fs::create_dir(root.path().join("store")).unwrap();
    let verified = verify(root.path()).unwrap();
    assert!(verified.difference.unwrap().contains("sled holds 0 facts"));
    assert_eq!(rebuild(root.path()).unwrap().aside, None, "there was nothing to keep");
    assert_eq!(reopened(root.path()), history);
}

#[test]
fn a_rebuild_keeps_facts_that_only_sled_has() {
    let history = facts(4);
    let root = stored(&history);
    let segment = root.path().join("journal/000001.jsonl");
    let journal = fs::read(&segment).unwrap();
    fs::write(&segment, &journal[..journal.len() - 300]).unwrap();

    let rebuilt = rebuild(root.path()).unwrap();

    assert_eq!(rebuilt.facts, history.len() as u64);
    assert!(verify(root.path()).unwrap().is_whole());
    assert_eq!(reopened(root.path()), history);
}

#[test]
fn compacting_gives_space_back_and_loses_nothing() {
    let history = facts(300);
    let root = tempfile::tempdir().unwrap();
    let mut store = DiskStore::open(root.path()).unwrap();
    for batch in history.chunks(3) {
        store.append(batch).unwrap();
    }
    drop(store);
    let journal = fs::read(root.path().join("journal/000001.jsonl")).unwrap();

    let compacted = compact(root.path()).unwrap();

    assert!(compacted.bytes_after < compacted.bytes_before, "{compacted:?}");
    assert_eq!(fs::read(root.path().join("journal/000001.jsonl")).unwrap(), journal);
    let names: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_str().unwrap().contains("store.")), "{names:?}");
    assert!(verify(root.path()).unwrap().is_whole());
    assert_eq!(reopened(root.path()), history);
}

#[test]
fn a_directory_that_is_open_or_none_is_refused() {
    let root = stored(&facts(1));
    let open = DataDir::open(root.path()).unwrap();
    for refused in
        [verify(root.path()).map(drop), rebuild(root.path()).map(drop), compact(root.path()).map(drop)]
    {
        let refused = refused.unwrap_err();
        assert!(refused.is_usage() && refused.to_string().contains("is in use"), "{refused}");
    }
    drop(open);
    verify(root.path()).unwrap();

    let none = tempfile::tempdir().unwrap();
    let refused = verify(none.path()).unwrap_err();
    assert!(matches!(refused, ToolError::DataDir(DataDirError::NotThere(_))), "{refused}");
    assert_eq!(fs::read_dir(none.path()).unwrap().count(), 0, "nothing is made");
}
