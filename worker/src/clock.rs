//! The only reader of the clock in this crate.

use std::time::{Duration, Instant};

pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn elapsed(since: Instant) -> Duration {
    since.elapsed()
}
