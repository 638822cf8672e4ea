//! What reaches the driver, and how it may refuse.

use bitloop_core::digest::Digest;
use bitloop_core::graph::GraphError;
use bitloop_core::plan::{ExperimentId, PlanError};
use bitloop_core::state::{Input, Rejection, Reply, WorkerId};
use bitloop_core::trial::TrialKey;
use tokio::sync::oneshot;

use super::view::View;
use crate::store::StoreError;

/// What the driver is asked.
pub(crate) enum Command {
    /// Something that may change the state.
    Input { input: Box<Input>, reply: oneshot::Sender<Answer> },
    /// A commit of a worker that has nothing to do behind it. What it gets is told beside what became of the commit.
    LastCommit { commit: Box<Input>, reply: oneshot::Sender<Answer>, next: Next },
    /// A look at the durable state; sends its own answer.
    Query(Query),
}

pub(crate) type Answer = Result<Reply, RequestError>;

/// A worker that takes a shard if there is one, and does not wait for it.
pub(crate) struct Next {
    pub(crate) worker: WorkerId,
    /// Dropped when the commit is refused.
    pub(crate) reply: oneshot::Sender<Answer>,
}

pub(crate) type Query = Box<dyn FnOnce(Result<&View<'_>, RequestError>) + Send>;

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error("these artifacts are not here: {}; submit the experiment again to send them", list(.0))]
    MissingArtifacts(Vec<Digest>),
    #[error("{reason}; try again when that is mended")]
    Artifacts { reason: String },
    #[error("context {0} belongs to no experiment here")]
    UnknownContext(Digest),
    #[error("`{text}` could be any of {}; write more of it", list(.candidates))]
    Ambiguous { text: String, candidates: Vec<ExperimentId> },
    #[error("nothing here is called `{0}`: no experiment, and no trial's key begins so")]
    UnknownSubject(String),
    #[error(
        "`{0}` names no trial: write at least six of its key's hexadecimal digits, as `bitloop events` shows them"
    )]
    NoTrial(String),
    #[error("several trials' keys begin with `{0}`; write more digits")]
    AmbiguousTrial(String),
    #[error(
        "`{0}` cannot name an experiment; use 1 to 64 letters, digits, `-`, `_` and `.`, not beginning with `-` or `.`"
    )]
    Name(String),
    #[error("the plan of `{0}` has no stages")]
    NoStages(String),
    #[error(transparent)]
    NoPlan(#[from] PlanError),
    #[error("the plan cannot be carried out: {0}")]
    Plan(String),
    #[error("trial {0} reports a sum that is no number; a worker reports such a trial as failed")]
    NotFinite(TrialKey),
    #[error("trial {0} reports numbers that no training gives; use workers of the coordinator's version")]
    Inconsistent(TrialKey),
    #[error("what `{0}` rests on was measured anew while its results were copied; ask again")]
    Changed(ExperimentId),
    #[error("the report cannot be made: {0}")]
    Report(#[from] GraphError),
    #[error(
        "the coordinator can acknowledge nothing now: {0}; it goes on by itself as soon as it can, so try again then"
    )]
    NotStored(StoreError),
    #[error("the coordinator has stopped; its log says why")]
    Stopped,
}

fn list(items: &[impl ToString]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}
