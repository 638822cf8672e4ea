//! `bitloop top` on a terminal, which util-linux's `script` makes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use bitloop_tests::is_required;
use bitloop_tests::metrics::Metrics;
use bitloop_tests::process::{Process, await_that, binary};

/// What the terminal is told to show another screen, and the one from before.
const ANOTHER: &str = "\x1b[?1049h";
const AS_BEFORE: &str = "\x1b[?1049l";

/// What `stty` says of the terminal, before and behind.
fn settings(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| line.split_once("settings "));
    lines.map(|(_, settings)| settings.trim()).collect()
}

#[test]
fn whatever_ends_it_the_terminal_is_given_back_as_it_was() {
    if let Err(reason) = Command::new("script").arg("--version").stdout(Stdio::null()).status() {
        assert!(!is_required("script"), "{reason}");
        drop(writeln!(std::io::stderr(), "skipped: no `script`, which makes a terminal: {reason}"));
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Metrics::start(folder.path());
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let (program, url) = (binary(), coordinator.url());
        let top = format!("echo number $$; exec '{}' top --coordinator {url}", program.display());
        let settings_now = "echo settings $(stty -g)";
        let line = format!("{settings_now}; sh -c \"{}\"; {settings_now}", top.replace('$', "\\$"));
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--command", &line, "/dev/null"]);
        script.env("TERM", "xterm").stdin(Stdio::null());
        let terminal = Process::start(script);
        let mut shown = String::new();
        await_that("the other screen is shown", || {
            shown = terminal.out();
            shown.contains(ANOTHER)
        });
        let number = shown.lines().find_map(|line| line.trim().strip_prefix("number ").map(str::to_owned));
        let number = number.expect("it says its number");

        let sent = Command::new("kill").args([format!("-{signal}"), number]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{signal} works");
        let said = terminal.end().out;

        assert!(said.contains(AS_BEFORE), "{signal}: {said:?}");
        let settings = settings(&said);
        assert!(settings.len() == 2 && settings[0] == settings[1], "{signal}: {settings:?}");
    }
}
