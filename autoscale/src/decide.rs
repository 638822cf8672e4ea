//! What is to be submitted and cancelled.

use std::time::Duration;

use bitloop_core::spec::{AutoscaleSpec, WorkerClass};

use crate::backlog::{Share, Work, shares};
use crate::engine::{Seen, SubmissionId};
use crate::memory::{ClassMemory, Known, Memory, State};
use crate::notice::Notice;

/// Looks in a row with more workers than are wanted before one is cancelled: between two steps of a search there is no work
/// for a moment.
const SURPLUS_LOOKS: u32 = 2;

/// What a look at coordinator and engine showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// The coordinator's open trials, and the workers that it has from others; none if it did not answer.
    pub work: Option<Work>,
    /// The engine's list; none if it did not answer.
    pub seen: Option<Vec<Seen>>,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Submit workers of a class.
    Submit { class: String, workers: u32 },
    /// Cancel a submission that waits.
    Cancel { class: String, id: SubmissionId },
}

/// What follows from a look.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What is known now.
    pub memory: Memory,
    /// What is to be done, in this order.
    pub actions: Vec<Action>,
    /// What falls to each class, in the file's order; none if the coordinator did not answer.
    pub shares: Vec<Share>,
    /// What people should know.
    pub notices: Vec<Notice>,
}

/// Decides what to submit and to cancel. Pure: the same arguments give the same answer.
///
/// Nothing is done while coordinator or engine do not answer. Submissions that run are never cancelled: their workers leave
/// by themselves when there is no work.
pub fn decide(observation: &Observation, memory: &Memory, spec: &AutoscaleSpec, now: Duration) -> Decision {
    let mut decision =
        Decision { memory: memory.clone(), actions: Vec::new(), shares: Vec::new(), notices: Vec::new() };
    let Some(seen) = &observation.seen else { return decision };
    decision.notices = decision.memory.reconcile(seen, spec, now);
    let Some(work) = &observation.work else { return decision };
    let (shares, strange) = shares(&spec.classes, work);
    decision.notices.extend(strange.into_iter().map(|demand| Notice::NoClass { demand: demand.clone() }));
    for (class, share) in spec.classes.iter().zip(&shares) {
        let memory = decision.memory.class_mut(&class.name);
        decision.actions.extend(cancellations(memory, class, share.workers));
        decision.actions.extend(submissions(memory, class, share.workers, (spec, now)));
    }
    decision.shares = shares;
    decision
}

fn cancellations(memory: &mut ClassMemory, class: &WorkerClass, wanted: u32) -> Vec<Action> {
    let counts = memory.counts();
    let mut surplus = (counts.workers() - counts.cancelled).saturating_sub(wanted);
    memory.surplus_looks = if surplus > 0 { memory.surplus_looks.saturating_add(1) } else { 0 };
    let is_lasting = memory.surplus_looks >= SURPLUS_LOOKS;
    // The engine has just said that they wait.
    let waits = |known: &Known| known.state == State::Waiting && known.missed == 0;
    let mut waiting: Vec<(&SubmissionId, &Known)> =
        memory.known.iter().filter(|(_, known)| waits(known)).collect();
    waiting.sort_by_key(|(_, known)| std::cmp::Reverse(known.sequence));
    let mut actions = Vec::new();
    for (id, known) in waiting {
        if !known.cancelled {
            if !is_lasting || known.workers > surplus {
                continue;
            }
            surplus -= known.workers;
        }
        // One that waits although it was cancelled is cancelled again.
        actions.push(Action::Cancel { class: class.name.clone(), id: id.clone() });
    }
    actions
}

fn submissions(
    memory: &ClassMemory,
    class: &WorkerClass,
    wanted: u32,
    (spec, now): (&AutoscaleSpec, Duration),
) -> Vec<Action> {
    let counts = memory.counts();
    let places = class.waiting_max.saturating_sub(counts.waiting_submissions) as usize;
    let allowance = memory.health.allowance(&spec.pause, memory.unproven(class, now), now);
    let mut missing = wanted.saturating_sub(counts.workers());
    let mut actions = Vec::new();
    while missing > 0 && actions.len() < places.min(allowance) {
        let workers = missing.min(class.per_submission);
        missing -= workers;
        actions.push(Action::Submit { class: class.name.clone(), workers });
    }
    actions
}
