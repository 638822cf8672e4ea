//! The stopwatch of the benchmarks.

use std::time::Instant;

/// Milliseconds that `measured` takes, the median of `times`.
#[expect(clippy::disallowed_methods, reason = "this is the clock of the benchmarks")]
pub(crate) fn median_ms(times: usize, mut measured: impl FnMut()) -> f64 {
    let mut taken: Vec<f64> = (0..times)
        .map(|_| {
            let start = Instant::now();
            measured();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    taken[taken.len() / 2]
}
