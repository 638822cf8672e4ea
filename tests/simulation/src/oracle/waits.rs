//! How long workers wait for a shard while there are trials that they could have.

use std::collections::BTreeMap;

use bitloop_core::state::{Input, Reply, State, UnixMillis, WorkerId, decide};

use crate::message::Instant;

/// A worker that could have a shard has it within this time, whether anything happens or not: with the tick after next.
const ABLE_MS_MAX: u64 = 1_000;

/// Others who asked later are served before a worker that could have had a shard at most so often: who asks at the moment in which
/// trials come is.
const PASSED_MAX: u32 = 4;

/// A request without an answer.
struct Wait {
    call: u64,
    /// Place in the order of arrival.
    place: u64,
    /// How often others were served that came later.
    passed: u32,
    /// Since when it could have a shard, as far as known.
    able_since: Option<Instant>,
}

/// The requests for a shard that wait.
#[derive(Default)]
pub(crate) struct Waits {
    waiting: BTreeMap<WorkerId, Wait>,
    arrived: u64,
    /// The most that was seen.
    pub(crate) passed: u32,
    pub(crate) able_ms: u64,
}

impl Waits {
    /// A worker waits, or goes on to.
    pub(crate) fn begins(&mut self, worker: &WorkerId, call: u64) {
        if self.waiting.get(worker).is_some_and(|known| known.call == call) {
            return;
        }
        let wait = Wait { call, place: self.arrived, passed: 0, able_since: None };
        self.waiting.insert(worker.clone(), wait);
        self.arrived += 1;
    }

    /// A worker is answered.
    pub(crate) fn ends(&mut self, worker: &WorkerId) {
        self.waiting.remove(worker);
    }

    /// The coordinator starts, and knows of nobody who waits.
    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// A worker is about to get a shard; says so if one that came before it was passed over too often.
    pub(crate) fn granted(&mut self, state: &State, worker: &WorkerId, now: UnixMillis) -> Option<String> {
        let place = self.waiting.get(worker).map_or(self.arrived, |wait| wait.place);
        let earlier = self.waiting.iter_mut().filter(|(_, wait)| wait.place < place);
        for (other, wait) in earlier.filter(|(other, _)| is_able(state, other, now)) {
            wait.passed += 1;
            self.passed = self.passed.max(wait.passed);
            if wait.passed > PASSED_MAX {
                return Some(format!("{other:?} was passed over {} times, now by {worker:?}", wait.passed));
            }
        }
        None
    }

    /// A round has served who waits; says who could have had a shard for long.
    pub(crate) fn overdue(&mut self, state: &State, (now, time): (Instant, UnixMillis)) -> Option<String> {
        for (worker, wait) in &mut self.waiting {
            if !is_able(state, worker, time) {
                wait.able_since = None;
                continue;
            }
            let able_ms = now - *wait.able_since.get_or_insert(now);
            self.able_ms = self.able_ms.max(able_ms);
            if able_ms > ABLE_MS_MAX {
                return Some(format!("{worker:?} could have had a shard for {able_ms} ms"));
            }
        }
        None
    }
}

fn is_able(state: &State, worker: &WorkerId, now: UnixMillis) -> bool {
    let decided = decide(state, &Input::Request { worker: worker.clone() }, now);
    decided.is_ok_and(|decision| matches!(decision.reply, Reply::Shard(Some(_))))
}
