//! Requests for a shard that wait for work.

use std::collections::{BTreeMap, HashMap};

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
    waiting: BTreeMap<u64, Waiting>,
    /// Where each worker's is.
    arrivals: HashMap<WorkerId, u64>,
    arrived: u64,
}

impl Parked {
    /// Parks a request and returns the worker's older one, which is to be answered without work.
    pub(super) fn park(&mut self, request: Waiting) -> Option<Waiting> {
        let older = self.arrivals.insert(request.worker.clone(), self.arrived);
        let older = older.and_then(|arrival| self.waiting.remove(&arrival));
        self.waiting.insert(self.arrived, request);
        self.arrived += 1;
        older
    }

    /// Takes out the requests for which `is_due` holds; those that nobody waits for any more are forgotten.
    pub(super) fn take_due(&mut self, is_due: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let taken = self.waiting.extract_if(.., |_, request| request.reply.is_closed() || is_due(request));
        let taken: Vec<Waiting> = taken.map(|(_, request)| request).collect();
        for request in &taken {
            self.arrivals.remove(&request.worker);
        }
        taken.into_iter().filter(|request| !request.reply.is_closed()).collect()
    }
}
