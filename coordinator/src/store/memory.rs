//! A store that lives as long as one of its clones does.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitloop_core::state::Fact;
use bitloop_core::trial::TrialKey;

use super::check::ReplayCheck;
use super::{Loaded, Store, StoreError};

/// Facts in memory. Clones share them, so a test can "restart" a coordinator on one.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    loaded: Loaded,
    outcomes: HashSet<TrialKey>,
}

impl MemoryStore {
    fn content(&self) -> MutexGuard<'_, Content> {
        // A test that panicked elsewhere leaves the content whole: every change is one push.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        let loaded = self.content().loaded.clone();
        ReplayCheck::all(&loaded.facts)
            .map_err(|reason| StoreError::Damaged { folder: PathBuf::from("memory"), reason })?;
        Ok(loaded)
    }

    fn append(&mut self, facts: &[Fact]) -> Result<(), StoreError> {
        let mut content = self.content();
        for fact in facts {
            if let Fact::OutcomeCommitted { key, .. } = fact
                && !content.outcomes.insert(*key)
            {
                continue;
            }
            content.loaded.facts.push(fact.clone());
        }
        Ok(())
    }

    fn raise_epoch(&mut self) -> Result<u64, StoreError> {
        let mut content = self.content();
        content.loaded.epoch += 1;
        Ok(content.loaded.epoch)
    }
}
