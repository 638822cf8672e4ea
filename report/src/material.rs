//! All that was found out of an experiment, as whoever asked for it hands it over.

use std::collections::BTreeMap;

use bitloop_core::digest::Digest;
use bitloop_core::plan::Plan;
use bitloop_core::report::{Effort, Report};
use serde::{Deserialize, Serialize};

/// All that a report is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Material {
    /// What was measured.
    pub report: Report,
    /// What that took.
    pub effort: Effort,
    /// What was asked for.
    pub plan: Plan,
    /// Where the inputs were found.
    pub sources: BTreeMap<String, Digest>,
    /// How far it is.
    pub standing: Standing,
    /// What happened meanwhile.
    pub chronicle: Chronicle,
    /// When and by what the report is made.
    pub made: Made,
}

impl Material {
    /// Whether there is more to come.
    pub fn is_going(&self) -> bool {
        matches!(self.report.status.as_str(), "active" | "paused")
    }
}

/// How far an experiment is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Why it failed; empty if it did not.
    pub reason: String,
    /// The stage under way; empty when all are done.
    pub stage: String,
    /// Trials of all stages, as far as known.
    pub total: u64,
    /// Trials that are no longer open.
    pub settled: u64,
    /// Of these, failed or quarantined ones.
    pub failed: u64,
    /// Trials that other experiments had measured before.
    pub reused: u64,
    /// Repeated measurements that differed, over all experiments.
    pub conflicts: u64,
}

/// When and by what a report is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Program and version.
    pub by: String,
    /// Date and time; empty if not known.
    pub at: String,
}

/// What is still known of what happened on the cluster.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Chronicle {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// Events that are not kept any more.
    pub missed: u64,
    /// Attempts at some of the trials.
    pub attempts: Vec<Attempt>,
    /// Trials whose attempts were asked for.
    pub asked: u64,
    /// Trials that could have been asked for.
    pub of: u64,
}

/// Something that happened.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970; 0 if nobody noted it.
    pub unix_ms: u64,
    /// The same for people.
    pub time: String,
    /// One word, such as `worker_lost`.
    pub kind: String,
    /// Who, if a worker is concerned; else empty.
    pub worker: String,
    /// Whether it names this experiment.
    pub is_own: bool,
    /// What happened.
    pub text: String,
}

/// An attempt at a trial.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Attempt {
    /// The worker that had it.
    pub worker: String,
    /// When the worker was given it, in milliseconds since 1970.
    pub from_ms: u64,
    /// That for people.
    pub time: String,
    /// When it ended.
    pub to_ms: u64,
    /// How: one word, such as `measured`.
    pub end: String,
    /// What is known of it.
    pub text: String,
}
