//! The training's only look at the clock: for the speed and the remaining time that it reports.

use std::time::Instant;

/// Measures the time since it was started.
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "this is the clock of this crate; it decides nothing")]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start, never 0.
    pub(super) fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64().max(1e-9)
    }
}
