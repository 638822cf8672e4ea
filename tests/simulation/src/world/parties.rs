//! What happens to whom.

use bitloop_core::digest::Digest;

use super::*;

impl World {
    // ---- the coordinator

    pub(super) fn start_coordinator(&mut self) {
        if self.coordinator.is_some() {
            return;
        }
        // An epoch that cannot be written down does not begin.
        if self.disk.is_full {
            return self.after(500, Event::StartCoordinator);
        }
        self.starts += 1;
        let date = self.date + self.now;
        let calendar = Calendar { date, sabotage: self.settings.sabotage };
        let mut coordinator = Coordinator::start(&mut self.disk, self.starts, self.now, calendar);
        self.oracle.restarted(&coordinator.state);
        coordinator.inspect(&self.disk, self.now, &mut self.oracle);
        self.coordinator = Some(coordinator);
        self.schedule_round();
        self.maybe_keep_the_peace();
    }

    /// Lets nothing break for a while, to see that everybody finds the coordinator that has just started.
    fn maybe_keep_the_peace(&mut self) {
        if self.draw(4) > 0 || self.now >= self.climate.ends {
            return;
        }
        self.truce_until = self.now + BACK_MS;
        self.stalled_until = self.now;
        self.hosts.iter_mut().for_each(|host| host.is_cut_off = [false; 2]);
        self.after(BACK_MS, Event::Back { start: self.starts });
    }

    pub(super) fn schedule_round(&mut self) {
        if let Some(coordinator) = &self.coordinator {
            let (at, start) = (coordinator.next_round(self.now), coordinator.start);
            self.at(at, Event::Round { start });
        }
    }

    pub(super) fn miss(&mut self, start: u64, artifact: Digest) {
        if let Some(coordinator) = self.coordinator.as_mut().filter(|now| now.start == start) {
            coordinator.miss(artifact, &self.disk, (self.now, &mut self.oracle));
            self.schedule_round();
        }
    }

    pub(super) fn arrives(&mut self, request: Request) {
        let is_whole = self.has_artifacts(&request.body);
        match &mut self.coordinator {
            // As the driver's handle: what names an artifact that is not there is not taken.
            Some(_) if !is_whole => {
                self.oracle.excused.insert(request.worker);
                let body = request.body.failed(FailureKind::Invalid);
                self.send_replies(vec![Reply { to: request.from, call: request.call, body }]);
            }
            Some(coordinator) => {
                let start = coordinator.start;
                coordinator.inbox.push_back(request);
                self.after(0, Event::Round { start });
            }
            // The connection is refused.
            None => {
                let body = request.body.failed(FailureKind::Away);
                self.after(1, Event::Deadline { to: request.from, call: request.call, body });
            }
        }
    }

    /// Whether the artifacts are there that reports name.
    fn has_artifacts(&self, body: &Body) -> bool {
        let Body::Call(Call::Commit { reports, .. }) = body else { return true };
        let mut named = reports.iter().filter_map(|report| report.outcome.result.artifact());
        named.all(|artifact| self.disk.artifacts.contains(&artifact))
    }

    pub(super) fn round(&mut self, start: u64) {
        let Some(coordinator) = self.coordinator.as_mut().filter(|now| now.start == start) else { return };
        if coordinator.is_storing {
            return;
        }
        let was_out = coordinator.is_out;
        let After { replies, thoughts, is_storing } = coordinator.round(self.now, &mut self.oracle);
        self.send_replies(replies);
        for thought in thoughts {
            let wait = 1 + self.draw(2_000);
            self.after(wait, Event::Concluded { start, thought });
        }
        if is_storing {
            let slow = if self.befalls(30) { 3_000 } else { 0 };
            let wait = if was_out { 500 } else { 1 + self.draw(20) + slow };
            self.after(wait, Event::Stored { start });
        } else {
            self.next_round_if_none_is_due(start);
        }
    }

    /// One tick's round at a time is waited for; requests bring their own.
    fn next_round_if_none_is_due(&mut self, start: u64) {
        let is_due =
            self.events.values().any(|event| matches!(event, Event::Round { start: due } if *due == start));
        if !is_due {
            self.schedule_round();
        }
    }

    pub(super) fn stored(&mut self, start: u64) {
        let Some(coordinator) = self.coordinator.as_mut().filter(|now| now.start == start) else { return };
        let replies = coordinator.stored(&mut self.disk, self.now, &mut self.oracle);
        self.send_replies(replies);
        self.after(0, Event::Round { start });
    }

    fn send_replies(&mut self, replies: Vec<Reply>) {
        for reply in replies {
            for wait in self.travel(reply.to.host, 1) {
                self.after(wait, Event::Reply(reply.clone()));
            }
        }
    }

    /// Submits an experiment until it is there: a crash may undo what was not stored.
    pub(super) fn submit(&mut self, number: usize) {
        let Some(Submission { plan, priority, .. }) = submissions().get(number) else { return };
        let again = |world: &mut Self| world.after(1_000, Event::Submit { number });
        let Some(coordinator) = &mut self.coordinator else { return again(self) };
        if coordinator.state.ledger.experiment(&plan.id()).is_none() {
            let (plan, sources) = (Box::new(plan.clone()), Sources::new());
            let input = CoordinatorInput::Submit { plan, sources, priority: *priority };
            coordinator.act(&input, self.now, &mut self.oracle);
            self.schedule_round();
            again(self);
        } else if self.now < self.climate.ends {
            again(self);
        }
    }

    pub(super) fn resume(&mut self, experiment: ExperimentId) {
        let Some(coordinator) = &mut self.coordinator else {
            return self.after(500, Event::Resume(experiment));
        };
        let known = coordinator.state.ledger.experiment(&experiment);
        if known.is_some_and(|known| matches!(known.status, Status::Paused | Status::Cancelled)) {
            let input = CoordinatorInput::Act { experiment: experiment.clone(), action: Action::Resume };
            coordinator.act(&input, self.now, &mut self.oracle);
            // The user looks again, as a crash may undo what was not stored.
            self.after(1_000, Event::Resume(experiment));
            self.schedule_round();
        } else if self.now < self.climate.ends {
            self.after(1_000, Event::Resume(experiment));
        }
    }

    // ---- workers

    pub(super) fn start_worker(&mut self, host: usize) {
        if self.hosts[host].program.is_some() {
            return;
        }
        let process = self.hosts[host].start(host, self.now);
        self.feed(process, Input::Time);
        self.after(BEAT_MS, Event::Beat(process));
    }

    fn program_mut(&mut self, process: Process) -> Option<&mut Program> {
        self.hosts[process.host].program.as_mut().filter(|program| program.process == process)
    }

    pub(super) fn returns(&mut self, to: Process, call: u64, body: Returned) {
        let now = self.now;
        let Some(program) = self.program_mut(to) else { return };
        let input = match body {
            Returned::Call(answer) if program.call == Some(call) => Some(program.answered(answer)),
            body @ (Returned::Beat(_) | Returned::GaveBack(_)) => {
                let Some((_, asked)) = program.beat.take_if(|(waited_for, _)| *waited_for == call) else {
                    return;
                };
                match program.beaten(asked, body) {
                    Beaten::Nothing => None,
                    Beaten::Tell(input) => Some(input),
                    Beaten::Heard(beat) => Some(Input::Heard { beat, ago_ms: now - program.beat_at }),
                    Beaten::Send(body) => return self.send_beat(to, body),
                }
            }
            // Too late.
            Returned::Call(_) => None,
        };
        if let Some(input) = input {
            self.feed(to, input);
        }
    }

    pub(super) fn beat(&mut self, process: Process) {
        let Some(program) = self.program_mut(process) else { return };
        let is_waiting = program.beat.is_some();
        let beat = program.next_beat();
        self.after(BEAT_MS, Event::Beat(process));
        if let Some((beat, running)) = beat.filter(|_| !is_waiting) {
            self.send_beat(process, Body::Beat { beat, running });
        }
    }

    /// The heartbeat thread sends one thing at a time.
    fn send_beat(&mut self, process: Process, body: Body) {
        let (call, now) = (self.next_call(), self.now);
        let Some(program) = self.program_mut(process) else { return };
        program.beat = Some((call, body.clone()));
        program.beat_at = now;
        let worker = program.id.clone();
        self.send(Request { from: process, call, worker, body }, QUICK_MS);
    }

    fn next_call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    pub(super) fn compute(&mut self, process: Process, order: u64) {
        let gives_up = self.befalls(10);
        let has_poison = self.settings.has_poison();
        if self.program(process).is_some_and(|program| has_poison && program.is_poisoned()) {
            let wait = 500 + self.draw(2_000);
            return self.kill_worker(process.host, wait);
        }
        let gives_up = gives_up || !self.is_supplied(process);
        let Host { kind, program, .. } = &mut self.hosts[process.host];
        let site = Site { gives_up, kind: *kind, is_worn: self.is_worn };
        let Some(program) = program.as_mut().filter(|program| program.process == process) else { return };
        for input in program.compute(order, site) {
            // It is left with the coordinator before anybody speaks of it.
            if let Input::Measured(measured) = &input
                && let Some(artifact) = measured.report.outcome.result.artifact()
            {
                self.disk.artifacts.insert(artifact);
                self.hosts[process.host].keep(artifact);
            }
            self.feed(process, input);
        }
        if self.program(process).and_then(Program::order) == Some(order) {
            self.schedule_compute(process, order);
        }
    }

    /// Whether a worker can have what it needs now, and leave what it makes.
    fn is_supplied(&mut self, process: Process) -> bool {
        let host = &self.hosts[process.host];
        let need = self.program(process).map_or(Need::Nothing, Program::need);
        let is_reached = self.coordinator.is_some() && host.is_cut_off == [false; 2];
        let is_there = match need {
            Need::Nothing => return true,
            Need::Room => return is_reached && !self.disk.is_full,
            Need::Artifact(artifact) if host.keeps(&artifact) => return true,
            Need::Artifact(artifact) => is_reached && self.disk.artifacts.contains(&artifact),
        };
        let Need::Artifact(artifact) = need else { return is_there };
        if is_there {
            self.hosts[process.host].keep(artifact);
        } else if let Some(coordinator) = self.coordinator.as_ref().filter(|_| is_reached) {
            let start = coordinator.start;
            let wait = 1 + self.draw(500);
            self.after(wait, Event::Missed { start, artifact });
        }
        is_there
    }

    fn schedule_compute(&mut self, process: Process, order: u64) {
        let hung = if self.befalls(20) { 20_000 } else { 0 };
        let whole = self.program(process).map_or(0, Program::compute_ms);
        let is_poisoned = self.program(process).is_some_and(Program::is_poisoned);
        let wait = match is_poisoned && self.settings.has_poison() {
            // It may be over before a heartbeat tells of it.
            true if self.settings.kills_at_once() => 1,
            true => 3 * BEAT_MS + whole,
            false => 1 + whole / 2 + self.draw(whole) + hung,
        };
        self.after(wait, Event::Compute { process, order });
    }

    /// Feeds a worker's protocol, and grants what it wishes.
    pub(super) fn feed(&mut self, process: Process, input: Input) {
        let tears = self.befalls(50);
        let now = self.now;
        let Host { program, spool, .. } = &mut self.hosts[process.host];
        let Some(program) = program.as_mut().filter(|program| program.process == process) else { return };
        let wishes = program.feed(input, now, spool.as_mut(), tears);
        for wish in wishes {
            match wish {
                Wish::Call(call) => self.call(process, *call),
                Wish::Compute { number } => self.schedule_compute(process, number),
                Wish::Stop { number, within_ms } => {
                    let wait = 1 + self.draw(within_ms);
                    self.after(wait, Event::Compute { process, order: number });
                }
                Wish::TornSpool(outcomes) => {
                    let cut = self.draw(10_000) as usize;
                    if let Some(spool) = &mut self.hosts[process.host].spool {
                        spool.write_torn(&outcomes, cut);
                    }
                    self.crash_worker(process.host);
                }
                Wish::Breach(breach) => self.oracle.require(false, || breach),
            }
        }
        let Some(program) = self.program(process) else { return };
        if program.is_over {
            self.oracle.ended(program.id.clone());
            self.hosts[process.host].program = None;
            let wait = 100 + self.draw(5_000);
            return self.after(wait, Event::StartWorker { host: process.host });
        }
        if let Some(due) = program.due() {
            self.at(due.max(self.now), Event::Wake(process));
        }
    }

    fn call(&mut self, process: Process, call: Call) {
        let number = self.next_call();
        let deadline_ms = call.deadline_ms();
        let Some(program) = self.program_mut(process) else { return };
        program.call = Some(number);
        let worker = program.id.clone();
        self.send(Request { from: process, call: number, worker, body: Body::Call(call) }, deadline_ms);
    }

    // ---- the network

    /// Sends a request, which is given up after a while.
    fn send(&mut self, request: Request, deadline_ms: u64) {
        let body = request.body.failed(FailureKind::Away);
        self.after(deadline_ms, Event::Deadline { to: request.from, call: request.call, body });
        for wait in self.travel(request.from.host, 0) {
            self.after(wait, Event::Request(request.clone()));
        }
    }

    /// How long the copies of a message take that arrive.
    fn travel(&mut self, host: usize, direction: usize) -> Vec<u64> {
        let (dropped, repeated, late) = (self.climate.dropped, self.climate.repeated, self.climate.late);
        if self.hosts[host].is_cut_off[direction] || self.befalls(dropped) {
            return Vec::new();
        }
        let copies = if self.befalls(repeated) { 2 } else { 1 };
        let mut waits = Vec::new();
        for _ in 0..copies {
            let late = if self.befalls(late) { self.draw(6_000) } else { 0 };
            waits.push(1 + self.draw(30) + late);
        }
        waits
    }
}
