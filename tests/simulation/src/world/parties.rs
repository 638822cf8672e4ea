//! What happens to whom.

use super::*;

use bitloop_core::plan::ExperimentId;

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
        let coordinator = Coordinator::start(&mut self.disk, self.starts, self.now, calendar);
        self.oracle.restarted(&coordinator.state);
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

    pub(super) fn arrives(&mut self, request: Request) {
        match &mut self.coordinator {
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

    pub(super) fn round(&mut self, start: u64) {
        let Some(coordinator) = self.coordinator.as_mut().filter(|now| now.start == start) else { return };
        if coordinator.is_storing {
            return;
        }
        let was_out = coordinator.is_out;
        let After { replies, thoughts, is_storing } = coordinator.round(self.now, &mut self.oracle);
        self.send_replies(replies);
        for Thought { experiment, stage, proposal } in thoughts {
            let wait = 1 + self.draw(2_000);
            self.after(wait, Event::Concluded { start, experiment, stage, proposal });
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
        let Some(Submission { plan, priority, .. }) = submissions().into_iter().nth(number) else { return };
        let again = |world: &mut Self| world.after(1_000, Event::Submit { number });
        let Some(coordinator) = &mut self.coordinator else { return again(self) };
        if coordinator.state.ledger.experiment(&plan.id()).is_none() {
            let (plan, sources) = (Box::new(plan), Sources::new());
            let input = CoordinatorInput::Submit { plan, sources, priority };
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
        let call = self.next_call();
        let Some(program) = self.program_mut(process) else { return };
        program.beat = Some((call, body.clone()));
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
        let Some(program) = self.program_mut(process) else { return };
        for input in program.compute(order, gives_up) {
            self.feed(process, input);
        }
        if self.program(process).and_then(Program::order) == Some(order) {
            self.schedule_compute(process, order);
        }
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

    // ---- fate

    pub(super) fn schedule_fault(&mut self) {
        if self.now < self.climate.ends {
            let wait = 1 + self.draw(2 * self.climate.period_ms);
            self.after(wait, Event::Fault);
        }
    }

    pub(super) fn breaks(&mut self) {
        if !self.may_break() {
            return;
        }
        self.report.faults += 1;
        let fault = Fault::draw(&mut self.rng);
        self.note(fault as u64 + 200, || format!("{fault:?}"));
        let host = self.draw(self.hosts.len() as u64) as usize;
        match fault {
            Fault::CoordinatorCrash => self.crash_coordinator(),
            Fault::CoordinatorStall => self.stalled_until = self.now + self.within(15_000),
            Fault::CoordinatorDiskFull => {
                self.disk.is_full = true;
                let wait = self.within(8_000);
                self.after(wait, Event::Space { host: None });
            }
            Fault::DateJump => self.date = self.draw(4_000_000_000_000),
            Fault::WorkerCrash => self.crash_worker(host),
            Fault::WorkerShutdown => {
                if let Some(process) = self.hosts[host].program.as_ref().map(|program| program.process) {
                    self.feed(process, Input::Shutdown);
                }
            }
            Fault::WorkerSuspended => {
                let until = self.now + self.within(20_000);
                if let Some(program) = &mut self.hosts[host].program {
                    program.suspended_until = until;
                }
            }
            Fault::WorkerSlows => {
                // Or gets faster: the coordinator expected something else.
                let pace_ms = draw_pace(&mut self.rng);
                self.hosts[host].change_pace(pace_ms);
            }
            Fault::WorkerDiskFull => {
                if let Some(spool) = &mut self.hosts[host].spool {
                    spool.is_full = true;
                    let wait = self.within(20_000);
                    self.after(wait, Event::Space { host: Some(host) });
                }
            }
            Fault::NetworkCut => {
                // One way or both.
                self.hosts[host].is_cut_off =
                    [[true, true], [true, false], [false, true]][self.draw(3) as usize];
                let wait = self.within(25_000);
                self.after(wait, Event::Heal { host });
            }
            Fault::Pause => self.interrupt(Action::Pause),
            Fault::Cancel => self.interrupt(Action::Cancel),
            Fault::StaleLease => self.name_a_lease_of_another(host),
        }
    }

    /// A time that ends when the faults do, at the latest.
    fn within(&mut self, limit: u64) -> u64 {
        let left = self.climate.ends - self.now;
        (100 + self.draw(limit)).min(left)
    }

    /// A user pauses an experiment, or gives it up and comes back to it.
    fn interrupt(&mut self, action: Action) {
        let any = self.draw(submissions().len() as u64) as usize;
        let Some(coordinator) = self.coordinator.as_mut().filter(|now| !now.is_storing && !now.is_out) else {
            return;
        };
        let experiments = coordinator.state.ledger.experiments();
        let Some(experiment) = experiments.get(any).map(|known| known.id.clone()) else { return };
        let input = CoordinatorInput::Act { experiment: experiment.clone(), action };
        coordinator.act(&input, self.now, &mut self.oracle);
        let wait = self.within(5_000);
        self.after(wait, Event::Resume(experiment));
        self.schedule_round();
    }

    /// A worker gives a lease back that another one holds.
    fn name_a_lease_of_another(&mut self, host: usize) {
        let (Some(coordinator), Some(program)) = (&mut self.coordinator, &self.hosts[host].program) else {
            return;
        };
        let others = coordinator.state.dispatch.leases().find(|(_, lease)| lease.worker != program.id);
        let Some((lease, _)) = others else { return };
        let epoch = coordinator.epoch();
        let body = Body::Call(Call::Release { epoch, lease: *lease, obstacle: None });
        // Nobody waits for the answer.
        let request = Request { from: program.process, call: 0, worker: program.id.clone(), body };
        self.arrives(request);
    }

    /// What was not stored is gone; of a write under way a part is on the disk.
    fn crash_coordinator(&mut self) {
        let Some(coordinator) = self.coordinator.take() else { return };
        if coordinator.is_storing && !self.disk.is_full {
            let kept = self.draw(coordinator.unstored().len() as u64 + 1) as usize;
            let torn = &coordinator.unstored()[..kept];
            self.oracle.stored(torn);
            self.disk.facts.extend_from_slice(torn);
        }
        self.break_connections();
        let wait = self.within(12_000);
        self.after(wait, Event::StartCoordinator);
    }

    /// Most callers see at once that the coordinator is gone; the others wait in vain.
    fn break_connections(&mut self) {
        for host in 0..self.hosts.len() {
            let Some(program) = &self.hosts[host].program else { continue };
            let (to, call, beat) = (program.process, program.call, program.beat.clone());
            if self.draw(5) == 0 || self.hosts[host].is_cut_off[1] {
                continue;
            }
            if let Some(call) = call {
                self.after(2, Event::Deadline { to, call, body: Returned::Call(Err(FailureKind::Away)) });
            }
            if let Some((call, body)) = beat {
                self.after(2, Event::Deadline { to, call, body: body.failed(FailureKind::Away) });
            }
        }
    }

    fn crash_worker(&mut self, host: usize) {
        let wait = self.within(8_000);
        self.kill_worker(host, wait);
    }

    fn kill_worker(&mut self, host: usize, wait: u64) {
        if let Some(program) = self.hosts[host].program.take() {
            self.oracle.ended(program.id);
            self.after(wait, Event::StartWorker { host });
        }
    }
}
