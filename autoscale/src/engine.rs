//! An engine that starts workers on a cluster's machines: what all of them have in common.

mod command;
mod pbs;
mod slurm;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bitloop_core::spec::{AUTOSCALE_LABEL, AutoscaleSpec, SubmissionSpec, WorkerClass};
use serde::{Deserialize, Serialize};

pub use command::EngineError;
use pbs::Pbs;
use slurm::Slurm;

/// How an engine calls a submission.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubmissionId(pub String);

impl fmt::Display for SubmissionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a submission is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// In the engine's queue.
    Waiting,
    /// On a machine.
    Running,
    /// Over, or about to be.
    Ended,
}

/// A submission in an engine's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: SubmissionId,
    /// The name that it was given.
    pub name: String,
    /// How far it is.
    pub phase: Phase,
}

/// A call of an engine's command in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// What it reads: the script that runs on the workers' machines.
    pub script: String,
}

/// An engine that is there.
pub trait Engine: Send {
    /// How workers of a class are submitted.
    fn submission(&self, class: &WorkerClass, workers: u32) -> Submission;

    /// Submits.
    fn submit(&self, submission: &Submission) -> Result<SubmissionId, EngineError>;

    /// Lists this user's submissions, those that have ended as far as the engine still shows them.
    fn seen(&self) -> Result<Vec<Seen>, EngineError>;

    /// The command that cancels a submission.
    fn cancellation(&self, id: &SubmissionId) -> Vec<String>;

    /// Cancels a submission; one that does not wait any more is left alone where the engine can tell.
    fn cancel(&self, id: &SubmissionId) -> Result<(), EngineError>;
}

/// The engine that a file names.
///
/// Errors: the environment does not say who this user is, which PBS's list needs.
pub fn engine_of(
    spec: &AutoscaleSpec,
    coordinator: &str,
    user: Option<String>,
) -> Result<Box<dyn Engine>, EngineError> {
    let worker = WorkerCommand::new(spec, coordinator);
    match spec.classes.first().map(|class| &class.submission) {
        Some(SubmissionSpec::Pbs(_)) => Ok(Box::new(Pbs::new(spec, worker, user)?)),
        Some(SubmissionSpec::Slurm(_)) | None => Ok(Box::new(Slurm::new(spec, worker))),
    }
}

/// The name of a submission, which says all that is needed to know it again.
fn name(spec_name: &str, class: &str, workers: u32) -> String {
    format!("bitloop.{spec_name}.{class}.{workers}")
}

/// Class and number of workers of a submission that has a name of ours.
pub(crate) fn parse_name<'a>(name: &'a str, spec_name: &str) -> Option<(&'a str, u32)> {
    let rest = name.strip_prefix("bitloop.")?.strip_prefix(spec_name)?.strip_prefix('.')?;
    let (class, workers) = rest.split_once('.')?;
    Some((class, workers.parse().ok().filter(|workers| *workers > 0)?))
}

/// The command line of a worker.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    program: String,
    coordinator: String,
    /// A folder, never what is in it: scripts are kept by engines, and command lines are everyone's to read.
    identity: Option<String>,
    /// The value of the label by which the coordinator's list tells these workers from others.
    label: String,
}

impl WorkerCommand {
    fn new(spec: &AutoscaleSpec, coordinator: &str) -> Self {
        let coordinator = spec.coordinator.clone().unwrap_or_else(|| coordinator.to_owned());
        let (program, identity, label) = (spec.program.clone(), spec.identity.clone(), spec.name.clone());
        Self { program, coordinator, identity, label }
    }

    /// A worker of a class that takes `cpus` processors, quoted for a shell.
    fn of(&self, class: &WorkerClass, cpus: Option<u32>) -> String {
        let device = match class.offers.device {
            bitloop_core::device::DeviceKind::Cpu => "cpu",
            // The engine shows each worker its own GPU alone.
            bitloop_core::device::DeviceKind::Cuda => "cuda:0",
        };
        let seconds = |time: Duration| format!("{}ms", time.as_millis());
        let mut words = vec![self.program.clone(), "worker".to_owned()];
        let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
        option("--coordinator", self.coordinator.clone());
        if let Some(folder) = &self.identity {
            option("--identity", folder.clone());
        }
        option("--device", device.to_owned());
        if let Some(cpus) = cpus {
            option("--threads", cpus.to_string());
        }
        let own = (AUTOSCALE_LABEL, self.label.as_str());
        let labels = class.offers.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in std::iter::once(own).chain(labels) {
            option("--label", format!("{key}={value}"));
        }
        // One file may have several probes.
        let probes: BTreeSet<&String> = class.offers.probes.values().collect();
        for probe in probes {
            option("--probe", probe.clone());
        }
        option("--idle-exit", seconds(class.idle_exit));
        // A coordinator that is not there has no work either.
        option("--connect-timeout", seconds(class.idle_exit));
        words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }
}

/// A word as a shell takes it, whatever it is made of.
fn quoted(word: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_./:=,@%+".contains(char);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests;
