//! What breaks, and whom it befalls.

use super::*;

impl World {
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
                    program.suspend(until);
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
            Fault::ArtifactLost => self.lose_artifact(),
            Fault::OtherCpu => self.hosts[host].kind = self.draw(KINDS as u64) as usize,
        }
    }

    /// A time that ends when the faults do, at the latest.
    fn within(&mut self, limit: u64) -> u64 {
        let left = self.climate.ends - self.now;
        (100 + self.draw(limit)).min(left)
    }

    /// A user pauses an experiment, or gives it up and comes back to it.
    fn interrupt(&mut self, action: Action) {
        let Some(coordinator) = self.coordinator.as_mut().filter(|now| !now.is_storing && !now.is_out) else {
            return;
        };
        let experiments = coordinator.state.ledger.experiments().iter();
        let active: Vec<_> = experiments.filter(|known| known.status == Status::Active).collect();
        let any = self.rng.below(active.len().max(1));
        let Some(experiment) = active.get(any).map(|known| known.id.clone()) else { return };
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

    /// An artifact is gone, for good or until somebody puts it back.
    fn lose_artifact(&mut self) {
        let any = self.draw(self.disk.artifacts.len() as u64) as usize;
        let Some(artifact) = self.disk.artifacts.iter().nth(any).copied() else { return };
        self.disk.artifacts.remove(&artifact);
        self.note(300, || format!("{artifact} is gone"));
        self.is_worn |= is_of_fragile(artifact);
        if self.draw(3) == 0 {
            let wait = self.within(15_000);
            self.after(wait, Event::Restored { artifact });
        }
    }

    /// What was not stored is gone; of a write under way a part is on the disk.
    fn crash_coordinator(&mut self) {
        let Some(coordinator) = self.coordinator.take() else { return };
        if coordinator.is_storing && !self.disk.is_full {
            let kept = self.draw(coordinator.unstored().len() as u64 + 1) as usize;
            let torn = &coordinator.unstored()[..kept];
            self.oracle.stored(&self.disk.append(torn.to_vec()));
        }
        // The start is to find it.
        if self.draw(3) == 0 {
            self.lose_artifact();
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

    pub(super) fn crash_worker(&mut self, host: usize) {
        let wait = self.within(8_000);
        self.kill_worker(host, wait);
    }

    pub(super) fn kill_worker(&mut self, host: usize, wait: u64) {
        if let Some(program) = self.hosts[host].program.take() {
            self.oracle.ended(program.id);
            self.after(wait, Event::StartWorker { host });
        }
    }
}
