//! Screens of made-up overviews, letter by letter.

mod made_up;

use bitloop_proto::v1::OverviewResponse;
use expect_test::{Expect, expect, expect_file};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use self::made_up::{many, overview};
use super::super::look::{Flow, Pressed};
use super::*;
use crate::show::{overview_json, overview_text};

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
    check(
        &mut look(overview()),
        (140, 30),
        &expect![[r#"
            bitloop top  http://127.0.0.1:7717
            epoch 3, up 2.1 h  6 920 trials queued  80 leased in 2 leases  5 017 succeeded  1 failed  0 repeated  0 conflicts  0 leases expired
            0 workers lost  a commit takes 1.2 ms, 99 % within 5 ms
             Experiments (2)
            experiment           status    stage        prio    done   open  leased  failed   rate    left  workers
            first-0123456789ab   active    sensitivity     0   5 000  6 920      80       0  8.2/s  14 min        2
            second-0123456789ab  finished  -               0  12 000      0       0       0      -       -        2













             Workers (2)
            worker    device                     measures            leased   rate  ms/trial  busy   done  failed  heard
            lab-7-w1  AMD EPYC 7763, board=orin  first-0123456789ab      40  4.1/s     120.3  98 %  4 000       0  0.9 s
            lab-8-w1  AMD EPYC 7763, board=orin  first-0123456789ab      40  4.1/s     120.3  98 %  1 018       1  0.9 s

             Failures (1)
             ago  trial         experiment          worker    reason
            62 s  abababababab  first-0123456789ab  lab-7-w1  the quantizer of `conv1.weight` gave no finite scale

            q quit  Tab section  arrows scroll  s sort  r reverse  p pause  ? help"#]],
    );
}

#[test]
fn a_terminal_of_80_columns_and_24_lines_shows_one_table_at_a_time() {
    let mut look = look(overview());
    check(
        &mut look,
        (80, 24),
        &expect![[r#"
            bitloop top  http://127.0.0.1:7717
            epoch 3, up 2.1 h  6 920 trials queued  80 leased in 2 leases  5 017 succeeded
            1 failed  0 repeated  0 conflicts  0 leases expired  0 workers lost
            a commit takes 1.2 ms, 99 % within 5 ms
             Experiments (2)
            experiment           status    stage          done   open  failed   rate    left
            first-0123456789ab   active    sensitivity   5 000  6 920       0  8.2/s  14 min
            second-0123456789ab  finished  -            12 000      0       0      -       -






             Workers (2)
            worker    measures             rate  ms/trial  busy   done  failed  heard
            lab-7-w1  first-0123456789ab  4.1/s     120.3  98 %  4 000       0  0.9 s
            lab-8-w1  first-0123456789ab  4.1/s     120.3  98 %  1 018       1  0.9 s

             Failures (1)
             ago  trial         reason
            62 s  abababababab  the quantizer of `conv1.weight` gave no finite scale

            q quit  Tab section  arrows scroll  s sort  r reverse  p pause  ? help"#]],
    );
    // What lines are to spare goes to the table that is chosen.
    assert_eq!(heads(&mut look), [4, 14, 19]);
    press(&mut look, KeyCode::Tab);
    assert_eq!(heads(&mut look), [4, 9, 19]);
    press(&mut look, KeyCode::Right);
    assert_eq!(heads(&mut look), [4, 9, 14]);
}

/// The lines that tables begin at, on a terminal of 80 columns and 24 lines.
fn heads(look: &mut Look) -> Vec<usize> {
    let screen = screen(look, (80, 24));
    let is_head = |line: &str| line.starts_with(' ') && line.ends_with(')');
    screen.lines().enumerate().filter(|(_, line)| is_head(line)).map(|(number, _)| number).collect()
}

#[test]
fn a_small_terminal_shows_what_matters_most() {
    check(
        &mut look(overview()),
        (40, 12),
        &expect![[r#"
            bitloop top  http://127.0.0.1:7717
            epoch 3, up 2.1 h  6 920 trials queued
            80 leased in 2 leases  5 017 succeeded
            1 failed  0 repeated  0 conflicts
             Experiments (2)  Workers (2)  Failures~
            experiment             done   rate
            first-0123456789ab    5 000  8.2/s
            second-0123456789ab  12 000      -



            q quit  Tab section  arrows scroll  s s~"#]],
    );
    check(
        &mut look(overview()),
        (24, 5),
        &expect![[r#"
        bitloop top  http://127~
         Experiments (2)  Worke~
        experiment
        first-0123456789ab
        second-0123456789ab"#]],
    );
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
    check(
        &mut look(OverviewResponse::default()),
        (80, 30),
        &expect![[r#"
            bitloop top  http://127.0.0.1:7717
            epoch 0, up 0 s  0 trials queued  0 leased in 0 leases  0 succeeded  0 failed
            0 repeated  0 conflicts  0 leases expired  0 workers lost  no commits yet
             Experiments (0)
            no experiments; `bitloop submit EXPERIMENT.yaml` adds one
















             Workers (0)
            no workers; `bitloop worker --coordinator URL` adds one


             Failures (0)
            no trial has failed since the coordinator's start


            q quit  Tab section  arrows scroll  s sort  r reverse  p pause  ? help"#]],
    );
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

    check(
        &mut look,
        (80, 24),
        &expect![[r#"
            bitloop top  http://127.0.0.1:7717
            the coordinator at http://127.0.0.1:7717 is gone: connection refused; trying
            again; what is shown is 7 s old
            its driver has been held up for 12 s; this is from before
            the store cannot be written: no space left in data  epoch 3, up 2.1 h
            6 920 trials queued  80 leased in 2 leases  5 017 succeeded  1 failed
            0 repeated  0 conflicts  0 leases expired  0 workers lost
            a commit takes 1.2 ms, 99 % within 5 ms
             Experiments (2)  Workers (2)  Failures (1)
            experiment           status    stage          done   open  failed   rate    left
            first-0123456789ab   active    sensitivity   5 000  6 920       0  8.2/s  14 min
            second-0123456789ab  finished  -            12 000      0       0      -       -











            q quit  Tab section  arrows scroll  s sort  r reverse  p pause  ? help"#]],
    );

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
    check(
        &mut look,
        (70, 14),
        &expect![[r#"
        bitloop top  http://127.0.0.1:7717
        epoch 3, up 2.1 h  6 920 trials queued  80 leased in 2 leases
        5 017 succeeded  1 failed  0 repeated  0 conflicts  0 leases expired
        0 workers lost  a commit takes 1.2 ms, 99 % within 5 ms
         Experiments (2)  Workers (40)  Failures (1)  by done
        worker  measures             rate  ms/trial  busy  done  failed  heard
        w014    first-0123456789ab  4.1/s     120.3  98 %    98       0  0.9 s
        w028    first-0123456789ab  4.1/s     120.3  98 %    96       0  0.9 s
        w013    first-0123456789ab  4.1/s     120.3  98 %    91       0  0.9 s
        w027    first-0123456789ab  4.1/s     120.3  98 %    89       0  0.9 s
        w012    first-0123456789ab  4.1/s     120.3  98 %    84       0  0.9 s
        w026    first-0123456789ab  4.1/s     120.3  98 %    82       0  0.9 s
        w011    first-0123456789ab  4.1/s     120.3  98 %    77       0  0.9 s
        q quit  Tab section  arrows scroll  s sort  r reverse  p pause  ? help"#]],
    );
    press(&mut look, KeyCode::Char('r'));
    press(&mut look, KeyCode::End);
    press(&mut look, KeyCode::Down);
    assert_eq!(listed(&mut look), ["w011", "w026", "w012", "w027", "w013", "w028", "w014"]);
    // From the end it goes back at once.
    press(&mut look, KeyCode::Up);
    assert_eq!(listed(&mut look), ["w025", "w011", "w026", "w012", "w027", "w013", "w028"]);
}

/// The workers that are in sight on a terminal of 70 columns and 14 lines.
fn listed(look: &mut Look) -> Vec<String> {
    let screen = screen(look, (70, 14));
    let behind = screen.lines().skip_while(|line| !line.starts_with("worker")).skip(1);
    behind.filter(|line| line.starts_with('w')).map(|line| line[..4].to_owned()).collect()
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
    check(
        &mut look,
        (60, 24),
        &expect![[r#"
            bitloop top  http://127.0.0.1:7717
            epoch 0, up 0 s  0 trials queued  0 leased in 0 leases
            0 succeeded  0 failed  0 repeated  0 conflicts
            0 leases expired  0 workers lost  no commits yet
            q, Esc, Ctrl-C   leave
            Tab, left, right choose a section
            up, down         scroll it; also PgUp, PgDn, Home, End
            s                sort it by the next column; after the last~
            r                reverse its order
            p                pause the display; what happens goes on
            ?, h             this help

            open: trials that are neither done nor leased
            rate, busy: smoothed over about a minute
            left: time until all known trials are done at this rate
            heard: since the worker's last heartbeat







            q quit  Tab section  arrows scroll  s sort  r reverse  p pa~"#]],
    );
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
    expect![[r#"
        Coordinator (bitloop 0.1.0)
          epoch 3, up 2.1 h
          6 920 trials queued
          80 leased in 2 leases
          5 017 succeeded
          1 failed
          0 repeated
          0 conflicts
          0 leases expired
          0 workers lost
          a commit takes 1.2 ms, 99 % within 5 ms

        Experiments (2)
          experiment           status    stage        prio    done   open  leased  failed   rate    left  workers
          first-0123456789ab   active    sensitivity     0   5 000  6 920      80       0  8.2/s  14 min        2
          second-0123456789ab  finished  -               0  12 000      0       0       0      -       -        2

        Workers (2)
          worker    device                     measures            leased   rate  ms/trial  busy   done  failed  heard
          lab-7-w1  AMD EPYC 7763, board=orin  first-0123456789ab      40  4.1/s     120.3  98 %  4 000       0  0.9 s
          lab-8-w1  AMD EPYC 7763, board=orin  first-0123456789ab      40  4.1/s     120.3  98 %  1 018       1  0.9 s

        Failures (1)
           ago  trial         experiment          worker    reason
          62 s  abababababab  first-0123456789ab  lab-7-w1  the quantizer of `conv1.weight` gave no finite scale"#]].assert_eq(&overview_text(&overview()));
}

#[test]
fn the_same_is_printed_as_json() {
    expect_file!["overview.json"]
        .assert_eq(&serde_json::to_string_pretty(&overview_json(&overview())).unwrap());
}
