//! The stopwatch of the benchmarks.

use std::time::Instant;

/// Milliseconds that `measured` takes.
#[expect(clippy::disallowed_methods, reason = "this is the clock of the benchmarks")]
fn timed_ms(measured: impl FnOnce()) -> f64 {
    let start = Instant::now();
    measured();
    start.elapsed().as_secs_f64() * 1e3
}

/// Milliseconds that `measured` takes, the median of `times`.
pub(crate) fn median_ms(times: usize, mut measured: impl FnMut()) -> f64 {
    median((0..times).map(|_| timed_ms(&mut measured)).collect())
}

/// The median of some numbers, of which there is at least one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
