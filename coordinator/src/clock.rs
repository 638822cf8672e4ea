//! The only place that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bitloop_core::state::UnixMillis;

/// A moment, for what is compared within one start.
#[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is told of")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// A clock that never jumps: the date at its start plus the time since.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_unix: Duration,
    #[cfg(test)]
    manual_ms: Option<std::sync::Arc<std::sync::atomic::AtomicU64>>,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is told of")]
    pub(crate) fn system() -> Self {
        // A date before 1970 only means that the numbers start at zero; nothing compares them across starts.
        let started_unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started: Instant::now(),
            started_unix,
            #[cfg(test)]
            manual_ms: None,
        }
    }

    /// A clock that a test sets.
    #[cfg(test)]
    pub(crate) fn manual(millis: std::sync::Arc<std::sync::atomic::AtomicU64>) -> Self {
        Self { manual_ms: Some(millis), ..Self::system() }
    }

    pub(crate) fn now(&self) -> UnixMillis {
        #[cfg(test)]
        if let Some(millis) = &self.manual_ms {
            return UnixMillis(millis.load(std::sync::atomic::Ordering::SeqCst));
        }
        let now = self.started_unix + self.started.elapsed();
        UnixMillis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    /// The date as certificates count it.
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.now().0 / 1_000
    }

    /// Time that has passed on this clock, finer than [`Clock::now`].
    pub(crate) fn elapsed(&self) -> Duration {
        #[cfg(test)]
        if self.manual_ms.is_some() {
            return Duration::from_millis(self.now().0);
        }
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_from_the_start_whatever_the_date_says_since() {
        // As if the date had been set back by decades right after the start.
        let started_unix = Duration::from_secs(4_102_444_800);
        let clock = Clock { started_unix, ..Clock::system() };

        let (before, now, after) = (clock.elapsed(), clock.now(), clock.elapsed());

        let at = |elapsed: Duration| UnixMillis((started_unix + elapsed).as_millis() as u64);
        assert!(at(before) <= now && now <= at(after), "{now:?}");
    }
}
