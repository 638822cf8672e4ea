//! Exports: ONNX files come back as the same network, and the encodings files say the same.

#![expect(clippy::unwrap_used, reason = "test code, also outside of test functions")]

#[path = "../common/mod.rs"]
mod common;
mod device;
mod files;
mod networks;
mod refusals;
mod round_trip;
