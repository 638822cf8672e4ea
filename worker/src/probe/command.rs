//! How the process of a probe is started, and how long things may take.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bitloop_core::probe::Patience;

/// Time to start without limits of one's own: runtimes for accelerators take seconds to load.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Time for a request without limits of one's own: some runtimes compile a network for minutes before they execute it.
const REQUEST_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Beyond the time for which a probe is asked to measure: for reading files, building the network and its warm-up on a machine
/// that others use too.
const LOAD_ALLOWANCE: Duration = Duration::from_secs(2 * 60);

/// A probe's own clock says how long it has measured; what is between two turns comes on top, at most as much again.
const PATIENCE_FACTOR: f64 = 2.0;

/// No request lasts longer, whatever is asked for: it is tried three times at most, twice behind a start, and a worker that gets
/// nowhere for an hour is given up.
const REQUEST_LIMIT_MAX: Duration = Duration::from_secs(16 * 60);

/// Time between the end of standard input and being killed: enough to tell a board to stop.
const END_GRACE: Duration = Duration::from_secs(2);

/// A program that is a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeCommand {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub program: PathBuf,
    /// What it is given.
    pub arguments: Vec<String>,
    /// Variables beside those of the worker.
    pub environment: BTreeMap<String, String>,
    /// The folder that it starts in; the worker's own if none.
    pub folder: Option<PathBuf>,
    /// How long things may take.
    pub limits: Limits,
}

/// How long a probe may take for what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until it says that it is ready.
    pub start: Duration,
    /// For a request, if that does not ask for more.
    pub request: Duration,
    /// For what a request that times takes beside timing.
    pub load: Duration,
    /// To end by itself.
    pub end: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { start: START_LIMIT, request: REQUEST_LIMIT, load: LOAD_ALLOWANCE, end: END_GRACE }
    }
}

impl Limits {
    /// The longest time for a request to measure as long as this.
    pub(super) fn of_timing(&self, patience: &Patience) -> Duration {
        let measuring = Duration::try_from_secs_f64(PATIENCE_FACTOR * patience.at_most_ns * 1e-9);
        let whole = measuring.unwrap_or(REQUEST_LIMIT_MAX).saturating_add(self.load);
        whole.max(self.request).min(REQUEST_LIMIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use bitloop_core::spec::ProbesSpec;

    use super::*;

    #[test]
    fn whatever_a_probe_does_a_request_is_over_before_its_worker_is_given_up() {
        let hour = Duration::from_secs(3_600);

        // In the process that is there, and in two that are started for it.
        assert!(3 * REQUEST_LIMIT_MAX + 2 * ProbesSpec::START_LIMIT_MAX < hour);
        assert!(
            ProbesSpec::TIME_LIMIT_MAX <= REQUEST_LIMIT_MAX && START_LIMIT <= ProbesSpec::START_LIMIT_MAX
        );
    }

    #[test]
    fn whoever_is_to_measure_long_gets_the_time_for_it() {
        let seconds = Duration::from_secs;
        let limits = Limits { request: seconds(100), load: seconds(30), ..Limits::default() };
        let of = |at_most_ns| limits.of_timing(&Patience { at_most_ns, ..Patience::default() });

        assert_eq!(of(10e9), seconds(100), "the registered limit");
        assert_eq!(of(100e9), seconds(230), "as long as it measures, twice, and loading");
        for far in [1e30, f64::INFINITY, f64::NAN] {
            assert_eq!(of(far), REQUEST_LIMIT_MAX, "{far}");
        }
    }
}
