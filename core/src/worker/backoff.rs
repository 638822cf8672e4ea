//! How long to wait before trying again.

use std::time::Duration;

use crate::digest::Digest;

/// The first wait at its longest.
const FIRST: Duration = Duration::from_millis(200);

/// No wait is longer: with the time that an attempt takes to fail it stays well below the 10 s within which a worker is
/// to be back after its coordinator.
const LONGEST: Duration = Duration::from_secs(3);

/// Waits that double up to a limit, each shortened by up to a half so that workers do not come back all at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    seed: String,
    attempt: u32,
}

impl Backoff {
    /// Starts anew; waits of different seeds differ.
    pub fn new(seed: &str) -> Self {
        Self { seed: seed.to_owned(), attempt: 0 }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.attempt.min(10)).min(LONGEST);
        let draw = Digest::of(format!("{} {}", self.seed, self.attempt).as_bytes()).as_bytes()[0];
        self.attempt = self.attempt.saturating_add(1);
        full.mul_f64(0.5 + f64::from(draw) / 512.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_stay_within_their_bounds() {
        let mut backoff = Backoff::new("w1");

        let waits: Vec<Duration> = (0..1_000).map(|_| backoff.next_wait()).collect();

        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(waits.iter().all(|wait| *wait >= FIRST / 2 && *wait <= LONGEST));
        assert!(waits[10..].iter().all(|wait| *wait >= LONGEST / 2));
    }

    #[test]
    fn workers_do_not_wait_in_step() {
        let first = |seed| Backoff::new(seed).next_wait();

        assert_ne!(first("w1"), first("w2"));
    }
}
