//! The terminal: taken for as long as a [`Screen`] lives, and given back as it was, also after an error or a panic.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::draw::{Inks, draw};
use super::look::{Look, Pressed};

/// How long the thread that reads keys waits before it looks whether it is still wanted.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// How long it is waited for that thread. The system may hold it up for ever: a key that was announced is not given out any more
/// when a panic has given the terminal back meanwhile, but only with the line that it begins.
const READER_PATIENCE: Duration = Duration::from_millis(500);

/// Keys that may wait for the screen.
const KEYS_WAITING: usize = 64;

pub(super) struct Screen {
    terminal: DefaultTerminal,
    is_over: Arc<AtomicBool>,
    /// Closed when nobody reads keys any more.
    reading: Receiver<()>,
}

impl Screen {
    /// Takes the terminal; the keys that are pressed come over the channel, which ends when they cannot be read.
    pub(super) fn open() -> io::Result<(Self, mpsc::Receiver<Pressed>)> {
        // From now on a panic gives the terminal back before it says anything.
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (sender, keys) = mpsc::channel(KEYS_WAITING);
        let over = is_over.clone();
        let reader = thread::Builder::new().name("bitloop-keys".to_owned());
        let (is_reading, reading) = sync_channel(1);
        // From here on the terminal is given back whatever happens.
        let screen = Self { terminal, is_over, reading };
        reader.spawn(move || {
            let _is_reading = is_reading;
            read_keys(&sender, &over);
        })?;
        Ok((screen, keys))
    }

    pub(super) fn draw(&mut self, look: &mut Look, inks: Inks) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame.buffer_mut(), look, inks)).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // So that it takes no key that is meant for what comes next; whatever happened to it, the terminal is given back.
        let _ = self.reading.recv_timeout(READER_PATIENCE);
        ratatui::restore();
    }
}

fn read_keys(keys: &mpsc::Sender<Pressed>, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let pressed = match event::poll(KEY_WAIT) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(_) => return,
        };
        let pressed = match pressed {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                Pressed { code: key.code, modifiers: key.modifiers }
            }
            // What changes the window's size has it drawn anew.
            Ok(_) => Pressed::NOTHING,
            Err(_) => return,
        };
        // Nobody presses so many keys that some of them would be missed.
        if matches!(keys.try_send(pressed), Err(mpsc::error::TrySendError::Closed(_))) {
            return;
        }
    }
}

/// Requests to leave that come from elsewhere than the keyboard.
pub(super) struct Terminated {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    quit: Signal,
}

pub(super) fn terminated() -> io::Result<Terminated> {
    Ok(Terminated {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hang_up: signal(SignalKind::hangup())?,
        quit: signal(SignalKind::quit())?,
    })
}

impl Terminated {
    pub(super) async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use bitloop_tests::is_required;

    use super::*;

    /// Makes the test below take the terminal that it is on, and panic.
    const ON_A_TERMINAL: &str = "BITLOOP_TEST_ON_A_TERMINAL";

    /// What the terminal is told to show another screen, and the one from before.
    const ANOTHER: &str = "\x1b[?1049h";
    const AS_BEFORE: &str = "\x1b[?1049l";

    /// The test runs itself again, on a terminal that util-linux's `script` makes.
    #[test]
    fn a_panic_gives_the_terminal_back_as_it_was() {
        if std::env::var_os(ON_A_TERMINAL).is_some() {
            let _taken = Screen::open().unwrap();
            panic!("something is wrong");
        }
        let test = std::env::current_exe().unwrap();
        let name = "commands::top::screen::tests::a_panic_gives_the_terminal_back_as_it_was";
        let settings = "echo settings $(stty -g)";
        let line = format!("{settings}; '{}' --exact {name} --nocapture; {settings}", test.display());
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--command", &line, "/dev/null"]).stdin(Stdio::null());
        let said = match script.env("TERM", "xterm").env(ON_A_TERMINAL, "1").output() {
            Ok(said) => String::from_utf8_lossy(&said.stdout).into_owned(),
            Err(reason) => {
                assert!(!is_required("script"), "{reason}");
                drop(writeln!(std::io::stderr(), "skipped: no `script`, which makes a terminal: {reason}"));
                return;
            }
        };

        let (taken, rest) = said.split_once(ANOTHER).expect(&said);
        let (_, given_back) = rest.split_once(AS_BEFORE).expect(&said);
        assert!(given_back.contains("something is wrong"), "it is said where people see it: {said:?}");
        let settings = |text: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix("settings ").map(str::to_owned));
            line.expect(&said).trim().to_owned()
        };
        assert_eq!(settings(given_back), settings(taken));
    }
}
