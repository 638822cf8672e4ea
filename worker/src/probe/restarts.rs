//! When a probe that breaks again and again is started again.

use std::time::{Duration, Instant};

/// So many failures in a row are followed by a new start at once: the trial may have been at fault.
const AT_ONCE: u32 = 4;

/// The first pause; each is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause: somebody may have plugged the board in again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What is known of a probe's processes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Restarts {
    /// Processes that were started, the first one not counted.
    count: u64,
    /// Failures since the last answer.
    in_a_row: u32,
    not_before: Option<Instant>,
}

impl Restarts {
    /// A process did not start, or had to be ended.
    pub(super) fn failed(&mut self, now: Instant) {
        self.in_a_row += 1;
        if let Some(doublings) = self.in_a_row.checked_sub(AT_ONCE) {
            let pause = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(doublings)).min(PAUSE_MAX);
            self.not_before = now.checked_add(pause);
        }
    }

    /// A process answered as it should.
    pub(super) fn answered(&mut self) {
        self.in_a_row = 0;
        self.not_before = None;
    }

    /// How long nothing is started; none when it may be.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let left = self.not_before?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// One more process is started; returns how many there have been after the first one.
    pub(super) fn started(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_few_failures_in_a_row_cost_no_time_and_more_of_them_ever_more() {
        let now = clock::now();
        let mut restarts = Restarts::default();
        let pauses: Vec<u64> = (0..12)
            .map(|_| {
                restarts.failed(now);
                restarts.pause(now).map_or(0, |pause| pause.as_secs())
            })
            .collect();

        assert_eq!(pauses, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(restarts.pause(now + PAUSE_MAX), None, "it ends");
        for _ in 0..100 {
            restarts.failed(now);
        }
        assert_eq!(restarts.pause(now), Some(PAUSE_MAX));
    }

    #[test]
    fn an_answer_makes_up_for_all_failures() {
        let now = clock::now();
        let mut restarts = Restarts::default();
        (0..AT_ONCE).for_each(|_| restarts.failed(now));

        restarts.answered();

        assert_eq!(restarts.pause(now), None);
        restarts.failed(now);
        assert_eq!(restarts.pause(now), None);
    }
}
