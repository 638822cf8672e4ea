use std::fs;

use expect_test::expect_file;
use tempfile::TempDir;

use super::super::OLDEST_FORMAT;
use super::*;
use crate::testing::devices::{facts_in_every_form, facts_of_devices};
use crate::testing::{facts, facts_with_losses};

/// A journal of one start and then facts in batches.
struct Written {
    folder: TempDir,
    facts: Vec<Fact>,
}

impl Written {
    fn new(trials: u32, batch: usize, segment_bytes: u64) -> Self {
        Self::of(facts(trials), batch, segment_bytes)
    }

    fn of(facts: Vec<Fact>, batch: usize, segment_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path(), 0, &[]).unwrap();
        let mut journal = journal.rotated_after(segment_bytes);
        journal.raise_epoch(1).unwrap();
        for batch in facts.chunks(batch) {
            journal.append(&batch.iter().collect::<Vec<_>>()).unwrap();
        }
        Self { folder, facts }
    }

    /// In one segment, a fact in each batch.
    fn small() -> Self {
        Self::new(4, 1, SEGMENT_BYTES)
    }

    fn segment(&self, number: u32) -> PathBuf {
        self.folder.path().join(format!("{number:06}.jsonl"))
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.segment(1)).unwrap()
    }

    fn open(&self) -> Result<Journal, StoreError> {
        Journal::open(self.folder.path()).map(|journal| journal.unwrap())
    }

    fn assert_damaged(&self, segment: u32, line: u64, why: &str) {
        match self.open() {
            Err(StoreError::Journal { file, line: found, reason, .. }) => {
                assert_eq!((file, found), (self.segment(segment), line), "{reason}");
                assert!(reason.contains(why), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

fn read_all(journal: &Journal) -> Vec<Fact> {
    journal.facts_from(0).unwrap().map(Result::unwrap).collect()
}

/// Where each line begins, and the end.
fn line_starts(bytes: &[u8]) -> Vec<usize> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1);
    std::iter::once(0).chain(ends).collect()
}

#[test]
fn facts_and_epochs_read_back_over_many_segments() {
    let written = Written::new(50, 7, 4_000);

    let journal = written.open().unwrap();

    assert!(fs::read_dir(written.folder.path()).unwrap().count() > 3, "it is rotated");
    assert_eq!(read_all(&journal), written.facts);
    assert_eq!((journal.facts(), journal.epoch()), (written.facts.len() as u64, 1));
    assert_eq!(journal.facts_before_batch(), written.facts.len() as u64 / 7 * 7);
    for from in [1, 13, written.facts.len() - 1, written.facts.len()] {
        let rest: Vec<Fact> = journal.facts_from(from as u64).unwrap().map(Result::unwrap).collect();
        assert_eq!(rest, written.facts[from..]);
    }
}

#[test]
fn a_torn_last_line_is_cut_off_wherever_it_is_torn() {
    // The last line is the end of a stage, an outcome that is lost, and one that replaces it.
    let with_losses = facts_with_losses(4);
    for last in with_losses.len() - 5..=with_losses.len() {
        let written = Written::of(with_losses[..last].to_vec(), 1, SEGMENT_BYTES);
        a_torn_last_line_is_cut_off(&written);
    }
    // A measurement of a device.
    a_torn_last_line_is_cut_off(&Written::of(facts_of_devices()[..4].to_vec(), 1, SEGMENT_BYTES));
}

fn a_torn_last_line_is_cut_off(written: &Written) {
    let whole = written.bytes();
    let starts = line_starts(&whole);
    let last = starts[starts.len() - 2];
    let (last_fact, before) = written.facts.split_last().unwrap();

    for cut in last..whole.len() {
        fs::write(written.segment(1), &whole[..cut]).unwrap();

        let mut journal = written.open().unwrap();

        assert_eq!(journal.facts(), before.len() as u64, "cut at {cut}");
        assert_eq!(written.bytes(), whole[..last], "cut at {cut}");
        journal.append(&[last_fact]).unwrap();
        assert_eq!(written.bytes(), whole, "cut at {cut}");
    }
    assert_eq!(read_all(&written.open().unwrap()), written.facts);
}

#[test]
fn what_a_crash_left_behind_the_last_line_is_cut_off() {
    let written = Written::small();
    let whole = written.bytes();
    let zeros = vec![0; 9_000];
    let mut other = whole[line_starts(&whole)[3]..].to_vec();
    other[20] ^= 1;
    for left in [&zeros[..], b"garbage", b"garbage\n", &[&zeros[..], b"garbage\nmore\n"].concat()] {
        fs::write(written.segment(1), [&whole[..], left].concat()).unwrap();

        let journal = written.open().unwrap();

        assert_eq!(journal.facts(), written.facts.len() as u64);
        assert_eq!(written.bytes(), whole);
    }
}

/// A file may be made longer before what was written first is on disk, so that a power failure leaves zeros before whole
/// lines of the same batch.
#[test]
fn a_last_batch_with_zeros_in_it_is_cut_off_from_there_on() {
    let mut written = Written::new(2, 1, SEGMENT_BYTES);
    let before = written.facts.len();
    let more = facts(202);
    written.open().unwrap().append(&more[4..204].iter().collect::<Vec<_>>()).unwrap();
    written.facts.extend_from_slice(&more[4..204]);
    let whole = written.bytes();
    let starts = line_starts(&whole);
    // Behind the first line, its batch alone counts its 200 lines.
    let batch = starts.len() - 1 - 200;
    let pages = [starts[batch] / 4_096 * 4_096 + 4_096, whole.len() / 2 / 4_096 * 4_096];
    assert!(pages.iter().all(|page| *page > starts[batch] && page + 8_192 < whole.len()), "{pages:?}");
    for page in pages.into_iter().chain([starts[batch], starts[batch + 7]]) {
        let mut torn = whole.clone();
        torn[page..page + 4_096].fill(0);
        fs::write(written.segment(1), &torn).unwrap();

        let mut journal = written.open().unwrap();

        let kept = starts.iter().filter(|start| **start <= page).count() - 1 - batch;
        assert_eq!(read_all(&journal), written.facts[..before + kept], "zeros at {page}");
        assert_eq!(written.bytes(), whole[..starts[batch + kept]]);
        journal.append(&[&more[204]]).unwrap();
        assert_eq!(written.open().unwrap().facts(), (before + kept + 1) as u64);
    }
}

#[test]
fn zeros_before_another_batch_or_before_another_segment_are_damage() {
    let written = Written::new(60, 20, 9_000);
    let segments = fs::read_dir(written.folder.path()).unwrap().count() as u32;
    assert!(segments >= 2, "it is rotated");
    for segment in 1..segments {
        let whole = fs::read(written.segment(segment)).unwrap();
        let mut torn = whole.clone();
        let at = whole.len() / 2;
        torn[at..at + 50].fill(0);
        fs::write(written.segment(segment), &torn).unwrap();
        let line = line_starts(&whole).iter().filter(|start| **start <= at).count() as u64;

        written.assert_damaged(segment, line, "zeros");

        fs::write(written.segment(segment), &whole).unwrap();
    }
    let written = Written::new(60, 20, SEGMENT_BYTES);
    let mut torn = written.bytes();
    // Within the last batch but one, of which the last line is whole too.
    let at = line_starts(&torn)[50];
    torn[at..at + 50].fill(0);
    fs::write(written.segment(1), &torn).unwrap();

    written.assert_damaged(1, 51, "zeros");
}

#[test]
fn damage_before_the_end_is_named_with_file_and_line() {
    let written = Written::small();
    let whole = written.bytes();
    let starts = line_starts(&whole);
    let lines: Vec<&[u8]> = starts.windows(2).map(|ends| &whole[ends[0]..ends[1]]).collect();

    let mut zeroed = whole.clone();
    zeroed[starts[3] + 40..starts[3] + 90].fill(0);
    let mut flipped = whole.clone();
    flipped[starts[4] + 60] ^= 4;
    let mut over_two_lines = whole.clone();
    over_two_lines[starts[3] + 40..starts[4] + 40].fill(0);
    let without = [&lines[..3], &lines[4..]].concat().concat();
    let swapped = [&lines[..3], &[lines[4], lines[3]], &lines[5..]].concat().concat();
    let twice = [&lines[..4], &lines[3..]].concat().concat();
    for (bytes, line, why) in [
        (zeroed, 4, "zeros"),
        (flipped, 5, "checksum"),
        (over_two_lines, 4, "zeros"),
        (without, 4, "line 4 of the journal stands where 3 is due"),
        (swapped, 4, "line 4 of the journal stands where 3 is due"),
        (twice, 5, "line 3 of the journal stands where 4 is due"),
    ] {
        fs::write(written.segment(1), &bytes).unwrap();

        written.assert_damaged(1, line, why);

        assert_eq!(written.bytes(), bytes, "damage is left as it is");
    }
}

#[test]
fn a_segment_that_is_missing_or_cut_is_named() {
    let written = Written::new(50, 7, 4_000);
    let second = fs::read(written.segment(2)).unwrap();
    let lines = line_starts(&second).len() as u64 - 1;

    fs::write(written.segment(2), &second[..second.len() - 1]).unwrap();
    written.assert_damaged(2, lines, "cut off");
    fs::write(written.segment(2), "").unwrap();
    written.assert_damaged(2, 1, "begins a segment");
    fs::remove_file(written.segment(2)).unwrap();
    written.assert_damaged(3, 1, "segment 2 should come before it");
    fs::write(written.segment(2), second).unwrap();
    fs::remove_file(written.segment(1)).unwrap();
    written.assert_damaged(2, 1, "where 0 is due");
}

#[test]
fn an_append_that_failed_leaves_nothing_and_the_next_one_goes_on() {
    let written = Written::small();
    let mut journal = written.open().unwrap();
    let more = facts(6);
    let whole = written.bytes();
    journal.tear_next_write();

    let failed = journal.append(&[&more[6]]).unwrap_err();

    assert!(failed.is_retryable(), "{failed}");
    assert_eq!(journal.facts(), written.facts.len() as u64);
    assert_ne!(written.bytes(), whole, "a part was written");
    assert_eq!(written.open().unwrap().facts(), written.facts.len() as u64, "and does not count");
    journal.append(&[&more[6], &more[7]]).unwrap();
    let expected = [&written.facts[..], &more[6..8]].concat();
    assert_eq!(read_all(&written.open().unwrap()), expected);
}

#[test]
fn no_folder_and_an_empty_one_have_no_journal() {
    let folder = tempfile::tempdir().unwrap();

    assert!(Journal::open(folder.path()).unwrap().is_none());
    assert!(Journal::open(&folder.path().join("none")).unwrap().is_none());
}

#[test]
fn a_journal_of_an_older_format_goes_on_in_a_segment_of_this_format() {
    let older = [
        (2, &include_bytes!("format_2.jsonl")[..], facts(2)),
        (3, &include_bytes!("format_3.jsonl")[..], facts_with_losses(2)),
    ];
    for (number, golden, held) in older {
        let written = Written::small();
        fs::write(written.segment(1), golden).unwrap();
        let more = facts_of_devices();

        let mut journal = written.open().unwrap();

        assert_eq!((read_all(&journal), journal.epoch()), (held.clone(), 1));
        journal.append(&more.iter().collect::<Vec<_>>()).unwrap();
        let format = |number| {
            let bytes = fs::read(written.segment(number)).unwrap();
            line::named_format(bytes.split(|byte| *byte == b'\n').next().unwrap())
        };
        assert_eq!(fs::read(written.segment(1)).unwrap(), golden, "what is there stays as it is");
        assert_eq!((format(1), format(2)), (Some(number), Some(STORE_FORMAT)));
        assert_eq!(read_all(&written.open().unwrap()), [held, more].concat());
    }
}

#[test]
fn a_journal_of_another_format_is_refused_by_name() {
    for (found, lines) in [(STORE_FORMAT + 1, "{\"other\":[]}\n"), (OLDEST_FORMAT - 1, "")] {
        let folder = tempfile::tempdir().unwrap();
        let header = format!("{{\"segment\":{{\"format\":{found},\"more\":true}}}}\n{lines}");
        fs::write(folder.path().join("000001.jsonl"), header).unwrap();
        let path = folder.path().to_owned();

        let refused = Journal::open(folder.path()).map(drop).unwrap_err();

        let newer = StoreError::Newer { folder: path.clone(), found };
        let expected = if found > STORE_FORMAT { newer } else { StoreError::Older { folder: path, found } };
        assert_eq!(refused, expected);
    }
}

/// The file is read by every later version; one that cannot raises `STORE_FORMAT` and keeps it for a test that refuses it.
#[test]
fn a_journal_of_this_format_reads_and_is_written_byte_for_byte() {
    let written = Written::of(facts_in_every_form(), 3, SEGMENT_BYTES);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/journal/format_4.jsonl");

    expect_file![golden].assert_eq(&String::from_utf8(written.bytes()).unwrap());

    let folder = tempfile::tempdir().unwrap();
    fs::copy(golden, folder.path().join("000001.jsonl")).unwrap();
    let journal = Journal::open(folder.path()).unwrap().unwrap();
    assert_eq!((read_all(&journal), journal.epoch()), (facts_in_every_form(), 1));
}
