//! A worker: takes shards of trials from a coordinator, measures them and commits what came out.
//!
//! Start at [`work`]. Compute runs on one thread of its own, heartbeats on another; everything else is one async
//! task. What it says to the coordinator and when is decided by `bitloop_core::worker`, which this program feeds. What to measure next is none of the worker's business.

pub mod adapter;
mod artifacts;
mod client;
mod clock;
mod compute;
mod executor;
mod groups;
mod heartbeat;
mod inventory;
mod lines;
mod parts;
mod presence;
pub mod probe;
mod quant_executor;
mod session;
mod spool;
mod worker;

pub use artifacts::{ArtifactCache, ArtifactError, Artifacts};
pub use bitloop_proto::transport::{Connection, Endpoint, EndpointError, InProcess, in_process};
pub use client::ClientError;
pub use executor::{Beforehand, EmptyExecutor, ExecuteError, Executor, Setting, sleeping};
pub use inventory::{ALL_GPUS, Inventory, InventoryError, Machine, executors, machine_name};
pub use lines::{LineLayer, log_lines};
pub use quant_executor::QuantExecutor;
pub use worker::{WorkSummary, WorkerError, WorkerOptions, work};
