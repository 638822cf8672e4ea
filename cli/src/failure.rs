//! How a command fails: a message for people and an exit code for scripts.

use std::process::ExitCode;

use bitloop_core::spec::SpecError;

/// The exit codes that scripts may depend on; 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The experiment or the request failed.
    Failed = 1,
    /// The command line or a file it names is wrong.
    Usage = 2,
    /// No coordinator answers.
    Unreachable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What may come of asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// The same: whoever asks may not, or it cannot be asked so.
    Refusal,
    /// Nobody knows.
    Open,
    /// An answer, in time: nobody is there now, or too much is asked at once.
    Answer,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
    pub(crate) prospect: Prospect,
}

pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let prospect = match exit {
            Exit::Unreachable => Prospect::Answer,
            Exit::Failed => Prospect::Open,
            Exit::Usage => Prospect::Refusal,
        };
        Self { exit, error: anyhow::Error::msg(message.into()), prospect }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Every mistake in a file, under the file's name.
    pub(crate) fn in_file(path: &std::path::Path, error: &SpecError) -> Self {
        let lines: Vec<String> = error.mistakes.iter().map(|mistake| format!("  {mistake}")).collect();
        let count = match lines.len() {
            1 => "1 mistake".to_owned(),
            many => format!("{many} mistakes"),
        };
        Self::usage(format!("{}: {count}\n{}", path.display(), lines.join("\n")))
    }
}

/// Anything else that goes wrong fails the request.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::Failed, error: error.into(), prospect: Prospect::Open }
    }
}
