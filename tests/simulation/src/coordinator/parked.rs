//! Requests for a shard that wait for work, and how they are served: as the driver does it.

use super::*;

/// Who waits for a shard.
pub(super) struct Waiter {
    request: Request,
    /// What came of the reports, if it is a commit that brings the next shard.
    committed: Option<Decided>,
}

impl Waiter {
    /// The answer, with the shard that comes or does not.
    fn answered(self, answer: Result<Decided, FailureKind>) -> Pending {
        let Self { request, committed } = self;
        match (committed, answer) {
            (None, answer) => Pending { request, answer, next: None },
            (Some(committed), Ok(Decided::Shard(next))) => Pending { request, answer: Ok(committed), next },
            // It is told when it asks anew.
            (Some(committed), _) => Pending { request, answer: Ok(committed), next: None },
        }
    }
}

impl Coordinator {
    pub(super) fn take_request(&mut self, request: Request, now: Instant, oracle: &mut Oracle) {
        let answer = self.step(&Input::Request { worker: request.worker.clone() }, now, oracle);
        if answer == Ok(Decided::Shard(None)) {
            let deadline = self.clock.now(now).after(LONG_POLL_MS);
            self.park(Waiter { request, committed: None }, deadline, oracle);
        } else {
            self.replies.push(Pending::new(request, answer.map_err(|rejection| kind_of(&rejection))));
        }
    }

    /// What is answered in any case, but for a worker that has nothing to do behind what it commits: that one is served at the
    /// end of this round.
    pub(super) fn take_at_once(
        &mut self,
        request: Request,
        input: &Input,
        (now, oracle): (Instant, &mut Oracle),
    ) {
        let answer = self.step(input, now, oracle).map_err(|rejection| kind_of(&rejection));
        let is_last = matches!(&request.body,
            Body::Call(Call::Commit { epoch, wants_shard: true, .. }) if *epoch == self.epoch);
        match answer {
            Ok(committed) if is_last => {
                let deadline = self.clock.now(now);
                self.park(Waiter { request, committed: Some(committed) }, deadline, oracle);
            }
            answer => self.replies.push(Pending::new(request, answer)),
        }
    }

    fn park(&mut self, waiter: Waiter, deadline: UnixMillis, oracle: &mut Oracle) {
        let worker = waiter.request.worker.clone();
        oracle.waits.begins(&worker, waiter.request.call);
        if let Some(older) = self.parked.park(Waiting { worker, deadline, reply: waiter }) {
            self.replies.push(older.reply.answered(Ok(Decided::Shard(None))));
        }
    }

    pub(super) fn serve_parked(&mut self, now: Instant, oracle: &mut Oracle) {
        let time = self.clock.now(now);
        let mut due = self.parked.take_due(&self.state, time, |_| false);
        if self.sabotage == Some(Sabotage::ServesCommitsFirst) {
            due.sort_by_key(|waiting| waiting.reply.committed.is_none());
        }
        for Waiting { worker, deadline, reply } in due {
            let answer = self.step(&Input::Request { worker: worker.clone() }, now, oracle);
            if answer == Ok(Decided::Shard(None)) && time < deadline {
                self.park(reply, deadline, oracle);
            } else {
                oracle.waits.ends(&worker);
                self.replies.push(reply.answered(answer.map_err(|rejection| kind_of(&rejection))));
            }
        }
        let breach = oracle.waits.overdue(&self.state, (now, time));
        oracle.require(breach.is_none(), || breach.unwrap_or_default());
    }
}
