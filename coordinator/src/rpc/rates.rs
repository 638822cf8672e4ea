//! How often a client may call: a bucket of calls per client, which fills steadily.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::peer::{Client, Peer};

/// Buckets that are kept; beyond that, full ones are forgotten.
const BUCKETS_MAX: usize = 8_192;

/// How fast a client's bucket fills, in calls per second, and what it holds.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: f64,
    burst: f64,
}

/// Of somebody with a certificate, which the workers of a machine may share, or of one connection without TLS.
const KNOWN: Rate = Rate { per_second: 5_000.0, burst: 20_000.0 };

/// Of what takes the coordinator long to answer, by anyone: a person asks once, a script for some experiments in a row.
const LONG: Rate = Rate { per_second: 10.0, burst: 100.0 };

/// What takes long: a search for a trial among all, a report, a log that is read from its beginning, a plan that is checked by
/// solving for its limits, or written down as a whole.
const LONG_METHODS: [&str; 5] = [
    "/bitloop.v1.Coordinator/Explain",
    "/bitloop.v1.Coordinator/Results",
    "/bitloop.v1.Coordinator/TrialLog",
    "/bitloop.v1.Coordinator/Submit",
    "/bitloop.v1.Coordinator/ShowExperiment",
];

/// Whether a method takes the coordinator long.
pub(super) fn takes_long(path: &str) -> bool {
    LONG_METHODS.contains(&path)
}

/// Of an address without a certificate: enough for a cluster behind one address to join.
const STRANGER: Rate = Rate { per_second: 10.0, burst: 200.0 };

#[derive(Debug)]
struct Bucket {
    calls: f64,
    rate: Rate,
    filled: Instant,
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.calls = (self.calls + since * self.rate.per_second).min(self.rate.burst);
        self.filled = now;
    }
}

/// The buckets of all clients, and those for what takes long.
#[derive(Debug, Default)]
pub(super) struct Rates {
    calls: Buckets,
    long: Buckets,
}

#[derive(Debug, Default)]
struct Buckets(Mutex<HashMap<Client, Bucket>>);

impl Rates {
    /// Takes a call of a method out of a client's buckets; false if one is empty.
    pub(super) fn allow(&self, peer: &Peer, path: &str, now: Instant) -> bool {
        let Some(client) = peer.client() else { return true };
        let rate = match client {
            Client::Connection(_) | Client::Member(_) => KNOWN,
            Client::Address(_) => STRANGER,
        };
        (!takes_long(path) || self.long.allow(client.clone(), LONG, now))
            && self.calls.allow(client, rate, now)
    }
}

impl Buckets {
    fn allow(&self, client: Client, rate: Rate, now: Instant) -> bool {
        // A bucket is changed without anything between that could panic.
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| {
                bucket.fill(now);
                bucket.calls < bucket.rate.burst
            });
        }
        let bucket = buckets.entry(client).or_insert(Bucket { calls: rate.burst, rate, filled: now });
        bucket.fill(now);
        let is_allowed = bucket.calls >= 1.0;
        if is_allowed {
            bucket.calls -= 1.0;
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::access::access;
    use super::*;
    use crate::clock;

    #[test]
    fn a_client_that_calls_too_often_is_refused_until_its_bucket_fills_again() {
        let (rates, start) = (Rates::default(), clock::instant());
        let stranger = |text: &str| Peer::Stranger { address: text.parse().unwrap() };
        let (near, far) = (stranger("10.0.0.1"), stranger("10.0.0.2"));
        let allowed = |now| (0..1_000).filter(|_| rates.allow(&near, "", now)).count();

        assert_eq!(allowed(start), 200);
        assert!(rates.allow(&far, "", start));
        assert_eq!(allowed(start + Duration::from_millis(500)), 5);
        assert_eq!(allowed(start + Duration::from_secs(3_600)), 200);
    }

    #[test]
    fn what_takes_long_is_asked_less_often_and_leaves_the_rest_its_calls() {
        let (rates, start) = (Rates::default(), clock::instant());
        let peer = Peer::Open { connection: 1 };
        let allowed = |path, now| (0..1_000).filter(|_| rates.allow(&peer, path, now)).count();

        for path in LONG_METHODS {
            assert!(access(path).is_some(), "{path} is no method");
        }
        assert_eq!(allowed(LONG_METHODS[0], start), 100);
        assert_eq!(allowed(LONG_METHODS[1], start + Duration::from_secs(1)), 10, "they are taken together");
        assert_eq!(allowed("", start), 1_000);
    }

    #[test]
    fn clients_that_were_here_long_ago_are_forgotten() {
        let (rates, start) = (Rates::default(), clock::instant());
        for connection in 0..BUCKETS_MAX as u64 {
            assert!(rates.allow(&Peer::Open { connection }, "", start));
        }

        assert!(rates.allow(&Peer::Open { connection: u64::MAX }, "", start + Duration::from_secs(1)));

        assert_eq!(rates.calls.0.lock().unwrap().len(), 1);
    }
}
