//! One process of a probe: starting it, asking it, ending it and all that it started.
//!
//! Threads of their own write to it and read from it, as it may neither read nor write; whoever asks waits no longer than the
//! limit, whatever the process does. They end with the process's ends of the pipes.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tracing::{debug, info, warn};

use super::command::ProbeCommand;
use super::error::Breakage;
use super::lines::{ANSWER_BYTES_MAX, Complaints, Said, hand_on_answers, hand_on_complaints};
use super::unburied::Unburied;
use crate::clock;

/// Time between two looks at what else may have happened while one waits for a line.
const LOOK: Duration = Duration::from_millis(20);

/// Lines that a process has written before its end are here by then.
const DRAIN: Duration = Duration::from_secs(1);

/// A killed process is gone by then, unless the kernel keeps it.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// Lines of standard error that are told in a request.
const COMPLAINTS_TOLD: u64 = 200;

/// The last ones, which say why it died.
const LAST_WORDS: usize = 3;

/// Characters of a line of which it is said that it is not of the protocol.
const EXCERPT_CHARS: usize = 80;

/// Why a process gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// It is of no use any more.
    Broken { how: Breakage, reason: String },
    /// Nobody wants the answer.
    Stopped,
}

impl Silence {
    pub(super) fn lied(reason: impl Into<String>) -> Self {
        Self::Broken { how: Breakage::Lied, reason: reason.into() }
    }

    fn died(reason: impl Into<String>) -> Self {
        Self::Broken { how: Breakage::Died, reason: reason.into() }
    }
}

/// How long one waits for a line.
#[derive(Clone, Copy)]
pub(super) struct Wait<'a> {
    pub(super) limit: Duration,
    pub(super) stop: &'a AtomicBool,
}

/// A running process; killed, with its process group, when dropped.
pub(super) struct Process {
    name: String,
    child: Child,
    group: Pid,
    /// How it ended, once it has been waited for.
    buried: Option<ExitStatus>,
    /// Lines for standard input, which ends with this.
    asks: Option<SyncSender<Vec<u8>>>,
    said: Receiver<Said>,
    complaints: Complaints,
    told: u64,
    last_words: VecDeque<String>,
    end_grace: Duration,
    /// Where it goes if it cannot be killed.
    unburied: Unburied,
}

impl Process {
    /// Starts one, in a process group of its own, so that what it starts ends with it.
    pub(super) fn start(name: &str, command: &ProbeCommand, unburied: &Unburied) -> io::Result<Self> {
        let mut started = Command::new(&command.program);
        started.args(&command.arguments).envs(&command.environment).process_group(0);
        started.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = &command.folder {
            started.current_dir(folder);
        }
        let mut child = started.spawn()?;
        let group = Pid::from_child(&child);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (asks, lines) = sync_channel::<Vec<u8>>(1);
        let (sender, said) = sync_channel(1);
        let (writer, complaints) = Complaints::channel();
        let process = Self {
            name: name.to_owned(),
            child,
            group,
            buried: None,
            asks: Some(asks),
            said,
            complaints,
            told: 0,
            last_words: VecDeque::new(),
            end_grace: command.limits.end,
            unburied: unburied.clone(),
        };
        // From here on dropping it ends the process.
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("a pipe is missing"));
        };
        spawn("probe-in", move || {
            while let Ok(line) = lines.recv() {
                if stdin.write_all(&line).and_then(|()| stdin.flush()).is_err() {
                    return;
                }
            }
        })?;
        spawn("probe-out", move || hand_on_answers(BufReader::new(stdout), &sender))?;
        spawn("probe-err", move || hand_on_complaints(BufReader::new(stderr), &writer))?;
        debug!(probe = name, process = process.child.id(), "started");
        Ok(process)
    }

    /// Writes a line and waits for the next one that it says.
    ///
    /// Errors: `Lied` also if it has said something unasked before.
    pub(super) fn ask(&mut self, mut line: Vec<u8>, wait: Wait<'_>) -> Result<Vec<u8>, Silence> {
        self.unasked()?;
        line.push(b'\n');
        let asks = self.asks.as_ref().expect("it is there until the process is dropped");
        if asks.try_send(line).is_err() {
            return Err(self.epitaph(false));
        }
        self.line(wait)
    }

    /// Waits for the next line.
    pub(super) fn line(&mut self, wait: Wait<'_>) -> Result<Vec<u8>, Silence> {
        let started = clock::now();
        let end = started.checked_add(wait.limit);
        self.told = 0;
        let line = self.line_until(end, wait);
        self.tell();
        let left_out = self.complaints.left_out() + self.told.saturating_sub(COMPLAINTS_TOLD);
        if left_out > 0 {
            warn!(probe = self.name, lines = left_out, "the probe says more than is kept");
        }
        line
    }

    fn line_until(&mut self, end: Option<Instant>, wait: Wait<'_>) -> Result<Vec<u8>, Silence> {
        let mut drained_by = None;
        loop {
            self.tell();
            match self.said.recv_timeout(LOOK) {
                Ok(said) => return self.heard(said),
                Err(RecvTimeoutError::Disconnected) => return Err(self.epitaph(false)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = clock::now();
            match drained_by {
                // What it started holds its output open and has left its process group.
                Some(drained_by) if now >= drained_by => return Err(self.epitaph(false)),
                Some(_) => {}
                None if self.has_exited() => {
                    // What it started may hold its output open.
                    self.kill_group();
                    drained_by = Some(now + DRAIN);
                }
                None => {}
            }
            if wait.stop.load(Ordering::Relaxed) {
                return Err(Silence::Stopped);
            }
            if end.is_some_and(|end| now >= end) {
                let reason = format!("it did not answer within {:?}", wait.limit);
                return Err(Silence::Broken { how: Breakage::Hung, reason });
            }
        }
    }

    fn heard(&mut self, said: Said) -> Result<Vec<u8>, Silence> {
        match said {
            Said::Line(line) => Ok(line),
            Said::TooLong => {
                Err(Silence::lied(format!("it says a line of more than {ANSWER_BYTES_MAX} bytes")))
            }
            Said::Closed { torn } => Err(self.epitaph(torn)),
        }
    }

    /// Whether it has said something that nobody asked for, or ended.
    pub(super) fn unasked(&mut self) -> Result<(), Silence> {
        match self.said.try_recv() {
            Ok(Said::Line(line)) => Err(Silence::lied(format!("it says `{}` unasked", excerpt(&line)))),
            Ok(said @ (Said::TooLong | Said::Closed { .. })) => self.heard(said).map(|_| ()),
            Err(TryRecvError::Disconnected) => Err(self.epitaph(false)),
            Err(TryRecvError::Empty) => Ok(()),
        }
    }

    /// Says how it died.
    fn epitaph(&mut self, torn: bool) -> Silence {
        let is_over = self.exits_within(DRAIN);
        let mut reason = match self.bury() {
            Some(status) if is_over => format!("it ended with {status}"),
            Some(_) | None => "it closed its standard output".to_owned(),
        };
        if torn {
            reason.push_str(" in the middle of a line");
        }
        // Its end of the pipe is closed by now, unless somebody else holds it.
        let end = clock::now() + DRAIN;
        while let Some(left) = end.checked_duration_since(clock::now())
            && let Ok(line) = self.complaints.lines.recv_timeout(left)
        {
            self.complain(line);
        }
        if !self.last_words.is_empty() {
            let words: Vec<&str> = self.last_words.iter().map(String::as_str).collect();
            reason.push_str(&format!("; its last words: {}", words.join(" / ")));
        }
        Silence::died(reason)
    }

    /// Puts what it wrote to standard error since it was looked at into the log, in the name of this thread's trial.
    fn tell(&mut self) {
        // No more than that at a time: it may write as fast as it is read.
        for _ in 0..COMPLAINTS_TOLD {
            let Ok(line) = self.complaints.lines.try_recv() else { return };
            self.complain(line);
        }
    }

    fn complain(&mut self, line: String) {
        self.told += 1;
        if self.told <= COMPLAINTS_TOLD {
            info!(probe = self.name, line, "the probe says");
        }
        if !line.is_empty() {
            self.last_words.push_back(line);
        }
        if self.last_words.len() > LAST_WORDS {
            self.last_words.pop_front();
        }
    }

    /// Whether the process has ended. It is not waited for, so that its number stays its own until its group is killed.
    fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }

    fn exits_within(&self, limit: Duration) -> bool {
        let end = clock::now() + limit;
        while !self.has_exited() {
            if clock::now() >= end {
                return false;
            }
            thread::sleep(LOOK);
        }
        true
    }

    /// Kills it and what it started, and waits for it; none if it cannot be killed.
    fn bury(&mut self) -> Option<ExitStatus> {
        // Who has been waited for has no number any more: somebody else may have it.
        if self.buried.is_none() {
            self.kill_group();
            match self.exits_within(KILL_GRACE) {
                true => self.buried = self.child.wait().ok(),
                // As a driver may keep it.
                false => warn!(probe = self.name, process = self.child.id(), "the process cannot be killed"),
            }
        }
        self.buried
    }

    fn kill_group(&self) {
        // Nobody is left to be killed, which is as well.
        let _ = kill_process_group(self.group, Signal::KILL);
    }

    /// Lets it end by itself, as far as it does so soon.
    pub(super) fn end(mut self) {
        self.asks = None;
        if !self.exits_within(self.end_grace) {
            debug!(probe = self.name, "it goes on although its standard input has ended");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.bury().is_none() {
            self.unburied.add(self.group);
        }
    }
}

fn spawn(name: &str, what: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(what).map(drop)
}

/// The beginning of a line, for people.
pub(super) fn excerpt(line: &[u8]) -> String {
    let text = bitloop_proto::convert::to_log_line(&String::from_utf8_lossy(line));
    let short: String = text.chars().take(EXCERPT_CHARS).collect();
    if short.len() < text.len() { format!("{short}...") } else { short }
}
