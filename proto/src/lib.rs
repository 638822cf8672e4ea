//! The wire: messages and service as generated from `bitloop/v1/coordinator.proto`, conversions to and from the
//! core's types, how to connect, and what clients prove who they are with.
//!
//! The generated code is committed; `tests/tests/generated_code.rs` compares it with the `.proto` file and writes it
//! anew with `BITLOOP_REGENERATE=1`.

mod clock;
pub mod convert;
mod failover;
pub mod identity;
pub mod reach;
pub mod results;
pub mod status;
pub mod trace;
pub mod transport;
pub mod upload;

/// Messages, client and server.
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    reason = "generated code keeps no style of ours"
)]
pub mod v1 {
    include!("generated/bitloop.v1.rs");
}

/// The file descriptor set, for gRPC reflection.
pub const DESCRIPTOR: &[u8] = include_bytes!("generated/descriptor.bin");
