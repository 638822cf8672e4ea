//! Requests for a shard that wait for work, and how they are served.

use bitloop_core::state::{self, Input, LeaseId, Reply, Waiting, WorkerId};
use tokio::sync::oneshot;

use super::command::{Answer, Next, RequestError};
use super::{Driver, LONG_POLL_MS};

/// Requests of this process's clients that wait.
pub(super) type Parked = state::Parked<oneshot::Sender<Answer>>;

impl Driver {
    pub(super) fn take_request(&mut self, worker: WorkerId, reply: oneshot::Sender<Answer>) {
        // Work is never granted to a client that has gone.
        if reply.is_closed() {
            return;
        }
        match self.step(&Input::Request { worker: worker.clone() }) {
            Ok(Reply::Shard(None)) => {
                let deadline = self.clock.now().after(LONG_POLL_MS);
                self.park(Waiting { worker, reply, deadline });
            }
            answer => self.answer_later(Some(worker), reply, answer.map_err(RequestError::from)),
        }
    }

    /// Takes a commit whose worker is served at the end of this round, when the searchers have seen what it brought.
    pub(super) fn take_last_commit(&mut self, commit: &Input, reply: oneshot::Sender<Answer>, next: Next) {
        let answer = self.step(commit).map_err(RequestError::from);
        let is_accepted = answer.is_ok();
        self.answer_later(None, reply, answer);
        let Next { worker, reply } = next;
        if is_accepted && !reply.is_closed() {
            self.park(Waiting { worker, reply, deadline: self.clock.now() });
        }
    }

    fn park(&mut self, request: Waiting<oneshot::Sender<Answer>>) {
        if let Some(older) = self.parked.park(request) {
            self.answer_later(None, older.reply, Ok(Reply::Shard(None)));
        }
    }

    pub(super) fn serve_parked(&mut self) {
        let now = self.clock.now();
        for request in self.parked.take_due(&self.state, now, oneshot::Sender::is_closed) {
            let answer = self.step(&Input::Request { worker: request.worker.clone() });
            if answer == Ok(Reply::Shard(None)) && now < request.deadline {
                self.park(request);
            } else {
                self.answer_later(Some(request.worker), request.reply, answer.map_err(RequestError::from));
            }
        }
    }

    /// Ends the lease of an answer that nobody gets; returns whether there was one.
    pub(super) fn take_back(&mut self, worker: Option<WorkerId>, unsent: &Answer) -> bool {
        let (Some(worker), Some(lease)) = (worker, granted(unsent)) else { return false };
        self.step(&Input::Release { worker, lease, trials: None, obstacle: None }).is_ok()
    }
}

fn granted(answer: &Answer) -> Option<LeaseId> {
    match answer {
        Ok(Reply::Shard(Some(shard))) => Some(shard.lease),
        Ok(
            Reply::Shard(None)
            | Reply::Done
            | Reply::Submitted { .. }
            | Reply::Registered { .. }
            | Reply::Heartbeat { .. }
            | Reply::Committed { .. },
        )
        | Err(_) => None,
    }
}
