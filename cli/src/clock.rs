//! The stopwatch of the terminal: nothing that is measured or stored depends on it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Time since some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "this is the clock of this crate")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// A number that differs from start to start of a program.
#[expect(clippy::disallowed_methods, reason = "this is the clock of this crate")]
pub(crate) fn nonce() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos())
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "this is the clock of this crate")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Processor time of this process so far in seconds, all threads together, where the system tells.
pub(crate) fn cpu_seconds() -> Option<f64> {
    cpu_seconds_of("self")
}

/// The same of a process by its number.
pub(crate) fn cpu_seconds_of(process: impl std::fmt::Display) -> Option<f64> {
    /// What `/proc` counts in on Linux, whatever the kernel does inside.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name may hold anything, so fields are counted behind its closing bracket.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}
