//! What waits for which workers, in numbers: for those who start workers.

use std::collections::BTreeMap;

use crate::device::{DeviceKind, Requirements};
use crate::trial::{Numerics, TrialSpec};

use super::State;
use super::dispatch::Worker;
use super::ledger::Trial;
use super::placement::numerics;
use super::queue::{Group, Lane};

/// What a trial counts for in a backlog while nobody has measured anything like it, in milliseconds.
const UNKNOWN_TRIAL_MS: f64 = 1_000.0;

/// Trials that ask the same of workers.
#[derive(Clone, Debug, PartialEq)]
pub struct Backlog {
    /// What they ask for.
    pub requirements: Requirements,
    /// Whether they need exact arithmetic.
    pub numerics: Numerics,
    /// Trials that wait.
    pub queued: u64,
    /// Trials under a lease.
    pub leased: u64,
    /// How long all of them take one worker of the slowest known class; a second for each that nobody has measured alike.
    pub predicted_ms: f64,
    /// The same with no trial counted longer than [`WANTED_MS_MAX`]: one that takes hours keeps one worker busy, not many.
    pub wanted_ms: f64,
    /// Connected workers that can measure them.
    pub workers: u64,
}

impl Backlog {
    fn add(&mut self, trial_ms: f64, count: usize) {
        self.predicted_ms += trial_ms * count as f64;
        self.wanted_ms += trial_ms.min(WANTED_MS_MAX) * count as f64;
    }

    /// The kind of device that they need: exact arithmetic is a processor's, and its own memory a GPU's.
    pub fn device(&self) -> Option<DeviceKind> {
        let of_arithmetic = (self.numerics == Numerics::Exact).then_some(DeviceKind::Cpu);
        let of_memory = self.requirements.gpu_memory_bytes.map(|_| DeviceKind::Cuda);
        self.requirements.device.or(of_arithmetic).or(of_memory)
    }
}

/// What waits, by requirements and by whether arithmetic is to be exact.
type Classes<'a> = BTreeMap<(&'a Requirements, bool), Backlog>;

/// The work that is worth a worker of its own, in milliseconds: however long a trial takes, one worker measures it.
pub const WANTED_MS_MAX: f64 = 600_000.0;

impl State {
    /// What waits for which workers, by what is asked for.
    pub fn backlog(&self) -> Vec<Backlog> {
        let mut classes = Classes::new();
        for (lane, group) in self.dispatch.lanes().filter(|(_, group)| group.counted() > 0) {
            let class = self.class_of(lane, &mut classes);
            class.queued += group.counted() as u64;
            class.add(self.predicted_first(group), group.counted());
        }
        for (_, lease) in self.dispatch.leases() {
            // Most leases have trials of one lane, in which they stand together.
            let trials = lease.trials.iter().filter_map(|key| self.ledger.trial(key));
            let trials: Vec<(Lane, &Trial)> =
                trials.map(|trial| (Lane::of(lease.claim, trial), trial)).collect();
            for together in trials.chunk_by(|(lane, _), (next, _)| lane == next) {
                let class = self.class_of(&together[0].0, &mut classes);
                class.leased += together.len() as u64;
                together.iter().for_each(|(_, trial)| class.add(self.predicted(&trial.spec), 1));
            }
        }
        classes.into_values().collect()
    }

    /// What asks for the same as a lane.
    fn class_of<'a, 'c>(&'a self, lane: &Lane, classes: &'c mut Classes<'a>) -> &'c mut Backlog {
        let (requirements, numerics) = (self.ledger.requirements(lane), numerics(&self.ledger, lane));
        classes.entry((requirements, numerics == Numerics::Exact)).or_insert_with(|| Backlog {
            requirements: requirements.clone(),
            numerics,
            queued: 0,
            leased: 0,
            predicted_ms: 0.0,
            wanted_ms: 0.0,
            workers: self.able(requirements, numerics),
        })
    }

    /// How long a lane's first trial takes; all of them take as long, for a glance must not look at every one.
    fn predicted_first(&self, group: &Group) -> f64 {
        let first = group.trials().next();
        first.map_or(0.0, |sequence| self.predicted(&self.ledger.proposed_at(sequence).spec))
    }

    fn predicted(&self, spec: &TrialSpec) -> f64 {
        self.dispatch.pace().predict_slowest(spec).unwrap_or(UNKNOWN_TRIAL_MS)
    }

    /// How many connected workers can measure what has these requirements and this arithmetic.
    pub fn able(&self, requirements: &Requirements, numerics: Numerics) -> u64 {
        let able = |worker: &&Worker| worker.info.unmet(requirements, numerics).is_none();
        self.dispatch.workers().filter(able).count() as u64
    }
}
