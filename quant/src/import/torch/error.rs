use std::path::PathBuf;

use crate::error::one_line;

/// What is wrong with a file of weights; every variant says what to do, or names the place.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// The file cannot be read.
    #[error("cannot read weights `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file was read, its content is unusable.
    #[error("weights `{}`: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<TorchError>,
    },
    /// A folder, a device, or more than anybody's weights.
    #[error("not a file of at most {limit} bytes; give the file with the state dict alone")]
    NotAFile {
        /// Bytes that are read at most.
        limit: u64,
    },
    /// None of the formats.
    #[error(
        "neither a file of `torch.save` nor a safetensors file; save the weights with `torch.save(model.state_dict(), file)`"
    )]
    Format,
    /// The archive of PyTorch before 0.1.10.
    #[error("a tar archive of an old PyTorch; load and save it again with PyTorch 0.4 or later")]
    Tar,
    /// Code and weights.
    #[error(
        "a TorchScript archive, which holds code; save `torch.jit.load(file).state_dict()` with `torch.save`"
    )]
    TorchScript,
    /// The archive is damaged or not one of `torch.save`.
    #[error("the zip archive: {0}")]
    Zip(#[from] ZipError),
    /// An entry of the archive is missing.
    #[error("the zip archive has no entry `{name}`, or several; it is damaged or not from `torch.save`")]
    Entry {
        /// The entry.
        name: String,
    },
    /// The description of the tensors cannot be read.
    #[error("the pickled objects: {0}")]
    Pickle(#[from] PickleError),
    /// Written on a machine of the other kind.
    #[error(
        "the numbers' byte order is `{found}`, only `little` is read; load and save it on a little-endian machine"
    )]
    ByteOrder {
        /// What the file says.
        found: String,
    },
    /// A pickle, not from `torch.save`.
    #[error(
        "a pickle that `torch.save` did not write; save the weights with `torch.save(model.state_dict(), file)`"
    )]
    NotTorch,
    /// The file ends early.
    #[error("the file ends within {place}; copy it again")]
    Truncated {
        /// What is incomplete.
        place: String,
    },
    /// Bytes behind the last storage.
    #[error("{bytes} bytes behind the last storage belong to nothing; copy the file again")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The safetensors header or its offsets are wrong.
    #[error("not a safetensors file, or only a part of one ({reason}); copy it again")]
    Safetensors {
        /// What the reader says.
        reason: String,
    },
    /// An object was saved, whose class only Python knows.
    #[error(
        "an object of class `{class}`, whose code is never executed here; save `model.state_dict()` instead"
    )]
    WholeObject {
        /// Module and name.
        class: String,
    },
    /// Nothing to import.
    #[error("no state dict with float tensors, neither at the top nor under {wrappers}; the top is {found}")]
    NoTensors {
        /// The keys that were tried.
        wrappers: String,
        /// What there is instead.
        found: String,
    },
    /// Two tensors of one name.
    #[error("tensor `{name}` is there twice; the file is damaged")]
    Twice {
        /// The tensor.
        name: String,
    },
    /// A type that has no sense as a weight here.
    #[error("tensor `{name}` has type {found}; save it as float32, float64, float16 or bfloat16")]
    Type {
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// A tensor that a function unknown here would have made.
    #[error(
        "tensor `{name}` is made by `{callable}`, which is not executed here; save it as a dense float tensor"
    )]
    Callable {
        /// The tensor.
        name: String,
        /// Module and name of the function.
        callable: String,
    },
    /// A tensor does not lie in its storage.
    #[error(
        "tensor `{name}` of shape {shape:?}, strides {strides:?} and offset {offset} does not fit its storage of {elements} elements; save it with `.contiguous()`, or copy the file again"
    )]
    Shape {
        /// The tensor.
        name: String,
        /// Extents.
        shape: Vec<usize>,
        /// Elements from one to the next.
        strides: Vec<usize>,
        /// Element of the storage that the tensor begins at.
        offset: usize,
        /// Elements of the storage.
        elements: usize,
    },
    /// The storage has another size than the description says.
    #[error("storage `{key}` has {found} bytes, its description says {expected}; copy the file again")]
    StorageSize {
        /// The storage.
        key: String,
        /// From the description.
        expected: usize,
        /// In the file.
        found: usize,
    },
    /// Storages described in two ways, or not at all.
    #[error("storage `{key}` is described in no way, or in two; the file is damaged")]
    Storage {
        /// The storage.
        key: String,
    },
    /// The tensors are far larger than the file.
    #[error(
        "the tensors have more than {limit} elements together, too many for this file; save it with `.contiguous()` or `.clone()` of each"
    )]
    TooManyElements {
        /// Elements that a file of this length may have.
        limit: usize,
    },
    /// candle cannot make a tensor.
    #[error("tensor `{name}`: {}", one_line(source))]
    Tensor {
        /// The tensor.
        name: String,
        /// What candle says.
        source: candle_core::Error,
    },
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// The end is missing or contradicts itself.
    #[error("its directory is missing or damaged; copy the file again")]
    NoDirectory,
    /// An entry of the directory cannot be read.
    #[error("its directory is damaged at byte {offset}; copy the file again")]
    Entry {
        /// Where.
        offset: usize,
    },
    /// Deflated, or anything else but stored.
    #[error(
        "entry `{name}` is compressed, which `torch.save` never does; save the state dict with `torch.save`"
    )]
    Compressed {
        /// The entry.
        name: String,
    },
    /// Encrypted.
    #[error("entry `{name}` is encrypted; save the state dict with `torch.save`")]
    Encrypted {
        /// The entry.
        name: String,
    },
    /// The entry is not within the file.
    #[error("entry `{name}` lies outside the file; copy the file again")]
    Outside {
        /// The entry.
        name: String,
    },
    /// Directory and entry disagree.
    #[error("entry `{name}` has another name where it lies; the file is damaged")]
    Name {
        /// The name in the directory.
        name: String,
    },
    /// Two entries of one name.
    #[error("entry `{name}` is there twice; the file is damaged")]
    Twice {
        /// The entry.
        name: String,
    },
    /// Two entries share bytes.
    #[error("entries `{first}` and `{second}` share bytes; the file is damaged")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The other.
        second: String,
    },
    /// The content is not the one that was written.
    #[error("entry `{name}` does not have its checksum; copy the file again, or save it with checksums")]
    Checksum {
        /// The entry.
        name: String,
    },
}

/// What is wrong with a pickle.
#[derive(Debug, thiserror::Error)]
pub enum PickleError {
    /// The bytes end before the pickle does.
    #[error("they end at byte {offset} before they are complete; copy the file again")]
    Truncated {
        /// Where an operation begins that is not complete.
        offset: usize,
    },
    /// A newer format.
    #[error("pickle protocol {found} is not read, only 2 to 5; save with `pickle_protocol=2`")]
    Protocol {
        /// The file's.
        found: u8,
    },
    /// No operation of protocols 2 to 5 that weights need.
    #[error("byte {offset} holds operation {opcode:#04x}, which is not read; save with `pickle_protocol=2`")]
    Opcode {
        /// Where.
        offset: usize,
        /// The byte.
        opcode: u8,
    },
    /// An operation finds other operands than it needs.
    #[error("the operation at byte {offset} {reason}; the file is damaged")]
    Operands {
        /// Where.
        offset: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// Too much of something.
    #[error("they have more than {limit} {what}; save the state dict alone")]
    TooMany {
        /// Values or nested marks.
        what: &'static str,
        /// The most that is read.
        limit: usize,
    },
    /// A known function has unusable arguments.
    #[error("`{callable}` at byte {offset} {reason}")]
    Arguments {
        /// Where.
        offset: usize,
        /// Module and name.
        callable: String,
        /// What is wrong.
        reason: String,
    },
}
