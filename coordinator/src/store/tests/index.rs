//! What sled makes of damage, before there is a journal to mend it by.

use super::super::sled::SledStore;
use super::*;

#[test]
fn a_torn_log_gives_a_prefix_or_an_error_and_never_a_panic() {
    let root = tempfile::tempdir().unwrap();
    let live = root.path().join("live");
    let history = facts(40);
    let mut store = SledStore::open(&live).unwrap();
    for batch in history.chunks(6) {
        store.append(&batch.iter().collect::<Vec<_>>()).unwrap();
    }
    drop(store);
    let whole = fs::read(log_of(&live)).unwrap();

    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for (number, cut) in (0..=used).rev().step_by(used / 12).enumerate() {
        let torn = root.path().join(format!("torn{number}"));
        copy_folder(&live, &torn);
        fs::write(log_of(&torn), &whole[..cut]).unwrap();

        match SledStore::open(&torn).and_then(|mut store| store.load()) {
            Ok(loaded) => {
                let expected = &history[..loaded.facts.len()];
                assert_eq!(loaded.facts, expected, "cut at {cut}");
                let state = State::replayed(loaded.facts, |_, _| {});
                assert_eq!(state.check(), Ok(()));
            }
            Err(error) => assert!(error.to_string().contains("torn"), "{error}"),
        }
    }
}

#[test]
fn a_log_that_is_cut_at_any_byte_of_its_last_record_gives_the_facts_before_it() {
    // The last record is that of an outcome, of the end of a stage, and of a device's time.
    let of_devices = facts_of_devices();
    for history in [&facts(1)[..3], &facts(1), &of_devices[..4]] {
        let root = tempfile::tempdir().unwrap();
        let (live, killed) = (root.path().join("live"), root.path().join("killed"));
        let (last, before) = history.split_last().unwrap();
        let mut store = SledStore::open(&live).unwrap();
        store.append(&before.iter().collect::<Vec<_>>()).unwrap();
        let earlier = fs::read(log_of(&live)).unwrap();
        store.append(&[last]).unwrap();
        copy_folder(&live, &killed);
        let whole = fs::read(log_of(&killed)).unwrap();
        let record = changed(&earlier, &whole);

        for cut in record.start..=record.end {
            let torn = root.path().join("torn");
            copy_folder(&killed, &torn);
            fs::write(log_of(&torn), &whole[..cut]).unwrap();

            let found = SledStore::open(&torn).unwrap().load().unwrap().facts;

            let expected = if cut < record.end { before } else { history };
            assert_eq!(found, expected, "cut at {cut} of {record:?}");
            fs::remove_dir_all(torn).unwrap();
        }
    }
}

#[test]
fn a_log_of_garbage_is_no_empty_store() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("store");
    let mut store = SledStore::open(&folder).unwrap();
    store.append(&facts(3).iter().collect::<Vec<_>>()).unwrap();
    store.set_epoch(1).unwrap();
    drop(store);
    fs::write(log_of(&folder), [0xa5; 4096]).unwrap();

    let refused = SledStore::open(&folder).map(drop).unwrap_err().to_string();

    assert!(refused.contains(&folder.display().to_string()), "{refused}");
    assert!(refused.contains("restore a copy"), "{refused}");
}

#[test]
fn a_folder_that_sled_cannot_read_is_named() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("store");
    fs::create_dir_all(folder.join("db")).unwrap();

    let refused = SledStore::open(&folder).map(drop).unwrap_err().to_string();

    assert!(refused.contains(&folder.display().to_string()), "{refused}");
}

#[test]
fn a_witness_of_a_newer_format_is_enough_to_refuse() {
    let root = tempfile::tempdir().unwrap();
    super::super::witness::Witness { format: STORE_FORMAT + 1, epoch: 1, facts: 0 }
        .write(root.path())
        .unwrap();

    let refused = SledStore::open(root.path()).map(drop).unwrap_err();

    assert_eq!(refused, StoreError::Newer { folder: root.path().to_owned(), found: STORE_FORMAT + 1 });
}

#[test]
fn a_newer_store_is_refused_with_both_formats() {
    let root = tempfile::tempdir().unwrap();
    drop(SledStore::open(root.path()).unwrap());
    SledStore::set_format(root.path(), &(STORE_FORMAT + 1).to_be_bytes());

    let refused = SledStore::open(root.path()).map(drop).unwrap_err();

    assert_eq!(refused, StoreError::Newer { folder: root.path().to_owned(), found: STORE_FORMAT + 1 });
    let both = format!("(format {}, this one reads {STORE_FORMAT}); use that version", STORE_FORMAT + 1);
    assert!(refused.to_string().contains(&both), "{refused}");
}

#[test]
fn an_older_store_is_refused_and_not_called_damaged() {
    let root = tempfile::tempdir().unwrap();
    drop(SledStore::open(root.path()).unwrap());
    SledStore::set_format(root.path(), &1_u32.to_be_bytes());

    let refused = SledStore::open(root.path()).map(drop).unwrap_err();

    assert_eq!(refused, StoreError::Older { folder: root.path().to_owned(), found: 1 });
    assert!(refused.to_string().contains("use another data directory"), "{refused}");
}

#[test]
fn a_store_of_an_older_format_is_raised_by_the_next_start_alone() {
    for older in OLDEST_FORMAT..STORE_FORMAT {
        let root = tempfile::tempdir().unwrap();
        drop(SledStore::open(root.path()).unwrap());
        SledStore::set_format(root.path(), &older.to_be_bytes());
        let format = || SledStore::format(root.path());

        drop(SledStore::open(root.path()).unwrap());
        assert_eq!(format(), older.to_be_bytes());
        SledStore::open(root.path()).unwrap().set_epoch(1).unwrap();

        assert_eq!(format(), STORE_FORMAT.to_be_bytes());
    }
}

#[test]
fn an_impossible_format_is_damage() {
    for bytes in [&0_u32.to_be_bytes()[..], b"one"] {
        let root = tempfile::tempdir().unwrap();
        drop(SledStore::open(root.path()).unwrap());
        SledStore::set_format(root.path(), bytes);

        let refused = SledStore::open(root.path()).map(drop).unwrap_err();

        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    }
}
