//! What is known of our submissions: what was submitted, and what the engine said of it since.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bitloop_core::spec::{AutoscaleSpec, WorkerClass};
use serde::{Deserialize, Serialize};

use crate::engine::{Phase, Seen, SubmissionId, parse_name};
use crate::health::{Health, Pause};
use crate::notice::Notice;

/// Looks at the engine in a row that must miss a submission before it is gone: lists of busy engines have holes.
pub(crate) const GONE_AFTER: u32 = 3;

/// All that is remembered from one look at the engine to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    classes: BTreeMap<String, ClassMemory>,
    strangers: BTreeSet<SubmissionId>,
    sequence: u64,
}

/// The submissions of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClassMemory {
    pub(crate) known: BTreeMap<SubmissionId, Known>,
    pub(crate) unclear: Vec<Unclear>,
    pub(crate) health: Health,
    /// Looks in a row with more workers than are wanted.
    pub(crate) surplus_looks: u32,
}

/// A submission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) workers: u32,
    pub(crate) state: State,
    pub(crate) cancelled: bool,
    /// Looks in a row that missed it.
    pub(crate) missed: u32,
    /// Later submissions have greater ones.
    pub(crate) sequence: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum State {
    Waiting,
    /// Since a look at the engine.
    Running(Duration),
    /// As long as a worker that works, or from before a restart, when nobody knows since when.
    Lasting,
}

/// A submission that the engine may or may not have taken, as when it did not answer in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Unclear {
    pub(crate) workers: u32,
    /// Looks that it still counts for.
    looks: u32,
}

/// What became of an action.
#[derive(Clone, Debug, PartialEq)]
pub enum Happened {
    /// The engine took a submission.
    Submitted { class: String, id: SubmissionId, workers: u32 },
    /// It did not, or, if that is unclear, may have.
    Refused { class: String, workers: u32, unclear: bool, reason: String },
    /// The engine was told to cancel.
    Cancelled { class: String, id: SubmissionId },
    /// It would not.
    NotCancelled { id: SubmissionId, reason: String },
}

/// What a class has in the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Workers of submissions that run.
    pub running: u32,
    /// Workers of submissions that wait.
    pub waiting: u32,
    /// Submissions that wait.
    pub waiting_submissions: u32,
    /// Workers of the above that are to be cancelled.
    pub cancelled: u32,
}

impl Counts {
    /// All workers.
    pub fn workers(&self) -> u32 {
        self.running + self.waiting
    }
}

impl Memory {
    /// What a class has in the engine.
    pub fn counts(&self, class: &str) -> Counts {
        self.classes.get(class).map(ClassMemory::counts).unwrap_or_default()
    }

    /// How long it is until a class may be submitted again, if that is paused.
    pub fn paused(&self, class: &str, now: Duration) -> Option<Duration> {
        self.classes.get(class)?.health.paused(now)
    }

    /// What was written down before, for another start.
    pub(crate) fn resume(&mut self, spec: &AutoscaleSpec, now: Duration) {
        for memory in self.classes.values_mut() {
            memory.health.resume(&spec.pause, now);
        }
    }

    pub(crate) fn class_mut(&mut self, class: &str) -> &mut ClassMemory {
        self.classes.entry(class.to_owned()).or_default()
    }

    /// Records what became of an action; returns what people should know.
    pub fn note(&mut self, happened: &Happened, spec: &AutoscaleSpec, now: Duration) -> Vec<Notice> {
        match happened {
            Happened::Submitted { class, id, workers } => {
                let known = self.newly_known(*workers, State::Waiting);
                let memory = self.class_mut(class);
                memory.known.insert(id.clone(), known);
                memory.health.accepted(&spec.pause);
                Vec::new()
            }
            Happened::Refused { class, workers, unclear, reason } => {
                let memory = self.class_mut(class);
                if *unclear {
                    memory.unclear.push(Unclear { workers: *workers, looks: GONE_AFTER });
                }
                let pause = memory.health.refused(&spec.pause, now);
                let refused = Notice::Refused { class: class.clone(), reason: reason.clone() };
                std::iter::once(refused).chain(pause.map(|pause| paused(class, pause))).collect()
            }
            Happened::Cancelled { class, id } => {
                if let Some(known) = self.class_mut(class).known.get_mut(id) {
                    known.cancelled = true;
                }
                Vec::new()
            }
            Happened::NotCancelled { id, reason } => {
                vec![Notice::NotCancelled { id: id.clone(), reason: reason.clone() }]
            }
        }
    }

    /// Brings memory and the engine's list together.
    pub(crate) fn reconcile(&mut self, seen: &[Seen], spec: &AutoscaleSpec, now: Duration) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut by_id: BTreeMap<&SubmissionId, &Seen> = seen.iter().map(|seen| (&seen.id, seen)).collect();
        for class in &spec.classes {
            self.class_mut(&class.name).look(&mut by_id, class, spec, now, &mut notices);
        }
        // What is left of the list is new to us.
        for seen in by_id.into_values() {
            notices.extend(self.adopt(seen, spec));
        }
        notices
    }

    fn adopt(&mut self, seen: &Seen, spec: &AutoscaleSpec) -> Option<Notice> {
        let (class, workers) = parse_name(&seen.name, &spec.name)?;
        let (class, id) = (class.to_owned(), seen.id.clone());
        let state = match seen.phase {
            Phase::Waiting => State::Waiting,
            Phase::Running => State::Lasting,
            Phase::Ended => return None,
        };
        if !spec.classes.iter().any(|known| known.name == class) {
            let is_new = self.strangers.insert(id.clone());
            return is_new.then_some(Notice::Stranger { id, class });
        }
        let known = self.newly_known(workers, state);
        let memory = self.class_mut(&class);
        // It may be one of those that we did not know to be there.
        if let Some(place) = memory.unclear.iter().position(|unclear| unclear.workers == workers) {
            memory.unclear.remove(place);
        }
        memory.known.insert(id.clone(), known);
        Some(Notice::Adopted { class, id, workers })
    }

    fn newly_known(&mut self, workers: u32, state: State) -> Known {
        self.sequence += 1;
        Known { workers, state, cancelled: false, missed: 0, sequence: self.sequence }
    }
}

fn paused(class: &str, pause: Pause) -> Notice {
    Notice::Paused { class: class.to_owned(), failures: pause.failures, lasts: pause.lasts }
}

/// A worker that has nothing to do lives for `idle_exit`; looks at the engine are at most half of that apart.
fn is_long(class: &WorkerClass, lived: Duration) -> bool {
    lived >= class.idle_exit / 2
}

impl ClassMemory {
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for known in self.known.values() {
            match known.state {
                State::Waiting => {
                    counts.waiting += known.workers;
                    counts.waiting_submissions += 1;
                }
                State::Running(_) | State::Lasting => counts.running += known.workers,
            }
            counts.cancelled += if known.cancelled { known.workers } else { 0 };
        }
        for unclear in &self.unclear {
            counts.waiting += unclear.workers;
            counts.waiting_submissions += 1;
        }
        counts
    }

    /// Submissions that may still turn out to fail.
    pub(crate) fn unproven(&self, class: &WorkerClass, now: Duration) -> usize {
        let is_open = |known: &&Known| match known.state {
            State::Waiting => !known.cancelled,
            State::Running(since) => !is_long(class, now.saturating_sub(since)),
            State::Lasting => false,
        };
        self.known.values().filter(is_open).count() + self.unclear.len()
    }

    /// Takes from the engine's list what is known here.
    fn look(
        &mut self,
        by_id: &mut BTreeMap<&SubmissionId, &Seen>,
        class: &WorkerClass,
        spec: &AutoscaleSpec,
        now: Duration,
        notices: &mut Vec<Notice>,
    ) {
        let mut ended = Vec::new();
        for (id, known) in &mut self.known {
            match by_id.remove(id).map(|seen| seen.phase) {
                Some(Phase::Waiting) => (known.missed, known.state) = (0, State::Waiting),
                Some(Phase::Running) => {
                    known.missed = 0;
                    if known.state == State::Waiting {
                        known.state = State::Running(now);
                    }
                }
                Some(Phase::Ended) => ended.push(id.clone()),
                None => {
                    known.missed += 1;
                    if known.missed >= GONE_AFTER {
                        notices.push(Notice::Gone { class: class.name.clone(), id: id.clone() });
                        ended.push(id.clone());
                    }
                }
            }
            // Said once: one that goes on for days does not show that those submitted today are well.
            if matches!(known.state, State::Running(since) if is_long(class, now.saturating_sub(since))) {
                known.state = State::Lasting;
                self.health.lasted();
            }
        }
        for id in ended {
            let known = self.known.remove(&id);
            if known.is_some_and(|known| failed(&known, class, now)) {
                notices.push(Notice::EndedEarly { class: class.name.clone(), id });
                let pause = self.health.ended_early(&spec.pause, now);
                notices.extend(pause.map(|pause| paused(&class.name, pause)));
            }
        }
        for unclear in &mut self.unclear {
            unclear.looks -= 1;
        }
        self.unclear.retain(|unclear| unclear.looks > 0);
    }
}

/// Whether a submission that has ended did so before a worker without work would have left.
fn failed(known: &Known, class: &WorkerClass, now: Duration) -> bool {
    if known.cancelled {
        return false;
    }
    match known.state {
        // It came and went between two looks, or never ran.
        State::Waiting => true,
        State::Running(since) => !is_long(class, now.saturating_sub(since)),
        State::Lasting => false,
    }
}
