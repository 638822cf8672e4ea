//! Requests for a shard that wait for work: who is asked again, when, and in which order.

use std::collections::{BTreeMap, HashMap};

use super::dispatch::WorkerId;
use super::{State, UnixMillis};

/// A request without an answer yet.
#[derive(Clone, Debug)]
pub struct Waiting<R> {
    /// Whose.
    pub worker: WorkerId,
    /// When it is answered without work.
    pub deadline: UnixMillis,
    /// How it is answered.
    pub reply: R,
}

/// Waiting requests in order of arrival: at most one of each registered worker.
#[derive(Debug)]
pub struct Parked<R> {
    waiting: BTreeMap<u64, Waiting<R>>,
    /// Where each worker's is.
    arrivals: HashMap<WorkerId, u64>,
    arrived: u64,
    /// What had opened when all of them were last served.
    served_at: Option<u64>,
    /// Whether time has passed since.
    has_ticked: bool,
}

impl<R> Default for Parked<R> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            arrivals: HashMap::new(),
            arrived: 0,
            served_at: None,
            has_ticked: false,
        }
    }
}

impl<R> Parked<R> {
    /// Parks a request and returns the worker's older one, which is to be answered without work.
    pub fn park(&mut self, request: Waiting<R>) -> Option<Waiting<R>> {
        let older = self.arrivals.insert(request.worker.clone(), self.arrived);
        let older = older.and_then(|arrival| self.waiting.remove(&arrival));
        self.waiting.insert(self.arrived, request);
        self.arrived += 1;
        older
    }

    /// Takes note that time has passed.
    pub fn note_tick(&mut self) {
        self.has_ticked = true;
    }

    /// Takes out the requests that are to be decided again now, in order of arrival; those that nobody waits for any more are
    /// forgotten.
    ///
    /// What waits may be for others: those who wait are asked again when something has opened. With time there may be trials
    /// that others are late with, or have not begun, or that are tried again.
    pub fn take_due(
        &mut self,
        state: &State,
        now: UnixMillis,
        is_gone: impl Fn(&R) -> bool,
    ) -> Vec<Waiting<R>> {
        let openings = state.dispatch.openings();
        let has_opened = self.served_at.replace(openings) != Some(openings);
        let is_work = (has_opened && state.dispatch.waiting() > 0)
            || (std::mem::take(&mut self.has_ticked) && state.has_spare_trials(now));
        let is_due = |request: &Waiting<R>| is_work || request.deadline <= now;
        let taken = self.waiting.extract_if(.., |_, request| is_gone(&request.reply) || is_due(request));
        let taken: Vec<Waiting<R>> = taken.map(|(_, request)| request).collect();
        for request in &taken {
            self.arrivals.remove(&request.worker);
        }
        taken.into_iter().filter(|request| !is_gone(&request.reply)).collect()
    }
}
