//! Which submission an experiment comes from, so that what is leased of it is part of the same trace. Volatile, and empty
//! where no spans are recorded.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bitloop_core::plan::{ExperimentId, Plan};
use bitloop_core::state::{Shard, WorkerId};
use bitloop_proto::trace;
use tonic::metadata::MetadataMap;
use tracing::{Span, info_span};

use crate::driver::Handle;

/// Submissions that are remembered; a lease of an older one begins a trace of its own.
const SUBMISSIONS_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Origins(Mutex<BTreeMap<ExperimentId, String>>);

impl Origins {
    /// Remembers that a plan was submitted by the current call.
    pub(super) fn note(&self, plan: &Plan) {
        let Some(context) = trace::context(&Span::current()) else { return };
        let experiment = plan.id();
        let mut submissions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if submissions.len() < SUBMISSIONS_MAX || submissions.contains_key(&experiment) {
            submissions.insert(experiment, context);
        }
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
        let submission = experiment.as_ref().and_then(|experiment| {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get(experiment).cloned()
        });
        let (lease, trials) = (shard.lease.0, shard.trials.len());
        let experiment = experiment.map(|experiment| experiment.0).unwrap_or_default();
        let span = info_span!(target: trace::TARGET, "lease", lease, trials, worker = worker.0, experiment);
        let span = trace::below(span, submission.as_deref());
        trace::set(told, trace::context(&span));
    }
}
