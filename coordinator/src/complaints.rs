//! What people are told now and then, however often it happens.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// Time between two complaints.
const PAUSE: Duration = Duration::from_secs(60);

/// One kind of thing that somebody else may cause as often as they like.
#[derive(Debug)]
pub(crate) struct Complaints {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When people were last told.
    told: Option<Duration>,
    /// How often it has happened since.
    times: u64,
}

impl Complaints {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Counts one more; gives how often it has happened since people were last told, if they are to be told now.
    pub(crate) fn add(&self) -> Option<u64> {
        let now = self.clock.elapsed();
        // The two change together, without anything between that could panic.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.times += 1;
        if state.told.is_some_and(|told| now.saturating_sub(told) < PAUSE) {
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.times))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_those_that_follow_together_and_later() {
        let millis = Arc::new(AtomicU64::new(5));
        let complaints = Complaints::new(Clock::manual(millis.clone()));
        let in_a_row = |times| -> Vec<_> { (0..times).filter_map(|_| complaints.add()).collect() };

        assert_eq!(in_a_row(1_000), [1]);
        millis.fetch_add(PAUSE.as_millis() as u64 - 1, Ordering::SeqCst);
        assert!(in_a_row(1).is_empty());
        millis.fetch_add(1, Ordering::SeqCst);
        assert_eq!(in_a_row(2), [1_001]);
        millis.fetch_add(10 * PAUSE.as_millis() as u64, Ordering::SeqCst);
        assert_eq!(in_a_row(1), [2]);
    }
}
