use std::fs;

use bitloop_core::digest::Digest;
use bitloop_core::state::{Decision, Input, Reply, Report, State};
use bitloop_core::trial::{Outcome, Provenance, TrialKey, TrialResult, Work};

use super::record::{End, Met, Short};
use super::segments::{Found, Reader};
use super::trial::Fold;
use super::*;

fn key(number: u64) -> TrialKey {
    TrialKey(Digest::of(&number.to_le_bytes()))
}

fn short(number: u64) -> Short {
    Short::from(&key(number))
}

fn leased(lease: u64, worker: &str, trials: &[u64]) -> Record {
    let trials = trials.iter().map(|number| short(*number)).collect();
    let (worker, device) = (worker.to_owned(), "cpu".to_owned());
    Record::Leased { at: lease, lease, worker, device, second: false, held: false, trials }
}

fn measured(worker: &str, trials: &[u64]) -> Record {
    reported(worker, (trials, &[]), &[])
}

fn reported(worker: &str, (measured, failed): (&[u64], &[(u64, &str)]), duplicates: &[u64]) -> Record {
    let shorts = |trials: &[u64]| trials.iter().map(|number| short(*number)).collect();
    Record::Reported {
        at: 50,
        worker: worker.to_owned(),
        measured: shorts(measured),
        failed: failed.iter().map(|(number, reason)| (short(*number), (*reason).to_owned())).collect(),
        duplicates: shorts(duplicates),
        conflicts: Vec::new(),
    }
}

fn line(lease: u64, text: &str, trial: Option<u64>) -> Record {
    let line = Line { at: 40, level: "info".to_owned(), text: text.to_owned(), trial: trial.map(short) };
    Record::Lines { at: 45, lease, worker: "w1".to_owned(), left_out: 0, lines: vec![line] }
}

fn entries(number: u64, records: Vec<Record>) -> Vec<Entry> {
    let mut fold = Fold::new(short(number));
    records.into_iter().flat_map(|record| fold.apply(record)).collect()
}

/// What a trial's log says of records: the attempt, who, what.
fn told(number: u64, records: Vec<Record>) -> Vec<(u32, String, What)> {
    let entries = entries(number, records).into_iter();
    entries.map(|entry| (entry.attempt, entry.worker, entry.what)).collect()
}

fn by(attempt: u32, worker: &str, what: What) -> (u32, String, What) {
    (attempt, worker.to_owned(), what)
}

#[test]
fn a_trial_that_is_lost_goes_to_another_worker_and_fails_there() {
    let records = vec![
        leased(1, "w1", &[1, 2]),
        Record::Begun { at: 2, lease: 1, trials: vec![short(1)] },
        Record::Begun { at: 3, lease: 1, trials: vec![short(1)] },
        Record::Ended { at: 4, lease: 1, end: End::Lost, trials: vec![short(1), short(2)], obstacle: None },
        leased(2, "w2", &[1, 2]),
        reported("w2", (&[2], &[(1, "no such layer")]), &[]),
    ];

    let entries = entries(1, records.clone());

    assert_eq!(
        told(1, records),
        [
            by(1, "w1", What::Leased),
            by(1, "w1", What::Begun),
            by(1, "w1", What::Lost),
            by(2, "w2", What::Leased),
            by(2, "w2", What::Failed)
        ]
    );
    assert_eq!(entries[4].text, "no such layer");
    assert_eq!(entries[0].text, "on cpu, under lease 1 with 1 others");
}

#[test]
fn a_second_lease_says_why_there_is_one() {
    let trials = || vec![short(1)];
    let again = |lease, held| {
        let (worker, device) = ("w2".to_owned(), "cpu".to_owned());
        Record::Leased { at: lease, lease, worker, device, second: true, held, trials: trials() }
    };
    let met = Met { kind: "supply".to_owned(), reason: "no model".to_owned() };
    let back = Record::Ended { at: 3, lease: 1, end: End::GivenBack, trials: trials(), obstacle: Some(met) };

    let entries = entries(1, vec![leased(1, "w1", &[1]), again(2, false), again(3, true), back]);

    let texts: Vec<&str> = entries.iter().map(|entry| entry.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "on cpu, under lease 1",
            "on cpu, under lease 2, as another worker is late with it",
            "on cpu, under lease 3, as it has it already; another worker got it meanwhile",
            "the worker gave it back (supply): no model"
        ]
    );
}

#[test]
fn the_first_outcome_overtakes_and_the_second_is_a_duplicate() {
    let duplicate = reported("w1", (&[], &[]), &[1]);
    let records = vec![leased(1, "w1", &[1]), leased(2, "w2", &[1]), measured("w2", &[1]), duplicate];

    assert_eq!(
        told(1, records),
        [
            by(1, "w1", What::Leased),
            by(2, "w2", What::Leased),
            by(2, "w2", What::Measured),
            by(1, "w1", What::Overtaken),
            by(1, "w1", What::Duplicate)
        ]
    );
}

#[test]
fn leases_of_an_earlier_start_are_told_from_those_of_this_one() {
    let records = vec![
        leased(1, "w1", &[1]),
        Record::Started { at: 2, epoch: 2 },
        line(1, "of an earlier lease with that number", None),
        leased(1, "w2", &[2]),
        line(1, "of another trial's lease", None),
        leased(2, "w1", &[1]),
        line(2, "its own", None),
        measured("w1", &[1]),
    ];

    assert_eq!(
        told(1, records),
        [
            by(1, "w1", What::Leased),
            by(1, "w1", What::Ended),
            by(2, "w1", What::Leased),
            by(2, "w1", What::Line),
            by(2, "w1", What::Measured)
        ]
    );
}

#[test]
fn a_line_about_one_trial_alone_is_shown_with_no_other() {
    let records = || vec![leased(1, "w1", &[1, 2]), line(1, "alone", Some(1)), line(1, "all", None)];

    let lines = |number| {
        let all = told(number, records());
        all.iter().filter(|(_, _, what)| *what == What::Line).count()
    };
    assert_eq!((lines(1), lines(2), lines(3)), (2, 1, 0));
}

#[test]
fn an_outcome_whose_lease_was_thrown_away_still_stands_there() {
    assert_eq!(told(1, vec![measured("w9", &[1, 2])]), [by(0, "w9", What::Measured)]);
    assert_eq!(told(3, vec![measured("w9", &[1, 2])]), []);
}

fn read(reader: &mut Reader) -> (Vec<String>, u32) {
    let (mut lines, mut gaps) = (Vec::new(), 0);
    reader.read(|found| {
        match found {
            Found::Line(line) => lines.push(String::from_utf8(line).unwrap().trim_end().to_owned()),
            Found::Gap => gaps += 1,
        }
        true
    });
    (lines, gaps)
}

fn total_bytes(folder: &Path) -> u64 {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn files_stay_within_their_bytes_and_the_oldest_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let bytes_max = 16 * 1_000;
    let mut files = Segments::open(folder.path(), bytes_max);
    let mut reader = Reader::new(folder.path());
    files.append(b"first\n").unwrap();
    assert_eq!(read(&mut reader), (vec!["first".to_owned()], 0));

    for number in 0..5_000 {
        files.append(format!("{number:09}\n").as_bytes()).unwrap();
        assert!(total_bytes(folder.path()) <= bytes_max + 16 * 10, "after {number}");
    }

    let (lines, gaps) = read(&mut reader);
    assert_eq!(gaps, 1, "a reader that was too slow is told");
    assert!(lines.len() >= 1_400 && lines.len() < 1_700, "{}", lines.len());
    let expected: Vec<String> = (5_000 - lines.len()..5_000).map(|number| format!("{number:09}")).collect();
    assert_eq!(lines, expected, "the newest, in order");
}

#[test]
fn a_line_that_a_crash_cut_off_harms_no_other() {
    let folder = tempfile::tempdir().unwrap();
    Segments::open(folder.path(), 1 << 20).append(b"whole\nhalf a li").unwrap();

    let mut files = Segments::open(folder.path(), 1 << 20);
    files.append(b"after\n").unwrap();
    files.append(b"and on\n").unwrap();

    assert_eq!(
        read(&mut Reader::new(folder.path())),
        (vec!["whole".into(), "after".into(), "and on".into()], 0)
    );
    Segments::open(folder.path(), 1 << 20).append(b"next start\n").unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a start needs no file of its own");
}

#[test]
fn lines_that_come_together_are_spread_over_files() {
    let folder = tempfile::tempdir().unwrap();
    let line = format!("{}\n", "x".repeat(99));

    Segments::open(folder.path(), 16 * 1_000).append(line.repeat(100).as_bytes()).unwrap();

    assert_eq!(total_bytes(folder.path()), 10_000);
    let files = fs::read_dir(folder.path()).unwrap();
    assert!(files.into_iter().all(|file| file.unwrap().metadata().unwrap().len() <= 1_000));
    assert_eq!(read(&mut Reader::new(folder.path())).0.len(), 100);
}

/// The chronicle of a coordinator's first start.
fn open(folder: &Path) -> (Chronicle, Keeper) {
    Chronicle::open(folder, 1, Clock::system())
}

/// Says that the first trial is leased.
fn tell_of_a_lease(chronicle: &Chronicle) {
    chronicle.tell(&mut Happened { records: vec![leased(1, "w1", &[1])], ..Happened::default() });
}

/// What files say of a trial.
fn kept(chronicle: &Chronicle, number: u64) -> Vec<What> {
    let entries = chronicle.trial(&key(number)).read().0;
    entries.iter().map(|entry| entry.what).collect()
}

/// The largest report that a worker may send; in one line it would be longer than what is read.
#[test]
fn what_is_said_of_many_failures_is_kept_in_lines_that_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (chronicle, keeper) = open(folder.path());
    let (state, reason) = (State::default(), "r".repeat(3_000));
    let provenance = Provenance { engine: String::new(), device: String::new(), kernels: String::new() };
    let report = |number| Report {
        key: key(number),
        outcome: Outcome {
            result: TrialResult::Failed { reason: reason.clone() },
            provenance: provenance.clone(),
            work: Work::default(),
        },
    };
    let reports: Vec<Report> = (0..4_096).map(report).collect();
    let fact = |report: &Report| Fact::OutcomeCommitted { key: report.key, outcome: report.outcome.clone() };
    let events = reports.iter().map(|report| fact(report).into()).collect();
    let reply = Reply::Committed { accepted: 4_096, duplicates: 0, conflicts: 0 };
    let input = Input::Commit { worker: WorkerId("w1".to_owned()), reports, trial_ms: 1.0 };
    let mut happened = Happened::default();

    note(&state, (&input, &Decision { events, reply }), UnixMillis(7), &mut happened);
    chronicle.tell(&mut happened);
    drop(keeper);

    for number in [0, 2_000, 4_095] {
        assert_eq!(kept(&chronicle, number), [What::Failed], "{number}");
    }
}

/// On a full disk every attempt may leave a part of a line, and there may be any number of attempts.
#[test]
fn attempts_that_break_off_cost_no_line_of_earlier() {
    let folder = tempfile::tempdir().unwrap();
    Segments::open(folder.path(), 1 << 20).append(b"first\n").unwrap();
    let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let torn = "x".repeat(10_000);
    for _ in 0..40 {
        let mut opened = fs::OpenOptions::new().append(true).open(&file).unwrap();
        std::io::Write::write_all(&mut opened, torn.as_bytes()).unwrap();

        Segments::open(folder.path(), 1 << 20).append(b"").unwrap();
    }
    Segments::open(folder.path(), 1 << 20).append(b"last\n").unwrap();

    assert_eq!(read(&mut Reader::new(folder.path())), (vec!["first".into(), "last".into()], 0));
    assert_eq!(total_bytes(folder.path()), 11);
}

#[test]
fn files_that_cannot_be_written_or_read_harm_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    fs::write(&logs, "a file where the folder should be").unwrap();

    let (chronicle, keeper) = open(&logs);
    chronicle.started(false);
    tell_of_a_lease(&chronicle);
    drop(keeper);

    assert_eq!(chronicle.events(None).events.len(), 1, "events are in memory all the same");
    assert_eq!(chronicle.trial(&key(1)).read(), (Vec::new(), false));
}

#[test]
fn events_are_kept_where_logs_of_trials_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("trials"), "a file where the folder should be").unwrap();
    let (chronicle, keeper) = open(folder.path());

    tell_of_a_lease(&chronicle);
    chronicle.started(false);
    drop(keeper);

    let (next, _keeper) = Chronicle::open(folder.path(), 2, Clock::system());
    assert_eq!(next.events(None), chronicle.events(None));
}

#[test]
fn damaged_and_foreign_lines_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (chronicle, keeper) = open(folder.path());
    tell_of_a_lease(&chronicle);
    drop(keeper);
    let digits = short(1).digits();
    let noise = format!(
        "{{\"what\":\"leased\",\"{digits}\"\n\u{1b}[31m {digits}\n{{\"what\":\"unheard of\",\"x\":\"{digits}\"}}\n"
    );
    let mut files = Segments::open(&folder.path().join("trials"), 1 << 20);
    files.append(&[noise.as_bytes(), &[0xff, 0xfe, b'\n']].concat()).unwrap();

    assert_eq!(kept(&chronicle, 1), [What::Leased]);
}
