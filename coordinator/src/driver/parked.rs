//! Requests for a shard that wait for work, and how they are served.

use std::collections::{BTreeMap, HashMap};

use bitloop_core::state::{Input, LeaseId, Reply, UnixMillis, WorkerId};
use tokio::sync::oneshot;

use super::command::{Answer, Next, RequestError};
use super::{Driver, LONG_POLL_MS};

/// A request without an answer yet.
pub(super) struct Waiting {
    pub(super) worker: WorkerId,
    pub(super) reply: oneshot::Sender<Answer>,
    pub(super) deadline: UnixMillis,
}

/// Waiting requests in order of arrival: at most one of each registered worker.
#[derive(Default)]
pub(super) struct Parked {
    waiting: BTreeMap<u64, Waiting>,
    /// Where each worker's is.
    arrivals: HashMap<WorkerId, u64>,
    arrived: u64,
    /// What had opened when all of them were last served.
    served_at: Option<u64>,
    /// Whether time has passed since.
    pub(super) has_ticked: bool,
}

impl Parked {
    /// Parks a request and returns the worker's older one, which is to be answered without work.
    fn park(&mut self, request: Waiting) -> Option<Waiting> {
        let older = self.arrivals.insert(request.worker.clone(), self.arrived);
        let older = older.and_then(|arrival| self.waiting.remove(&arrival));
        self.waiting.insert(self.arrived, request);
        self.arrived += 1;
        older
    }

    /// Takes out the requests for which `is_due` holds; those that nobody waits for any more are forgotten.
    fn take_due(&mut self, is_due: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let taken = self.waiting.extract_if(.., |_, request| request.reply.is_closed() || is_due(request));
        let taken: Vec<Waiting> = taken.map(|(_, request)| request).collect();
        for request in &taken {
            self.arrivals.remove(&request.worker);
        }
        taken.into_iter().filter(|request| !request.reply.is_closed()).collect()
    }
}

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

    fn park(&mut self, request: Waiting) {
        if let Some(older) = self.parked.park(request) {
            self.answer_later(None, older.reply, Ok(Reply::Shard(None)));
        }
    }

    pub(super) fn serve_parked(&mut self) {
        let (now, openings) = (self.clock.now(), self.state.dispatch.openings());
        // What waits may be for others: those who wait are asked again when something has opened. With time there may be
        // trials that others are late with, or have not begun, or that are tried again.
        let has_opened = self.parked.served_at.replace(openings) != Some(openings);
        let is_work = (has_opened && self.state.dispatch.waiting() > 0)
            || (std::mem::take(&mut self.parked.has_ticked) && self.state.has_spare_trials(now));
        for request in self.parked.take_due(|request| is_work || request.deadline <= now) {
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
