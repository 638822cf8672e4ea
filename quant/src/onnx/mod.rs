//! ONNX files: reading a network out of one, and the schema to write one.
//!
//! Start at [`import`]. A file is decoded, its nodes are put in order, constants are folded (shape arithmetic among
//! them), every other node becomes operators of our graph, and the graph is simplified. What cannot be expressed is
//! named all at once. Nothing is allocated by what a file claims before the claim is checked against its bytes.
//!
//! The generated code is committed; `tests/tests/generated_code.rs` compares it with `quant/proto/onnx.proto` and
//! writes it anew with `BITLOOP_REGENERATE=1`.

mod builder;
mod call;
mod encoding;
mod error;
mod external;
mod fold;
mod import;
mod lower;
mod names;
mod nodes;
mod operators;
mod simplify;
mod tensor;
#[cfg(test)]
mod tests;
mod topology;

pub use encoding::{ImportedEncoding, NoEncoding};
pub use error::{ImportError, Problem, Reason, TensorError};
pub use import::{ImportOptions, Imported, MEAN_KEY, OPSETS, STD_KEY, import, import_file};
pub use nodes::{Kernels, OutputsError, with_outputs};
pub use tensor::ElementType;

/// The messages of an ONNX file, as far as bitloop reads and writes them.
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    reason = "generated code keeps no style of ours"
)]
pub mod schema {
    include!("generated/onnx.rs");
}

/// Bytes of a file at most, as the messages of its format allow.
const BYTES_MAX: usize = i32::MAX as usize;

/// Returns a file's bytes, or how many there would be where the format does not allow as many.
pub(crate) fn encoded(file: &schema::ModelProto) -> Result<Vec<u8>, usize> {
    match prost::Message::encoded_len(file) {
        bytes if bytes > BYTES_MAX => Err(bytes),
        _ => Ok(prost::Message::encode_to_vec(file)),
    }
}
