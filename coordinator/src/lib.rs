//! The coordinator: one owner of the state, a durable store of facts, and the gRPC service in front of them.
//!
//! Start at [`Coordinator`]; `driver` is the heart, `store` the disk, `rpc` the wire, `security` who may use it, `metrics` what operators see over `http`, `chronicle` what happened. This crate knows nothing of
//! tensors: all it knows of a trial is its name and what came of it.

mod artifacts;
mod background;
mod chronicle;
mod clock;
mod complaints;
mod coordinator;
mod data_dir;
mod driver;
mod files;
mod http;
mod look;
mod metrics;
mod places;
mod rpc;
pub mod security;
pub mod store;
#[cfg(test)]
mod testing;

pub use artifacts::{
    ArtifactError, ArtifactReader, ArtifactWriter, Artifacts, MAX_ARTIFACT_BYTES, PlaceError,
};
pub use coordinator::{Coordinator, Elsewhere, OpenError, ServeError};
pub use data_dir::{DataDir, DataDirError};
pub use driver::{
    Beat, Committed, Handle, LeaseSummary, Overview, RequestError, Shown, Submitted, Summary, WorkerSummary,
};
pub use look::{LookError, look_at_trial};
pub use rpc::RpcError;
