//! Time of exact solves of the reference problems: `cargo bench -p bitloop-search --bench solve`.

#[path = "../tests/common/solve_cases.rs"]
mod solve_cases;

use std::time::{Duration, Instant};

use bitloop_search::solve::{ExactOptions, exact};
use solve_cases::Case;

/// Solves of each problem; the median counts.
const REPEATS: usize = 5;

fn main() {
    let sets = [
        ("pairwise", solve_cases::pairwise_cases()),
        ("limpq", solve_cases::limpq()),
        ("programs", solve_cases::programs()),
    ];
    for (name, cases) in sets {
        for best in [1, 2] {
            let mut times: Vec<(Duration, &str)> =
                cases.iter().map(|case| (time(case, best), &*case.name)).collect();
            times.sort();
            let Some((slowest, which)) = times.last() else { continue };
            let median = times[times.len() / 2].0;
            eprintln!(
                "{name}, best {best}: {} problems, median {median:.1?}, maximum {slowest:.1?} ({which})",
                times.len()
            );
        }
    }
}

fn time(case: &Case, best: usize) -> Duration {
    let options = ExactOptions { best, ..ExactOptions::default() };
    let mut times: Vec<Duration> = (0..REPEATS).map(|_| once(case, &options)).collect();
    times.sort();
    times[REPEATS / 2]
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn once(case: &Case, options: &ExactOptions) -> Duration {
    let start = Instant::now();
    // Problems without a solution are timed as well.
    std::hint::black_box(exact(&case.problem, options)).ok();
    start.elapsed()
}
