//! What people should know.

use std::fmt;
use std::time::Duration;

use crate::backlog::Demand;
use crate::engine::{EngineError, SubmissionId};
use crate::memory::GONE_AFTER;

/// Something that people should know.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A submission with our name that we did not know, as after a restart.
    Adopted { class: String, id: SubmissionId, workers: u32 },
    /// A submission with our name, of a class that the file does not have.
    Stranger { id: SubmissionId, class: String },
    /// A submission is gone from the engine's list.
    Gone { class: String, id: SubmissionId },
    /// A submission ended before a worker without work would have left.
    EndedEarly { class: String, id: SubmissionId },
    /// The engine did not take a submission.
    Refused { class: String, reason: String },
    /// The engine did not cancel a submission.
    NotCancelled { id: SubmissionId, reason: String },
    /// Nothing of a class is submitted for a while.
    Paused { class: String, failures: u32, lasts: Duration },
    /// Work that no class of the file can do, nor a worker that is there.
    NoClass { demand: Demand },
    /// What is known of submissions could not be written down for another start.
    NotKept { reason: String },
    /// The engine could not be asked; nothing is submitted or cancelled.
    EngineAway { reason: String },
}

impl Notice {
    pub(crate) fn engine_away(error: &EngineError) -> Self {
        Self::EngineAway { reason: error.to_string() }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopted { class, id, workers } => {
                write!(
                    f,
                    "class {class}: {id} was there already, with {workers} worker(s); it counts from now on"
                )
            }
            Self::Stranger { id, class } => {
                write!(f, "{id} is of class {class}, which the file does not have; it is left alone")
            }
            Self::Gone { class, id } => {
                write!(
                    f,
                    "class {class}: {id} is over: {GONE_AFTER} lists of the engine in a row have not had it"
                )
            }
            Self::EndedEarly { class, id } => {
                write!(
                    f,
                    "class {class}: {id} ended before a worker would have left by itself; its output says why"
                )
            }
            Self::Refused { class, reason } => write!(f, "class {class}: not submitted: {reason}"),
            Self::NotCancelled { id, reason } => write!(f, "{id} was not cancelled: {reason}"),
            Self::Paused { class, failures, lasts } => {
                let seconds = lasts.as_secs_f64();
                write!(f, "class {class}: {failures} failures in a row; nothing is submitted for {seconds} s")
            }
            Self::NoClass { demand } => {
                write!(f, "{} trials need a worker that no class of the file offers:", demand.trials)?;
                write!(f, " device {}", demand.device.as_deref().unwrap_or("any"))?;
                if demand.gpu_memory_bytes > 0 {
                    write!(f, ", {} MiB of GPU memory", demand.gpu_memory_bytes >> 20)?;
                }
                if let Some(probe) = &demand.probe {
                    write!(f, ", {probe}")?;
                }
                for (key, value) in &demand.labels {
                    write!(f, ", {key}={value}")?;
                }
                write!(f, "{}", if demand.exact { ", exact arithmetic" } else { "" })
            }
            Self::NotKept { reason } => {
                write!(f, "what is known of submissions is not kept for the next start: {reason}")
            }
            Self::EngineAway { reason } => {
                write!(f, "the engine cannot be asked, so that nothing is submitted or cancelled: {reason}")
            }
        }
    }
}
