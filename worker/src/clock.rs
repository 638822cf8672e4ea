//! The only reader of the clock in this crate.

use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "this is the reader that everything else uses")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn elapsed(since: Instant) -> Duration {
    since.elapsed()
}
