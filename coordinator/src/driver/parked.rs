//! Requests for a shard that wait for work.

use bitloop_core::state::{UnixMillis, WorkerId};
use tokio::sync::oneshot;

use super::command::Answer;

/// A request without an answer yet.
pub(super) struct Waiting {
    pub(super) worker: WorkerId,
    pub(super) reply: oneshot::Sender<Answer>,
    pub(super) deadline: UnixMillis,
}

/// Waiting requests in order of arrival: at most one of each registered worker.
#[derive(Default)]
pub(super) struct Parked {
    waiting: Vec<Waiting>,
}

impl Parked {
    /// Parks a request and returns the worker's older one, which is to be answered without work.
    pub(super) fn park(&mut self, request: Waiting) -> Option<Waiting> {
        let older = self
            .waiting
            .iter()
            .position(|older| older.worker == request.worker)
            .map(|index| self.waiting.remove(index));
        self.waiting.push(request);
        older
    }

    /// Takes out the requests for which `is_due` holds; those that nobody waits for any more are forgotten.
    pub(super) fn take_due(&mut self, is_due: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        self.waiting.retain(|request| !request.reply.is_closed());
        self.waiting.extract_if(.., |request| is_due(request)).collect()
    }
}
