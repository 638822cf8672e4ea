//! When submitting to a class is worth trying.

use std::time::Duration;

use bitloop_core::spec::PauseSpec;
use serde::{Deserialize, Serialize};

/// How submissions of a class have fared lately.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Health {
    /// Submissions that the engine refused since it took one.
    refusals: u32,
    /// Submissions that ended too soon since one lasted.
    early_ends: u32,
    /// Pauses since things last went well.
    pauses: u32,
    until: Option<Duration>,
}

/// A pause that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) failures: u32,
    pub(crate) lasts: Duration,
}

impl Health {
    pub(crate) fn refused(&mut self, spec: &PauseSpec, now: Duration) -> Option<Pause> {
        self.refusals += 1;
        self.pause(self.refusals, spec, now)
    }

    pub(crate) fn ended_early(&mut self, spec: &PauseSpec, now: Duration) -> Option<Pause> {
        self.early_ends += 1;
        self.pause(self.early_ends, spec, now)
    }

    /// The engine took a submission; what becomes of it is not known yet.
    pub(crate) fn accepted(&mut self, spec: &PauseSpec) {
        self.refusals = 0;
        if self.early_ends < spec.after {
            self.pauses = 0;
        }
    }

    /// A submission lives as long as a worker that works.
    pub(crate) fn lasted(&mut self) {
        self.early_ends = 0;
        self.pauses = 0;
    }

    /// A pause that was written down lasts no longer than pauses do, whatever became of the clock since.
    pub(crate) fn resume(&mut self, spec: &PauseSpec, now: Duration) {
        self.until = self.until.map(|until| until.min(now + spec.longest));
    }

    /// How many submissions may be tried now, when the fate of `unproven` ones is open.
    pub(crate) fn allowance(&self, spec: &PauseSpec, unproven: usize, now: Duration) -> usize {
        if self.until.is_some_and(|until| now < until) {
            return 0;
        }
        // After a pause one shows whether it was long enough.
        match self.early_ends >= spec.after {
            true => 1_usize.saturating_sub(unproven),
            false if self.refusals >= spec.after => 1,
            false => usize::MAX,
        }
    }

    /// How long it is until the pause ends, if there is one.
    pub(crate) fn paused(&self, now: Duration) -> Option<Duration> {
        self.until?.checked_sub(now).filter(|left| !left.is_zero())
    }

    fn pause(&mut self, failures: u32, spec: &PauseSpec, now: Duration) -> Option<Pause> {
        // Failures of what was submitted before a pause began do not prolong it.
        if failures < spec.after || self.paused(now).is_some() {
            return None;
        }
        let factor = 1_u32.checked_shl(self.pauses).unwrap_or(u32::MAX);
        let lasts = spec.first.saturating_mul(factor).min(spec.longest);
        self.pauses = self.pauses.saturating_add(1);
        self.until = Some(now + lasts);
        Some(Pause { failures, lasts })
    }
}
