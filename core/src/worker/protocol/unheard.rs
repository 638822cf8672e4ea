//! What a worker that is cut off does not go on with.
//!
//! An evaluation may be measured twice. A device that two workers reach must not be measured by both at once: so who is not heard
//! breaks off before the coordinator gives it to another one.

use super::{Beat, Millis, Phase, Progress, Protocol};
use crate::state::LEASE_TERM_MS;

/// How long before its lease ends a worker that is not heard breaks off, in milliseconds: a probe is killed in less.
const BREAK_OFF_MS: u64 = 2_000;

/// An answer that took longer than this, in milliseconds, may have waited for work, or been on its way.
const PROMPT_MS: u64 = 2_000;

impl Protocol {
    /// Whether the coordinator may have given the lease out too long ago for a device to be measured under it.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.now > self.heard.after(PROMPT_MS)
    }

    pub(super) fn is_heard(&mut self, beat: Beat, ago_ms: u64) {
        if beat.lease.is_some() && self.beat() == Some(beat) {
            self.heard = self.heard.max(Millis(self.now.0.saturating_sub(ago_ms)));
        }
    }

    /// When it breaks off unless it is heard before; never if it goes on all the same.
    pub(super) fn breaks_off(&self) -> Option<Millis> {
        let is_probing = self.current.as_ref().is_some_and(|current| match current.progress {
            Progress::Measuring => current.is_probe,
            Progress::Waiting { .. } | Progress::Ended(_) => false,
        });
        let is_at_risk = is_probing && self.lease.is_some() && self.phase == Phase::Working;
        is_at_risk.then(|| self.heard.after(LEASE_TERM_MS - BREAK_OFF_MS))
    }

    pub(super) fn break_off(&mut self) {
        if self.breaks_off().is_some_and(|end| self.now >= end) {
            // It ends by itself: nobody prolongs it.
            self.lease = None;
            self.stop();
        }
    }
}
