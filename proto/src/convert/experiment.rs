use std::collections::HashMap;

use bitloop_core::digest::Digest;
use bitloop_core::state::{Action, Sources, Status};

use super::limits::{PATH_BYTES_MAX, SOURCES_MAX, line, prose};
use super::{ConvertError, digest, digest_to_wire};
use crate::v1;

impl From<Action> for v1::ExperimentAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Pause => Self::Pause,
            Action::Resume => Self::Resume,
            Action::Cancel => Self::Cancel,
        }
    }
}

/// Reads the number of a [`v1::ExperimentAction`].
///
/// Errors: `Missing` for the unspecified one, `UnknownValue`.
pub fn action(value: i32) -> Result<Action, ConvertError> {
    let field = "action";
    match v1::ExperimentAction::try_from(value) {
        Ok(v1::ExperimentAction::Pause) => Ok(Action::Pause),
        Ok(v1::ExperimentAction::Resume) => Ok(Action::Resume),
        Ok(v1::ExperimentAction::Cancel) => Ok(Action::Cancel),
        Ok(v1::ExperimentAction::Unspecified) => Err(ConvertError::Missing { field }),
        Err(_) => Err(ConvertError::UnknownValue { field, value }),
    }
}

impl From<&Status> for v1::ExperimentStatus {
    fn from(status: &Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Paused => Self::Paused,
            Status::Cancelled => Self::Cancelled,
            Status::Finished => Self::Finished,
            Status::Failed { .. } => Self::Failed,
        }
    }
}

/// Reads the status of a summary, with the reason of a failure.
///
/// Errors: `Missing` for the unspecified one, `UnknownValue`.
pub fn status(summary: &v1::ExperimentSummary) -> Result<Status, ConvertError> {
    let field = "status";
    let value = summary.status;
    match v1::ExperimentStatus::try_from(value) {
        Ok(v1::ExperimentStatus::Active) => Ok(Status::Active),
        Ok(v1::ExperimentStatus::Paused) => Ok(Status::Paused),
        Ok(v1::ExperimentStatus::Cancelled) => Ok(Status::Cancelled),
        Ok(v1::ExperimentStatus::Finished) => Ok(Status::Finished),
        Ok(v1::ExperimentStatus::Failed) => {
            Ok(Status::Failed { reason: prose("reason", summary.reason.clone())? })
        }
        Ok(v1::ExperimentStatus::Unspecified) => Err(ConvertError::Missing { field }),
        Err(_) => Err(ConvertError::UnknownValue { field, value }),
    }
}

/// Reads where the inputs were found.
///
/// Errors: `Missing` or `DigestLength` for what is no digest; `TooMany`; `TooLong` or `Control` for what is no path.
pub fn sources(message: &HashMap<String, Vec<u8>>) -> Result<Sources, ConvertError> {
    let field = "sources";
    if message.len() > SOURCES_MAX {
        return Err(ConvertError::TooMany { field, count: message.len(), max: SOURCES_MAX });
    }
    let entry = |(path, bytes): (&String, &Vec<u8>)| {
        Ok((line(field, path.clone(), PATH_BYTES_MAX)?, digest(field, bytes)?))
    };
    message.iter().map(entry).collect()
}

/// Returns the message that says where the inputs were found.
pub fn sources_to_wire(sources: &Sources) -> HashMap<String, Vec<u8>> {
    let entry = |(path, digest): (&String, &Digest)| (path.clone(), digest_to_wire(digest));
    sources.iter().map(entry).collect()
}
