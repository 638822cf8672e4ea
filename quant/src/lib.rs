//! The numerics of bitloop: models, data, quantizers, execution and training on candle.
//!
//! The only crate that sees candle. It knows nothing of trials, leases or wires. Start at [`model`] and [`executor`].

mod archive;
pub mod bench;
pub mod calibration;
pub mod data;
pub mod device;
mod engine;
mod error;
pub mod evaluate;
pub mod executor;
pub mod export;
pub mod import;
pub mod inference;
mod kernels;
pub mod lanes;
pub mod model;
mod network;
pub mod onnx;
pub mod prepare;
pub mod qkeras;
pub mod quantizer;
pub use bitloop_core::rng;
#[cfg(test)]
mod golden;
pub mod train;
pub mod transforms;
pub mod zoo;
