//! A look at a data directory that changes nothing, not even what sled does when it is opened; for `bitloop doctor`.

use std::path::Path;

use super::check::ReplayCheck;
use super::disk::Folders;
use super::journal::Survey;
use super::tools::ToolError;
use crate::data_dir::DataDir;

/// What a look at a journal found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    pub facts: u64,
    /// The last start.
    pub epoch: u64,
    /// Bytes of a last line that was never finished, which the next start cuts off.
    pub torn_bytes: Option<u64>,
}

/// Reads the journal of a directory that no coordinator uses: each line, its checksum, and whether its facts can be
/// replayed. None if there is none, as in a directory of a time before journals.
///
/// Errors: who uses the directory, what is damaged, or which version wrote it.
pub fn look_at_journal(root: &Path) -> Result<Option<Looked>, ToolError> {
    DataDir::look_at(root)?;
    let mut replay = ReplayCheck::default();
    let survey = Survey::of(&Folders::of(root).journal, |number, fact| {
        replay
            .next(&fact)
            .err()
            .map(|reason| format!("fact {number} of the journal cannot be replayed: {reason}"))
    })?;
    let Some(survey) = survey else { return Ok(None) };
    match survey.difference {
        Some(difference) => Err(ToolError::Differs { root: root.to_owned(), difference }),
        None => Ok(Some(Looked { facts: survey.facts, epoch: survey.epoch, torn_bytes: survey.torn_bytes })),
    }
}
