//! Which submission an experiment comes from, so that what is leased of it is part of the same trace. Volatile, and empty
//! where no spans are recorded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitloop_core::plan::{ExperimentId, Plan};
use bitloop_core::state::{Shard, WorkerId};
use bitloop_proto::trace;
use tonic::metadata::MetadataMap;
use tracing::{Span, info_span};

use crate::driver::Handle;

/// Submissions that are remembered; a lease of an older one begins a trace of its own.
const SUBMISSIONS_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Origins(Mutex<Submissions>);

/// Where submissions stand in their traces, and in which order they came.
#[derive(Debug, Default)]
struct Submissions {
    contexts: BTreeMap<ExperimentId, String>,
    order: VecDeque<ExperimentId>,
}

impl Submissions {
    fn remember(&mut self, experiment: ExperimentId, context: String) {
        self.forget(&experiment);
        if self.order.len() == SUBMISSIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.contexts.remove(&oldest);
        }
        self.order.push_back(experiment.clone());
        self.contexts.insert(experiment, context);
    }

    fn forget(&mut self, experiment: &ExperimentId) {
        if self.contexts.remove(experiment).is_some() {
            self.order.retain(|known| known != experiment);
        }
    }
}

impl Origins {
    fn submissions(&self) -> MutexGuard<'_, Submissions> {
        // Nothing in between its changes could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that a plan is submitted by the current call.
    pub(super) fn note(&self, plan: &Plan) {
        let Some(context) = trace::context(&Span::current()) else { return };
        self.submissions().remember(plan.id(), context);
    }

    /// Forgets a submission that was refused.
    pub(super) fn forget(&self, experiment: &ExperimentId) {
        self.submissions().forget(experiment);
    }

    /// Records that a shard was leased, below the submission that asked for its first trial; the worker is told where.
    pub(super) async fn lease(
        &self,
        handle: &Handle,
        (worker, shard): (&WorkerId, &Shard),
        told: &mut MetadataMap,
    ) {
        let Some((first, _)) = shard.trials.first().filter(|_| trace::is_carried()) else { return };
        let experiment = handle.claimant(*first).await.ok().flatten();
        let submission = experiment.as_ref().and_then(|id| self.submissions().contexts.get(id).cloned());
        let (lease, trials) = (shard.lease.0, shard.trials.len());
        let experiment = experiment.map(|experiment| experiment.0).unwrap_or_default();
        let span = info_span!(target: trace::TARGET, "lease", lease, trials, worker = worker.0, experiment);
        let span = trace::below(span, submission.as_deref());
        trace::set(told, trace::context(&span));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_submission_is_forgotten_first_and_a_refused_one_at_once() {
        let mut submissions = Submissions::default();
        let id = |number: usize| ExperimentId(format!("sweep-{number}"));
        for number in 0..SUBMISSIONS_MAX {
            submissions.remember(id(number), "first".to_owned());
        }
        submissions.remember(id(0), "again".to_owned());
        submissions.remember(id(SUBMISSIONS_MAX), "newest".to_owned());

        let known = |number| submissions.contexts.get(&id(number)).map(String::as_str);
        assert_eq!([known(0), known(1), known(2)], [Some("again"), None, Some("first")]);
        assert_eq!(known(SUBMISSIONS_MAX), Some("newest"));

        submissions.forget(&id(SUBMISSIONS_MAX));
        submissions.remember(id(1), "back".to_owned());
        assert!(submissions.contexts.contains_key(&id(2)), "a refused one made room");
        assert_eq!((submissions.contexts.len(), submissions.order.len()), (SUBMISSIONS_MAX, SUBMISSIONS_MAX));
    }
}
