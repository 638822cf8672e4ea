//! What stands in sled's trees in every format that it has had, as text: a line for each record, with the name of its tree and
//! its key. sled's own files are those of one version of it, which is pinned.

use std::fmt::Write;

use expect_test::expect_file;

use super::super::sled::SledStore;
use super::super::witness::Witness;
use super::*;

const INDEX_2: &str = include_str!("../golden/sled_2.txt");
const INDEX_3: &str = include_str!("../golden/sled_3.txt");
const WITNESS_2: &str = include_str!("../golden/witness_2.json");
const WITNESS_3: &str = include_str!("../golden/witness_3.json");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |start| u8::from_str_radix(&text[start..start + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// Values are JSON, but for the numbers in `meta`.
fn as_text(folder: &Path) -> String {
    let mut text = String::new();
    for (name, tree) in SledStore::raw(folder) {
        for (key, value) in tree.iter().map(Result::unwrap) {
            let value = match name {
                "meta" => hex(&value),
                _ => String::from_utf8(value.to_vec()).unwrap(),
            };
            writeln!(text, "{name} {} {value}", hex(&key)).unwrap();
        }
    }
    text
}

/// An index as another version left it.
fn written_as(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let trees = SledStore::raw(folder.path());
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap();
        let (name, key, value) = (word(), unhex(word()), word());
        let value = if name == "meta" { unhex(value) } else { value.as_bytes().to_vec() };
        let (_, tree) = trees.iter().find(|(known, _)| *known == name).unwrap();
        tree.insert(key, value).unwrap();
        tree.flush().unwrap();
    }
    drop(trees);
    folder
}

fn read(folder: &Path) -> Loaded {
    SledStore::open(folder).unwrap().load().unwrap()
}

/// Facts of every kind that has a place of its own.
fn history() -> Vec<Fact> {
    let mut history = facts_with_losses(2);
    history.push(conflict(&history[2]));
    history
}

#[test]
fn an_index_of_format_2_is_read() {
    assert_eq!(read(written_as(INDEX_2).path()), Loaded { epoch: 1, facts: facts(2) });
}

#[test]
fn a_witness_of_format_2_is_believed_and_the_next_start_writes_this_format() {
    let folder = written_as(INDEX_2);
    let path = folder.path().join("witness.json");
    fs::write(&path, WITNESS_2).unwrap();
    assert_eq!(Witness::read(folder.path()).unwrap(), Some(Witness { format: 2, epoch: 1, facts: 5 }));

    SledStore::open(folder.path()).unwrap().set_epoch(2).unwrap();

    let written = Witness { format: STORE_FORMAT, epoch: 2, facts: 5 };
    assert_eq!(Witness::read(folder.path()).unwrap(), Some(written));
    assert_eq!(read(folder.path()), Loaded { epoch: 2, facts: facts(2) });
    fs::write(&path, WITNESS_2.replace("\"facts\":5", "\"facts\":6")).unwrap();
    let refused = SledStore::open(folder.path()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("it holds 5 facts, but held 6"), "{refused}");
}

#[test]
fn an_index_of_this_format_is_read_and_written_record_by_record() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SledStore::open(folder.path()).unwrap();
    store.append(&history().iter().collect::<Vec<_>>()).unwrap();
    store.set_epoch(1).unwrap();
    drop(store);

    let golden = |name| expect_file![format!("{}/src/store/golden/{name}", env!("CARGO_MANIFEST_DIR"))];
    golden("sled_3.txt").assert_eq(&as_text(folder.path()));
    let witness = fs::read_to_string(folder.path().join("witness.json")).unwrap();
    golden("witness_3.json").assert_eq(&witness);

    let other = written_as(INDEX_3);
    fs::write(other.path().join("witness.json"), WITNESS_3).unwrap();
    let epoch = 1;
    assert_eq!(Witness::read(other.path()).unwrap(), Some(Witness { format: 3, epoch, facts: 10 }));
    assert_eq!(read(other.path()), Loaded { epoch, facts: history() });
}
