//! The benchmark's clock.

use std::time::{Duration, Instant};

/// How long a closure takes.
#[expect(clippy::disallowed_methods, reason = "clocks are read in clock.rs alone")]
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
