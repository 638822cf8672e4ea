//! The store on disk: the journal is the truth, sled its index.
//!
//! An append writes and syncs the journal first, then sled; only then is it answered. What a crash leaves:
//!
//! | it comes | the journal | sled | the next start |
//! | --- | --- | --- | --- |
//! | while the journal is written | a part of the batch, perhaps a torn line or zeros within | without the batch | cuts it off from there, takes the whole lines before in |
//! | before sled is written, or within | the batch | none or some of it | adds the rest to sled |
//! | after both | the batch | the batch | finds them equal |
//!
//! So sled lacks at most the last batch. When it lacks more, holds other facts or cannot be opened, its folder is moved
//! aside and sled is made anew from the journal. When it holds more, the end of the journal was lost after it had been
//! synced; the journal gets those facts back. A store from before there were journals gets one at its first start.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bitloop_core::state::Fact;
use tracing::{info, warn};

use super::journal::Journal;
use super::sled::SledStore;
use super::{Loaded, Store, StoreError};
use crate::files::make_folder;

/// Facts given to sled at once when it is made from a journal.
const FACTS_AT_ONCE: usize = 1_024;

/// Where the parts of a store lie in a data directory.
pub(super) struct Folders {
    root: PathBuf,
    pub(super) journal: PathBuf,
    pub(super) index: PathBuf,
}

impl Folders {
    pub(super) fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), journal: root.join("journal"), index: root.join("store") }
    }

    /// Where an index is built.
    fn fresh(&self) -> PathBuf {
        self.root.join("store.new")
    }
}

/// Facts in a data directory.
pub struct DiskStore {
    folders: Folders,
    journal: Journal,
    /// None after an error of sled's; the journal is enough to go on, and the next call opens it again.
    index: Option<SledStore>,
}

impl DiskStore {
    /// Opens or creates the store of a data directory. Nobody else may have it open; the directory's lock sees to it.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let folders = Folders::of(root);
        if let Some(mut journal) = Journal::open(&folders.journal)? {
            let index = open_index(&folders, &mut journal)?;
            return Ok(Self { folders, journal, index: Some(index) });
        }
        let index = SledStore::open(&folders.index)?;
        let loaded = index.opened().cloned().unwrap_or_default();
        make_folder(&folders.journal).map_err(|cause| StoreError::unwritten(&folders.journal, &cause))?;
        let journal = Journal::create(&folders.journal, loaded.epoch, &loaded.facts)?;
        if journal.facts() > 0 {
            info!(facts = journal.facts(), "the store had no journal; it is written from the store");
        }
        Ok(Self { folders, journal, index: Some(index) })
    }

    /// Closes sled as an error does.
    #[cfg(test)]
    pub(super) fn lose_index(&mut self) {
        close(self.index.take());
    }

    /// The index; opened again after an error.
    fn index(&mut self) -> Result<&mut SledStore, StoreError> {
        let index = match self.index.take() {
            Some(index) => index,
            None => {
                let mut index = open_index(&self.folders, &mut self.journal).map_err(as_unwritten)?;
                index.forget_opened();
                index
            }
        };
        Ok(self.index.insert(index))
    }

    /// Writes to the index what is durable already, so that an error stops nobody.
    fn follow(&mut self, write: impl FnOnce(&mut SledStore) -> Result<(), StoreError>) {
        let Some(index) = &mut self.index else { return };
        if let Err(cause) = write(index) {
            warn!(%cause, "the journal has what the store lacks; the store is opened again before the next write");
            close(self.index.take());
        }
    }
}

impl Store for DiskStore {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        let epoch = self.journal.epoch();
        let loaded = self.index()?.load()?;
        Ok(Loaded { epoch: loaded.epoch.max(epoch), facts: loaded.facts })
    }

    fn append(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        let fresh = match self.index()?.fresh(facts) {
            Ok(fresh) => fresh,
            Err(cause) => {
                close(self.index.take());
                return Err(as_unwritten(cause));
            }
        };
        self.journal.append(&fresh)?;
        self.follow(|index| index.append(&fresh));
        Ok(())
    }

    fn raise_epoch(&mut self) -> Result<u64, StoreError> {
        let known = self.index()?.epoch()?;
        let epoch = known.max(self.journal.epoch()) + 1;
        self.journal.raise_epoch(epoch)?;
        self.follow(|index| index.set_epoch(epoch));
        Ok(epoch)
    }
}

/// An index that cannot be opened while the coordinator works is tried again, like a write.
fn as_unwritten(cause: StoreError) -> StoreError {
    match cause {
        StoreError::Open { folder, reason } | StoreError::Damaged { folder, reason } => {
            StoreError::Write { folder, reason }
        }
        other => other,
    }
}

/// Opens the index of a journal and brings the two into agreement.
fn open_index(folders: &Folders, journal: &mut Journal) -> Result<SledStore, StoreError> {
    let is_there =
        !is_empty(&folders.index).map_err(|cause| StoreError::unwritten(&folders.index, &cause))?;
    if !is_there && journal.facts() > 0 {
        return replace(folders, journal, "it is empty");
    }
    let mut index = match SledStore::open(&folders.index) {
        Ok(index) => index,
        Err(StoreError::Open { reason, .. } | StoreError::Damaged { reason, .. }) => {
            return replace(folders, journal, &reason);
        }
        Err(other) => return Err(other),
    };
    // What a building on a full disk left, where it could not be removed.
    let _ = remove(&folders.fresh());
    let (held, due) = (index.facts(), journal.facts());
    if let Some(reason) = disagreement(&index, journal)? {
        close(Some(index));
        return replace(folders, journal, &reason);
    }
    if held < due {
        index.forget_opened();
        fill(&mut index, journal)?;
        info!(
            facts = due - held,
            "the store lacked the journal's last facts, as after a crash; they are added"
        );
    } else if held > due {
        extend(journal, &index)?;
    }
    Ok(index)
}

/// Gives the journal back what only the index has; one that is empty, damaged or another journal's has nothing to give.
pub(super) fn restore(folders: &Folders, journal: &mut Journal) -> Result<(), StoreError> {
    if is_empty(&folders.index).map_err(|cause| StoreError::unwritten(&folders.index, &cause))? {
        return Ok(());
    }
    let index = match SledStore::open(&folders.index) {
        Ok(index) => index,
        Err(StoreError::Open { .. } | StoreError::Damaged { .. }) => return Ok(()),
        Err(other) => return Err(other),
    };
    let restored = match disagreement(&index, journal) {
        Ok(None) if index.facts() > journal.facts() => extend(journal, &index),
        compared => compared.map(drop),
    };
    close(Some(index));
    restored
}

/// Appends to the journal what the index has beyond it.
fn extend(journal: &mut Journal, index: &SledStore) -> Result<(), StoreError> {
    let due = journal.facts() as usize;
    let facts = index.opened().map(|loaded| &loaded.facts[due..]).unwrap_or_default();
    journal.append(&facts.iter().collect::<Vec<_>>())?;
    warn!(facts = facts.len(), "the journal had lost its last facts; they are restored from the store");
    Ok(())
}

/// Why an index cannot be that of a journal, if it cannot.
fn disagreement(index: &SledStore, journal: &Journal) -> Result<Option<String>, StoreError> {
    let (held, due) = (index.facts(), journal.facts());
    if held < journal.facts_before_batch() {
        return Ok(Some(format!("it holds {held} facts of the journal's {due}")));
    }
    let Some(last) = held.min(due).checked_sub(1) else { return Ok(None) };
    let in_journal = journal.facts_from(last)?.next().transpose()?;
    let in_index = index.opened().and_then(|loaded| loaded.facts.get(last as usize));
    let differs = in_journal.as_ref() != in_index;
    Ok(differs.then(|| format!("its fact {last} is not the journal's")))
}

/// Makes the index anew from the journal; the folder that was there is moved aside.
fn replace(folders: &Folders, journal: &Journal, reason: &str) -> Result<SledStore, StoreError> {
    let fresh = build(folders, journal)?;
    let aside =
        put_in_place(folders, &fresh).map_err(|cause| StoreError::unwritten(&folders.index, &cause))?;
    let aside = aside.map(|folder| folder.display().to_string());
    warn!(reason, facts = journal.facts(), aside, "the store was made anew from the journal");
    SledStore::open(&folders.index)
}

/// Builds an index from the journal, beside the one that is there.
pub(super) fn build(folders: &Folders, journal: &Journal) -> Result<PathBuf, StoreError> {
    let fresh = folders.fresh();
    // What an interrupted building left.
    remove(&fresh).map_err(|cause| StoreError::unwritten(&fresh, &cause))?;
    let filled = SledStore::open(&fresh).and_then(|mut index| {
        let filled = fill(&mut index, journal).and_then(|()| index.set_epoch(journal.epoch()));
        close(Some(index));
        filled
    });
    if filled.is_err() {
        // On a full disk it would take the space that others wait for; what cannot be removed now is so next time.
        let _ = remove(&fresh);
    }
    filled.map(|()| fresh)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Puts a new index into its place; returns where the one that was there lies now, if it held anything.
pub(super) fn put_in_place(folders: &Folders, fresh: &Path) -> io::Result<Option<PathBuf>> {
    let aside = match is_empty(&folders.index)? {
        true => None,
        false => Some(free_name(&folders.root)?),
    };
    if let Some(aside) = &aside {
        fs::rename(&folders.index, aside)?;
    }
    // A folder may be renamed to an empty one.
    fs::rename(fresh, &folders.index)?;
    File::open(&folders.root)?.sync_all()?;
    Ok(aside)
}

fn free_name(root: &Path) -> io::Result<PathBuf> {
    let mut number = 1_u32;
    loop {
        let name = root.join(format!("store.aside-{number}"));
        if !name.try_exists()? {
            return Ok(name);
        }
        number += 1;
    }
}

/// Adds to an index what the journal has beyond it.
fn fill(index: &mut SledStore, journal: &Journal) -> Result<(), StoreError> {
    let mut chunk: Vec<Fact> = Vec::with_capacity(FACTS_AT_ONCE);
    for fact in journal.facts_from(index.facts())? {
        chunk.push(fact?);
        if chunk.len() == FACTS_AT_ONCE {
            index.append(&chunk.iter().collect::<Vec<_>>())?;
            chunk.clear();
        }
    }
    index.append(&chunk.iter().collect::<Vec<_>>())
}

/// Closes sled, which may panic over an error that it has met before.
fn close(index: Option<SledStore>) {
    if catch_unwind(AssertUnwindSafe(|| drop(index))).is_err() {
        warn!("sled could not be closed in good order; the journal has all facts");
    }
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(cause) => Err(cause),
    }
}
