//! Calls of an engine's commands: arguments as they are, input on standard input, and an end to waiting.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

/// How long a command may take: busy controllers answer after many seconds.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between two looks at a command that has not ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Most bytes read of what a command says: the list of a large cluster, and an end to it.
const OUTPUT_BYTES_MAX: u64 = 256 << 20;

/// Characters of what a command said that a message repeats.
const SAID_CHARS_MAX: usize = 300;

/// Why an engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Its command is not there.
    #[error(
        "`{command}` cannot be started: {cause}; is this a machine that submits, and is `commands:` right?"
    )]
    NoCommand {
        /// The command.
        command: String,
        /// Why, as the system says.
        cause: std::io::Error,
    },
    /// The command says no.
    #[error("`{command}` failed ({status}): {said}")]
    Failed {
        /// The command.
        command: String,
        /// Its exit status.
        status: String,
        /// What it said.
        said: String,
    },
    /// It says nothing, in time.
    #[error("`{command}` did not end within {} s", .limit.as_secs_f64())]
    TooSlow {
        /// The command.
        command: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// It says something else than its manual.
    #[error("`{command}` said what bitloop does not understand: {said}")]
    Unreadable {
        /// The command.
        command: String,
        /// What it said.
        said: String,
    },
    /// Lists are of all users, and nobody says which one this is.
    #[error("who this user is follows from the variable USER, which is not set; set it")]
    NoUser,
}

impl EngineError {
    /// Whether the command may have done what it was asked.
    pub fn is_unclear(&self) -> bool {
        match self {
            Self::TooSlow { .. } | Self::Unreadable { .. } => true,
            // The command gave up waiting for its server, which may have heard it: Slurm's "Socket timed out".
            Self::Failed { said, .. } => said.to_ascii_lowercase().contains("timed out"),
            Self::NoCommand { .. } | Self::NoUser => false,
        }
    }
}

/// An error about an answer of `command` that cannot be read.
pub(super) fn unreadable(command: &[String], said: &str) -> EngineError {
    EngineError::Unreadable { command: command[0].clone(), said: shortened(said) }
}

/// Runs a command from a folder, or from `PATH`; returns what it says on standard output.
pub(super) fn call(folder: Option<&str>, command: &[String], input: &str) -> Result<String, EngineError> {
    call_within(COMMAND_TIMEOUT, folder, command, input)
}

pub(super) fn call_within(
    limit: Duration,
    folder: Option<&str>,
    command: &[String],
    input: &str,
) -> Result<String, EngineError> {
    let name = || command[0].clone();
    let program =
        folder.map_or_else(|| command[0].clone().into(), |folder| Path::new(folder).join(&command[0]));
    let no_command = |cause| EngineError::NoCommand { command: name(), cause };
    let mut call = Command::new(program);
    call.args(&command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = call.spawn().map_err(no_command)?;
    if let Some(mut stdin) = child.stdin.take()
        && let Err(cause) = stdin.write_all(input.as_bytes())
        // A command that does not read its input says why it ended.
        && cause.kind() != ErrorKind::BrokenPipe
    {
        end(child);
        return Err(no_command(cause));
    }
    let out = read(child.stdout.take()).map_err(no_command)?;
    let err = read(child.stderr.take()).map_err(no_command)?;
    let looks = limit.as_millis() / LOOK_AGAIN.as_millis();
    for _ in 0..looks.max(1) {
        let Some(status) = child.try_wait().map_err(no_command)? else {
            thread::sleep(LOOK_AGAIN);
            continue;
        };
        // What the command has left running may hold its output open.
        let said = |text: Receiver<String>| text.recv_timeout(limit).unwrap_or_default();
        let (out, err) = (said(out), said(err));
        return match status.success() {
            true => Ok(out),
            false => {
                let said = if err.trim().is_empty() { &out } else { &err };
                Err(EngineError::Failed {
                    command: name(),
                    status: status.to_string(),
                    said: shortened(said),
                })
            }
        };
    }
    end(child);
    Err(EngineError::TooSlow { command: name(), limit })
}

/// Reads to the end on a thread of its own, so that a command never blocks on a full pipe.
fn read(pipe: Option<impl Read + Send + 'static>) -> std::io::Result<Receiver<String>> {
    let (send, received) = sync_channel(1);
    thread::Builder::new().name("engine-output".to_owned()).spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // What was read before a mistake is all there is.
            let _ = pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
        }
        // Nobody waits for the output of a command that was too slow.
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    })?;
    Ok(received)
}

fn end(mut child: Child) {
    // It may have ended by itself meanwhile.
    let _ = child.kill();
    let _ = child.wait();
}

fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SAID_CHARS_MAX) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None if line.is_empty() => "nothing".to_owned(),
        None => line,
    }
}
