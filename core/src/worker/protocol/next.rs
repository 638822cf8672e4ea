//! What the situation asks for, whatever led to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::digest::Digest;
use crate::state::{Obstacle, ObstacleKind};
use crate::trial::{EvaluateContext, TrialKey};

use super::super::backoff::Backoff;
use super::super::{Call, Effect, End, Finish, Millis, Notice, Order};
use super::{Calling, Current, Phase, Progress, Protocol};

/// The most measured trials that a registration names, so that it stays a small message whatever earlier processes left.
const PENDING_NAMED: usize = 4_096;

impl Protocol {
    /// Does what the situation asks for.
    pub(super) fn proceed(&mut self) {
        if self.is_away && self.phase != Phase::Over {
            self.spool();
        }
        self.break_off();
        self.settle_current();
        self.lose_patience();
        self.pass_time();
        // A shard that did not stop in time is settled too.
        self.settle_current();
        let is_calling = matches!(self.phase, Phase::Working | Phase::Farewell { .. });
        if is_calling
            && self.calling.is_none()
            && self.now >= self.rest_until
            && let Some(call) = self.next_call()
        {
            self.called = self.now;
            self.effects.push(Effect::Call(call));
        }
    }

    /// When the worker has waited for a shard for as long as it may.
    pub(super) fn patience_ends(&self) -> Option<Millis> {
        Some(self.idle_since?.after(self.idle_exit_ms?))
    }

    /// Leaves when no shard has come for long. A lease that is granted just then ends as the worker leaves.
    fn lose_patience(&mut self) {
        if self.phase == Phase::Working
            && let Some(limit_ms) = self.idle_exit_ms
            && self.patience_ends().is_some_and(|end| self.now >= end)
        {
            self.tell(Notice::Idle { limit_ms });
            self.wind_down(Finish::Shutdown);
        }
    }

    fn pass_time(&mut self) {
        let is_measuring = self.is_measuring();
        match self.phase {
            Phase::WindingDown { .. } if !is_measuring => self.say_goodbye(),
            Phase::WindingDown { until } if self.now >= until => {
                self.tell(Notice::DidNotStop);
                self.ended(End::Stopped);
                self.say_goodbye();
            }
            Phase::Farewell { until } if self.now >= until => {
                self.tell(Notice::NoGoodbye);
                self.finish();
            }
            Phase::Working | Phase::WindingDown { .. } | Phase::Farewell { .. } | Phase::Over => {}
        }
    }

    fn is_measuring(&self) -> bool {
        self.current.as_ref().is_some_and(|current| matches!(current.progress, Progress::Measuring))
    }

    fn context(&self, digest: Digest) -> Option<Arc<EvaluateContext>> {
        let known = self.contexts.iter().find(|(known, _)| *known == digest);
        known.map(|(_, context)| Arc::clone(context))
    }

    /// Begins to measure a shard that can be, and forgets one of which nothing is left to say.
    pub(super) fn settle_current(&mut self) {
        let Some(mut current) = self.current.take() else { return };
        current.progress = match current.progress {
            // Nobody knows how long the lease has been in force, and a heartbeat will tell.
            waiting @ Progress::Waiting { .. } if current.is_probe && self.is_in_doubt() => waiting,
            Progress::Waiting { context, trials } => match context.map(|digest| self.context(digest)) {
                Some(None) => Progress::Waiting { context, trials },
                known => {
                    self.effects.push(Effect::Measure(Order { context: known.flatten(), trials }));
                    Progress::Measuring
                }
            },
            Progress::Measuring => Progress::Measuring,
            Progress::Ended(end) if self.pending.is_empty() && !self.has_to_release(&current.remaining) => {
                self.released();
                return self.conclude(end);
            }
            Progress::Ended(end) => Progress::Ended(end),
        };
        self.current = Some(current);
    }

    fn conclude(&mut self, end: End) {
        self.idle_since = Some(self.now);
        match end {
            End::Stopped => return self.tell(Notice::LeaseEnded),
            End::GaveUp(obstacle) if self.phase == Phase::Working => return self.give_back(obstacle),
            End::Finished | End::GaveUp(_) => {}
        }
        self.give_backs.reason.clear();
        self.give_backs.backoff = Backoff::new(&self.info.id.0);
    }

    /// Waits, ever longer, so that a trial that cannot be done here does not come back at once.
    fn give_back(&mut self, Obstacle { kind, reason, .. }: Obstacle) {
        // What the device cannot do, and what panics, is held against trials: the coordinator gives them up, however many they are.
        let limit = match kind {
            ObstacleKind::Supply => self.max_give_backs,
            ObstacleKind::Device | ObstacleKind::Panic => None,
        };
        if limit.is_some() {
            self.give_backs.count = self.give_backs.count.saturating_add(1);
        }
        if limit.is_some_and(|limit| self.give_backs.count >= limit) {
            return self.wind_down(Finish::GaveUp { reason });
        }
        // A worker that gives up says why at its end.
        if limit.is_none() && self.give_backs.reason != reason {
            self.give_backs.reason.clone_from(&reason);
            self.tell(Notice::CannotMeasure { reason });
        }
        let wait = self.give_backs.backoff.next_wait();
        self.rest_until = self.now.after(wait.as_millis() as u64);
        // It does not ask before.
        self.idle_since = Some(self.rest_until);
    }

    fn next_call(&mut self) -> Option<Call> {
        let Some(epoch) = self.epoch else {
            self.calling = Some(Calling::Register);
            return Some(Call::Register { info: Box::new(self.info.clone()), held: self.held() });
        };
        if self.is_commit_due() {
            self.draining = self.draining.max(self.pending.len());
            let wants_shard = self.is_last_commit();
            let (reports, trial_ms) = self.pending.batch(self.batch);
            self.calling = Some(Calling::Commit { count: reports.len() });
            return Some(Call::Commit { epoch, reports, trial_ms, wants_shard });
        }
        let (calling, call) = match (&self.current, self.phase) {
            (None, Phase::Farewell { .. }) => (Calling::Leave, Call::Leave),
            (None, Phase::Working | Phase::WindingDown { .. } | Phase::Over) => {
                (Calling::RequestShard { asked: self.now }, Call::RequestShard { epoch })
            }
            (Some(Current { progress: Progress::Waiting { context, .. }, .. }), _) => {
                let digest = (*context)?;
                (Calling::FetchContext(digest), Call::FetchContext { digest })
            }
            (Some(Current { progress: Progress::Measuring, .. }), _) => return None,
            (Some(Current { progress: Progress::Ended(end), .. }), phase) => {
                let obstacle = match end {
                    // Who is about to go was disturbed, which says nothing of trials.
                    End::GaveUp(obstacle) if phase == Phase::Working => Some(obstacle.clone()),
                    End::GaveUp(_) | End::Finished | End::Stopped => None,
                };
                (Calling::Release, Call::Release { epoch, lease: self.stopping.or(self.lease)?, obstacle })
            }
        };
        self.calling = Some(calling);
        Some(call)
    }

    fn is_commit_due(&self) -> bool {
        !self.pending.is_empty() && (self.now >= self.commit_at || self.is_commit_pressing())
    }

    /// Whether nothing is left to say of the shard at hand behind the next commit, so that the worker takes another one.
    ///
    /// Not one that it could not measure: it waits before it asks for more.
    fn is_last_commit(&self) -> bool {
        let is_over = self.current.as_ref().is_some_and(|current| {
            let is_done = matches!(current.progress, Progress::Ended(End::Finished | End::Stopped));
            is_done && !self.has_to_release(&current.remaining)
        });
        self.phase == Phase::Working && is_over && self.pending.len() <= self.batch
    }

    /// Whether something is left of a lease that is in force, or was taken away. One of which nothing is left has ended by itself.
    fn has_to_release(&self, remaining: &BTreeSet<TrialKey>) -> bool {
        (self.lease.is_some() || self.stopping.is_some()) && !remaining.is_empty()
    }

    /// Whether outcomes need not wait for company.
    pub(super) fn is_commit_pressing(&self) -> bool {
        self.draining > 0 || self.pending.is_full() || !self.is_measuring()
    }

    /// Trials that nobody else needs to measure: those that it is at, and as many measured ones as a message takes. What others
    /// measure meanwhile is a duplicate.
    fn held(&self) -> Vec<TrialKey> {
        let unfinished = self.current.iter().flat_map(|current| current.remaining.iter().copied());
        self.pending.keys().take(PENDING_NAMED).chain(unfinished).collect()
    }
}
