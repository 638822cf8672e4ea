//! Where facts are kept: [`DiskStore`] on disk, [`MemoryStore`] for tests and benchmarks.
//!
//! A store knows the order of facts and nothing of their meaning, except that it refuses to load a list that the
//! ledger could not replay. On disk the `journal` is the truth and sled its index; start at `disk.rs`. This folder is
//! the only place that knows sled.

mod check;
mod disk;
mod journal;
mod look;
mod memory;
mod postgres;
mod sled;
#[cfg(test)]
mod tests;
mod tools;
mod witness;

use std::io;
use std::path::{Path, PathBuf};

use bitloop_core::state::Fact;

pub use self::disk::DiskStore;
pub(crate) use self::look::replayed;
pub use self::look::{Looked, look_at_journal};
pub use self::memory::MemoryStore;
pub use self::postgres::{
    Address, DatabaseError, PostgresStore, Standby, VerifiedDatabase, look_at_database, verify_database,
};
pub use self::tools::{Compacted, Held, Rebuilt, ToolError, Verified, bytes_below, compact, rebuild, verify};

/// Version of the layout on disk, and of facts: since 4, plans, trials, outcomes and selections may speak of devices.
pub const STORE_FORMAT: u32 = 4;

/// The oldest version that this one reads. The next start raises it, and only then are facts written as this one does.
const OLDEST_FORMAT: u32 = 2;

/// What a store holds when it is opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The epoch of the last start; 0 before the first.
    pub epoch: u64,
    /// Every fact in the order in which it was appended.
    pub facts: Vec<Fact>,
}

/// A durable, ordered list of facts.
pub trait Store: Send {
    /// Reads everything.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Appends facts; they are durable when this returns. A second `OutcomeCommitted` of one trial is dropped. After an error
    /// none of them counts, and the same facts may be appended again.
    fn append(&mut self, facts: &[Fact]) -> Result<(), StoreError>;

    /// Raises the epoch by one, durably, and returns it.
    fn raise_epoch(&mut self) -> Result<u64, StoreError>;
}

/// Why a store cannot go on; each message says what a person can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error(
        "the store in {} cannot be opened: {reason}; check that the disk has space and the files may be read and written, \
         or restore a copy",
        .folder.display()
    )]
    Open { folder: PathBuf, reason: String },
    #[error(
        "the store in {} was written by a newer bitloop (format {found}, this one reads {STORE_FORMAT}); use that version",
        .folder.display()
    )]
    Newer { folder: PathBuf, found: u32 },
    #[error(
        "the store in {} was written by an older bitloop (format {found}, this one reads {STORE_FORMAT}), whose trials \
         are not this one's; use another data directory, or that version",
        .folder.display()
    )]
    Older { folder: PathBuf, found: u32 },
    #[error(
        "the store in {} is damaged: {reason}; move the folder away and submit the experiments again, or restore a copy",
        .folder.display()
    )]
    Damaged { folder: PathBuf, reason: String },
    #[error(
        "the journal in {} is damaged: {}, line {line}: {reason}; restore a copy of the file, or move the folder away \
         and the journal is written anew from the store beside it",
        .folder.display(), .file.display()
    )]
    Journal { folder: PathBuf, file: PathBuf, line: u64, reason: String },
    #[error("{} cannot be written: {reason}; check that the disk is there and has space", .folder.display())]
    Write { folder: PathBuf, reason: String },
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl StoreError {
    fn unwritten(folder: &Path, cause: &io::Error) -> Self {
        Self::Write { folder: folder.to_owned(), reason: cause.to_string() }
    }

    /// Whether it is a mistake of the command line or the environment.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Database(cause) => cause.is_usage(),
            Self::Open { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Damaged { .. }
            | Self::Journal { .. }
            | Self::Write { .. } => false,
        }
    }

    /// Whether the same write may succeed later, without a person touching the files.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Write { .. } => true,
            Self::Database(cause) => cause.is_retryable(),
            Self::Open { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Damaged { .. }
            | Self::Journal { .. } => false,
        }
    }
}
