//! Screens of made-up overviews, letter by letter.

use bitloop_proto::v1::{
    CoordinatorSummary, Device, ExperimentStatus, ExperimentSummary, OverviewResponse, TrialFailure,
    WorkerInfo, WorkerSummary,
};
use expect_test::{Expect, expect};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use super::super::look::{Flow, Pressed};
use super::*;
use crate::show::{overview_json, overview_text};

fn experiment(name: &str, status: ExperimentStatus, settled: u64) -> ExperimentSummary {
    let is_active = status == ExperimentStatus::Active;
    ExperimentSummary {
        id: format!("{name}-0123456789ab"),
        name: name.to_owned(),
        status: status.into(),
        stage: if is_active { "sensitivity".to_owned() } else { String::new() },
        total: 12_000,
        settled,
        leased: if is_active { 80 } else { 0 },
        workers: 2,
        per_second: if is_active { 8.25 } else { 0.0 },
        ..ExperimentSummary::default()
    }
}

fn worker(name: &str, committed: u64) -> WorkerSummary {
    let device = Device { class: "AMD EPYC 7763".to_owned(), ..Device::default() };
    let labels = [("board".to_owned(), "orin".to_owned())].into();
    let info = WorkerInfo { id: name.to_owned(), device: Some(device), labels, ..WorkerInfo::default() };
    WorkerSummary {
        info: Some(info),
        committed,
        leased: 40,
        trial_ms: 120.26,
        silent_ms: 900,
        per_second: 4.125,
        busy: 0.985,
        experiment: "first-0123456789ab".to_owned(),
        ..WorkerSummary::default()
    }
}

fn overview() -> OverviewResponse {
    let coordinator = CoordinatorSummary {
        version: "0.1.0".to_owned(),
        epoch: 3,
        uptime_ms: 7_500_000,
        queued: 6_920,
        leases: 2,
        leased: 80,
        commit_ms: 1.23,
        commit_p99_ms: 5.0,
        succeeded: 5_017,
        failed: 1,
        ..CoordinatorSummary::default()
    };
    let failure = TrialFailure {
        trial: vec![0xab; 32],
        experiment: "first-0123456789ab".to_owned(),
        worker: "lab-7-w1".to_owned(),
        reason: "the quantizer of `conv1.weight`\ngave no finite scale".to_owned(),
        age_ms: 61_500,
    };
    OverviewResponse {
        coordinator: Some(coordinator),
        experiments: vec![
            experiment("first", ExperimentStatus::Active, 5_000),
            experiment("second", ExperimentStatus::Finished, 12_000),
        ],
        workers: vec![worker("lab-7-w1", 4_000), WorkerSummary { failed: 1, ..worker("lab-8-w1", 1_018) }],
        failures: vec![failure],
    }
}

fn many(count: u64) -> OverviewResponse {
    let workers = (0..count).map(|index| worker(&format!("w{index:03}"), index * 7 % 100)).collect();
    OverviewResponse { workers, ..overview() }
}

fn look(overview: OverviewResponse) -> Look {
    let mut look = Look::new("http://127.0.0.1:7717");
    look.show(overview);
    look
}

fn drawn(look: &mut Look, (columns, lines): (u16, u16), inks: Inks) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal.draw(|frame| draw(frame.buffer_mut(), look, inks)).unwrap();
    terminal.backend().buffer().clone()
}

fn screen(look: &mut Look, size: (u16, u16)) -> String {
    let buffer = drawn(look, size, Inks::Colours);
    let line = |y| (0..size.0).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..size.1).map(line).collect::<Vec<_>>().join("\n")
}

fn press(look: &mut Look, code: KeyCode) -> Flow {
    look.press(Pressed { code, modifiers: KeyModifiers::NONE })
}

fn check(look: &mut Look, size: (u16, u16), expected: &Expect) {
    expected.assert_eq(&screen(look, size));
}

#[test]
fn a_wide_terminal_shows_everything() {
    check(&mut look(overview()), (140, 30), &expect![[]]);
}

#[test]
fn a_terminal_of_80_columns_and_24_lines_shows_one_table_at_a_time() {
    let mut look = look(overview());
    check(&mut look, (80, 24), &expect![[]]);
    press(&mut look, KeyCode::Tab);
    check(&mut look, (80, 24), &expect![[]]);
    press(&mut look, KeyCode::Right);
    check(&mut look, (80, 24), &expect![[]]);
}

#[test]
fn a_small_terminal_shows_what_matters_most() {
    check(&mut look(overview()), (40, 12), &expect![[]]);
    check(&mut look(overview()), (24, 5), &expect![[]]);
}

#[test]
fn no_size_is_too_small_to_be_drawn() {
    for columns in 1..50 {
        for lines in 1..30 {
            let mut look = look(many(50));
            for code in [KeyCode::Tab, KeyCode::End, KeyCode::Char('s'), KeyCode::Char('?')] {
                screen(&mut look, (columns, lines));
                press(&mut look, code);
            }
        }
    }
}

#[test]
fn an_empty_coordinator_says_what_is_next() {
    check(&mut look(OverviewResponse::default()), (80, 30), &expect![[]]);
}

#[test]
fn a_coordinator_that_is_gone_or_held_up_is_said_first() {
    let mut ailing = overview();
    let coordinator = ailing.coordinator.as_mut().unwrap();
    coordinator.silent_ms = 12_000;
    coordinator.store_error = "no space left in data".to_owned();
    let mut look = look(ailing);
    look.lose("the coordinator at http://127.0.0.1:7717 is gone: connection refused");
    look.age(7.4);

    check(&mut look, (80, 24), &expect![[]]);

    look.show(overview());
    look.age(0.2);
    assert!(!screen(&mut look, (80, 24)).contains("gone"), "it is back");
}

#[test]
fn rows_are_scrolled_and_sorted_by_a_column() {
    let mut look = look(many(40));
    press(&mut look, KeyCode::Tab);
    // Worker, device, measures, leased, rate, ms/trial, busy, done.
    (0..8).for_each(|_| assert_eq!(press(&mut look, KeyCode::Char('s')), Flow::Go));
    check(&mut look, (70, 14), &expect![[]]);
    press(&mut look, KeyCode::Char('r'));
    press(&mut look, KeyCode::End);
    press(&mut look, KeyCode::Down);
    check(&mut look, (70, 14), &expect![[]]);
    // From the end it goes back at once.
    press(&mut look, KeyCode::Up);
    check(&mut look, (70, 14), &expect![[]]);
}

#[test]
fn a_paused_display_stays_and_help_says_the_keys() {
    let mut look = look(overview());
    press(&mut look, KeyCode::Char('p'));
    let paused = screen(&mut look, (80, 24));
    assert!(paused.starts_with("bitloop top  http://127.0.0.1:7717  PAUSED"), "{paused}");
    look.show(OverviewResponse::default());
    assert_eq!(screen(&mut look, (80, 24)), paused);
    press(&mut look, KeyCode::Char('p'));
    look.show(OverviewResponse::default());
    assert_ne!(screen(&mut look, (80, 24)), paused);

    press(&mut look, KeyCode::Char('?'));
    check(&mut look, (60, 24), &expect![[]]);
    assert_eq!(press(&mut look, KeyCode::Char('q')), Flow::Go, "it leaves the help");
    assert_eq!(press(&mut look, KeyCode::Char('q')), Flow::Leave);
    let interrupt = Pressed { code: KeyCode::Char('c'), modifiers: KeyModifiers::CONTROL };
    assert_eq!(look.press(interrupt), Flow::Leave);
}

#[test]
fn without_colours_nothing_is_coloured_and_warnings_still_stand_out() {
    let styles = |inks| {
        let buffer = drawn(&mut look(overview()), (140, 30), inks);
        let colours = buffer.content.iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        (colours.count(), buffer)
    };

    let ((coloured, _), (plain, buffer)) = (styles(Inks::Colours), styles(Inks::Plain));

    assert!(coloured > 0);
    assert_eq!(plain, 0);
    let failed = (0..140).find(|x| buffer[(*x, 1)].modifier.contains(Modifier::BOLD));
    assert!(failed.is_some(), "`1 failed` is bold");
}

#[test]
fn the_same_is_printed_as_text() {
    expect![[]].assert_eq(&overview_text(&overview()));
}

#[test]
fn the_same_is_printed_as_json() {
    expect![[]].assert_eq(&serde_json::to_string_pretty(&overview_json(&overview())).unwrap());
}
