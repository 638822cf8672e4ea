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

/// Seconds that all threads of this process have computed, where the system tells; otherwise NaN.
pub(crate) fn cpu_seconds() -> f64 {
    /// What `/proc` counts in on Linux, whatever the kernel does inside.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which is in parentheses, user and system time are the 12th and 13th fields.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    if ticks.len() == 2 { ticks.iter().sum::<f64>() / TICKS_PER_SECOND } else { f64::NAN }
}
