//! Time, network and fate: what happens next, and what breaks.

mod parties;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bitloop_core::device::Share;
use bitloop_core::report;
use bitloop_core::rng::{Rng, rng};
use bitloop_core::state::{Action, Input as CoordinatorInput, Sources, Status};
use bitloop_core::worker::{Call, FailureKind, Input, QUICK_MS};

use crate::coordinator::{After, Calendar, Coordinator, Disk, Thought};
use crate::experiment::{Submission, submissions};
use crate::faults::{Climate, Fault, Sabotage, draw_pace};
use crate::host::{BEAT_MS, Beaten, Host, Program, Wish};
use crate::message::{Body, Event, Instant, Process, Reply, Request, Returned};
use crate::oracle::Oracle;

/// Once nothing breaks any more, everything is over within this time.
///
/// Three workers die of a trial and stay away for long enough to be taken for dead; or one that only has one device is tried
/// again and again.
const PATIENCE_MS: u64 = 2_400_000;

/// A worker is back within this time of its coordinator.
const BACK_MS: u64 = 10_000;

/// What a simulation is told.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// From which everything follows.
    pub seed: u64,
    /// Whether what happens is printed.
    pub is_told: bool,
    /// A rule that is broken on purpose.
    pub sabotage: Option<Sabotage>,
}

impl Settings {
    /// A simulation that tells nothing and breaks no rule.
    pub fn of_seed(seed: u64) -> Self {
        Self { seed, is_told: false, sabotage: None }
    }

    /// Whether a trial ends every process that measures it.
    fn has_poison(self) -> bool {
        self.seed % 4 == 1
    }

    /// Whether it does so before a heartbeat tells that it runs.
    fn kills_at_once(self) -> bool {
        self.seed % 8 == 1
    }
}

/// What a simulation came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Inputs that the coordinator decided; the invariants were checked after each.
    pub steps: u64,
    /// Things that broke.
    pub faults: u64,
    /// Trials given up, each with three processes that ran it and are gone for good.
    pub quarantined: u64,
    /// Those of them that none of the processes died of.
    pub unlucky: u64,
    /// How often others who asked later were served before a worker that could have had a shard, at most.
    pub passed: u32,
    /// How long a worker could have had a shard that waited, at most, in milliseconds.
    pub able_ms: u64,
    /// The results of every experiment.
    pub results: Vec<String>,
    /// A number that depends on the order of everything that happened.
    pub trace: u64,
    /// How long it took to measure everything, in simulated milliseconds.
    pub worked_ms: u64,
}

/// Runs a cluster through the faults that follow from a seed.
///
/// Errors: the first breach of an invariant, or what the results differ in.
pub fn simulate(settings: Settings) -> Result<Report, String> {
    static CALM: [OnceLock<Vec<String>>; 2] = [OnceLock::new(), OnceLock::new()];
    let calm = CALM[usize::from(settings.has_poison())].get_or_init(|| {
        let calm = World::new(Settings::of_seed(u64::from(settings.has_poison())), Climate::calm());
        calm.run().expect("a calm cluster measures everything").results
    });
    let climate = Climate::draw(&mut rng(settings.seed, 0));
    let report = World::new(settings, climate).run()?;
    // A trial that three processes ran when they ended is given up, as nothing tells bad luck from what it did.
    if report.unlucky == 0 && report.results != *calm {
        let lines = |results: &[String]| -> Vec<String> {
            results.iter().flat_map(|result| result.lines()).map(str::to_owned).collect()
        };
        let (here, there) = (lines(&report.results), lines(calm));
        let differing = here.iter().zip(&there).find(|(here, there)| here != there);
        return Err(format!("the results are not those of a calm cluster, first {differing:?}"));
    }
    Ok(report)
}

pub(crate) struct World {
    settings: Settings,
    climate: Climate,
    rng: Rng,
    now: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    scheduled: u64,
    calls: u64,
    starts: u64,
    disk: Disk,
    coordinator: Option<Coordinator>,
    /// The coordinator does nothing before.
    stalled_until: Instant,
    /// Nothing breaks before, to see that workers come back to a coordinator that starts.
    truce_until: Instant,
    hosts: Vec<Host>,
    oracle: Oracle,
    /// What calendars say beyond the time that has passed.
    date: u64,
    report: Report,
}

impl World {
    fn new(settings: Settings, climate: Climate) -> Self {
        let mut rng = rng(settings.seed, 1);
        let hosts = (0..2 + rng.below(3))
            .map(|host| {
                // Two workers have a device together: all of it each, or parts that fit or do not.
                let share =
                    Share::new([0, 5_000, 6_000, 10_000][rng.below(4)]).expect("a share is at most all");
                Host::new(host % 2 == 0, draw_pace(&mut rng), (host / 2, share))
            })
            .collect();
        Self {
            settings,
            climate,
            rng,
            now: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            calls: 0,
            starts: 0,
            disk: Disk::default(),
            coordinator: None,
            stalled_until: 0,
            truce_until: 0,
            hosts,
            oracle: Oracle::default(),
            date: 1_700_000_000_000,
            report: Report::default(),
        }
    }

    fn run(mut self) -> Result<Report, String> {
        self.start_coordinator();
        for (number, submission) in submissions().iter().enumerate() {
            self.after(submission.after_ms, Event::Submit { number });
        }
        for host in 0..self.hosts.len() {
            self.after(1, Event::StartWorker { host });
        }
        self.schedule_fault();
        let mut is_back = false;
        while let Some(((at, _), event)) = self.events.pop_first() {
            if !is_back && at > self.climate.ends + BACK_MS {
                is_back = true;
                self.check_everybody_is_back();
            }
            self.now = at;
            self.happens(event);
            self.oracle.verdict().map_err(|breach| format!("{breach}, at {} ms", self.now))?;
            if self.report.worked_ms == 0 && self.is_over() {
                self.report.worked_ms = self.now;
            }
            if is_back && self.is_over() {
                return self.finish();
            }
            if self.now > self.climate.ends + PATIENCE_MS {
                return Err(format!("it does not end; {}", self.standing()));
            }
        }
        Err("nothing happens any more".to_owned())
    }

    fn finish(mut self) -> Result<Report, String> {
        let Some(coordinator) = &self.coordinator else { return Err("there is no coordinator".to_owned()) };
        let ledger = &coordinator.state.ledger;
        if ledger.conflicts() > 0 {
            return Err("outcomes of one trial differ".to_owned());
        }
        let mut experiments: Vec<_> = ledger.experiments().iter().collect();
        // A crash may undo a submission, which then comes after others.
        experiments.sort_by_key(|experiment| &experiment.id);
        for experiment in experiments {
            let done = report::Report::new(ledger, experiment).map_err(|error| error.to_string())?;
            self.report.results.push(done.to_csv());
        }
        if self.hosts.iter().flat_map(|host| &host.program).any(|program| program.dropped() > 0) {
            return Err("an outcome was refused".to_owned());
        }
        (self.report.passed, self.report.able_ms) = (self.oracle.waits.passed, self.oracle.waits.able_ms);
        self.report.steps = self.oracle.steps;
        self.report.quarantined = self.oracle.quarantined;
        self.report.unlucky = self.oracle.unlucky;
        Ok(self.report)
    }

    fn is_over(&self) -> bool {
        let is_over = |coordinator: &Coordinator| {
            let experiments = coordinator.state.ledger.experiments();
            let over = experiments.iter().all(|experiment| experiment.status == Status::Finished);
            over && experiments.len() == submissions().len() && coordinator.unstored().is_empty()
        };
        let is_idle = |host: &Host| {
            let is_idle = host.program.as_ref().is_some_and(Program::is_idle);
            is_idle && host.spool.as_ref().is_none_or(|spool| spool.bytes.is_empty())
        };
        self.coordinator.as_ref().is_some_and(is_over) && self.hosts.iter().all(is_idle)
    }

    fn standing(&self) -> String {
        let Some(coordinator) = &self.coordinator else { return "there is no coordinator".to_owned() };
        let dispatch = &coordinator.state.dispatch;
        let experiments: Vec<_> =
            coordinator.state.ledger.experiments().iter().map(|known| (&known.id.0, &known.status)).collect();
        let idle: Vec<bool> =
            self.hosts.iter().map(|host| host.program.as_ref().is_some_and(Program::is_idle)).collect();
        format!(
            "{} queued, {} leases, {} workers, {experiments:?}, idle {idle:?}",
            dispatch.waiting(),
            dispatch.leases().len(),
            dispatch.workers().len()
        )
    }

    /// Every worker is registered with the coordinator of now.
    fn check_everybody_is_back(&mut self) {
        let is_known = |program: &Program| {
            let coordinator = self.coordinator.as_ref();
            coordinator.is_some_and(|now| now.state.dispatch.worker(&program.id).is_some())
        };
        // One that died of a trial may have started just now; one that is suspended does nothing.
        let began = |one: &Program| one.started.max(one.suspended_until);
        let programs = self.hosts.iter().flat_map(|host| &host.program);
        let mut programs = programs.filter(|one| began(one) + BACK_MS <= self.now && !one.is_ending());
        let away = programs.find(|program| !is_known(program)).map(|program| program.id.clone());
        self.oracle.require(away.is_none(), || format!("{away:?} is not back after {BACK_MS} ms"));
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    fn after(&mut self, millis: u64, event: Event) {
        self.at(self.now + millis, event);
    }

    fn draw(&mut self, limit: u64) -> u64 {
        self.rng.below(limit.max(1) as usize) as u64
    }

    fn may_break(&self) -> bool {
        self.now < self.climate.ends && self.now >= self.truce_until
    }

    /// Whether something of so many thousandths happens; never when the faults are over.
    fn befalls(&mut self, thousandths: u64) -> bool {
        let draw = self.draw(1_000);
        self.may_break() && draw < thousandths
    }

    fn note(&mut self, kind: u64, text: impl FnOnce() -> String) {
        let mixed = self.report.trace.rotate_left(7) ^ self.now.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ kind;
        self.report.trace = mixed.wrapping_mul(0x0100_0000_01b3);
        if self.settings.is_told {
            eprintln!("{:>8} {}", self.now, text());
        }
    }

    fn happens(&mut self, event: Event) {
        if let Some(later) = self.delayed(&event) {
            return self.at(later, event);
        }
        self.note(kind_number(&event), || format!("{event:?}").chars().take(160).collect());
        match event {
            Event::Request(request) => self.arrives(request),
            Event::Reply(reply) => self.returns(reply.to, reply.call, reply.body),
            Event::Deadline { to, call, body } => self.returns(to, call, body),
            Event::Wake(process) => self.feed(process, Input::Time),
            Event::Beat(process) => self.beat(process),
            Event::Compute { process, order } => self.compute(process, order),
            Event::Round { start } => self.round(start),
            Event::Stored { start } => self.stored(start),
            Event::Concluded { start, experiment, stage, proposal } => {
                if let Some(coordinator) = self.coordinator.as_mut().filter(|now| now.start == start) {
                    let thought = Thought { experiment, stage, proposal };
                    coordinator.conclude(thought, self.now, &mut self.oracle);
                    self.schedule_round();
                }
            }
            Event::Fault => {
                self.breaks();
                self.schedule_fault();
            }
            Event::StartWorker { host } => self.start_worker(host),
            Event::StartCoordinator => self.start_coordinator(),
            Event::Heal { host } => self.hosts[host].is_cut_off = [false; 2],
            Event::Space { host: None } => self.disk.is_full = false,
            Event::Space { host: Some(host) } => {
                if let Some(spool) = &mut self.hosts[host].spool {
                    spool.is_full = false;
                }
            }
            Event::Submit { number } => self.submit(number),
            Event::Resume(experiment) => self.resume(experiment),
            Event::Back { start } => {
                if self.coordinator.as_ref().is_some_and(|now| now.start == start) {
                    self.check_everybody_is_back();
                }
            }
        }
    }

    /// When an event really happens, if its party does nothing right now.
    fn delayed(&self, event: &Event) -> Option<Instant> {
        let process = match event {
            Event::Reply(Reply { to, .. }) | Event::Deadline { to, .. } => to,
            Event::Wake(process) | Event::Beat(process) | Event::Compute { process, .. } => process,
            Event::Round { .. } | Event::Stored { .. } => {
                return Some(self.stalled_until).filter(|until| *until > self.now);
            }
            // The driver hears of conclusions and users between two writes.
            Event::Concluded { .. } | Event::Submit { .. } | Event::Resume(_) => {
                let busy = self.coordinator.as_ref().is_some_and(|now| now.is_storing || now.is_out);
                let later = if busy { self.now + 10 } else { self.stalled_until };
                return Some(later).filter(|until| *until > self.now);
            }
            Event::Request(_)
            | Event::Fault
            | Event::StartWorker { .. }
            | Event::StartCoordinator
            | Event::Heal { .. }
            | Event::Back { .. }
            | Event::Space { .. } => return None,
        };
        let until = self.program(*process).map(|program| program.suspended_until)?;
        Some(until).filter(|until| *until > self.now)
    }

    fn program(&self, process: Process) -> Option<&Program> {
        self.hosts[process.host].program.as_ref().filter(|program| program.process == process)
    }
}

fn kind_number(event: &Event) -> u64 {
    match event {
        Event::Request(Request { from, .. }) => 16 + from.host as u64,
        Event::Reply(Reply { to, .. }) => 32 + to.host as u64,
        Event::Deadline { to, .. } => 48 + to.host as u64,
        Event::Wake(process) => 64 + process.host as u64,
        Event::Beat(process) => 80 + process.host as u64,
        Event::Compute { process, .. } => 96 + process.host as u64,
        Event::Round { .. } => 1,
        Event::Stored { .. } => 2,
        Event::Concluded { .. } => 3,
        Event::Fault => 4,
        Event::StartWorker { .. } => 5,
        Event::StartCoordinator => 6,
        Event::Heal { .. } => 7,
        Event::Space { .. } => 8,
        Event::Resume(_) => 9,
        Event::Submit { .. } => 10,
        Event::Back { .. } => 11,
    }
}
