//! A small file beside sled's, written at every start: what the store must at least hold.
//!
//! sled takes some kinds of damage for an empty or shorter log, without a word; the witness tells them apart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::write_atomically;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Witness {
    pub(super) format: u32,
    pub(super) epoch: u64,
    /// Number of facts when the epoch began.
    pub(super) facts: u64,
}

impl Witness {
    fn path(folder: &Path) -> PathBuf {
        folder.join("witness.json")
    }

    /// Reads the witness of a store; none if the store was never opened to its end.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(Self::path(folder)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        write_atomically(&Self::path(folder), &serde_json::to_vec(self)?)
    }
}
