//! How long trials take on each class of workers, learned from what workers report.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::trial::TrialSpec;

/// Weight of the newest report in a smoothed time.
const SMOOTHING: f64 = 0.3;

/// Workers that are equally fast, as far as anyone knows: the same class of device, the same number of threads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkerClass {
    /// Class of the device.
    pub device: String,
    /// Threads it evaluates with.
    pub threads: u32,
}

/// Trials whose time is proportional to the images that they look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Preparations of this model.
    Prepare(Digest),
    /// Evaluations in this context.
    Evaluate(Digest),
    /// Trainings that start from this model.
    Train(Digest),
    /// Measurements with this target.
    Probe(Digest),
}

impl Subject {
    /// What a trial is about.
    pub fn of(spec: &TrialSpec) -> Self {
        match spec {
            TrialSpec::Prepare(prepare) => Self::Prepare(prepare.model),
            TrialSpec::Evaluate { context, .. } => Self::Evaluate(*context),
            TrialSpec::Train(training) => Self::Train(training.model),
            TrialSpec::Probe(probe) => Self::Probe(probe.target.digest()),
        }
    }
}

/// How much there is to do: images that go through the network, as far as the trial itself says it.
pub(super) fn units(spec: &TrialSpec) -> u64 {
    match spec {
        TrialSpec::Prepare(prepare) => prepare.images.len.max(1),
        TrialSpec::Evaluate { part, .. } => part.len.max(1),
        TrialSpec::Train(training) => {
            let learned = training.training.images.len.saturating_mul(u64::from(training.recipe.epochs));
            learned.saturating_add(training.validation.images.len).max(1)
        }
        TrialSpec::Probe(_) => 1,
    }
}

/// Smoothed milliseconds of a unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    unit_ms: BTreeMap<Subject, BTreeMap<WorkerClass, f64>>,
}

impl Pace {
    /// Learns that trials of one subject, with so many units on average, took `trial_ms` each.
    pub(super) fn learn(&mut self, class: &WorkerClass, subject: Subject, (units, trial_ms): (f64, f64)) {
        let unit_ms = trial_ms / units;
        let known = self.unit_ms.entry(subject).or_default();
        match known.get_mut(class) {
            Some(smoothed) => *smoothed += SMOOTHING * (unit_ms - *smoothed),
            None => {
                known.insert(class.clone(), unit_ms);
            }
        }
    }

    /// Predicts the milliseconds of a trial; none while nobody has measured anything like it.
    ///
    /// Where the class has not, it is taken for as slow as the slowest that has.
    pub fn predict(&self, class: &WorkerClass, spec: &TrialSpec) -> Option<f64> {
        let unit_ms = self.unit_ms.get(&Subject::of(spec))?.get(class);
        unit_ms.map(|unit_ms| unit_ms * units(spec) as f64).or_else(|| self.predict_slowest(spec))
    }

    /// Predicts the milliseconds of a trial on the slowest class that has measured anything like it.
    pub fn predict_slowest(&self, spec: &TrialSpec) -> Option<f64> {
        let known = self.unit_ms.get(&Subject::of(spec))?;
        let unit_ms = known.values().copied().max_by(f64::total_cmp)?;
        Some(unit_ms * units(spec) as f64)
    }
}
