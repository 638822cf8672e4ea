//! Journal and index together: what is lost of one is in the other.

use super::super::sled::SledStore;
use super::*;

/// A store of one start and these facts, each its own batch; closed.
fn stored(root: &Path, facts: &[Fact]) {
    let mut store = DiskStore::open(root).unwrap();
    store.raise_epoch().unwrap();
    for fact in facts {
        store.append(std::slice::from_ref(fact)).unwrap();
    }
}

fn asides(root: &Path) -> usize {
    let names = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with("store.aside-")).count()
}

/// What the next start finds; it must be able to go on, too.
fn found(root: &Path) -> Loaded {
    let mut store = DiskStore::open(root).unwrap();
    let loaded = store.load().unwrap();
    let more = conflict(&loaded.facts[2]);
    store.append(std::slice::from_ref(&more)).unwrap();
    drop(store);
    let mut reopened = DiskStore::open(root).unwrap().load().unwrap();
    assert_eq!(reopened.facts.pop(), Some(more));
    assert_eq!(reopened, loaded);
    loaded
}

/// Replaces every file of a folder.
fn overwrite_all(folder: &Path, content: &dyn Fn(&[u8]) -> Vec<u8>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => overwrite_all(&entry.path(), content),
            false => fs::write(entry.path(), content(&fs::read(entry.path()).unwrap())).unwrap(),
        }
    }
}

#[test]
fn whatever_happens_to_the_sled_folder_every_fact_is_there_at_the_next_start() {
    let history = facts(4);
    let expected = Loaded { epoch: 1, facts: history.clone() };
    let other = tempfile::tempdir().unwrap();
    stored(other.path(), &facts(5)[..5]);
    type Damage<'a> = &'a dyn Fn(&Path);
    let damages: [(&str, bool, Damage<'_>); 8] = [
        ("removed", false, &|store| fs::remove_dir_all(store).unwrap()),
        ("emptied", false, &|store| {
            fs::remove_dir_all(store).unwrap();
            fs::create_dir(store).unwrap();
        }),
        ("garbage in every file", true, &|store| overwrite_all(store, &|_| vec![0xa5; 4096])),
        ("a log of garbage", true, &|store| fs::write(log_of(store), [0xa5; 70_000]).unwrap()),
        ("every file empty", true, &|store| overwrite_all(store, &|_| Vec::new())),
        ("every file cut in half", true, &|store| {
            overwrite_all(store, &|bytes| bytes[..bytes.len() / 2].to_vec())
        }),
        ("zeros in every file", true, &|store| overwrite_all(store, &|bytes| vec![0; bytes.len()])),
        ("another store", true, &|store| {
            fs::remove_dir_all(store).unwrap();
            copy_folder(&other.path().join("store"), store);
        }),
    ];
    let whole = tempfile::tempdir().unwrap();
    stored(whole.path(), &history);
    for (name, is_something, damage) in damages {
        let root = tempfile::tempdir().unwrap();
        copy_folder(whole.path(), root.path());
        damage(&root.path().join("store"));

        assert_eq!(found(root.path()), expected, "{name}");

        assert_eq!(asides(root.path()), usize::from(is_something), "{name}: what was there is kept");
    }
}

#[test]
fn a_sled_log_that_is_cut_anywhere_costs_no_fact() {
    let whole = tempfile::tempdir().unwrap();
    let history = facts(12);
    stored(whole.path(), &history);
    let log = fs::read(log_of(&whole.path().join("store"))).unwrap();
    let used = log.iter().rposition(|byte| *byte != 0).unwrap();

    for cut in (0..=used).step_by(used / 7) {
        let root = tempfile::tempdir().unwrap();
        copy_folder(whole.path(), root.path());
        fs::write(log_of(&root.path().join("store")), &log[..cut]).unwrap();

        assert_eq!(found(root.path()).facts, history, "cut at {cut}");
    }
}

#[test]
fn a_sled_log_that_is_cut_at_any_byte_of_its_last_record_costs_no_fact() {
    let root = tempfile::tempdir().unwrap();
    let (live, killed) = (root.path().join("live"), root.path().join("killed"));
    let history = facts(3);
    let (last, before) = history.split_last().unwrap();
    stored(&live, before);
    let mut store = DiskStore::open(&live).unwrap();
    let earlier = fs::read(log_of(&live.join("store"))).unwrap();
    store.append(std::slice::from_ref(last)).unwrap();
    copy_folder(&live, &killed);
    let whole = fs::read(log_of(&killed.join("store"))).unwrap();

    for cut in changed(&earlier, &whole) {
        let torn = tempfile::tempdir().unwrap();
        copy_folder(&killed, torn.path());
        fs::write(log_of(&torn.path().join("store")), &whole[..cut]).unwrap();

        assert_eq!(found(torn.path()), Loaded { epoch: 1, facts: history.clone() }, "cut at {cut}");
    }
}

#[test]
fn a_kill_between_journal_and_sled_is_mended_in_place() {
    let root = tempfile::tempdir().unwrap();
    let before = tempfile::tempdir().unwrap();
    let history = facts(6);
    stored(root.path(), &history[..5]);
    copy_folder(&root.path().join("store"), &before.path().join("store"));
    DiskStore::open(root.path()).unwrap().append(&history[5..]).unwrap();
    fs::remove_dir_all(root.path().join("store")).unwrap();
    copy_folder(&before.path().join("store"), &root.path().join("store"));

    assert_eq!(found(root.path()).facts, history);

    assert_eq!(asides(root.path()), 0, "sled was whole");
}

#[test]
fn a_sled_folder_that_is_more_than_a_batch_behind_is_not_trusted() {
    let root = tempfile::tempdir().unwrap();
    let before = tempfile::tempdir().unwrap();
    let history = facts(6);
    stored(root.path(), &history[..4]);
    copy_folder(&root.path().join("store"), &before.path().join("store"));
    let mut store = DiskStore::open(root.path()).unwrap();
    store.append(&history[4..5]).unwrap();
    store.append(&history[5..]).unwrap();
    drop(store);
    fs::remove_dir_all(root.path().join("store")).unwrap();
    copy_folder(&before.path().join("store"), &root.path().join("store"));

    assert_eq!(found(root.path()).facts, history);

    assert_eq!(asides(root.path()), 1);
}

#[test]
fn a_store_from_before_there_were_journals_gets_one() {
    let root = tempfile::tempdir().unwrap();
    let history = facts(6);
    let mut old = SledStore::open(&root.path().join("store")).unwrap();
    old.append(&history.iter().collect::<Vec<_>>()).unwrap();
    old.set_epoch(7).unwrap();
    drop(old);

    assert_eq!(found(root.path()), Loaded { epoch: 7, facts: history });

    fs::remove_dir_all(root.path().join("store")).unwrap();
    assert_eq!(DiskStore::open(root.path()).unwrap().load().unwrap().epoch, 7, "the journal has all of it");
}

#[test]
fn facts_that_only_sled_has_go_back_into_the_journal() {
    let root = tempfile::tempdir().unwrap();
    let history = facts(6);
    stored(root.path(), &history);
    let segment = root.path().join("journal/000001.jsonl");
    let journal = fs::read(&segment).unwrap();
    fs::write(&segment, &journal[..journal.len() - 300]).unwrap();

    assert_eq!(found(root.path()).facts, history);

    fs::remove_dir_all(root.path().join("store")).unwrap();
    assert_eq!(DiskStore::open(root.path()).unwrap().load().unwrap().facts[..history.len()], history);
}

#[test]
fn zeros_within_the_last_batch_cost_no_fact_that_was_acknowledged() {
    for sled_has_it in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let history = facts(200);
        stored(root.path(), &history[..4]);
        let (store, before) = (root.path().join("store"), root.path().join("before"));
        copy_folder(&store, &before);
        DiskStore::open(root.path()).unwrap().append(&history[4..]).unwrap();
        if !sled_has_it {
            fs::remove_dir_all(&store).unwrap();
            fs::rename(&before, &store).unwrap();
        }
        let segment = root.path().join("journal/000001.jsonl");
        let mut journal = fs::read(&segment).unwrap();
        let middle = journal.len() / 2;
        journal[middle..middle + 4_096].fill(0);
        fs::write(&segment, journal).unwrap();

        let found = found(root.path()).facts;

        // Without sled it never was.
        let all = found == history;
        let some = found.len() > 4 && found.len() < history.len() && history.starts_with(&found);
        assert_eq!((all, some), (sled_has_it, !sled_has_it), "{}", found.len());
        assert_eq!(asides(root.path()), 0, "sled was whole");
    }
}

#[test]
fn a_damaged_journal_stops_the_start_and_can_be_written_anew_from_sled() {
    let root = tempfile::tempdir().unwrap();
    let history = facts(6);
    stored(root.path(), &history);
    let segment = root.path().join("journal/000001.jsonl");
    let mut journal = fs::read(&segment).unwrap();
    let fourth = journal.split(|byte| *byte == b'\n').take(3).map(|line| line.len() + 1).sum::<usize>();
    journal[fourth + 100] ^= 1;
    fs::write(&segment, journal).unwrap();

    let refused = DiskStore::open(root.path()).map(drop).unwrap_err().to_string();

    assert!(refused.contains("000001.jsonl, line 4"), "{refused}");
    fs::rename(root.path().join("journal"), root.path().join("away")).unwrap();
    assert_eq!(found(root.path()).facts, history);
}

#[test]
fn an_error_of_sled_alone_stops_nobody() {
    let root = tempfile::tempdir().unwrap();
    let history = facts(6);
    let mut store = DiskStore::open(root.path()).unwrap();
    store.append(&history[..4]).unwrap();
    store.lose_index();
    overwrite_all(&root.path().join("store"), &|_| vec![0xa5; 4096]);

    store.append(&history[3..]).unwrap();

    assert_eq!(store.load().unwrap().facts, history);
    assert_eq!(asides(root.path()), 1);
}

#[test]
fn epochs_rise_whichever_part_is_lost() {
    for lost in ["store", "journal"] {
        let root = tempfile::tempdir().unwrap();
        stored(root.path(), &facts(2));
        assert_eq!(DiskStore::open(root.path()).unwrap().raise_epoch(), Ok(2));
        fs::remove_dir_all(root.path().join(lost)).unwrap();

        assert_eq!(DiskStore::open(root.path()).unwrap().raise_epoch(), Ok(3), "without the {lost}");
    }
}
