//! A look at a data directory that changes nothing, not even what sled does when it is opened; for `bitloop doctor` and `logs`.

use std::path::Path;

use bitloop_core::state::{Fact, State};

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
    let survey = survey(root, drop)?;
    Ok(survey.map(|Survey { facts, epoch, torn_bytes, .. }| Looked { facts, epoch, torn_bytes }))
}

/// The state that the journal of such a directory comes to.
///
/// Errors: the same, and that there is no journal.
pub(crate) fn replayed(root: &Path) -> Result<State, ToolError> {
    let mut facts = Vec::new();
    match survey(root, |fact| facts.push(fact))? {
        Some(_) => Ok(State::replayed(facts, |_, _| {})),
        None => Err(ToolError::NoJournal(Folders::of(root).journal)),
    }
}

fn survey(root: &Path, mut take: impl FnMut(Fact)) -> Result<Option<Survey>, ToolError> {
    DataDir::look_at(root)?;
    let mut replay = ReplayCheck::default();
    let survey = Survey::of(&Folders::of(root).journal, |number, fact| match replay.next(&fact) {
        Ok(()) => {
            take(fact);
            None
        }
        Err(reason) => Some(format!("fact {number} of the journal cannot be replayed: {reason}")),
    })?;
    match survey {
        Some(Survey { difference: Some(difference), .. }) => {
            Err(ToolError::Differs { root: root.to_owned(), difference })
        }
        Some(_) | None => Ok(survey),
    }
}
