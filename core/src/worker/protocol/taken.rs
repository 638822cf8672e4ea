//! What becomes of the shard at hand when its lease is taken away, or another one takes its place.

use crate::state::Shard;
use crate::trial::TrialKey;

use super::super::{Beat, Effect, End, Epoch, Notice};
use super::{Calling, Progress, Protocol};

impl Protocol {
    /// No lease is left: it is given back, or ends by itself at its deadline.
    pub(super) fn released(&mut self) {
        (self.lease, self.stopping) = (None, None);
    }

    /// Goes on under the new lease, or stops the work that nobody waits for any more.
    pub(super) fn adopt(&mut self, adopted: Option<&Shard>) {
        // What the coordinator knew of it ends at its deadline, unless it is under the new one.
        self.released();
        let Some(current) = &self.current else { return };
        let wanted = |shard: &&Shard| shard.trials.iter().any(|(key, _)| current.remaining.contains(key));
        match adopted.filter(wanted) {
            Some(Shard { lease, trials, .. }) => {
                (self.lease, self.heard) = (Some(*lease), self.called);
                self.tell(Notice::Adopted { lease: *lease, trials: trials.len() });
            }
            None => self.stop(),
        }
    }

    /// Ends the work on the shard at hand.
    pub(super) fn stop(&mut self) {
        let Some(current) = &mut self.current else { return };
        match current.progress {
            Progress::Waiting { .. } => {
                current.progress = Progress::Ended(End::Stopped);
                if matches!(self.calling, Some(Calling::FetchContext(_))) {
                    self.abandon();
                }
            }
            Progress::Measuring => self.effects.push(Effect::Stop),
            Progress::Ended(_) => {}
        }
    }

    /// A registration does not name trials any more that were given back, and at the end they are not left to release.
    pub(super) fn forget_trials(&mut self, beat: Beat, trials: &[TrialKey]) {
        if self.beat() == Some(beat)
            && let Some(current) = &mut self.current
        {
            current.remaining.retain(|key| !trials.contains(key));
        }
    }

    pub(super) fn revoke(&mut self, beat: Beat) {
        if self.epoch == Some(beat.epoch) && self.lease.is_some() && self.lease == beat.lease {
            self.stopping = self.lease.take();
            self.stop();
        }
    }

    pub(super) fn displace(&mut self, epoch: Epoch) {
        if self.epoch == Some(epoch) {
            self.epoch = None;
            // What is under way was meant for a coordinator that is gone, or that has forgotten the worker.
            self.abandon();
        }
    }
}
