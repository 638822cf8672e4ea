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
