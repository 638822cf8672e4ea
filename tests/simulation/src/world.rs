//! Time, network and fate: what happens next, and what breaks.

mod fate;
mod parties;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bitloop_core::device::Share;
use bitloop_core::plan::ExperimentId;
use bitloop_core::report;
use bitloop_core::rng::{Rng, rng};
use bitloop_core::state::{Action, Experiment, Input as CoordinatorInput, Sources, Status};
use bitloop_core::trial::TrialSpec;
use bitloop_core::worker::{Call, FailureKind, Input, QUICK_MS};

use crate::coordinator::{After, Calendar, Coordinator};
use crate::disk::Disk;
use crate::experiment::{
    Arrival, KINDS, PANIC, Submission, is_fragile, is_of_fragile, prepared, submissions,
};
use crate::faults::{Climate, Fault, Sabotage, draw_pace};
use crate::host::{BEAT_MS, Beaten, Host, Need, Program, Site, Wish};
use crate::message::{Body, Event, Instant, Process, Reply, Request, Returned};
use crate::oracle::Oracle;

/// Once nothing breaks any more, everything is over within this time.
///
/// Three workers die of a trial and stay away for long enough to be taken for dead; or one that only has one device is tried
/// again and again.
const PATIENCE_MS: u64 = 2_400_000;

/// The last experiment comes so long after the last fault: when those that were paused or cancelled go on again.
const LAST_AFTER_MS: u64 = 3_000;

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
    /// Outcomes that were lost with their artifact.
    pub lost: u64,
    /// Experiments that failed, as what they rested on was lost and could not be made again.
    pub failed: u64,
    /// Experiments that rest on another artifact than others.
    pub apart: u64,
    /// How often others who asked later were served before a worker that could have had a shard, at most.
    pub passed: u32,
    /// How long a worker could have had a shard that waited, at most, in milliseconds.
    pub able_ms: u64,
    /// The results of every experiment, or why it failed.
    pub results: Vec<String>,
    /// The kind of CPU that made what each rests on; none if it failed.
    kinds: Vec<Option<usize>>,
    /// A number that depends on the order of everything that happened.
    pub trace: u64,
    /// How long it took to measure everything, in simulated milliseconds.
    pub worked_ms: u64,
}

/// Runs a cluster through the faults that follow from a seed.
///
/// Errors: the first breach of an invariant, or what the results differ in.
pub fn simulate(settings: Settings) -> Result<Report, String> {
    let climate = Climate::draw(&mut rng(settings.seed, 0));
    let report = World::new(settings, climate).run()?;
    // A trial that three processes ran when they ended is given up, as nothing tells bad luck from what it did.
    if report.unlucky > 0 {
        return Ok(report);
    }
    for (number, (result, kind)) in report.results.iter().zip(&report.kinds).enumerate() {
        let Some(kind) = kind else { continue };
        let expected = &calm(settings.has_poison(), *kind)[number];
        let differing = result.lines().zip(expected.lines()).find(|(here, there)| here != there);
        if result != expected {
            return Err(format!("the results are not those of a calm cluster, first {differing:?}"));
        }
    }
    Ok(report)
}

/// The results of a cluster in which nothing breaks and all CPUs are of one kind.
fn calm(has_poison: bool, kind: usize) -> &'static [String] {
    static CALM: [[OnceLock<Vec<String>>; KINDS]; 2] = [const { [const { OnceLock::new() }; KINDS] }; 2];
    CALM[usize::from(has_poison)][kind].get_or_init(|| {
        let calm = World::new(Settings::of_seed(u64::from(has_poison)), Climate::calm(kind));
        calm.run().expect("a calm cluster measures everything").results
    })
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
    /// Whether what the fragile model's preparing gave has been lost: it panics from then on.
    is_worn: bool,
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
                Host::new(host % 2 == 0, (draw_pace(&mut rng), climate.kind), (host / 2, share))
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
            is_worn: false,
            date: 1_700_000_000_000,
            report: Report::default(),
        }
    }

    fn run(mut self) -> Result<Report, String> {
        self.start_coordinator();
        for (number, submission) in submissions().iter().enumerate() {
            let at = match submission.arrival {
                Arrival::After(millis) => millis,
                Arrival::Last => self.climate.ends + LAST_AFTER_MS,
            };
            self.at(at, Event::Submit { number });
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
            self.check_devices();
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
        let mut experiments: Vec<_> = ledger.experiments().iter().collect();
        // A crash may undo a submission, which then comes after others.
        experiments.sort_by_key(|experiment| &experiment.id);
        for experiment in experiments {
            let (result, kind) = match &experiment.status {
                Status::Failed { reason } => (self.failure(experiment, reason)?, None),
                Status::Active | Status::Paused | Status::Cancelled | Status::Finished => {
                    let done = report::Report::new(ledger, experiment).map_err(|error| error.to_string())?;
                    (done.to_csv(), Some(self.kind_below(experiment)?))
                }
            };
            self.report.results.push(result);
            self.report.kinds.push(kind);
        }
        let programs = self.hosts.iter().flat_map(|host| &host.program);
        let is_refused =
            |program: &Program| program.dropped() > 0 && !self.oracle.excused.contains(&program.id);
        if programs.into_iter().any(is_refused) {
            return Err("an outcome was refused".to_owned());
        }
        let kinds = self.report.kinds.iter().flatten();
        self.report.failed = self.report.kinds.iter().filter(|kind| kind.is_none()).count() as u64;
        self.report.apart = kinds.filter(|kind| Some(**kind) != self.report.kinds[0]).count() as u64;
        self.report.lost = self.oracle.lost;
        (self.report.passed, self.report.able_ms) = (self.oracle.waits.passed, self.oracle.waits.able_ms);
        self.report.steps = self.oracle.steps;
        self.report.quarantined = self.oracle.quarantined;
        self.report.unlucky = self.oracle.unlucky;
        Ok(self.report)
    }

    /// Why an experiment failed. One may: that whose model cannot be prepared again; then nothing is kept of what followed from it.
    fn failure(&self, experiment: &Experiment, reason: &str) -> Result<String, String> {
        let prepare = TrialSpec::Prepare(Box::new(experiment.plan.prepare()));
        let is_worn = self.is_worn && is_fragile(&prepare) && reason.contains(PANIC);
        let mut followed = experiment.stages.iter().skip(1).flat_map(|stage| &stage.trials);
        match (is_worn && followed.next().is_none()) || self.oracle.unlucky > 0 {
            true => Ok(reason.to_owned()),
            false => Err(format!("{:?} failed: {reason}", experiment.id)),
        }
    }

    /// The kind of CPU that prepared the model on which a finished experiment rests.
    fn kind_below(&self, experiment: &Experiment) -> Result<usize, String> {
        let rests_on = self.oracle.rests_on(&experiment.id);
        let mut kinds = 0..KINDS;
        let kind = kinds.find(|kind| rests_on == Some(prepared(experiment.plan.model, *kind)));
        kind.ok_or_else(|| format!("{:?} rests on {rests_on:?}, which nobody made", experiment.id))
    }

    fn is_over(&self) -> bool {
        let is_over = |coordinator: &Coordinator| {
            let experiments = coordinator.state.ledger.experiments();
            let is_ended = |status: &Status| matches!(status, Status::Finished | Status::Failed { .. });
            let over = experiments.iter().all(|experiment| is_ended(&experiment.status));
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

    /// No two processes measure one device, whatever the coordinator believes.
    fn check_devices(&mut self) {
        let mut probed = BTreeMap::new();
        for program in self.hosts.iter().flat_map(|host| &host.program) {
            let Some(device) = program.probes_awake() else { continue };
            if let Some(other) = probed.insert(device, &program.id) {
                let breach = || format!("{:?} and {other:?} measure one device", program.id);
                self.oracle.require(false, breach);
            }
        }
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
            Event::Concluded { start, thought } => {
                if let Some(coordinator) = self.coordinator.as_mut().filter(|now| now.start == start) {
                    coordinator.conclude(thought, self.now, &mut self.oracle);
                    self.schedule_round();
                }
            }
            Event::Missed { start, artifact } => self.miss(start, artifact),
            Event::Restored { artifact } => {
                self.disk.artifacts.insert(artifact);
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
            Event::Concluded { .. } | Event::Missed { .. } | Event::Submit { .. } | Event::Resume(_) => {
                let busy = self.coordinator.as_ref().is_some_and(|now| now.is_storing || now.is_out);
                let later = if busy { self.now + 10 } else { self.stalled_until };
                return Some(later).filter(|until| *until > self.now);
            }
            Event::Request(_)
            | Event::Fault
            | Event::StartWorker { .. }
            | Event::StartCoordinator
            | Event::Heal { .. }
            | Event::Restored { .. }
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
        Event::Missed { .. } => 12,
        Event::Restored { .. } => 13,
    }
}
