//! Which gRPC status an error becomes.

use bitloop_core::state::Rejection;
use bitloop_proto::convert::ConvertError;
use tonic::Status;

use crate::artifacts::ArtifactError;
use crate::driver::RequestError;

/// A request that cannot be read.
pub(super) fn unreadable(error: &ConvertError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// A request that came to nothing. Only "failed precondition" makes a worker register again.
pub(super) fn refused(error: &RequestError) -> Status {
    let text = error.to_string();
    match error {
        RequestError::Rejected(rejection) => match rejection {
            Rejection::UnknownExperiment(_) => Status::not_found(text),
            Rejection::UnknownWorker(_) => Status::failed_precondition(text),
            Rejection::IdTaken(_)
            | Rejection::UnknownTrial(_)
            | Rejection::WrongResult(_)
            | Rejection::WrongStatus { .. } => Status::invalid_argument(text),
        },
        RequestError::UnknownSubject(_) | RequestError::UnknownContext(_) => Status::not_found(text),
        RequestError::MissingArtifacts(_)
        | RequestError::Ambiguous { .. }
        | RequestError::AmbiguousTrial(_)
        | RequestError::NoTrial(_)
        | RequestError::Name(_)
        | RequestError::NoStages(_)
        | RequestError::NoPlan(_)
        | RequestError::Plan(_)
        | RequestError::NotFinite(_)
        | RequestError::Inconsistent(_) => Status::invalid_argument(text),
        // A worker keeps what it has measured, and tries again.
        RequestError::NotStored(_) | RequestError::Artifacts { .. } => Status::resource_exhausted(text),
        RequestError::Report(_) => Status::internal(text),
        RequestError::Changed(_) => Status::aborted(text),
        // Its process ends, and another start may follow.
        RequestError::Stopped => Status::unavailable(text),
    }
}

/// An artifact that cannot be stored or read.
pub(super) fn artifact(error: &ArtifactError) -> Status {
    let text = error.to_string();
    match error {
        ArtifactError::Missing(_) | ArtifactError::Damaged(_) => Status::not_found(text),
        ArtifactError::Mismatch { .. } | ArtifactError::TooLarge { .. } => Status::invalid_argument(text),
        ArtifactError::Unusable { .. } => Status::internal(text),
    }
}

/// A request of a worker that knew an earlier start of the coordinator.
pub(super) fn other_epoch(found: u64, current: u64) -> Status {
    Status::failed_precondition(format!("epoch {found} is over, this is epoch {current}; register again"))
}

/// Lines of a worker that has had no lease since the coordinator's start; it registers again by itself, and then they are taken.
pub(super) fn no_lease() -> Status {
    Status::failed_precondition("the worker has had no lease since the coordinator started")
}

/// A text that stands for no event.
pub(super) fn no_cursor() -> Status {
    Status::invalid_argument(
        "that is no cursor of an event; `bitloop events --output json` shows them, such as 3-141",
    )
}

/// The server is about to end.
pub(super) fn stopping() -> Status {
    Status::unavailable("the coordinator is stopping")
}

/// A task of the server itself was lost.
pub(super) fn lost_task() -> Status {
    Status::internal("the coordinator lost one of its own tasks; its log says why")
}
