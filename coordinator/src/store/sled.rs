//! The index of the journal, in sled: what a start loads, and which trials have an outcome.
//!
//! Trees: `meta` (format, epoch), `facts` ((sequence, part) -> a piece of a fact's JSON), `outcomes` (trial key ->
//! sequence and outcome), `conflicts` (sequence -> key and outcome). One sequence runs through all of them, so
//! that a load gives the exact order.
//!
//! A batch is written as runs of facts of one tree, in order; each run is one atomic batch, and sled's log is
//! replayed as a prefix. So a crash keeps a prefix of the facts: never an outcome without the step that proposed
//! its trial, never the end of an experiment without its outcomes.

use std::any::Any;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitloop_core::digest::Digest;
use bitloop_core::state::Fact;
use bitloop_core::trial::{Outcome, TrialKey};
use serde::{Deserialize, Serialize};

use super::check::ReplayCheck;
use super::witness::Witness;
use super::{Loaded, OLDEST_FORMAT, STORE_FORMAT, StoreError};

/// Memory that sled may use for pages; the ledger holds everything anyway, so the cache serves only the open.
const CACHE_BYTES: u64 = 64 << 20;

/// Longest value: sled moves far longer ones to files of their own, which 0.34 is known to leak.
const PART_BYTES: usize = 16 << 10;

/// How often, and after which pause, a store is opened again that is still locked.
const OPEN_RETRIES: u32 = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(20);

const FORMAT_KEY: &[u8] = b"format";
const EPOCH_KEY: &[u8] = b"epoch";

/// Facts in a folder, in sled.
pub(super) struct SledStore {
    folder: PathBuf,
    database: sled::Db,
    meta: sled::Tree,
    facts: sled::Tree,
    outcomes: sled::Tree,
    conflicts: sled::Tree,
    next_sequence: u64,
    /// What opening has read already, for the first load.
    opened: Option<Loaded>,
}

/// What stands under a trial's key; an owned outcome when read, a borrowed one when written.
#[derive(Serialize, Deserialize)]
struct OutcomeRecord<O> {
    sequence: u64,
    outcome: O,
}

/// The same of a conflict.
#[derive(Serialize, Deserialize)]
struct ConflictRecord<O> {
    key: TrialKey,
    outcome: O,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TreeName {
    Facts,
    Outcomes,
    Conflicts,
}

impl SledStore {
    /// Opens or creates the index in `folder`. Nobody else may have it open; the data directory's lock sees to it.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let open_error = |reason: String| StoreError::Open { folder: folder.to_owned(), reason };
        let witness = Witness::read(folder).map_err(|error| open_error(format!("witness.json: {error}")))?;
        if let Some(found) = witness.map(|witness| witness.format).filter(|found| *found > STORE_FORMAT) {
            return Err(StoreError::Newer { folder: folder.to_owned(), found });
        }
        let mut store = guarded(|| Self::open_patiently(folder)).map_err(open_error)?;
        store.check_format()?;
        // The sequence goes on behind what is there.
        let loaded = store.load()?;
        store.compare(witness, &loaded)?;
        store.opened = Some(loaded);
        Ok(store)
    }

    /// A store that was dropped a moment ago may still be locked by sled's own threads.
    fn open_patiently(folder: &Path) -> Result<Self, sled::Error> {
        for _ in 0..OPEN_RETRIES {
            match Self::open_trees(folder) {
                Err(error) if error.to_string().contains("could not acquire lock") => {
                    std::thread::sleep(OPEN_PAUSE);
                }
                opened => return opened,
            }
        }
        Self::open_trees(folder)
    }

    fn compare(&self, witness: Option<Witness>, loaded: &Loaded) -> Result<(), StoreError> {
        let Some(witness) = witness else { return Ok(()) };
        let facts = loaded.facts.len() as u64;
        if facts < witness.facts {
            let (before, now) = (witness.facts, facts);
            return Err(
                self.damaged(format!("it holds {now} facts, but held {before} when it was last opened"))
            );
        }
        if loaded.epoch < witness.epoch {
            let (before, now) = (witness.epoch, loaded.epoch);
            return Err(self.damaged(format!("it knows of {now} starts, but there were {before}")));
        }
        Ok(())
    }

    fn open_trees(folder: &Path) -> Result<Self, sled::Error> {
        let database =
            sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None).open()?;
        Ok(Self {
            folder: folder.to_owned(),
            meta: database.open_tree("meta")?,
            facts: database.open_tree("facts")?,
            outcomes: database.open_tree("outcomes")?,
            conflicts: database.open_tree("conflicts")?,
            database,
            next_sequence: 0,
            opened: None,
        })
    }

    /// Writes a format as another version would have.
    #[cfg(test)]
    pub(super) fn set_format(folder: &Path, format: &[u8]) {
        let store = Self::open_patiently(folder).unwrap();
        store.meta.insert(FORMAT_KEY, format).unwrap();
        store.database.flush().unwrap();
    }

    #[cfg(test)]
    pub(super) fn format(folder: &Path) -> Vec<u8> {
        Self::open_patiently(folder).unwrap().meta.get(FORMAT_KEY).unwrap().unwrap().to_vec()
    }

    /// What stands in the trees, without a look at what it says.
    #[cfg(test)]
    pub(super) fn raw(folder: &Path) -> [(&'static str, sled::Tree); 4] {
        let Self { meta, facts, outcomes, conflicts, .. } = Self::open_patiently(folder).unwrap();
        [("meta", meta), ("facts", facts), ("outcomes", outcomes), ("conflicts", conflicts)]
    }

    fn check_format(&mut self) -> Result<(), StoreError> {
        let found = guarded(|| self.meta.get(FORMAT_KEY)).map_err(|reason| self.damaged(reason))?;
        let Some(found) = found else {
            if !(self.facts.is_empty() && self.outcomes.is_empty() && self.conflicts.is_empty()) {
                return Err(self.damaged("it does not name its format".to_owned()));
            }
            return self.write(|store| {
                store.meta.insert(FORMAT_KEY, &STORE_FORMAT.to_be_bytes())?;
                store.database.flush().map(|_| ())
            });
        };
        match found.as_ref().try_into().map(u32::from_be_bytes) {
            Ok(found) if found > STORE_FORMAT => {
                Err(StoreError::Newer { folder: self.folder.clone(), found })
            }
            // The next start says so; the keys are those of this format.
            Ok(OLDEST_FORMAT..=STORE_FORMAT) => Ok(()),
            // Nothing of it could be used: trials of another format have other keys.
            Ok(found) if found > 0 => Err(StoreError::Older { folder: self.folder.clone(), found }),
            Ok(found) => Err(self.damaged(format!("there never was a format {found}"))),
            Err(_) => Err(self.damaged("its format is no number".to_owned())),
        }
    }

    /// Reads everything.
    pub(super) fn load(&mut self) -> Result<Loaded, StoreError> {
        if let Some(loaded) = self.opened.take() {
            return Ok(loaded);
        }
        let facts = guarded(|| self.read_all()).map_err(|reason| self.damaged(reason))?;
        ReplayCheck::all(&facts).map_err(|reason| self.damaged(reason))?;
        self.next_sequence = facts.len() as u64;
        let epoch = self.epoch()?;
        Ok(Loaded { epoch, facts })
    }

    /// What opening has read, until it is loaded or something is written.
    pub(super) fn opened(&self) -> Option<&Loaded> {
        self.opened.as_ref()
    }

    /// Forgets what opening has read; the next load reads it again.
    pub(super) fn forget_opened(&mut self) {
        self.opened = None;
    }

    /// Number of facts.
    pub(super) fn facts(&self) -> u64 {
        self.next_sequence
    }

    /// Records a start, and beside sled what it held then.
    pub(super) fn set_epoch(&mut self, epoch: u64) -> Result<(), StoreError> {
        // The facts that opening has read are the same.
        let opened = self.opened.take();
        self.write(|store| {
            store.meta.insert(FORMAT_KEY, &STORE_FORMAT.to_be_bytes())?;
            store.meta.insert(EPOCH_KEY, &epoch.to_be_bytes())?;
            store.database.flush()?;
            let witness = Witness { format: STORE_FORMAT, epoch, facts: store.next_sequence };
            witness.write(&store.folder)?;
            Ok(())
        })?;
        self.opened = opened.map(|loaded| Loaded { epoch, ..loaded });
        Ok(())
    }

    /// The epoch of the last start; 0 before the first.
    pub(super) fn epoch(&self) -> Result<u64, StoreError> {
        let read = || match self.meta.get(EPOCH_KEY)? {
            Some(epoch) => number(&epoch),
            None => Ok(0),
        };
        guarded(read).map_err(|reason| self.damaged(reason))
    }

    fn read_all(&self) -> Result<Vec<Fact>, ReadError> {
        let mut records = self.read_facts()?;
        for entry in &self.outcomes {
            let (key, value) = entry?;
            let key = Digest::from_slice(&key).map_err(|_| ReadError::Key(key.len()))?;
            let OutcomeRecord::<Outcome> { sequence, outcome } = serde_json::from_slice(&value)?;
            let key = TrialKey(key);
            records.push((sequence, Fact::OutcomeCommitted { key, outcome }));
        }
        for entry in &self.conflicts {
            let (sequence, value) = entry?;
            let ConflictRecord::<Outcome> { key, outcome } = serde_json::from_slice(&value)?;
            records.push((number(&sequence)?, Fact::ConflictSeen { key, outcome }));
        }
        records.sort_by_key(|(sequence, _)| *sequence);
        let gap = (0..).zip(&records).find(|(expected, (found, _))| expected != found);
        if let Some((expected, _)) = gap {
            return Err(ReadError::Gap(expected));
        }
        Ok(records.into_iter().map(|(_, fact)| fact).collect())
    }

    fn read_facts(&self) -> Result<Vec<(u64, Fact)>, ReadError> {
        let mut records = Vec::new();
        let mut text: Vec<u8> = Vec::new();
        let mut open: Option<u64> = None;
        for entry in &self.facts {
            let (key, part) = entry?;
            let sequence = number(key.get(..8).unwrap_or_default())?;
            if let Some(done) = open.filter(|open| *open != sequence) {
                records.push((done, serde_json::from_slice(&text)?));
                text.clear();
            }
            open = Some(sequence);
            text.extend_from_slice(&part);
        }
        if let Some(done) = open {
            records.push((done, serde_json::from_slice(&text)?));
        }
        Ok(records)
    }

    /// The facts that are new: all but outcomes of trials that have one.
    pub(super) fn fresh<'a>(&self, facts: &'a [Fact]) -> Result<Vec<&'a Fact>, StoreError> {
        let mut committed: HashSet<TrialKey> = HashSet::new();
        let mut fresh = Vec::with_capacity(facts.len());
        for fact in facts {
            if let Fact::OutcomeCommitted { key, .. } = fact {
                let known = guarded(|| self.outcomes.contains_key(key.0.as_bytes()));
                if !committed.insert(*key) || known.map_err(|reason| self.damaged(reason))? {
                    continue;
                }
            }
            fresh.push(fact);
        }
        Ok(fresh)
    }

    /// Appends facts that are new; they are durable when this returns.
    pub(super) fn append(&mut self, facts: &[&Fact]) -> Result<(), StoreError> {
        self.write(|store| store.append_runs(facts))
    }

    fn append_runs(&mut self, facts: &[&Fact]) -> Result<(), sled::Error> {
        for run in facts.chunk_by(|a, b| tree_of(a) == tree_of(b)) {
            let Some(first) = run.first() else { continue };
            let mut batch = sled::Batch::default();
            for fact in run {
                put(&mut batch, self.next_sequence, fact);
                self.next_sequence += 1;
            }
            self.tree(tree_of(first)).apply_batch(batch)?;
        }
        self.database.flush().map(|_| ())
    }

    fn tree(&self, name: TreeName) -> &sled::Tree {
        match name {
            TreeName::Facts => &self.facts,
            TreeName::Outcomes => &self.outcomes,
            TreeName::Conflicts => &self.conflicts,
        }
    }

    fn write<T>(&mut self, body: impl FnOnce(&mut Self) -> Result<T, sled::Error>) -> Result<T, StoreError> {
        self.opened = None;
        guarded(|| body(self)).map_err(|reason| StoreError::Write { folder: self.folder.clone(), reason })
    }

    fn damaged(&self, reason: String) -> StoreError {
        StoreError::Damaged { folder: self.folder.clone(), reason }
    }
}

fn tree_of(fact: &Fact) -> TreeName {
    match fact {
        Fact::OutcomeCommitted { .. } => TreeName::Outcomes,
        Fact::ConflictSeen { .. } => TreeName::Conflicts,
        Fact::ExperimentSubmitted { .. }
        | Fact::ExperimentPaused { .. }
        | Fact::ExperimentResumed { .. }
        | Fact::ExperimentCancelled { .. }
        | Fact::StepProposed { .. }
        | Fact::StageFinished { .. }
        | Fact::ExperimentFinished { .. }
        | Fact::ExperimentFailed { .. }
        | Fact::OutcomeLost { .. }
        // Under its trial's key stands the first one, which a load gives too.
        | Fact::OutcomeReplaced { .. }
        | Fact::TrialQuarantined { .. } => TreeName::Facts,
    }
}

fn put(batch: &mut sled::Batch, sequence: u64, fact: &Fact) {
    match fact {
        Fact::OutcomeCommitted { key, outcome } => {
            batch.insert(key.0.as_bytes(), json(&OutcomeRecord { sequence, outcome }));
        }
        Fact::ConflictSeen { key, outcome } => {
            let key = *key;
            batch.insert(&sequence.to_be_bytes(), json(&ConflictRecord { key, outcome }));
        }
        other => {
            for (part, bytes) in (0u32..).zip(json(other).chunks(PART_BYTES)) {
                let key = [&sequence.to_be_bytes()[..], &part.to_be_bytes()[..]].concat();
                batch.insert(key, bytes);
            }
        }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("facts have only text keys, and numbers that JSON can write")
}

/// Why the trees cannot be read as facts.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{0}")]
    Sled(#[from] sled::Error),
    #[error("a record cannot be read ({0})")]
    Record(#[from] serde_json::Error),
    #[error("a key of {0} bytes stands where it cannot")]
    Key(usize),
    #[error("fact {0} is missing")]
    Gap(u64),
}

fn number(bytes: &[u8]) -> Result<u64, ReadError> {
    let bytes = bytes.try_into().map_err(|_| ReadError::Key(bytes.len()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Runs something that calls sled, which panics on some kinds of damage, and gives its error or panic as text.
fn guarded<T, E: std::fmt::Display>(body: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(panic_text(panic.as_ref())),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it gave no reason").to_owned()
}
