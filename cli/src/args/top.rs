use std::time::Duration;

use bitloop_core::duration;
use clap::Args;

use super::Remote;

/// Bounds of the time between two looks: people see no more often, and an hour is not watching.
const EVERY: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);

#[derive(Debug, Args)]
pub(crate) struct TopArguments {
    #[command(flatten)]
    pub(crate) remote: Remote,

    /// Time between two looks, `100ms` to `1h`.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = every)]
    pub(crate) every: Duration,

    /// Print what there is to see once and leave, as without a terminal.
    #[arg(long)]
    pub(crate) once: bool,
}

fn every(text: &str) -> Result<Duration, String> {
    let every = duration::parse(text)?;
    match EVERY.contains(&every) {
        true => Ok(every),
        false => Err("write 100ms to 1h".to_owned()),
    }
}
