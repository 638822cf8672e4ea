//! What stands in sled's trees in every format that it has had, as text: a line for each record, with the name of its tree and
//! its key. sled's own files are those of one version of it, which is pinned.

use std::fmt::Write;

use bitloop_core::plan::Plan;
use expect_test::expect_file;

use super::super::sled::SledStore;
use super::super::witness::Witness;
use super::*;

const INDEX_2: &str = include_str!("../golden/sled_2.txt");
const INDEX_3: &str = include_str!("../golden/sled_3.txt");
const INDEX_4: &str = include_str!("../golden/sled_4.txt");
const WITNESS_2: &str = include_str!("../golden/witness_2.json");
const WITNESS_3: &str = include_str!("../golden/witness_3.json");
const WITNESS_4: &str = include_str!("../golden/witness_4.json");

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

/// With a conflict, which has a tree of its own.
fn with_conflict(mut history: Vec<Fact>) -> Vec<Fact> {
    history.push(conflict(&history[2]));
    history
}

/// The older formats, each with its index, its witness, and what both hold.
fn older() -> [(u32, &'static str, &'static str, Vec<Fact>); 2] {
    [(2, INDEX_2, WITNESS_2, facts(2)), (3, INDEX_3, WITNESS_3, with_conflict(facts_with_losses(2)))]
}

#[test]
fn an_index_of_an_older_format_is_read() {
    for (format, index, _, facts) in older() {
        assert_eq!(read(written_as(index).path()), Loaded { epoch: 1, facts }, "{format}");
    }
}

#[test]
fn a_witness_of_an_older_format_is_believed_and_the_next_start_writes_this_format() {
    for (format, index, witness, history) in older() {
        let folder = written_as(index);
        let path = folder.path().join("witness.json");
        let facts = history.len() as u64;
        fs::write(&path, witness).unwrap();
        assert_eq!(Witness::read(folder.path()).unwrap(), Some(Witness { format, epoch: 1, facts }));

        SledStore::open(folder.path()).unwrap().set_epoch(2).unwrap();

        let written = Witness { format: STORE_FORMAT, epoch: 2, facts };
        assert_eq!(Witness::read(folder.path()).unwrap(), Some(written));
        assert_eq!(read(folder.path()), Loaded { epoch: 2, facts: history });
        let more = format!("\"facts\":{}", facts + 1);
        fs::write(&path, witness.replace(&format!("\"facts\":{facts}"), &more)).unwrap();
        let refused = SledStore::open(folder.path()).map(drop).unwrap_err();
        let why = format!("it holds {facts} facts, but held {}", facts + 1);
        assert!(refused.to_string().contains(&why), "{refused}");
    }
}

#[test]
fn an_index_of_this_format_is_read_and_written_record_by_record() {
    let history = with_conflict(facts_in_every_form());
    let folder = tempfile::tempdir().unwrap();
    let mut store = SledStore::open(folder.path()).unwrap();
    store.append(&history.iter().collect::<Vec<_>>()).unwrap();
    store.set_epoch(1).unwrap();
    drop(store);

    let golden = |name| expect_file![format!("{}/src/store/golden/{name}", env!("CARGO_MANIFEST_DIR"))];
    golden("sled_4.txt").assert_eq(&as_text(folder.path()));
    let witness = fs::read_to_string(folder.path().join("witness.json")).unwrap();
    golden("witness_4.json").assert_eq(&witness);

    let other = written_as(INDEX_4);
    fs::write(other.path().join("witness.json"), WITNESS_4).unwrap();
    let (epoch, facts) = (1, history.len() as u64);
    assert_eq!(Witness::read(other.path()).unwrap(), Some(Witness { format: 4, epoch, facts }));
    assert_eq!(read(other.path()), Loaded { epoch, facts: history });
}

/// What the golden files hold means something to the ledger, and to whoever submits the plan.
#[test]
fn facts_of_devices_come_to_a_state() {
    let history = facts_of_devices();
    let Fact::ExperimentSubmitted { plan, .. } = &history[0] else { panic!("{:?}", history[0]) };
    assert_eq!(Plan::from_document(&plan.to_document()).as_ref(), Ok(plan.as_ref()));

    let state = State::replayed(history.clone(), |_, _| {});

    assert_eq!(state.check(), Ok(()));
    let outcomes = history.iter().filter_map(|fact| match fact {
        Fact::OutcomeCommitted { key, .. } => Some(state.ledger.outcome(key).is_some()),
        _ => None,
    });
    assert_eq!(outcomes.collect::<Vec<_>>(), [true; 8]);
}
