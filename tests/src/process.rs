//! The real program in real processes, which never outlive a test.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything in a test may take before it is called stuck; generous, as machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Pause between two looks at something awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The program under test, which cargo builds for the same profile.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    // <target>/<profile>/deps/<test>
    let profile = test.parent().and_then(Path::parent).expect("tests lie two folders below the profile's");
    let binary = profile.join("bitloop");
    assert!(binary.exists(), "{} is missing; `cargo test --workspace` builds it", binary.display());
    binary
}

/// A command with a cleared environment, in `folder`.
pub fn bitloop<S: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    command.env_clear().current_dir(folder).args(arguments).stdin(Stdio::null());
    command
}

/// What a finished command said.
#[derive(Debug)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Fails the test unless the exit code was 0.
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "{}\nstdout:\n{}\nstderr:\n{}", self.status, self.out, self.err);
        self
    }
}

/// Runs a command to its end.
pub fn say<S: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = S>) -> Said {
    Process::start(bitloop(folder, arguments)).end()
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    logs: tempfile::TempDir,
}

impl Process {
    /// Starts a command; what it says goes to files, so that it never blocks on a full pipe.
    pub fn start(command: Command) -> Self {
        let logs = tempfile::tempdir().expect("a temporary folder");
        let err = log(&logs, "err").into();
        Self::start_in(logs, command, err)
    }

    /// Starts a command whose standard error goes elsewhere.
    pub fn start_with_error(command: Command, err: Stdio) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), command, err)
    }

    fn start_in(logs: tempfile::TempDir, mut command: Command, err: Stdio) -> Self {
        let child = command.stdout(log(&logs, "out")).stderr(err).spawn();
        Self { child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")), logs }
    }

    /// Standard output so far.
    pub fn out(&self) -> String {
        fs::read_to_string(self.logs.path().join("out")).unwrap_or_default()
    }

    /// Standard error so far.
    pub fn err(&self) -> String {
        fs::read_to_string(self.logs.path().join("err")).unwrap_or_default()
    }

    /// The number that the system knows it by.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name, such as `INT`.
    pub fn signal(&self, name: &str) {
        signal(name, self.child.id());
    }

    /// Waits for the end.
    pub fn end(mut self) -> Said {
        let mut status = None;
        await_that("the process ends", || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        Said { status: status.expect("it has ended"), out: self.out(), err: self.err() }
    }
}

/// Sends a signal by name to a process.
pub fn signal(name: &str, number: u32) {
    let sent = Command::new("kill").args([format!("-{name}"), number.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name} works");
}

fn log(logs: &tempfile::TempDir, name: &str) -> File {
    File::create(logs.path().join(name)).expect("a log file")
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The numbers in a file that processes write theirs to, a line each.
pub fn numbers(file: &Path) -> Vec<u32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Whether a process has not ended; one that has ended and was not waited for is not running.
pub fn is_running(number: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    let state = status.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// Waits until something holds.
pub fn await_that(what: &str, holds: impl FnMut() -> bool) {
    await_within(PATIENCE, what, holds);
}

/// Waits until something holds that was promised by then.
pub fn await_within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let started = now();
    while !holds() {
        assert!(started.elapsed() < limit, "waited too long until {what}");
        thread::sleep(LOOK_AGAIN);
    }
}

/// Waits until something holds, but no longer than this; returns whether it does.
pub fn await_for(longest: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let started = now();
    while !holds() {
        if started.elapsed() >= longest {
            return false;
        }
        thread::sleep(LOOK_AGAIN);
    }
    true
}

/// Time for patience only: no assertion depends on it.
#[expect(clippy::disallowed_methods, reason = "a test that is stuck must end")]
pub fn now() -> Instant {
    Instant::now()
}
