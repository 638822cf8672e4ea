//! Arguments of `bitloop logs` and `bitloop events`.

use std::path::PathBuf;
use std::time::Duration;

use bitloop_core::duration;
use clap::Args;

use super::Remote;

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// The first digits of the trial's key, six at least.
    #[arg(value_name = "TRIAL")]
    pub(crate) trial: String,

    /// Go on until the trial is settled.
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// Data directory to look in, instead of asking a coordinator; none may be using it.
    #[arg(long, value_name = "DIR", conflicts_with = "follow")]
    pub(crate) data_dir: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArguments {
    /// Only what concerns this experiment: its id or name.
    #[arg(value_name = "EXPERIMENT")]
    pub(crate) experiment: Option<String>,

    /// Only what is newer: a time such as `10m`, or the cursor of the last event that was seen, such as `3-141`.
    #[arg(long, value_name = "TIME|CURSOR", value_parser = since)]
    pub(crate) since: Option<Since>,

    /// Go on with what happens from now on, also when the coordinator is away for a while.
    #[arg(long, short)]
    pub(crate) follow: bool,

    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// From where on events are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// From so long ago.
    Ago(Duration),
    /// Behind an event.
    Cursor(String),
}

fn since(text: &str) -> Result<Since, String> {
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('-') {
        Some((epoch, number)) if is_number(epoch) && is_number(number) => Ok(Since::Cursor(text.to_owned())),
        Some(_) => {
            Err("a cursor is two numbers, such as 3-141; `--output json` shows those of events".to_owned())
        }
        None => duration::parse(text).map(Since::Ago),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_a_cursor() {
        assert_eq!(since("10m"), Ok(Since::Ago(Duration::from_secs(600))));
        assert_eq!(since("3-141"), Ok(Since::Cursor("3-141".to_owned())));
        for text in ["", "yesterday", "3-", "-141", "3-x"] {
            assert!(since(text).is_err(), "{text}");
        }
    }
}
