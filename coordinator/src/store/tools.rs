//! What `bitloop store` does to a data directory that no coordinator has open: compare, make anew, and shrink.

use std::fs;
use std::path::{Path, PathBuf};

use bitloop_core::state::Fact;
use serde::Serialize;

use super::disk::{DiskStore, Folders, build, put_in_place, restore};
use super::journal::{Journal, Survey};
use super::sled::SledStore;
use super::{Loaded, StoreError};
use crate::data_dir::{DataDir, DataDirError};

/// Why a tool could not do what it is for.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no journal in {}; the next start of a coordinator writes it from the store", .0.display())]
    NoJournal(PathBuf),
    #[error("the store in {} is not whole: {difference}; `bitloop store rebuild` makes it anew from the journal", .root.display())]
    Differs { root: PathBuf, difference: String },
}

impl ToolError {
    /// Whether the directory cannot be used at all: it is none, or a coordinator has it open.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::DataDir(_) => true,
            Self::Store(_) | Self::NoJournal(_) | Self::Differs { .. } => false,
        }
    }
}

/// How much one part of a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    pub facts: u64,
    /// The last start.
    pub epoch: u64,
    /// Size of its files.
    pub bytes: u64,
}

/// What a look at both parts of a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// None if there is none, or it cannot be read.
    pub journal: Option<Held>,
    /// The index of the journal, in sled; none if there is none, or it cannot be read.
    pub store: Option<Held>,
    /// What is damaged or differs first; none if all is well.
    pub difference: Option<String>,
    /// What is unusual and mended by the next start.
    pub notes: Vec<String>,
}

impl Verified {
    /// Whether nothing is damaged.
    pub fn is_whole(&self) -> bool {
        self.difference.is_none()
    }
}

/// What making sled anew came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    pub facts: u64,
    /// Where the folder that was there lies now; none if there was nothing in it.
    pub aside: Option<PathBuf>,
}

/// What shrinking came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Compacted {
    pub facts: u64,
    /// Size of sled's files.
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// Size of the journal, which stays as it is: a start replays each of its facts, and repeated outcomes never come
    /// into it.
    pub journal_bytes: u64,
}

/// Compares journal and sled fact by fact, and changes neither beyond what sled does when it is opened.
///
/// Errors: when the directory cannot be used, or was written by another version.
pub fn verify(root: &Path) -> Result<Verified, ToolError> {
    let _data_dir = DataDir::open_existing(root)?;
    compare(&Folders::of(root)).map_err(ToolError::from)
}

/// Makes sled anew from the journal; the folder that was there is moved aside. Facts that only sled has go into the journal
/// first, as a start does it.
///
/// Errors: when the directory cannot be used, the journal is damaged or missing, or the disk is full.
pub fn rebuild(root: &Path) -> Result<Rebuilt, ToolError> {
    let _data_dir = DataDir::open_existing(root)?;
    let folders = Folders::of(root);
    let mut journal = journal_of(&folders)?;
    restore(&folders, &mut journal)?;
    let aside = renew(&folders, &journal)?;
    Ok(Rebuilt { facts: journal.facts(), aside })
}

/// Writes sled anew, without what it keeps of the past, and removes the old files once the new ones stand.
///
/// Errors: when the directory cannot be used, the store is not whole, or the disk is full.
pub fn compact(root: &Path) -> Result<Compacted, ToolError> {
    let _data_dir = DataDir::open_existing(root)?;
    let folders = Folders::of(root);
    // Brings both into agreement, as a start does.
    drop(DiskStore::open(root)?);
    let Verified { journal, store, difference, .. } = compare(&folders)?;
    if let Some(difference) = difference {
        return Err(ToolError::Differs { root: root.to_owned(), difference });
    }
    let journal_bytes = journal.unwrap_or_default().bytes;
    let bytes_before = store.unwrap_or_default().bytes;
    let journal = journal_of(&folders)?;
    let aside = renew(&folders, &journal)?;
    let removed = aside.map_or(Ok(()), fs::remove_dir_all);
    removed.map_err(|cause| StoreError::unwritten(&folders.index, &cause))?;
    let bytes_after = bytes_below(&folders.index);
    Ok(Compacted { facts: journal.facts(), bytes_before, bytes_after, journal_bytes })
}

fn journal_of(folders: &Folders) -> Result<Journal, ToolError> {
    Journal::open(&folders.journal)?.ok_or_else(|| ToolError::NoJournal(folders.journal.clone()))
}

/// Makes sled anew from the journal; returns where what was there lies now.
fn renew(folders: &Folders, journal: &Journal) -> Result<Option<PathBuf>, ToolError> {
    let fresh = build(folders, journal)?;
    let aside = put_in_place(folders, &fresh);
    Ok(aside.map_err(|cause| StoreError::unwritten(&folders.index, &cause))?)
}

fn compare(folders: &Folders) -> Result<Verified, StoreError> {
    let mut verified = Verified::default();
    let index = read_index(folders, &mut verified)?;
    let surveyed = Survey::of(&folders.journal, |number, fact| check(index.as_ref(), number, &fact));
    match surveyed {
        Ok(Some(survey)) => {
            let bytes = bytes_below(&folders.journal);
            verified.journal = Some(Held { facts: survey.facts, epoch: survey.epoch, bytes });
            verified.judge(&survey);
        }
        Ok(None) => {
            verified.notes.push("there is no journal; the next start writes it from the store".to_owned())
        }
        Err(damaged @ StoreError::Journal { .. }) => verified.difference = Some(damaged.to_string()),
        Err(other) => return Err(other),
    }
    Ok(verified)
}

impl Verified {
    fn judge(&mut self, survey: &Survey) {
        if let Some(torn) = survey.torn_bytes {
            self.notes.push(format!(
                "the journal ends in {torn} bytes of a line that was never finished; the next start cuts them off"
            ));
        }
        let held = self.store.map_or(0, |store| store.facts);
        if self.difference.is_some() {
            return;
        }
        self.difference.clone_from(&survey.difference);
        if self.difference.is_none() && held < survey.facts_before_batch {
            self.difference = Some(format!("sled holds {held} facts, the journal {}", survey.facts));
        } else if held != survey.facts {
            let (ahead, behind) = if held < survey.facts { ("journal", "sled") } else { ("sled", "journal") };
            let facts = held.abs_diff(survey.facts);
            self.notes
                .push(format!("{behind} lacks {facts} facts that {ahead} has; the next start adds them"));
        }
    }
}

/// Reads sled; what is wrong with it becomes the difference.
fn read_index(folders: &Folders, verified: &mut Verified) -> Result<Option<Loaded>, StoreError> {
    // Opening an empty folder would fill it.
    if fs::read_dir(&folders.index).map_or(true, |mut entries| entries.next().is_none()) {
        return Ok(None);
    }
    match SledStore::open(&folders.index).and_then(|mut index| index.load()) {
        Ok(loaded) => {
            let facts = loaded.facts.len() as u64;
            verified.store = Some(Held { facts, epoch: loaded.epoch, bytes: bytes_below(&folders.index) });
            Ok(Some(loaded))
        }
        Err(error @ (StoreError::Open { .. } | StoreError::Damaged { .. })) => {
            verified.difference = Some(error.to_string());
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

/// How a fact of the journal differs from sled's of the same number, if it does.
fn check(index: Option<&Loaded>, number: u64, fact: &Fact) -> Option<String> {
    let stored = index?.facts.get(usize::try_from(number).ok()?)?;
    (stored != fact).then(|| format!("fact {number} is not the same in journal and sled"))
}

/// The bytes of all files below a folder; 0 if it is not there.
pub fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        // It went meanwhile.
        Err(_) => 0,
    });
    sizes.sum()
}
