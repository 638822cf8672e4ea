//! Weights from PyTorch checkpoints and plain safetensors files, as f32 tensors by name.
//!
//! Start at [`read`]. Three formats are told apart by their first bytes: the zip archive that `torch.save` writes since
//! 1.6, its older stream of pickles, and safetensors. A checkpoint's pickle is read as data (`pickle`); no code in it, or
//! that it names, is ever executed. What the bytes claim is compared with what is there before memory is taken:
//! a file of `n` bytes gives at most `4 n` elements.

mod archive;
mod cursor;
mod error;
mod legacy;
mod pickle;
mod plain;
mod state_dict;
mod storage;
mod tensors;
mod zip;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::Tensor;

pub use error::{PickleError, TorchError, ZipError};

/// Bytes of a file that is read at most: 16 GiB, far above any network that is quantized here.
const FILE_BYTES_MAX: u64 = 16 << 30;
/// Where a tar archive says that it is one.
const TAR_MARK: (usize, &[u8]) = (257, b"ustar");
/// Where the JSON of a safetensors file begins, behind its length. The other formats never have a brace there.
const JSON_AT: usize = 8;
/// The operation that begins a pickle of protocol 2 or later.
const PICKLE: u8 = 0x80;

/// Reads a file of weights: every float tensor of the state dict by its name, on the CPU and in f32.
///
/// The state dict may be the whole content, or the value of `state_dict`, `model_state_dict`, `model` or `net` in a
/// dict. The prefixes `module.` and `_orig_mod.` are taken off where all names have them. Float32, float64, float16 and
/// bfloat16 become f32, rounded to nearest; integers, `num_batches_tracked` and what is no tensor are left out.
///
/// Errors: those of [`from_bytes`] with the path, `Io` and `NotAFile`.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, TorchError> {
    let io = |source| TorchError::Io { path: path.to_owned(), source };
    let in_file = |source| TorchError::InFile { path: path.to_owned(), source: Box::new(source) };
    let found = fs::metadata(path).map_err(io)?;
    if !found.is_file() || found.len() > FILE_BYTES_MAX {
        return Err(in_file(TorchError::NotAFile { limit: FILE_BYTES_MAX }));
    }
    from_bytes(&fs::read(path).map_err(io)?).map_err(in_file)
}

/// Reads the content of a file of weights, as [`read`] does.
///
/// Errors: one [`TorchError`] that names the tensor, the entry or the byte, and says what to do. No bytes make it panic,
/// recurse, or take memory beyond a fixed multiple of their number.
pub fn from_bytes(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, TorchError> {
    let tensors = if bytes.get(JSON_AT) == Some(&b'{') {
        plain::read(bytes)?
    } else if bytes.starts_with(&zip::LOCAL_HEADER) {
        archive::read(bytes)?
    } else if bytes.first() == Some(&PICKLE) {
        legacy::read(bytes)?
    } else if bytes.get(TAR_MARK.0..).is_some_and(|rest| rest.starts_with(TAR_MARK.1)) {
        return Err(TorchError::Tar);
    } else {
        return Err(TorchError::Format);
    };
    Ok(state_dict::without_prefixes(tensors))
}
